//! `peer/events.proto`, package `protos`: what a peer delivers.

use fabric_shim_protos::{common, peer};

use super::transaction::TxValidationCode;

/// `FilteredBlock`: the verdicts of a block without its contents.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FilteredBlock {
    /// The channel.
    #[prost(string, tag = "1")]
    pub channel_id: String,
    /// The block's number.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// One a transaction, in the block's order.
    #[prost(message, repeated, tag = "4")]
    pub filtered_transactions: Vec<FilteredTransaction>,
}

/// `FilteredTransaction`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FilteredTransaction {
    /// The transaction's id.
    #[prost(string, tag = "1")]
    pub txid: String,
    /// What kind of envelope it is.
    #[prost(enumeration = "common::HeaderType", tag = "2")]
    pub r#type: i32,
    /// The verdict.
    #[prost(enumeration = "TxValidationCode", tag = "3")]
    pub tx_validation_code: i32,
    /// Chaincode events, without their payloads.
    #[prost(oneof = "filtered_transaction::Data", tags = "4")]
    pub data: Option<filtered_transaction::Data>,
}

/// What a [`FilteredTransaction`] holds.
pub mod filtered_transaction {
    /// Chaincode events, without their payloads.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Data {
        /// The actions.
        #[prost(message, tag = "4")]
        TransactionActions(super::FilteredTransactionActions),
    }
}

/// `FilteredTransactionActions`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FilteredTransactionActions {
    /// One an action.
    #[prost(message, repeated, tag = "1")]
    pub chaincode_actions: Vec<FilteredChaincodeAction>,
}

/// `FilteredChaincodeAction`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FilteredChaincodeAction {
    /// The event, without its payload.
    #[prost(message, optional, tag = "1")]
    pub chaincode_event: Option<peer::ChaincodeEvent>,
}

/// The peer's `DeliverResponse`, without the variant for private data.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeliverResponse {
    /// A block, or the end of the delivery.
    #[prost(oneof = "deliver_response::Type", tags = "1, 2, 3")]
    pub r#type: Option<deliver_response::Type>,
}

/// What a [`DeliverResponse`] holds.
pub mod deliver_response {
    use fabric_shim_protos::common;

    /// A block, or the end of the delivery.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Type {
        /// The end, with a `common.Status`.
        #[prost(enumeration = "common::Status", tag = "1")]
        Status(i32),
        /// A whole block.
        #[prost(message, tag = "2")]
        Block(common::Block),
        /// A block's verdicts.
        #[prost(message, tag = "3")]
        FilteredBlock(super::FilteredBlock),
    }
}
