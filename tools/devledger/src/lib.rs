//! A development ledger: one process that serves Fabric's gRPC services for four organizations and an orderer.
//!
//! It is a stand-in for a network, for development and tests; what real Fabric does is the reference. Real are the wire formats, TLS,
//! certificates, signatures, the endorsement policy, MVCC and phantom checks, the cutting of blocks, their hashes and signatures, the
//! verdicts and a store that survives a kill. Not real: one process holds all keys and one copy of the state, the channel's
//! configuration has no policies and is changed by a start with other options alone, there is no consensus, no gossip, no discovery, no
//! lifecycle, no private data and no rich query.
//!
//! [`start`] does all of it; the contract comes in as a [`Chaincode`].
#![forbid(unsafe_code)]

mod chain;
mod chaincode;
mod contract;
mod cscc;
mod deliver;
mod endorser;
mod error;
mod genesis;
mod managed_blockchain;
mod material;
mod members;
mod options;
mod orderer;
mod organizations;
mod profiles;
mod qscc;
mod record;
mod server;
mod service;
mod state;
mod store;
mod validate;

pub use chain::Chain;
pub use chaincode::{Answer, CallContext, Chaincode, Refusal, Simulation};
pub use contract::VitroContract;
pub use error::DevledgerError;
pub use members::{Member, Members, NotMember, Role};
pub use options::{BatchLimits, Options};
pub use organizations::{Organization, PARTIES};
pub use profiles::{Addresses, connection_profile};
pub use server::{Running, start};
