//! Tests of client and contract on a network of four organizations, whatever network it is: run on the development ledger by
//! `cargo test -p vitro-devledger`, on real Fabric by `make test-fabric`.

pub(crate) mod faults;
pub(crate) mod flow;
mod orderer;

use std::sync::Arc;
use std::time::Duration;

use vitro_contract::calls::Call;
use vitro_contract::testing::{TestDay, TestDevice};
use vitro_contract::{Item, OuRole, Record, Role, calls};
use vitro_ledger::{
    Committed, ConnectionProfile, EndorserGroup, Endorsers, Ledger, Limits, PemSigner, SignedTransaction, Signer,
    SystemEnvironment, TxValidationCode,
};

/// A network with the contract on it.
pub(crate) trait Stage {
    /// The connection profile of a party's admin or user.
    fn profile(&self, role: Role, ou: OuRole) -> ConnectionProfile;
    /// Stops a party's peer; for clients that connect from now on it is away.
    fn peer_down(&self, role: Role);
    /// Starts it again.
    fn peer_up(&self, role: Role);
    /// Kills the orderer without warning.
    fn kill_orderer(&self);
    /// Starts it again, and waits until it takes transactions.
    fn start_orderer(&self);
}

/// A client of a party's admin or user, endorsed by the operator and two of the parties.
pub(crate) fn client(stage: &impl Stage, role: Role, ou: OuRole) -> Ledger {
    client_by(stage, role, ou, plan())
}

/// The same, endorsed by others.
pub(crate) fn client_by(stage: &impl Stage, role: Role, ou: OuRole, endorsers: Endorsers) -> Ledger {
    connect(&ConnectionProfile { endorsers, ..stage.profile(role, ou) }, 10)
}

/// A client that simulates a call so often at most.
pub(crate) fn connect(profile: &ConnectionProfile, attempts: u32) -> Ledger {
    let limits = Limits { commit: Duration::from_secs(60), attempts, ..Limits::default() };
    Ledger::connect(profile, Arc::new(signer(profile)), Arc::new(SystemEnvironment), limits).unwrap()
}

pub(crate) fn signer(profile: &ConnectionProfile) -> PemSigner {
    PemSigner::from_pem(profile.identity.key_pem.as_ref().unwrap().expose()).unwrap()
}

pub(crate) fn msp(role: Role) -> String {
    vitro_contract::testing::roles().unwrap().msp(role).to_string()
}

/// The operator and two of the parties.
pub(crate) fn plan() -> Endorsers {
    let parties = [Role::Rc, Role::Dv, Role::Sp].map(msp).to_vec();
    Endorsers { required: vec![msp(Role::Operator)], any_of: vec![EndorserGroup { count: 2, of: parties }] }
}

/// These and nobody else.
pub(crate) fn only(roles: &[Role]) -> Endorsers {
    Endorsers { required: roles.iter().copied().map(msp).collect(), any_of: vec![] }
}

/// Submits a call that must succeed.
pub(crate) async fn submit<T: Record>(ledger: &Ledger, call: &Call<T>) -> (T, Committed) {
    let done =
        ledger.submit(call.function, &call.args).await.unwrap_or_else(|error| panic!("{}: {error}", call.function));
    (call.read(&done.payload).unwrap(), done)
}

/// Asks what must be answered.
pub(crate) async fn ask<T: Record>(ledger: &Ledger, call: &Call<T>) -> T {
    call.read(&ledger.query(call.function, &call.args).await.unwrap()).unwrap()
}

/// A day as it is published.
pub(crate) fn day(sealed: &TestDay) -> Item {
    Item::day(sealed.message.clone(), &sealed.account)
}

/// A device that is registered.
pub(crate) async fn registered(operator: &Ledger, name: &str, seed: u8) -> TestDevice {
    let device = TestDevice::new(name, seed, "2026-03-01".parse().unwrap()).unwrap();
    submit(operator, &calls::register_devices(std::slice::from_ref(&device.entry))).await;
    device
}

/// A call that is endorsed and signed, and not handed in.
async fn endorsed<T>(ledger: &Ledger, profile: &ConnectionProfile, call: &Call<T>) -> SignedTransaction {
    let signer = signer(profile);
    let proposal = ledger.propose(ledger.creator(), call.function, &call.args).unwrap();
    let signed = proposal.signed(signer.sign_digest(&proposal.digest()).unwrap());
    let transaction = ledger.endorse(&proposal.tx_id, &signed).await.unwrap().transaction().unwrap();
    let signature = signer.sign_digest(&transaction.digest()).unwrap();
    transaction.signed(signature)
}

/// The verdicts on transactions in the blocks from `from` on.
async fn verdicts(ledger: &Ledger, from: u64) -> Vec<(String, TxValidationCode)> {
    let mut found = Vec::new();
    for number in from..ledger.chain_info().await.unwrap().height {
        let transactions = ledger.block(number).await.unwrap().transactions;
        found.extend(transactions.into_iter().map(|transaction| (transaction.tx_id, transaction.code)));
    }
    found
}
