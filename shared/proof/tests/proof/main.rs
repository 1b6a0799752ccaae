//! Tests of the formats against files that other implementations also read and write.
#![cfg(feature = "p256")]
#![allow(clippy::unwrap_used, missing_docs)]

mod backends;
#[cfg(feature = "chain")]
mod chains;
mod made;
mod outsider;
mod vectors;
