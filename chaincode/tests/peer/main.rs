//! The chaincode on the stream of a peer that speaks the protocol from its side: the real shim, the real contract, no Fabric.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod behaviour;
mod equality;
mod fake;
#[path = "../../src/io.rs"]
mod io;
mod stopping;
#[path = "../support/mod.rs"]
mod support;
mod transport;
mod ways;
