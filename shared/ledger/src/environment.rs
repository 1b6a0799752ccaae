//! Clock and randomness, handed in.

use std::time::SystemTime;

use crate::error::LedgerError;

/// What a client takes from the machine it runs on.
pub trait Environment: Send + Sync {
    /// The time, for the timestamp of a transaction.
    fn now(&self) -> SystemTime;

    /// Fills the buffer with randomness that nobody can foresee: a predictable nonce lets others use a transaction's id first.
    ///
    /// # Errors
    /// [`LedgerError::Randomness`] if there is none.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), LedgerError>;
}

/// The operating system's clock and randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn fill(&self, buffer: &mut [u8]) -> Result<(), LedgerError> {
        getrandom::fill(buffer).map_err(|error| LedgerError::Randomness(error.to_string()))
    }
}
