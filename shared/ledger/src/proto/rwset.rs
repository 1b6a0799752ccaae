//! `ledger/rwset/rwset.proto` (package `rwset`) and `ledger/rwset/kvrwset/kv_rwset.proto` (package `kvrwset`): what a
//! simulation read and would write. Collections of private data are left out; Vitro has none.

/// `TxReadWriteSet`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TxReadWriteSet {
    /// 0: keys and values.
    #[prost(int32, tag = "1")]
    pub data_model: i32,
    /// One a namespace (a chaincode's name), in the order of the names.
    #[prost(message, repeated, tag = "2")]
    pub ns_rwset: Vec<NsReadWriteSet>,
}

/// `NsReadWriteSet`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NsReadWriteSet {
    /// The chaincode's name.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// A [`KvRwSet`].
    #[prost(bytes = "vec", tag = "2")]
    pub rwset: Vec<u8>,
}

/// `KVRWSet`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KvRwSet {
    /// Keys read, each once, in their order.
    #[prost(message, repeated, tag = "1")]
    pub reads: Vec<KvRead>,
    /// Ranges read.
    #[prost(message, repeated, tag = "2")]
    pub range_queries_info: Vec<RangeQueryInfo>,
    /// Keys written, each once, in their order.
    #[prost(message, repeated, tag = "3")]
    pub writes: Vec<KvWrite>,
}

/// `KVRead`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KvRead {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The version that was read; none where there was no such key.
    #[prost(message, optional, tag = "2")]
    pub version: Option<Version>,
}

/// `KVWrite`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KvWrite {
    /// The key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Whether the key is removed.
    #[prost(bool, tag = "2")]
    pub is_delete: bool,
    /// The new value.
    #[prost(bytes = "vec", tag = "3")]
    pub value: Vec<u8>,
}

/// `Version`: where a key was last written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Version {
    /// The block.
    #[prost(uint64, tag = "1")]
    pub block_num: u64,
    /// The transaction's place in it.
    #[prost(uint64, tag = "2")]
    pub tx_num: u64,
}

/// `RangeQueryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RangeQueryInfo {
    /// The first key, inclusive.
    #[prost(string, tag = "1")]
    pub start_key: String,
    /// The last key, exclusive.
    #[prost(string, tag = "2")]
    pub end_key: String,
    /// Whether the range was read to its end.
    #[prost(bool, tag = "3")]
    pub itr_exhausted: bool,
    /// What was seen, as keys or as hashes.
    #[prost(oneof = "range_query_info::ReadsInfo", tags = "4, 5")]
    pub reads_info: Option<range_query_info::ReadsInfo>,
}

/// What a [`RangeQueryInfo`] holds.
pub mod range_query_info {
    /// What was seen.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum ReadsInfo {
        /// Key by key.
        #[prost(message, tag = "4")]
        RawReads(super::QueryReads),
        /// As a summary of hashes.
        #[prost(message, tag = "5")]
        ReadsMerkleHashes(super::QueryReadsMerkleSummary),
    }
}

/// `QueryReads`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueryReads {
    /// The keys of the range.
    #[prost(message, repeated, tag = "1")]
    pub kv_reads: Vec<KvRead>,
}

/// `QueryReadsMerkleSummary`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueryReadsMerkleSummary {
    /// The tree's degree.
    #[prost(uint32, tag = "1")]
    pub max_degree: u32,
    /// The tree's height.
    #[prost(uint32, tag = "2")]
    pub max_level: u32,
    /// The hashes of its top.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub max_level_hashes: Vec<Vec<u8>>,
}
