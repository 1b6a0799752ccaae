//! Takes devices in that announce themselves (just-in-time registration).
//!
//! AWS IoT tells of the first connection of a certificate that a registered authority signed; the certificate waits, inactive. This
//! function completes its chain from the stack's trust store, verifies all of it with current revocation lists, checks the device
//! against the customer's manifest and against who holds its name and its key already, and then makes it a device: thing, policy,
//! registry, and the certificate active last of all before the ledger. Or it leaves the certificate inactive, with a reason code.
//!
//! Every step can be repeated, so a kill at any point only delays; a refused one can be tried again once its cause is removed
//! (`vitro quarantine replay`). What the event says is a hint and no more: all of it is asked of AWS IoT again.
#![forbid(unsafe_code)]
// The SDK nests futures deeper than the compiler follows by default.
#![recursion_limit = "256"]

pub mod announced;
pub mod aws;
mod decide;
mod ledger;
pub mod ports;
pub mod refusal;
mod register;
mod revoked;
#[cfg(test)]
mod tests;

pub use register::{Register, Settings};
