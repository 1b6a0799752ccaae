//! `common/ledger.proto`, package `common`.

/// `BlockchainInfo`: the answer of qscc's `GetChainInfo`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BlockchainInfo {
    /// The number of blocks.
    #[prost(uint64, tag = "1")]
    pub height: u64,
    /// The hash of the newest block's header.
    #[prost(bytes = "vec", tag = "2")]
    pub current_block_hash: Vec<u8>,
    /// The hash of the header before it.
    #[prost(bytes = "vec", tag = "3")]
    pub previous_block_hash: Vec<u8>,
}
