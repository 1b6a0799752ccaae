//! Makes AWS IoT Core and the ledger agree with the registry about a device's status.
//!
//! The registry's entry is what should be; a message only says whose to look at. So a message may come late, twice, or once for several
//! changes, and the work is the same at every attempt: read the entry, bring every certificate of the device where it belongs, tell the ledger, look
//! whether the entry changed meanwhile, and note how far it came. The certificates come first: a ledger that is away keeps no connection open. Nothing here decides whether a device may send.
#![forbid(unsafe_code)]
// The SDK nests futures deeper than the compiler follows by default.
#![recursion_limit = "256"]

mod apply;
pub mod certificates;
mod config;
mod fault;
mod ledger;

pub use apply::{StatusFunction, Stores};
pub use config::Config;
pub use fault::Fault;
