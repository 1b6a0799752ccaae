//! What runs on a peer: a contract behind a small trait, and the simulation that notes what it reads and would write.

use std::collections::BTreeMap;

use prost::Message;
use thiserror::Error;
use vitro_ledger::proto::rwset::{
    KvRead, KvRwSet, KvWrite, NsReadWriteSet, QueryReads, RangeQueryInfo, TxReadWriteSet, Version,
    range_query_info::ReadsInfo,
};

use crate::members::Member;
use crate::state::State;

/// What a contract knows of the transaction it runs in.
pub struct CallContext<'a> {
    /// The transaction's id.
    pub tx_id: &'a str,
    /// The submitter's word for the time, Unix seconds.
    pub timestamp: i64,
    /// The channel.
    pub channel: &'a str,
    /// Who calls.
    pub creator: &'a Member,
}

/// What a contract answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// For the caller.
    pub payload: Vec<u8>,
    /// At most one event: its name and payload.
    pub event: Option<(String, Vec<u8>)>,
}

/// A contract's refusal.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Refusal {
    /// 400 or more.
    pub status: i32,
    /// For the caller.
    pub message: String,
}

/// A contract.
pub trait Chaincode: Send + Sync + 'static {
    /// Runs a function. It must be deterministic, and reads only through `state`.
    ///
    /// # Errors
    /// [`Refusal`]; nothing that was written counts then.
    fn invoke(
        &self,
        context: &CallContext<'_>,
        state: &mut Simulation<'_>,
        function: &str,
        args: &[Vec<u8>],
    ) -> Result<Answer, Refusal>;
}

/// A run of a contract against the committed state. It does not see its own writes, as on Fabric.
pub struct Simulation<'a> {
    state: &'a State,
    reads: BTreeMap<String, Option<Version>>,
    ranges: Vec<RangeQueryInfo>,
    writes: BTreeMap<String, Option<Vec<u8>>>,
}

impl<'a> Simulation<'a> {
    /// Starts against a state.
    #[must_use]
    pub fn new(state: &'a State) -> Self {
        Self { state, reads: BTreeMap::new(), ranges: Vec::new(), writes: BTreeMap::new() }
    }

    /// The committed value of a key.
    pub fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        let entry = self.state.get(key);
        self.reads.insert(key.to_owned(), entry.map(|entry| entry.version));
        entry.map(|entry| entry.value.clone())
    }

    /// Notes a new value of a key; an empty one removes the key, as on Fabric.
    pub fn put(&mut self, key: &str, value: Vec<u8>) {
        self.writes.insert(key.to_owned(), (!value.is_empty()).then_some(value));
    }

    /// Notes the removal of a key.
    pub fn delete(&mut self, key: &str) {
        self.writes.insert(key.to_owned(), None);
    }

    /// The committed entries from `start` (inclusive) to `end` (exclusive); empty means no bound.
    pub fn range(&mut self, start: &str, end: &str) -> Vec<(String, Vec<u8>)> {
        let found: Vec<_> = self.state.range(start, end).collect();
        let kv_reads: Vec<_> =
            found.iter().map(|(key, entry)| KvRead { key: (*key).clone(), version: Some(entry.version) }).collect();
        // Of a range that held nothing, a peer notes nothing: not even an empty list.
        let reads_info = (!kv_reads.is_empty()).then_some(ReadsInfo::RawReads(QueryReads { kv_reads }));
        self.ranges.push(RangeQueryInfo {
            start_key: start.to_owned(),
            end_key: end.to_owned(),
            itr_exhausted: true,
            reads_info,
        });
        found.into_iter().map(|(key, entry)| (key.clone(), entry.value.clone())).collect()
    }

    /// The read-write set of a chaincode, as endorsers sign it: keys in order, each once.
    #[must_use]
    pub fn results(self, chaincode: &str) -> Vec<u8> {
        let reads = self.reads.into_iter().map(|(key, version)| KvRead { key, version });
        let writes = self.writes.into_iter().map(|(key, value)| KvWrite {
            key,
            is_delete: value.is_none(),
            value: value.unwrap_or_default(),
        });
        let set = KvRwSet { reads: reads.collect(), range_queries_info: self.ranges, writes: writes.collect() };
        let namespace = NsReadWriteSet { namespace: chaincode.to_owned(), rwset: set.encode_to_vec() };
        TxReadWriteSet { data_model: 0, ns_rwset: vec![namespace] }.encode_to_vec()
    }
}
