//! What the night's test and its workload share: devices with a day each, the function between its stores and a ledger.

// Each user is a crate of its own and uses a part of this. What cannot be set up has nothing better to do than to say so.
#![allow(dead_code, unreachable_pub, clippy::expect_used, clippy::panic)]

pub mod fleet;
pub mod night;
