//! Tests of the formats against files that other implementations also read and write.
#![cfg(feature = "confidential")]
#![allow(clippy::unwrap_used, missing_docs)]

mod backends;
#[cfg(feature = "chain")]
mod chains;
mod confidential;
mod made;
mod outsider;
mod vectors;
