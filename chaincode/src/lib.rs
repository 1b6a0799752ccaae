//! The contract as the chaincode of a Fabric peer.
//!
//! No rule lives here: `vitro-contract` is called with what the peer's stream gives ([`VitroChaincode`]). The crate knows how to be run:
//!
//! - *as a service* (Fabric 2.4 and later): peers connect to it;
//! - *by an external builder* (2.0 and later), or *in a Node package* (Managed Blockchain 2.2): it connects to its peer.
//!
//! `fabric-shim` speaks the chaincode protocol and can only be connected to. So it listens on loopback, on a port of its own, and a relay
//! joins its stream to the peer's whoever connected ([`serve`], [`join`]). The relay also ends what the shim would wait for
//! in vain when a peer goes away.
#![forbid(unsafe_code)]

mod caller;
mod contract;
mod error;
mod io;
mod open;
mod peer;
mod program;
mod relay;
mod service;
mod settings;
mod shim;
mod state;
mod tls;

pub use contract::{Contract, MAX_CONCURRENT_CALLS, VitroChaincode};
pub use error::ChaincodeError;
pub use peer::join;
pub use program::run;
pub use service::serve;
pub use settings::{PeerSettings, PeerTls, ServiceSettings, ServiceTls, Way};
