//! `orderer/ab.proto`, package `orderer`: broadcasting envelopes and seeking blocks.

use fabric_shim_protos::common;

/// `BroadcastResponse`: the orderer's answer to one envelope.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BroadcastResponse {
    /// 200 once the envelope is queued for ordering; that is not yet a commit.
    #[prost(enumeration = "common::Status", tag = "1")]
    pub status: i32,
    /// The orderer's words.
    #[prost(string, tag = "2")]
    pub info: String,
}

/// `SeekNewest`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SeekNewest {}

/// `SeekOldest`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SeekOldest {}

/// `SeekSpecified`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SeekSpecified {
    /// A block's number.
    #[prost(uint64, tag = "1")]
    pub number: u64,
}

/// `SeekNextCommit`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SeekNextCommit {}

/// `SeekPosition`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SeekPosition {
    /// The position.
    #[prost(oneof = "seek_position::Type", tags = "1, 2, 3, 4")]
    pub r#type: Option<seek_position::Type>,
}

/// What a [`SeekPosition`] holds.
pub mod seek_position {
    /// The position.
    #[derive(Clone, Copy, PartialEq, Eq, prost::Oneof)]
    pub enum Type {
        /// The newest block.
        #[prost(message, tag = "1")]
        Newest(super::SeekNewest),
        /// Block 0.
        #[prost(message, tag = "2")]
        Oldest(super::SeekOldest),
        /// A block by its number.
        #[prost(message, tag = "3")]
        Specified(super::SeekSpecified),
        /// The block after the newest.
        #[prost(message, tag = "4")]
        NextCommit(super::SeekNextCommit),
    }
}

/// `SeekInfo`: which blocks to deliver. Sent as the payload of a signed envelope.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SeekInfo {
    /// The first block.
    #[prost(message, optional, tag = "1")]
    pub start: Option<SeekPosition>,
    /// The last block.
    #[prost(message, optional, tag = "2")]
    pub stop: Option<SeekPosition>,
    /// `SeekBehavior`: 0 waits for a block that is not there yet, 1 fails.
    #[prost(int32, tag = "3")]
    pub behavior: i32,
    /// `SeekErrorResponse`: 0 is strict.
    #[prost(int32, tag = "4")]
    pub error_response: i32,
    /// `SeekContentType`: 0 is the whole block.
    #[prost(int32, tag = "5")]
    pub content_type: i32,
}

/// `SeekInfo.SeekBehavior.BLOCK_UNTIL_READY`.
pub const BLOCK_UNTIL_READY: i32 = 0;
/// `SeekInfo.SeekBehavior.FAIL_IF_NOT_READY`.
pub const FAIL_IF_NOT_READY: i32 = 1;

impl SeekInfo {
    /// From `start` to the end of time, waiting for blocks that are not there yet.
    #[must_use]
    pub fn from(start: seek_position::Type) -> Self {
        let stop = seek_position::Type::Specified(SeekSpecified { number: u64::MAX });
        Self {
            start: Some(SeekPosition { r#type: Some(start) }),
            stop: Some(SeekPosition { r#type: Some(stop) }),
            behavior: BLOCK_UNTIL_READY,
            error_response: 0,
            content_type: 0,
        }
    }
}

/// The orderer's `DeliverResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeliverResponse {
    /// A block, or the end of the delivery.
    #[prost(oneof = "deliver_response::Type", tags = "1, 2")]
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
        /// A block.
        #[prost(message, tag = "2")]
        Block(common::Block),
    }
}
