//! The committed state: what every valid transaction so far has written, with the version of each key.

use std::collections::BTreeMap;
use std::ops::Bound;

use vitro_ledger::proto::rwset::{KvRead, KvWrite, Version};

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Vec<u8>,
    /// The block and the place in it.
    pub version: Version,
}

/// Keys and values of one chaincode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    entries: BTreeMap<String, Entry>,
}

/// Keys changed by transactions of the block that is being judged; `None` is a removal.
pub(crate) type Pending = BTreeMap<String, (Option<Vec<u8>>, Version)>;

/// The smallest key of a plain range: below it are composite keys, which begin with U+0000.
const FIRST_PLAIN_KEY: &str = "\u{1}";

impl State {
    /// A key's entry.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The entries from `start` (inclusive; empty: the first plain key) to `end` (exclusive; empty: the last key).
    pub fn range<'a>(&'a self, start: &str, end: &str) -> impl Iterator<Item = (&'a String, &'a Entry)> {
        let (start, end) = bounds(start, end);
        // BTreeMap panics on a range that ends before it starts.
        let empty = matches!((&start, &end), (Bound::Included(a), Bound::Excluded(b)) if a >= b);
        let range = (!empty).then(|| self.entries.range::<str, _>((as_str(&start), as_str(&end))));
        range.into_iter().flatten()
    }

    /// Whether what a transaction read is still so, after the pending changes before it.
    #[must_use]
    pub fn is_current(&self, pending: &Pending, read: &KvRead) -> bool {
        let version = match pending.get(&read.key) {
            Some((value, version)) => value.is_some().then_some(*version),
            None => self.get(&read.key).map(|entry| entry.version),
        };
        version == read.version
    }

    /// Whether a range holds exactly what a transaction saw in it, after the pending changes before it.
    #[must_use]
    pub fn range_is_current(&self, pending: &Pending, start: &str, end: &str, seen: &[KvRead]) -> bool {
        let committed = self.range(start, end).map(|(key, entry)| (key.as_str(), entry.version));
        let mut now: BTreeMap<&str, Version> = committed.collect();
        for (key, (value, version)) in pending {
            let inside = key.as_str() >= first_of(start) && (end.is_empty() || key.as_str() < end);
            match value {
                _ if !inside => {}
                Some(_) => drop(now.insert(key, *version)),
                None => drop(now.remove(key.as_str())),
            }
        }
        now.len() == seen.len()
            && seen.iter().zip(now).all(|(read, (key, version))| read.key == key && read.version == Some(version))
    }

    /// Applies a valid transaction's writes.
    pub fn apply(&mut self, writes: &[KvWrite], version: Version) {
        for write in writes {
            if write.is_delete {
                self.entries.remove(&write.key);
            } else {
                let value = write.value.clone();
                self.entries.insert(write.key.clone(), Entry { value, version });
            }
        }
    }
}

fn first_of(start: &str) -> &str {
    if start.is_empty() { FIRST_PLAIN_KEY } else { start }
}

fn bounds(start: &str, end: &str) -> (Bound<String>, Bound<String>) {
    let end = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end.to_owned()) };
    (Bound::Included(first_of(start).to_owned()), end)
}

fn as_str(bound: &Bound<String>) -> Bound<&str> {
    bound.as_ref().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(tx_num: u64) -> Version {
        Version { block_num: 1, tx_num }
    }

    fn write(key: &str) -> KvWrite {
        KvWrite { key: key.to_owned(), is_delete: false, value: b"v".to_vec() }
    }

    fn read(key: &str, tx_num: u64) -> KvRead {
        KvRead { key: key.to_owned(), version: Some(version(tx_num)) }
    }

    fn keys(state: &State, start: &str, end: &str) -> Vec<String> {
        state.range(start, end).map(|(key, _)| key.clone()).collect()
    }

    #[test]
    fn ranges_leave_composite_keys_out_and_end_before_their_end() {
        let mut state = State::default();
        state.apply(&[write("a"), write("b"), write("\u{0}composite")], version(0));
        assert_eq!(keys(&state, "", ""), ["a", "b"]);
        assert_eq!(keys(&state, "a", "b"), ["a"]);
        assert_eq!(keys(&state, "\u{0}", "\u{1}"), ["\u{0}composite"]);
        assert_eq!(keys(&state, "b", "a"), [""; 0]);
    }

    #[test]
    fn reads_are_current_until_something_before_them_in_the_block_changes_the_key() {
        let mut state = State::default();
        state.apply(&[write("a")], version(0));
        let mut pending = Pending::new();
        assert!(state.is_current(&pending, &read("a", 0)));
        assert!(state.is_current(&pending, &KvRead { key: "b".to_owned(), version: None }));
        pending.insert("a".to_owned(), (Some(vec![]), version(1)));
        assert!(!state.is_current(&pending, &read("a", 0)));
        pending.insert("a".to_owned(), (None, version(2)));
        assert!(state.is_current(&pending, &KvRead { key: "a".to_owned(), version: None }));
    }

    #[test]
    fn a_key_that_appears_vanishes_or_changes_in_a_range_is_a_phantom() {
        let mut state = State::default();
        state.apply(&[write("a"), write("c")], version(0));
        let seen = [read("a", 0), read("c", 0)];
        let current = |pending: &Pending| state.range_is_current(pending, "a", "d", &seen);
        assert!(current(&Pending::new()));
        let one = |key: &str, value| Pending::from([(key.to_owned(), (value, version(1)))]);
        assert!(!current(&one("b", Some(vec![]))));
        assert!(!current(&one("c", None)));
        assert!(!current(&one("c", Some(vec![]))));
        assert!(current(&one("d", Some(vec![]))));
    }
}
