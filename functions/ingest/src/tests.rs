//! Whole batches through the handler, on a store in memory that can fail and be killed.

mod confidential;
mod crash;
mod failing;
mod memory;
mod mixed;
mod suspension;
pub(crate) mod world;
