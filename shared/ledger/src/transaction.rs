//! Transactions: from a proposal and its endorsements to the bytes that an orderer takes. Pure, like [`crate::proposal`].

use prost::Message;

use crate::identity;
use crate::proto::common::{Envelope, Header, Payload};
use crate::proto::peer::{self, ChaincodeProposalPayload, Endorsement};
use crate::proto::transaction as wire;
use crate::signature;

/// What the organizations said to a proposal: one result, signed by each.
#[derive(Clone, Debug)]
pub struct Endorsed {
    /// The id of the transaction that comes of it.
    pub tx_id: String,
    /// What the contract answers.
    pub payload: Vec<u8>,
    /// The organizations that endorsed.
    pub by: Vec<String>,
    pub(crate) proposal: Vec<u8>,
    pub(crate) result: Vec<u8>,
    pub(crate) endorsements: Vec<Endorsement>,
}

/// A transaction that nobody signed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its id.
    pub tx_id: String,
    /// The bytes to sign.
    pub bytes: Vec<u8>,
    /// What the contract answers.
    pub payload: Vec<u8>,
}

/// A transaction that its author signed: it may be handed in any number of times and is valid at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTransaction {
    /// Its id.
    pub tx_id: String,
    /// What the contract answers.
    pub payload: Vec<u8>,
    /// What the orderer takes.
    pub envelope: Envelope,
}

impl Endorsed {
    /// What the organizations signed, equal to the byte: a `ProposalResponsePayload`, with the read-write set.
    #[must_use]
    pub fn result(&self) -> &[u8] {
        &self.result
    }

    /// Assembles the transaction; its author is the proposal's.
    ///
    /// # Errors
    /// [`prost::DecodeError`] if the proposal's bytes are not a proposal's.
    pub fn transaction(&self) -> Result<Transaction, prost::DecodeError> {
        let proposal = peer::Proposal::decode(&self.proposal[..])?;
        let header = Header::decode(&proposal.header[..])?;
        let mut payload = ChaincodeProposalPayload::decode(&proposal.payload[..])?;
        payload.transient_map.clear();
        let action = wire::ChaincodeActionPayload {
            chaincode_proposal_payload: payload.encode_to_vec(),
            action: Some(wire::ChaincodeEndorsedAction {
                proposal_response_payload: self.result.clone(),
                endorsements: self.endorsements.clone(),
            }),
        };
        let action =
            wire::TransactionAction { header: header.signature_header.clone(), payload: action.encode_to_vec() };
        let data = wire::Transaction { actions: vec![action] }.encode_to_vec();
        Ok(Transaction {
            tx_id: self.tx_id.clone(),
            bytes: Payload { header: Some(header), data }.encode_to_vec(),
            payload: self.payload.clone(),
        })
    }
}

impl Transaction {
    /// The digest that the author's key signs.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        identity::digest(&self.bytes)
    }

    /// Joins a raw signature (r then s) over [`Transaction::digest`] to it.
    #[must_use]
    pub fn signed(self, raw: vitro_proof::Signature) -> SignedTransaction {
        self.with_signature(signature::to_fabric(raw))
    }

    /// Joins a signature that already has Fabric's form to it.
    #[must_use]
    pub fn with_signature(self, signature: Vec<u8>) -> SignedTransaction {
        SignedTransaction {
            tx_id: self.tx_id,
            payload: self.payload,
            envelope: Envelope { payload: self.bytes, signature },
        }
    }
}
