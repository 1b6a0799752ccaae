//! `peer/lifecycle/lifecycle.proto`, package `lifecycle`: the arguments and answers of the system chaincode `_lifecycle` (Fabric 2.0 and later).

use std::collections::BTreeMap;

/// `InstallChaincodeArgs`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InstallChaincodeArgs {
    /// The package, a `tar.gz`.
    #[prost(bytes = "vec", tag = "1")]
    pub chaincode_install_package: Vec<u8>,
}

/// `InstallChaincodeResult`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InstallChaincodeResult {
    /// `label:sha256`.
    #[prost(string, tag = "1")]
    pub package_id: String,
    /// The label.
    #[prost(string, tag = "2")]
    pub label: String,
}

/// `QueryInstalledChaincodesArgs`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct QueryInstalledChaincodesArgs {}

/// `QueryInstalledChaincodesResult`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryInstalledChaincodesResult {
    /// What is installed at the peer.
    #[prost(message, repeated, tag = "1")]
    pub installed_chaincodes: Vec<InstallChaincodeResult>,
}

/// `ChaincodeSource`: the package by which the organization's own peers run a definition.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChaincodeSource {
    /// One of the two.
    #[prost(oneof = "chaincode_source::Type", tags = "1, 2")]
    pub r#type: Option<chaincode_source::Type>,
}

/// What a [`ChaincodeSource`] holds.
pub mod chaincode_source {
    /// `Unavailable`: the organization's peers do not run it.
    #[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
    pub struct Unavailable {}

    /// `Local`: an installed package.
    #[derive(Clone, PartialEq, Eq, prost::Message)]
    pub struct Local {
        /// Its id.
        #[prost(string, tag = "1")]
        pub package_id: String,
    }

    /// One of the two.
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum Type {
        /// None.
        #[prost(message, tag = "1")]
        Unavailable(Unavailable),
        /// This one.
        #[prost(message, tag = "2")]
        LocalPackage(Local),
    }
}

/// `ApproveChaincodeDefinitionForMyOrgArgs`, and without a source `CommitChaincodeDefinitionArgs` and `CheckCommitReadinessArgs`. No
/// collections: private data is not used.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DefinitionArgs {
    /// Goes up by one with every definition of the name.
    #[prost(int64, tag = "1")]
    pub sequence: i64,
    /// The chaincode's name on the channel.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Its version, in words.
    #[prost(string, tag = "3")]
    pub version: String,
    /// `escc`.
    #[prost(string, tag = "4")]
    pub endorsement_plugin: String,
    /// `vscc`.
    #[prost(string, tag = "5")]
    pub validation_plugin: String,
    /// A `protos.ApplicationPolicy`.
    #[prost(bytes = "vec", tag = "6")]
    pub validation_parameter: Vec<u8>,
    /// Whether a first call must be an initialisation.
    #[prost(bool, tag = "8")]
    pub init_required: bool,
    /// Only in an approval.
    #[prost(message, optional, tag = "9")]
    pub source: Option<ChaincodeSource>,
}

/// `CheckCommitReadinessResult`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CheckCommitReadinessResult {
    /// Which organizations approved just this, by MSP id.
    #[prost(btree_map = "string, bool", tag = "1")]
    pub approvals: BTreeMap<String, bool>,
}

/// `QueryChaincodeDefinitionArgs`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryChaincodeDefinitionArgs {
    /// The chaincode's name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// `QueryChaincodeDefinitionResult`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct QueryChaincodeDefinitionResult {
    /// Its sequence.
    #[prost(int64, tag = "1")]
    pub sequence: i64,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// A `protos.ApplicationPolicy`.
    #[prost(bytes = "vec", tag = "5")]
    pub validation_parameter: Vec<u8>,
    /// Whether a first call must be an initialisation.
    #[prost(bool, tag = "7")]
    pub init_required: bool,
    /// Which organizations approved it, by MSP id.
    #[prost(btree_map = "string, bool", tag = "8")]
    pub approvals: BTreeMap<String, bool>,
}
