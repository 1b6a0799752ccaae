//! What a device can prove, and the rules by which strangers check it.
//!
//! This crate holds the wire formats (COSE_Sign1 envelopes, the SenML profile, daily blocks, commands), the arithmetic of a day
//! (summaries, counter rules, Merkle tree) and the rules that compare a device's day with the cloud's. The formats are written
//! down in `docs/formats.md`.
//!
//! It does no I/O, reads no clock and draws no randomness: callers hand those in. It knows nothing of AWS or of the ledger.
//! Signed bytes are verified as they came and never re-serialised.
#![forbid(unsafe_code)]

pub mod account;
pub mod block;
pub mod cbor;
#[cfg(feature = "chain")]
pub mod chain;
pub mod command;
pub mod confidential;
pub mod counter;
pub mod crypto;
pub mod day;
pub mod decimal;
pub mod envelope;
mod error;
pub mod ids;
pub mod liveness;
pub mod merkle;
pub mod reconcile;
pub mod senml;
pub mod sensors;
pub mod summary;

pub use account::Account;
pub use block::{Block, BlockMessage, Span};
pub use crypto::{PublicKey, Signature, Signer, Verify};
pub use day::{DayBounds, LocalDay, ZoneName};
pub use decimal::Decimal;
pub use envelope::{ContentType, Envelope, Header, Kind};
pub use error::{BlockFault, ContentFault, EnvelopeFault, ProofError, Reason, SignerError};
pub use ids::{
    BlockNumber, CommandNumber, Customer, DataKeyId, DeviceId, Hash, Leaf, ReplyNumber, SensorName, SequenceNumber,
    UnixMillis,
};
pub use sensors::{Sensor, SensorKind, SensorTable};
pub use summary::Summary;
