//! The contract run natively against the same state, and what such a run reads and writes.

use std::collections::BTreeMap;

use vitro_contract::{Context, ContractError, Response, State, StateError, invoke};

/// Where a key was written: the block, and the transaction in it.
pub(crate) type Version = (u64, u64);

/// Committed keys: the version that wrote each, and its value.
pub(crate) type Committed = BTreeMap<String, (Version, Vec<u8>)>;

/// A range that was read: its bounds, and the keys it held with their versions.
pub(crate) type RangeRead = (String, String, Vec<(String, Version)>);

/// What a call read and wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadWriteSet {
    pub(crate) reads: BTreeMap<String, Option<Version>>,
    pub(crate) ranges: Vec<RangeRead>,
    pub(crate) writes: Vec<(String, Vec<u8>)>,
}

/// The keys from `start` to `end` as a peer has them: an empty bound is taken literally at the start and means no bound at the end.
pub(crate) fn range<'a>(
    committed: &'a Committed,
    start: &str,
    end: &str,
) -> impl Iterator<Item = (&'a String, &'a (Version, Vec<u8>))> {
    let (start, end) = (start.to_owned(), end.to_owned());
    committed.range(start..).take_while(move |(key, _)| end.is_empty() || **key < end)
}

struct Native<'a> {
    committed: &'a Committed,
    set: ReadWriteSet,
}

impl State for Native<'_> {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        let found = self.committed.get(key);
        self.set.reads.insert(key.to_owned(), found.map(|found| found.0));
        Ok(found.map(|found| found.1.clone()))
    }

    fn put(&mut self, key: &str, value: Vec<u8>) -> Result<(), StateError> {
        self.set.writes.push((key.to_owned(), value));
        Ok(())
    }

    fn range(&mut self, start: &str, end: &str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        let found: Vec<_> = range(self.committed, start, end).collect();
        let versions = found.iter().map(|(key, (version, _))| ((*key).clone(), *version)).collect();
        self.set.ranges.push((start.to_owned(), end.to_owned(), versions));
        Ok(found.into_iter().map(|(key, (_, value))| (key.clone(), value.clone())).collect())
    }
}

/// Runs a call.
pub(crate) fn run(
    committed: &Committed,
    context: &Context,
    function: &str,
    args: &[Vec<u8>],
) -> (Result<Response, ContractError>, ReadWriteSet) {
    let mut state = Native { committed, set: ReadWriteSet::default() };
    let answer = invoke(context, &mut state, function, args);
    (answer, state.set)
}
