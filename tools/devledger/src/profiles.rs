//! Connection profiles: what a client of each organization needs, in the form that `vitro-ledger` reads.

use std::net::SocketAddr;
use std::path::Path;

use vitro_ledger::{ConnectionProfile, EndorserGroup, Endorsers, IdentityProfile, NodeEndpoint, SecretPem};

use crate::error::DevledgerError;
use crate::material::{Material, Pair, write};
use crate::organizations::{ORDERER, PARTIES};

/// Where every node listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The orderer.
    pub orderer: SocketAddr,
    /// The peers, in the order of [`PARTIES`].
    pub peers: [SocketAddr; 4],
}

/// Writes `profiles/<organization>.json` with the organization's admin and `profiles/<organization>-user.json` with its user, readable
/// by the owner alone.
///
/// # Errors
/// [`DevledgerError::File`].
pub(crate) fn write_all(
    folder: &Path,
    channel: &str,
    chaincode: &str,
    addresses: &Addresses,
    orderer: &Material,
    parties: &[Material],
) -> Result<(), DevledgerError> {
    let folder = folder.join("profiles");
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
    let orderers = vec![node(format!("{}0", ORDERER.name), orderer, addresses.orderer)];
    let [operator, others @ ..] = PARTIES;
    let endorsers = Endorsers {
        required: vec![operator.msp.to_owned()],
        any_of: vec![EndorserGroup { count: 2, of: others.iter().map(|party| party.msp.to_owned()).collect() }],
    };
    for (party, material) in PARTIES.iter().zip(parties) {
        let profile = |pair: &Pair| ConnectionProfile {
            channel: channel.to_owned(),
            chaincode: chaincode.to_owned(),
            peers: peers.clone(),
            orderers: orderers.clone(),
            endorsers: endorsers.clone(),
            identity: IdentityProfile {
                msp: material.msp.to_owned(),
                certificate_pem: pair.certificate.clone(),
                key_pem: Some(SecretPem::new(pair.key.clone())),
            },
        };
        let named = [("", &material.admin), ("-user", &material.user)];
        for (suffix, pair) in named {
            let text = serde_json::to_vec_pretty(&profile(pair))
                .map_err(|error| DevledgerError::Certificates(error.to_string()))?;
            write(&folder.join(format!("{}{suffix}.json", party.name)), &text, 0o600)?;
        }
    }
    Ok(())
}
