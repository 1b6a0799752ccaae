//! The peer's state as the contract's.

use std::future::Future;

use fabric_shim::{ChaincodeStub, Error};
use tokio::runtime::Handle;
use vitro_contract::{State, StateError};

/// The first key of a range without a beginning. Fabric takes an empty one literally, and composite keys (they begin with U+0000) would
/// come along; the shims of Go and Node put this in its place, `fabric-shim` does not.
const FIRST_PLAIN_KEY: &str = "\u{1}";

/// The state behind a transaction's stub. The contract is synchronous: it runs on a thread of its own and waits here, so that never more
/// than one request of a transaction is on its way (a peer takes no second one).
pub(crate) struct StubState<'a> {
    stub: &'a ChaincodeStub,
    runtime: &'a Handle,
}

impl<'a> StubState<'a> {
    /// To be used on a thread that may wait.
    pub(crate) fn new(stub: &'a ChaincodeStub, runtime: &'a Handle) -> Self {
        Self { stub, runtime }
    }

    fn wait<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T, StateError> {
        self.runtime.block_on(request).map_err(|error| StateError(error.to_string()))
    }
}

/// A plain key, as peers and their databases take one. Composite keys are not used: `fabric-shim` loses their empty attributes.
fn check(key: &str) -> Result<(), StateError> {
    if key.is_empty() || key.starts_with('\u{0}') || key.contains(char::MAX) {
        return Err(StateError(format!("{key:?} is not a plain key")));
    }
    Ok(())
}

impl State for StubState<'_> {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        check(key)?;
        // A peer answers an absent key with nothing; an empty value cannot be stored (see `put`).
        let value = self.wait(self.stub.get_state(key))?;
        Ok((!value.is_empty()).then_some(value))
    }

    fn put(&mut self, key: &str, value: Vec<u8>) -> Result<(), StateError> {
        check(key)?;
        if value.is_empty() {
            return Err(StateError(format!("{key:?} would get an empty value")));
        }
        self.wait(self.stub.put_state(key, value))
    }

    fn range(&mut self, start: &str, end: &str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        let start = if start.is_empty() { FIRST_PLAIN_KEY } else { start };
        check(start)?;
        let found = self.wait(async { self.stub.get_state_by_range(start, end).await?.collect_remaining().await })?;
        Ok(found.into_iter().map(|entry| (entry.key, entry.value)).collect())
    }
}
