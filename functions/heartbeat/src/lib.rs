//! The heartbeat function: tells which devices have fallen silent (the 60-minute rule, live: by received time).
//!
//! Candidates come from the liveness index, whose marks lag behind by up to ten minutes; each is confirmed by its newest stored
//! readings, so precision is that of the readings and the cost that of the marks. A silent device's gap is opened; a device with an
//! open gap is looked at again every time, and the gap is closed if it was heard. Ingest closes it too, when it moves the mark.
//!
//! Once an hour it finds as well how many devices of each shard showed life in the hour before ([`hours`]), for publish to say on the ledger.
#![forbid(unsafe_code)]

pub mod hours;
pub mod pulse;
pub mod sign;
pub mod watch;
