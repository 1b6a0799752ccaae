//! AWS adapters: time series, device registry, days, archive, queues, metrics.
//!
//! What is decided here is decided by pure code that takes what it needs; the rest reads and writes AWS. Nothing in this crate
//! computes a summary, checks a block or knows the ledger.
#![forbid(unsafe_code)]

pub mod admission;
pub mod archive;
pub mod aws;
pub mod backoff;
pub mod batch;
pub mod chain;
pub mod clock;
#[cfg(feature = "commands")]
pub mod command_key;
#[cfg(feature = "commands")]
pub mod commands;
pub mod config;
pub mod data_keys;
pub mod days;
pub mod devices;
mod error;
pub mod hours;
pub mod identities;
pub mod item;
pub mod logging;
pub mod manifest;
#[cfg(feature = "memory")]
pub mod memory;
pub mod metrics;
pub mod parked;
pub mod quarantine;
pub mod queue;
pub mod readings;
pub mod rule_event;
pub mod secrets;
pub mod sources;
pub mod summaries;
pub mod trust;
pub mod verified;

pub use clock::Clock;
pub use error::CloudError;
