//! Transactions: from a proposal and its endorsements to the bytes that an orderer takes. Pure, like [`crate::proposal`].

use prost::Message;

use crate::endorse::Answer;
use crate::error::LedgerError;
use crate::identity;
use crate::proto::common::{Envelope, Header, Payload};
use crate::proto::peer::{
    self, ChaincodeAction, ChaincodeProposalPayload, Endorsement, ProposalResponsePayload, SignedProposal,
};
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
    /// The organizations that said something else. What all of them say is in the log.
    pub against: Vec<String>,
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
    /// Joins answers whose results are equal to the byte.
    pub(crate) fn join(
        tx_id: &str,
        proposal: &SignedProposal,
        members: &[&Answer<'_>],
        against: Vec<String>,
    ) -> Result<Self, LedgerError> {
        let mut members = members.to_vec();
        members.sort_by_key(|member| member.msp);
        let by: Vec<String> = members.iter().map(|member| member.msp.to_owned()).collect();
        let outside = |detail: String| LedgerError::Protocol { node: by.join(" and "), detail };
        // All agree, so the first one's result is everybody's.
        let result = members.first().map(|member| member.response.payload.clone()).unwrap_or_default();
        let signed = ProposalResponsePayload::decode(&result[..])
            .and_then(|payload| ChaincodeAction::decode(&payload.extension[..]))
            .map_err(|error| outside(error.to_string()))?;
        let endorsements: Option<Vec<_>> = members.iter().map(|member| member.response.endorsement.clone()).collect();
        Ok(Self {
            tx_id: tx_id.to_owned(),
            payload: signed.response.unwrap_or_default().payload,
            endorsements: endorsements.ok_or_else(|| outside("no signature".to_owned()))?,
            by,
            against,
            proposal: proposal.proposal_bytes.clone(),
            result,
        })
    }

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
