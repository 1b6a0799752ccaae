//! A channel's configuration: `common/configtx.proto`, `common/configuration.proto`, `orderer/configuration.proto`,
//! `msp/msp_config.proto`. Policies are carried as bytes: whoever judges by them is a peer.

use std::collections::BTreeMap;

use fabric_shim_protos::common;

/// `common.ConfigEnvelope`: the data of a configuration transaction.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConfigEnvelope {
    /// The configuration in force from here on.
    #[prost(message, optional, tag = "1")]
    pub config: Option<Config>,
    /// The update that led to it; nothing in a channel's first block.
    #[prost(message, optional, tag = "2")]
    pub last_update: Option<common::Envelope>,
}

/// `common.Config`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Config {
    /// Goes up by one with every update.
    #[prost(uint64, tag = "1")]
    pub sequence: u64,
    /// The root of the tree.
    #[prost(message, optional, tag = "2")]
    pub channel_group: Option<ConfigGroup>,
}

/// `common.ConfigGroup`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConfigGroup {
    /// Its version.
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// Groups below it by name.
    #[prost(btree_map = "string, message", tag = "2")]
    pub groups: BTreeMap<String, ConfigGroup>,
    /// Values by name.
    #[prost(btree_map = "string, message", tag = "3")]
    pub values: BTreeMap<String, ConfigValue>,
    /// `common.ConfigPolicy` by name, undecoded.
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub policies: BTreeMap<String, Vec<u8>>,
    /// Who may change it.
    #[prost(string, tag = "5")]
    pub mod_policy: String,
}

/// `common.ConfigValue`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConfigValue {
    /// Its version.
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// A message whose type its name tells.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
    /// Who may change it.
    #[prost(string, tag = "3")]
    pub mod_policy: String,
}

/// `orderer.BatchSize`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct BatchSize {
    /// Transactions a block at most.
    #[prost(uint32, tag = "1")]
    pub max_message_count: u32,
    /// Bytes of a block's transactions at most; a larger transaction is refused.
    #[prost(uint32, tag = "2")]
    pub absolute_max_bytes: u32,
    /// Bytes beyond which a block grows by a single larger transaction alone.
    #[prost(uint32, tag = "3")]
    pub preferred_max_bytes: u32,
}

/// `orderer.BatchTimeout`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct BatchTimeout {
    /// A duration as Go writes it, such as `250ms`.
    #[prost(string, tag = "1")]
    pub timeout: String,
}

/// `orderer.ConsensusType`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ConsensusType {
    /// Such as `etcdraft`.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// Of the consensus.
    #[prost(bytes = "vec", tag = "2")]
    pub metadata: Vec<u8>,
}

/// `common.HashingAlgorithm`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HashingAlgorithm {
    /// `SHA256`.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// `common.BlockDataHashingStructure`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct BlockDataHashingStructure {
    /// The largest number: one hash over all.
    #[prost(uint32, tag = "1")]
    pub width: u32,
}

/// `msp.MSPConfig`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MspConfig {
    /// 0: a Fabric MSP.
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    /// A [`FabricMspConfig`].
    #[prost(bytes = "vec", tag = "2")]
    pub config: Vec<u8>,
}

/// `msp.FabricMSPConfig`, as far as it is used here.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FabricMspConfig {
    /// The MSP's id.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its CAs in PEM.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub root_certs: Vec<Vec<u8>>,
    /// CAs below them in PEM.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub intermediate_certs: Vec<Vec<u8>>,
    /// The hashes it uses.
    #[prost(message, optional, tag = "8")]
    pub crypto_config: Option<FabricCryptoConfig>,
    /// The CAs of its TLS certificates in PEM.
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub tls_root_certs: Vec<Vec<u8>>,
    /// How a certificate tells its role.
    #[prost(message, optional, tag = "11")]
    pub fabric_node_ous: Option<FabricNodeOus>,
}

/// `msp.FabricCryptoConfig`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FabricCryptoConfig {
    /// `SHA2`.
    #[prost(string, tag = "1")]
    pub signature_hash_family: String,
    /// `SHA256`.
    #[prost(string, tag = "2")]
    pub identity_identifier_hash_function: String,
}

/// `msp.FabricNodeOUs`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FabricNodeOus {
    /// Whether roles are told by them.
    #[prost(bool, tag = "1")]
    pub enable: bool,
    /// Of clients.
    #[prost(message, optional, tag = "2")]
    pub client_ou_identifier: Option<FabricOuIdentifier>,
    /// Of peers.
    #[prost(message, optional, tag = "3")]
    pub peer_ou_identifier: Option<FabricOuIdentifier>,
    /// Of admins.
    #[prost(message, optional, tag = "4")]
    pub admin_ou_identifier: Option<FabricOuIdentifier>,
    /// Of orderers.
    #[prost(message, optional, tag = "5")]
    pub orderer_ou_identifier: Option<FabricOuIdentifier>,
}

/// `msp.FabricOUIdentifier`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FabricOuIdentifier {
    /// The CA that must have issued it; empty: any of the MSP's.
    #[prost(bytes = "vec", tag = "1")]
    pub certificate: Vec<u8>,
    /// The OU in its subject.
    #[prost(string, tag = "2")]
    pub organizational_unit_identifier: String,
}
