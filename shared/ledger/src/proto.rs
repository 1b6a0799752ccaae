//! Fabric's messages.
//!
//! Those of a chaincode's world (headers, proposals, responses, blocks) come from `fabric-shim-protos`. What a client needs beyond
//! them is written by hand here, from the field numbers published in `hyperledger/fabric-protos`; nothing needs `protoc`. Each
//! message names the file it comes from.

pub mod configuration;
pub mod events;
pub mod info;
pub mod lifecycle;
pub mod orderer;
pub mod rwset;
pub mod transaction;

pub use fabric_shim_protos::{common, msp, peer, prost_types};
