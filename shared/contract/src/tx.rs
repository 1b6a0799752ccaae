//! One call's view of the state: it sees its own writes, and hands them on only when the call succeeded.

use std::collections::BTreeMap;

use vitro_proof::Hash;
use vitro_proof::chain::{LastingChain, SeenSignatures};

use crate::call::State;
use crate::error::ContractError;
use crate::keys;
use crate::wire::Record;

/// Reads are remembered (a read costs a round trip to the peer), writes are kept until [`Tx::commit`].
pub(crate) struct Tx<'a> {
    state: &'a mut dyn State,
    committed: BTreeMap<String, Option<Vec<u8>>>,
    writes: BTreeMap<String, Vec<u8>>,
    /// What one item of a batch wrote, on top of `writes`, until it is kept or dropped.
    item: BTreeMap<String, Vec<u8>>,
    /// Chains of certificates that were verified in this call, by their bytes and the authority's: a signature costs more than all else.
    pub(crate) verified: BTreeMap<(Hash, Hash), Vec<LastingChain>>,
    /// The signatures among them.
    pub(crate) signatures: SeenSignatures,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(state: &'a mut dyn State) -> Self {
        Self {
            state,
            committed: BTreeMap::new(),
            writes: BTreeMap::new(),
            item: BTreeMap::new(),
            verified: BTreeMap::new(),
            signatures: SeenSignatures::default(),
        }
    }

    pub(crate) fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, ContractError> {
        if let Some(value) = self.item.get(key).or_else(|| self.writes.get(key)) {
            return Ok(Some(value.clone()));
        }
        if let Some(value) = self.committed.get(key) {
            return Ok(value.clone());
        }
        // Fabric tells an absent key and an empty value apart only in some versions; we store no empty values.
        let value = self.state.get(key)?.filter(|value| !value.is_empty());
        self.committed.insert(key.to_owned(), value.clone());
        Ok(value)
    }

    pub(crate) fn put(&mut self, key: &str, value: Vec<u8>) {
        self.item.insert(key.to_owned(), value);
    }

    pub(crate) fn load<T: Record>(&mut self, key: &str) -> Result<Option<T>, ContractError> {
        self.get(key)?.map(|bytes| read(key, &bytes)).transpose()
    }

    pub(crate) fn store(&mut self, key: &str, value: &impl Record) {
        self.put(key, value.encode());
    }

    /// All keys that begin with `prefix`, which ends with `/`, in order.
    pub(crate) fn under(&mut self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, ContractError> {
        self.range(prefix, &keys::end_of(prefix))
    }

    /// The keys from `start` to before `end`, in order.
    pub(crate) fn range(&mut self, start: &str, end: &str) -> Result<Vec<(String, Vec<u8>)>, ContractError> {
        if start >= end {
            return Ok(Vec::new());
        }
        let mut found: BTreeMap<String, Vec<u8>> = self.state.range(start, end)?.into_iter().collect();
        for layer in [&self.writes, &self.item] {
            let own = layer.range::<str, _>((std::ops::Bound::Included(start), std::ops::Bound::Excluded(end)));
            found.extend(own.map(|(key, value)| (key.clone(), value.clone())));
        }
        Ok(found.into_iter().collect())
    }

    /// Keeps what was written since the last [`Tx::keep`] or [`Tx::drop_item`].
    pub(crate) fn keep(&mut self) {
        let mut item = std::mem::take(&mut self.item);
        self.writes.append(&mut item);
    }

    /// Forgets what was written since then.
    pub(crate) fn drop_item(&mut self) {
        self.item.clear();
    }

    /// Hands all writes to the state, in the order of their keys; what is there already is not written again.
    pub(crate) fn commit(mut self) -> Result<(), ContractError> {
        self.keep();
        for (key, value) in self.writes {
            let same = self.committed.get(&key).is_some_and(|there| there.as_ref() == Some(&value));
            if !same {
                self.state.put(&key, value)?;
            }
        }
        Ok(())
    }
}

/// Reads a stored value. What does not read was not written by this contract.
pub(crate) fn read<T: Record>(key: &str, bytes: &[u8]) -> Result<T, ContractError> {
    T::decode(bytes).map_err(|error| ContractError::Damaged(format!("{key}: {error}")))
}
