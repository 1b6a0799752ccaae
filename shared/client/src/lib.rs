//! Typed calls of the contract over a ledger.
//!
//! [`Client`] turns the contract's functions into Rust functions, over any [`Channel`]: the Fabric client itself, the operator's one
//! whose profile lies in Secrets Manager ([`SecretLedger`]), or a ledger in memory in tests. It holds no rule of its own: what is
//! allowed is for the contract to say.
#![forbid(unsafe_code)]

mod channel;
mod client;
mod entry;
mod error;
#[cfg(any(test, feature = "memory"))]
pub mod memory;
pub mod registered;
mod secret;

pub use channel::Channel;
pub use client::{Client, Published};
pub use entry::device_entry;
pub use error::ClientError;
pub use secret::SecretLedger;
