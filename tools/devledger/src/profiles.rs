//! Connection profiles: what a client of each organization needs, in the form that `vitro-ledger` reads, and in the form that Fabric's
//! own clients read (the "common connection profile").

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use vitro_ledger::{ClientTls, ConnectionProfile, EndorserGroup, Endorsers, IdentityProfile, NodeEndpoint, SecretPem};

use crate::error::DevledgerError;
use crate::material::{Material, Pair, write};
use crate::options::Options;
use crate::organizations::{ORDERER, Organization, PARTIES};

/// Where every node listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The orderer.
    pub orderer: SocketAddr,
    /// The peers, in the order of [`PARTIES`].
    pub peers: [SocketAddr; 4],
}

/// Where the connection profile for Fabric's own clients is.
fn common_path(data_dir: &Path, organization: &str) -> PathBuf {
    data_dir.join("profiles").join(format!("{organization}.connection.json"))
}

/// Where the authorities are that all nodes' TLS certificates chain to: one file, as Managed Blockchain gives one.
pub(crate) fn tls_chain_path(root: &Path) -> PathBuf {
    root.join("profiles").join("tls-chain.pem")
}

/// The connection profile of an organization for Fabric's own clients, as the ledger wrote it when it last started.
///
/// # Errors
/// [`DevledgerError::File`] if the ledger was never started on this directory, or there is no such organization.
pub fn connection_profile(data_dir: &Path, organization: &str) -> Result<String, DevledgerError> {
    let path = common_path(data_dir, organization);
    std::fs::read_to_string(&path).map_err(DevledgerError::file(path))
}

/// The network as Fabric's own clients want it told: the common connection profile of fabric-network 1.4 to 2.2, with a channel, so that
/// it serves where there is no discovery.
fn common(
    organization: &Organization,
    channel: &str,
    peers: &[NodeEndpoint],
    orderers: &[NodeEndpoint],
) -> serde_json::Value {
    let node = |node: &NodeEndpoint| {
        let address = node.address.replacen("https://", "grpcs://", 1);
        (node.name.clone(), serde_json::json!({ "url": address, "tlsCACerts": { "pem": node.tls_ca_pem } }))
    };
    let nodes = |of: &[NodeEndpoint]| of.iter().map(node).collect::<serde_json::Map<_, _>>();
    let parts = serde_json::json!({
        "endorsingPeer": true, "chaincodeQuery": true, "ledgerQuery": true, "eventSource": true,
    });
    let organizations = PARTIES
        .iter()
        .zip(peers)
        .map(|(party, peer)| (party.name.to_owned(), serde_json::json!({ "mspid": party.msp, "peers": [peer.name] })));
    serde_json::json!({
        "name": "vitro-devledger",
        "version": "1.0.0",
        "client": { "organization": organization.name },
        "channels": { channel: {
            "orderers": orderers.iter().map(|orderer| &orderer.name).collect::<Vec<_>>(),
            "peers": peers.iter().map(|peer| (peer.name.clone(), parts.clone())).collect::<serde_json::Map<_, _>>(),
        } },
        "organizations": organizations.collect::<serde_json::Map<_, _>>(),
        "orderers": nodes(orderers),
        "peers": nodes(peers),
    })
}

/// Writes `profiles/<organization>.json` with the organization's admin and `profiles/<organization>-user.json` with its user, readable
/// by the owner alone, and `profiles/<organization>.connection.json` for Fabric's own clients, which holds no key; and once
/// `profiles/tls-chain.pem`.
///
/// # Errors
/// [`DevledgerError::File`].
pub(crate) fn write_all(
    root: &Path,
    options: &Options,
    addresses: &Addresses,
    orderer: &Material,
    parties: &[Material],
) -> Result<(), DevledgerError> {
    let folder = root.join("profiles");
    std::fs::create_dir_all(&folder).map_err(DevledgerError::file(&folder))?;
    let node = |name: String, material: &Material, address: SocketAddr| NodeEndpoint {
        name,
        msp: material.msp.to_owned(),
        address: format!("https://{address}"),
        tls_ca_pem: material.tls_ca.clone(),
        server_name: None,
    };
    let peers = PARTIES.iter().zip(parties).zip(addresses.peers);
    let peers: Vec<_> =
        peers.map(|((party, material), address)| node(format!("peer0.{}", party.name), material, address)).collect();
    let chain: String = parties.iter().chain([orderer]).map(|one| one.tls_ca.as_str()).collect();
    write(&tls_chain_path(root), chain.as_bytes(), 0o644)?;
    let orderers = vec![node(format!("{}0", ORDERER.name), orderer, addresses.orderer)];
    let [operator, others @ ..] = PARTIES;
    let endorsers = Endorsers {
        required: vec![operator.msp.to_owned()],
        any_of: vec![EndorserGroup { count: 2, of: others.iter().map(|party| party.msp.to_owned()).collect() }],
    };
    for (party, material) in PARTIES.iter().zip(parties) {
        let profile = |pair: &Pair| ConnectionProfile {
            channel: options.channel.clone(),
            chaincode: options.chaincode.clone(),
            peers: peers.clone(),
            orderers: orderers.clone(),
            endorsers: endorsers.clone(),
            identity: IdentityProfile {
                msp: material.msp.to_owned(),
                certificate_pem: pair.certificate.clone(),
                key_pem: Some(SecretPem::new(pair.key.clone())),
            },
            client_tls: options.require_client_certificates.then(|| ClientTls {
                certificate_pem: material.client_tls.certificate.clone(),
                key_pem: SecretPem::new(material.client_tls.key.clone()),
            }),
        };
        let named = [("", &material.admin), ("-user", &material.user)];
        for (suffix, pair) in named {
            let text = serde_json::to_vec_pretty(&profile(pair))
                .map_err(|error| DevledgerError::Certificates(error.to_string()))?;
            write(&folder.join(format!("{}{suffix}.json", party.name)), &text, 0o600)?;
        }
        let text = format!("{:#}\n", common(party, &options.channel, &peers, &orderers));
        write(&common_path(root, party.name), text.as_bytes(), 0o644)?;
    }
    Ok(())
}
