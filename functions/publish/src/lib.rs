//! Writes settled days to the ledger: the device's block and the operator's account of it, many days a transaction.
//!
//! Nothing is decided here about a day: whether it agrees is for the contract to say, and it gives a verdict for each item. A day
//! that it refuses for good is parked with the reason and holds up no other. Every step can run again: the same block and the same
//! account change nothing on the ledger, and the transaction that published them first stays the one that is named.
#![forbid(unsafe_code)]

mod batches;
mod ledger;
mod publisher;
#[cfg(test)]
mod tests;

pub use batches::{MAX_BYTES, batches};
pub use ledger::{FabricLedger, LedgerPort, PublishError, Published, connect};
pub use publisher::{ParkedPort, Publisher};
