//! The way in: what the contract is called with and what it answers.

use serde::{Deserialize, Serialize};
use vitro_proof::Hash;

use crate::error::ContractError;
use crate::tx::Tx;
use crate::{agreement, audit, billing, data, registry, simulate, status};

/// The ledger's state could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StateError(pub String);

/// The ledger's state, as chaincode sees it: reads give what is *committed*; what this transaction wrote is not seen.
///
/// The contract never reads what it wrote in the same call, writes a key at most once, writes in the order of the keys, and never
/// asks for a range that begins with the empty key (on Fabric such a range holds composite keys, too).
pub trait State {
    /// The committed value of a key.
    ///
    /// # Errors
    /// [`StateError`] if the state cannot be read.
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, StateError>;

    /// Sets a key when the transaction commits.
    ///
    /// # Errors
    /// [`StateError`] if the write is not taken.
    fn put(&mut self, key: &str, value: Vec<u8>) -> Result<(), StateError>;

    /// The committed keys from `start` (included) to `end` (excluded) with their values, in the order of their bytes.
    ///
    /// # Errors
    /// [`StateError`] if the state cannot be read.
    fn range(&mut self, start: &str, end: &str) -> Result<Vec<(String, Vec<u8>)>, StateError>;
}

/// What a certificate is for, by its organizational unit (Fabric's NodeOUs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OuRole {
    /// A program or a person that submits and asks.
    Client,
    /// Speaks for its organization: agrees to roles, devices and agreements.
    Admin,
    /// A peer node.
    Peer,
    /// An orderer node.
    Orderer,
}

impl OuRole {
    /// The role that an organizational unit stands for.
    #[must_use]
    pub fn from_ou(ou: &str) -> Option<Self> {
        match ou {
            "client" => Some(Self::Client),
            "admin" => Some(Self::Admin),
            "peer" => Some(Self::Peer),
            "orderer" => Some(Self::Orderer),
            _ => None,
        }
    }
}

/// Who signed the proposal. The ledger has checked the certificate against the MSP before the contract is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creator {
    /// The id of the MSP.
    pub msp: String,
    /// The certificate's NodeOU role.
    pub role: OuRole,
    /// SHA-256 over the certificate's DER.
    pub certificate_hash: Hash,
}

/// The transaction that the call is part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The transaction's id.
    pub tx_id: String,
    /// The transaction's timestamp in Unix seconds: the submitter's word.
    pub timestamp: i64,
    /// The channel.
    pub channel: String,
    /// Who calls.
    pub creator: Creator,
}

/// A chaincode event; at most one a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub name: String,
    /// To what: CBOR.
    pub payload: Vec<u8>,
}

/// A call's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The answer: CBOR.
    pub payload: Vec<u8>,
    /// The transaction's event.
    pub event: Option<Event>,
}

impl Response {
    pub(crate) fn of(record: &impl crate::wire::Record) -> Self {
        Self { payload: record.encode(), event: None }
    }

    pub(crate) fn with_event(self, name: &str, payload: Vec<u8>) -> Self {
        Self { event: Some(Event { name: name.to_owned(), payload }), ..self }
    }
}

/// The functions that write.
#[cfg(any(test, feature = "testing"))]
pub(crate) const UPDATES: &[&str] = &[
    "registry:configure",
    "registry:register_device",
    "registry:register_successor",
    "registry:certify",
    "registry:approve_devices",
    "registry:suspend",
    "registry:reinstate",
    "registry:retire",
    "registry:exchange",
    "agreement:propose",
    "agreement:amend",
    "agreement:terminate",
    "agreement:approve",
    "data:publish",
    "data:alive",
    "billing:close",
    "billing:correct",
];

/// The functions that only read.
pub(crate) const QUERIES: &[&str] = &[
    "registry:roles",
    "registry:device",
    "registry:devices",
    "registry:chains",
    "registry:history",
    "agreement:get",
    "agreement:list",
    "agreement:in_force",
    "agreement:simulate",
    "data:day",
    "data:chain",
    "data:block",
    "data:history",
    "data:summaries",
    "data:hours",
    "billing:statement",
    "billing:statements",
    "audit:verify_inclusion",
    "audit:verify_alive",
    "audit:day",
];

/// Whether the function only reads, so that asking one peer is enough and nothing is to be committed.
#[must_use]
pub fn is_query(function: &str) -> bool {
    QUERIES.contains(&function)
}

/// Runs one call. The state is written only if it succeeds.
///
/// # Errors
/// [`ContractError`], whose text begins with its code.
pub fn invoke(
    ctx: &Context,
    state: &mut dyn State,
    function: &str,
    args: &[Vec<u8>],
) -> Result<Response, ContractError> {
    let mut tx = Tx::new(state);
    let tx_ref = &mut tx;
    let response = match function {
        "registry:configure" => registry::configure(ctx, tx_ref, args),
        "registry:roles" => registry::roles(ctx, tx_ref, args),
        "registry:register_device" => registry::register_device(ctx, tx_ref, args),
        "registry:register_successor" => registry::register_successor(ctx, tx_ref, args),
        "registry:certify" => registry::certify(ctx, tx_ref, args),
        "registry:approve_devices" => registry::approve_devices(ctx, tx_ref, args),
        "registry:device" => registry::device(ctx, tx_ref, args),
        "registry:devices" => registry::devices(ctx, tx_ref, args),
        "registry:chains" => registry::chains(ctx, tx_ref, args),
        "registry:suspend" => status::suspend(ctx, tx_ref, args),
        "registry:reinstate" => status::reinstate(ctx, tx_ref, args),
        "registry:retire" => status::retire(ctx, tx_ref, args),
        "registry:exchange" => status::exchange(ctx, tx_ref, args),
        "registry:history" => status::history(ctx, tx_ref, args),
        "agreement:propose" => agreement::propose(ctx, tx_ref, args),
        "agreement:amend" => agreement::amend(ctx, tx_ref, args),
        "agreement:terminate" => agreement::terminate(ctx, tx_ref, args),
        "agreement:approve" => agreement::approve(ctx, tx_ref, args),
        "agreement:get" => agreement::get(ctx, tx_ref, args),
        "agreement:list" => agreement::list(ctx, tx_ref, args),
        "agreement:in_force" => agreement::all_in_force(ctx, tx_ref, args),
        "agreement:simulate" => simulate::simulate(ctx, tx_ref, args),
        "data:publish" => data::publish(ctx, tx_ref, args),
        "data:alive" => data::alive(ctx, tx_ref, args),
        "data:hours" => data::hours(ctx, tx_ref, args),
        "data:block" => data::block(ctx, tx_ref, args),
        "data:history" => data::history(ctx, tx_ref, args),
        "data:day" => data::day(ctx, tx_ref, args),
        "data:chain" => data::chain_view(ctx, tx_ref, args),
        "data:summaries" => data::summaries(ctx, tx_ref, args),
        "billing:close" => billing::close(ctx, tx_ref, args),
        "billing:correct" => billing::correct(ctx, tx_ref, args),
        "billing:statement" => billing::statement(ctx, tx_ref, args),
        "billing:statements" => billing::statements(ctx, tx_ref, args),
        "audit:verify_alive" => audit::verify_alive(ctx, tx_ref, args),
        "audit:day" => audit::day(ctx, tx_ref, args),
        "audit:verify_inclusion" => audit::verify_inclusion(ctx, tx_ref, args),
        _ => Err(ContractError::UnknownFunction(function.chars().take(80).collect())),
    }?;
    tx.commit()?;
    Ok(response)
}
