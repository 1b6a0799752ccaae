//! Parts of a Fabric network, as each organization knows its own, and how they become one connection profile.
//!
//! A part holds addresses and certificates, no key: organizations hand theirs to one another. Whether Managed Blockchain or a person wrote
//! it makes no difference from here on.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use vitro_ledger::{ConnectionProfile, EndorserGroup, Endorsers, IdentityProfile, NodeEndpoint};

use crate::error::CliError;

/// What one organization knows of a network.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkPart {
    /// The network's id. Parts of different networks are not joined.
    pub network: String,
    /// Peers.
    #[serde(default)]
    pub peers: Vec<NodeEndpoint>,
    /// Orderers.
    #[serde(default)]
    pub orderers: Vec<NodeEndpoint>,
    /// Where the organizations' Fabric CAs are.
    #[serde(default)]
    pub authorities: Vec<AuthorityEndpoint>,
}

/// A Fabric CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityEndpoint {
    /// The MSP id of its organization.
    pub msp: String,
    /// `https://host:port`.
    pub address: String,
    /// The certificates that its TLS certificate must chain to, in PEM.
    pub tls_ca_pem: String,
}

impl NetworkPart {
    /// Reads a part.
    ///
    /// # Errors
    /// [`CliError::Malformed`].
    pub fn from_json(what: &str, text: &str) -> Result<Self, CliError> {
        serde_json::from_str(text).map_err(|error| {
            // serde's own message may quote a value, and the text may be a profile with its key.
            let place = format!("line {}, column {}", error.line(), error.column());
            CliError::malformed(what, format!("not a part of a network as `ledger discover` writes it ({place})"))
        })
    }
}

/// What goes into a profile beside the network's parts.
#[derive(Debug)]
pub struct Frame {
    /// The channel.
    pub channel: String,
    /// The name under which the contract is deployed.
    pub chaincode: String,
    /// Whose endorsements a transaction needs.
    pub plan: Plan,
    /// As whom to speak.
    pub identity: IdentityProfile,
}

/// Whose endorsements a transaction needs.
#[derive(Debug)]
pub enum Plan {
    /// The policy that the contract is made for: the operator and two of the others.
    Operator(String),
    /// Another one.
    Other(Endorsers),
}

/// Joins parts into a profile. Peers come in the order of the parts, the identity's own organization first.
///
/// # Errors
/// [`CliError::Refused`] if the parts are of several networks, contradict each other, or do not hold what the plan needs.
pub fn join(parts: &[NetworkPart], frame: Frame) -> Result<ConnectionProfile, CliError> {
    let networks: BTreeSet<_> = parts.iter().map(|part| part.network.as_str()).collect();
    if networks.len() > 1 {
        return Err(CliError::Refused(format!("these are parts of several networks: {networks:?}")));
    }
    let mut peers = merge(parts.iter().flat_map(|part| &part.peers))?;
    peers.sort_by_key(|peer| peer.msp != frame.identity.msp);
    let endorsers = match frame.plan {
        Plan::Other(endorsers) => endorsers,
        Plan::Operator(operator) => {
            let others: BTreeSet<_> = peers.iter().map(|peer| &peer.msp).filter(|msp| **msp != operator).collect();
            let of = others.into_iter().cloned().collect();
            Endorsers { required: vec![operator], any_of: vec![EndorserGroup { count: 2, of }] }
        }
    };
    let profile = ConnectionProfile {
        channel: frame.channel,
        chaincode: frame.chaincode,
        peers,
        orderers: merge(parts.iter().flat_map(|part| &part.orderers))?,
        endorsers,
        identity: frame.identity,
        client_tls: None,
    };
    profile.check().map_err(|error| CliError::Refused(format!("the parts make no profile: {error}")))?;
    Ok(profile)
}

/// Nodes by their addresses, each once.
fn merge<'a>(nodes: impl Iterator<Item = &'a NodeEndpoint>) -> Result<Vec<NodeEndpoint>, CliError> {
    let mut merged: Vec<NodeEndpoint> = Vec::new();
    for node in nodes {
        match merged.iter_mut().find(|known| known.address == node.address) {
            None => merged.push(node.clone()),
            Some(known) if known.msp != node.msp || known.server_name != node.server_name => {
                let (one, other) = (&known.msp, &node.msp);
                return Err(CliError::Refused(format!("{}: one part says {one}, another {other}", node.address)));
            }
            // The same node, trusted by what either part says: a renewal of its authority is known to one of them first.
            Some(known) => known.tls_ca_pem = union(&known.tls_ca_pem, &node.tls_ca_pem),
        }
    }
    Ok(merged)
}

/// The certificates of both texts, each once.
fn union(one: &str, other: &str) -> String {
    let mut certificates = crate::pki::split(one);
    for certificate in crate::pki::split(other) {
        if !certificates.contains(&certificate) {
            certificates.push(certificate);
        }
    }
    certificates.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(text: &str) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }

    fn node(msp: &str, port: u16) -> NodeEndpoint {
        NodeEndpoint {
            name: format!("{msp}/peer"),
            msp: msp.into(),
            address: format!("https://peers.example:{port}"),
            tls_ca_pem: certificate("AAAA"),
            server_name: None,
        }
    }

    fn part(msp: &str, port: u16) -> NetworkPart {
        NetworkPart {
            network: "n-1".into(),
            peers: vec![node(msp, port)],
            orderers: vec![node("n-1", 30001)],
            ..NetworkPart::default()
        }
    }

    fn frame(plan: Plan) -> Frame {
        let identity = IdentityProfile { msp: "m-dv".into(), certificate_pem: "c".into(), key_pem: None };
        Frame { channel: "mychannel".into(), chaincode: "vitro".into(), plan, identity }
    }

    fn parts() -> Vec<NetworkPart> {
        [("m-op", 1), ("m-rc", 2), ("m-dv", 3), ("m-sp", 4)].map(|(msp, port)| part(msp, port)).into()
    }

    #[test]
    fn parts_make_a_profile_that_the_client_reads() {
        let profile = join(&parts(), frame(Plan::Operator("m-op".into()))).unwrap();
        let again = ConnectionProfile::from_json(&serde_json::to_string(&profile).unwrap()).unwrap();
        let order: Vec<_> = again.peers.iter().map(|peer| peer.msp.as_str()).collect();
        assert_eq!(order, ["m-dv", "m-op", "m-rc", "m-sp"]);
        assert_eq!(again.orderers.len(), 1);
        assert_eq!(again.endorsers.required, ["m-op"]);
        assert_eq!(
            (again.endorsers.any_of[0].count, &again.endorsers.any_of[0].of[..]),
            (2, &parts_of(["m-dv", "m-rc", "m-sp"])[..])
        );
    }

    fn parts_of(names: [&str; 3]) -> [String; 3] {
        names.map(str::to_owned)
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let refused = |parts: &[NetworkPart], plan| {
            let error = join(parts, frame(plan)).unwrap_err();
            assert!(matches!(error, CliError::Refused(_)), "{error:?}");
            error.to_string()
        };
        let operator = || Plan::Operator("m-op".into());
        let mut strange = parts();
        strange[1].network = "n-2".into();
        assert!(refused(&strange, operator()).contains("several networks"));
        let mut claimed = parts();
        claimed.push(part("m-rc", 1));
        assert!(refused(&claimed, operator()).contains("one part says m-op, another m-rc"));
        assert!(refused(&parts()[..2], operator()).contains("fewer than 2"));
        assert!(refused(&parts()[1..], operator()).contains("m-op must endorse and has no peer"));
        let nobody = Endorsers { required: Vec::new(), any_of: Vec::new() };
        assert!(refused(&parts(), Plan::Other(nobody)).contains("nobody endorses"));
    }

    #[test]
    fn a_node_that_two_parts_name_is_trusted_by_both() {
        let mut two = parts();
        let mut renewed = part("m-op", 1);
        renewed.peers[0].tls_ca_pem = certificate("BBBB") + &certificate("AAAA");
        two.push(renewed);
        let profile = join(&two, frame(Plan::Operator("m-op".into()))).unwrap();
        assert_eq!(profile.peers.len(), 4);
        let peer = profile.peers.iter().find(|peer| peer.msp == "m-op").unwrap();
        assert_eq!(peer.tls_ca_pem, certificate("AAAA") + &certificate("BBBB"));
    }

    #[test]
    fn a_profile_given_for_a_part_is_refused_without_its_key() {
        let text = serde_json::json!({ "channel": "c", "identity": { "key_pem": "hidden" } }).to_string();
        let error = NetworkPart::from_json("x.json", &text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hidden"));
    }
}
