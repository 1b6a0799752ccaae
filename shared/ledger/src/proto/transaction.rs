//! `peer/transaction.proto`, package `protos`: what an orderer orders and a committer judges.

use fabric_shim_protos::{common, peer};

/// An envelope and the code it was given (`ProcessedTransaction`); the answer of qscc's `GetTransactionByID`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProcessedTransaction {
    /// The envelope as it was ordered.
    #[prost(message, optional, tag = "1")]
    pub transaction_envelope: Option<common::Envelope>,
    /// A [`TxValidationCode`].
    #[prost(int32, tag = "2")]
    pub validation_code: i32,
}

/// `Transaction`: Fabric takes exactly one action.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Transaction {
    /// The actions.
    #[prost(message, repeated, tag = "1")]
    pub actions: Vec<TransactionAction>,
}

/// `TransactionAction`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TransactionAction {
    /// The proposal's signature header, as it came.
    #[prost(bytes = "vec", tag = "1")]
    pub header: Vec<u8>,
    /// A [`ChaincodeActionPayload`].
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
}

/// `ChaincodeActionPayload`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ChaincodeActionPayload {
    /// The proposal's payload without its transient map.
    #[prost(bytes = "vec", tag = "1")]
    pub chaincode_proposal_payload: Vec<u8>,
    /// What was endorsed.
    #[prost(message, optional, tag = "2")]
    pub action: Option<ChaincodeEndorsedAction>,
}

/// `ChaincodeEndorsedAction`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ChaincodeEndorsedAction {
    /// The `ProposalResponsePayload` that every endorser signed, as it came.
    #[prost(bytes = "vec", tag = "1")]
    pub proposal_response_payload: Vec<u8>,
    /// One an endorser.
    #[prost(message, repeated, tag = "2")]
    pub endorsements: Vec<peer::Endorsement>,
}

/// `TxValidationCode`: a committer's verdict on a transaction. Only [`TxValidationCode::Valid`] changes the state.
#[allow(missing_docs)] // The names are Fabric's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum TxValidationCode {
    Valid = 0,
    NilEnvelope = 1,
    BadPayload = 2,
    BadCommonHeader = 3,
    BadCreatorSignature = 4,
    InvalidEndorserTransaction = 5,
    InvalidConfigTransaction = 6,
    UnsupportedTxPayload = 7,
    BadProposalTxid = 8,
    DuplicateTxid = 9,
    EndorsementPolicyFailure = 10,
    MvccReadConflict = 11,
    PhantomReadConflict = 12,
    UnknownTxType = 13,
    TargetChainNotFound = 14,
    MarshalTxError = 15,
    NilTxaction = 16,
    ExpiredChaincode = 17,
    ChaincodeVersionConflict = 18,
    BadHeaderExtension = 19,
    BadChannelHeader = 20,
    BadResponsePayload = 21,
    BadRwset = 22,
    IllegalWriteset = 23,
    InvalidWriteset = 24,
    InvalidChaincode = 25,
    NotValidated = 254,
    InvalidOtherReason = 255,
}

impl TxValidationCode {
    /// Fabric's name of the code, as its tools print it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::NilEnvelope => "NIL_ENVELOPE",
            Self::BadPayload => "BAD_PAYLOAD",
            Self::BadCommonHeader => "BAD_COMMON_HEADER",
            Self::BadCreatorSignature => "BAD_CREATOR_SIGNATURE",
            Self::InvalidEndorserTransaction => "INVALID_ENDORSER_TRANSACTION",
            Self::InvalidConfigTransaction => "INVALID_CONFIG_TRANSACTION",
            Self::UnsupportedTxPayload => "UNSUPPORTED_TX_PAYLOAD",
            Self::BadProposalTxid => "BAD_PROPOSAL_TXID",
            Self::DuplicateTxid => "DUPLICATE_TXID",
            Self::EndorsementPolicyFailure => "ENDORSEMENT_POLICY_FAILURE",
            Self::MvccReadConflict => "MVCC_READ_CONFLICT",
            Self::PhantomReadConflict => "PHANTOM_READ_CONFLICT",
            Self::UnknownTxType => "UNKNOWN_TX_TYPE",
            Self::TargetChainNotFound => "TARGET_CHAIN_NOT_FOUND",
            Self::MarshalTxError => "MARSHAL_TX_ERROR",
            Self::NilTxaction => "NIL_TXACTION",
            Self::ExpiredChaincode => "EXPIRED_CHAINCODE",
            Self::ChaincodeVersionConflict => "CHAINCODE_VERSION_CONFLICT",
            Self::BadHeaderExtension => "BAD_HEADER_EXTENSION",
            Self::BadChannelHeader => "BAD_CHANNEL_HEADER",
            Self::BadResponsePayload => "BAD_RESPONSE_PAYLOAD",
            Self::BadRwset => "BAD_RWSET",
            Self::IllegalWriteset => "ILLEGAL_WRITESET",
            Self::InvalidWriteset => "INVALID_WRITESET",
            Self::InvalidChaincode => "INVALID_CHAINCODE",
            Self::NotValidated => "NOT_VALIDATED",
            Self::InvalidOtherReason => "INVALID_OTHER_REASON",
        }
    }

    /// Whether the same call, simulated anew, may well be valid: it read what another transaction changed meanwhile.
    #[must_use]
    pub fn is_conflict(self) -> bool {
        matches!(self, Self::MvccReadConflict | Self::PhantomReadConflict)
    }

    /// The code of a number; one that this edition does not know is [`TxValidationCode::InvalidOtherReason`].
    #[must_use]
    pub fn of(number: i32) -> Self {
        Self::try_from(number).unwrap_or(Self::InvalidOtherReason)
    }
}

impl std::fmt::Display for TxValidationCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
