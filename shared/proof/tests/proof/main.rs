//! Tests of the formats against files that other implementations also read and write.
#![cfg(feature = "confidential")]
#![allow(clippy::unwrap_used, missing_docs)]

mod backends;
// What the fuzz targets run is run here as well, over the seeds and the corpus.
#[path = "../../../../fuzz/bodies/mod.rs"]
mod bodies;
#[cfg(feature = "chain")]
mod chains;
mod confidential;
mod fuzz;
mod made;
mod outsider;
mod vectors;
