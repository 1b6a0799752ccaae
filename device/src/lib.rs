//! The Crystal gateway's agent: samples, signs, stores, sends, closes its days and answers commands. `docs/device.md` describes it.
//!
//! What it signed is durable before it is sent, and is sent as it was stored. The formats and the arithmetic are `vitro-proof`'s.
#![forbid(unsafe_code)]

pub mod agent;
pub mod clock;
pub mod command;
mod confidential;
pub mod config;
mod disk;
mod error;
pub mod input;
pub mod key;
pub mod link;
pub mod outbox;
pub mod recording;
pub mod replay;
pub mod report;
pub mod run;
pub mod sampling;

pub use config::{DeviceConfig, DeviceFolder};
pub use error::DeviceError;
