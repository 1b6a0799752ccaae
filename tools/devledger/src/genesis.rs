//! The channel's configuration, as Fabric's configuration blocks have it. Policies are left out: what is judged by here is fixed.

use std::collections::BTreeMap;

use prost::Message;
use vitro_ledger::proto::configuration::{
    BatchSize, BatchTimeout, BlockDataHashingStructure, ConfigGroup, ConfigValue, ConsensusType, FabricCryptoConfig,
    FabricMspConfig, FabricNodeOus, FabricOuIdentifier, HashingAlgorithm, MspConfig,
};

use crate::material::Material;
use crate::options::BatchLimits;

/// The root of the configuration's tree.
pub(crate) fn channel_group(orderer: &Material, parties: &[Material], batch: &BatchLimits) -> ConfigGroup {
    let bytes = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let size = BatchSize {
        max_message_count: bytes(batch.max_messages),
        absolute_max_bytes: bytes(batch.absolute_bytes),
        preferred_max_bytes: bytes(batch.preferred_bytes),
    };
    let timeout = BatchTimeout { timeout: format!("{}ms", batch.timeout.as_millis()) };
    // Not one of Fabric's: nobody is to take this for a network that survives the loss of its only process.
    let consensus = ConsensusType { r#type: "one process".into(), metadata: Vec::new() };
    let values = [
        ("BatchSize", size.encode_to_vec()),
        ("BatchTimeout", timeout.encode_to_vec()),
        ("ConsensusType", consensus.encode_to_vec()),
    ];
    let groups = [
        ("Application", group(organizations(parties), [])),
        ("Orderer", group(organizations(std::slice::from_ref(orderer)), values)),
    ];
    let values = [
        ("HashingAlgorithm", HashingAlgorithm { name: "SHA256".into() }.encode_to_vec()),
        ("BlockDataHashingStructure", BlockDataHashingStructure { width: u32::MAX }.encode_to_vec()),
    ];
    group(groups.map(|(name, group)| (name.to_owned(), group)).into(), values)
}

fn group<const N: usize>(groups: BTreeMap<String, ConfigGroup>, values: [(&str, Vec<u8>); N]) -> ConfigGroup {
    let value = |(name, value): (&str, Vec<u8>)| {
        (name.to_owned(), ConfigValue { version: 0, value, mod_policy: "Admins".into() })
    };
    let values = values.into_iter().map(value).collect();
    ConfigGroup { version: 0, groups, values, policies: BTreeMap::new(), mod_policy: "Admins".into() }
}

fn organizations(materials: &[Material]) -> BTreeMap<String, ConfigGroup> {
    let organization = |material: &Material| {
        let role = |name: &str| {
            Some(FabricOuIdentifier { certificate: Vec::new(), organizational_unit_identifier: name.into() })
        };
        let msp = FabricMspConfig {
            name: material.msp.to_owned(),
            root_certs: vec![material.ca.clone().into_bytes()],
            intermediate_certs: Vec::new(),
            crypto_config: Some(FabricCryptoConfig {
                signature_hash_family: "SHA2".into(),
                identity_identifier_hash_function: "SHA256".into(),
            }),
            tls_root_certs: vec![material.tls_ca.clone().into_bytes()],
            fabric_node_ous: Some(FabricNodeOus {
                enable: true,
                client_ou_identifier: role("client"),
                peer_ou_identifier: role("peer"),
                admin_ou_identifier: role("admin"),
                orderer_ou_identifier: role("orderer"),
            }),
        };
        let msp = MspConfig { r#type: 0, config: msp.encode_to_vec() };
        (material.msp.to_owned(), group(BTreeMap::new(), [("MSP", msp.encode_to_vec())]))
    };
    materials.iter().map(organization).collect()
}
