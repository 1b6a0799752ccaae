//! The client against the development ledger, over TLS on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod broadcast;
mod chain;
mod delivery;
mod false_peer;
mod faults;
mod flow;
mod hanging;
#[path = "../../../../tests/ledger/mod.rs"]
mod ledger;
mod process;
mod stage;
mod support;
mod wrong_answers;
