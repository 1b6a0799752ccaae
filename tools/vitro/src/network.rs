//! Parts of a Fabric network, as each organization knows its own, and how they become one connection profile.
//!
//! A part holds addresses and certificates, no key: organizations hand theirs to one another. Whether Managed Blockchain or a person wrote
//! it makes no difference from here on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use vitro_ledger::{ClientTls, ConnectionProfile, EndorserGroup, Endorsers, IdentityProfile, NodeEndpoint};

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
    /// What is shown to nodes that want to know who connects.
    pub client_tls: Option<ClientTls>,
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
/// Whoever hands over a part could name nodes of others, or authorities of its own for them, and so answer in their name. So nobody is
/// believed before another: an organization's peers are those of one part alone, and parts that name the same node say the same of it.
///
/// # Errors
/// [`CliError::Refused`] if the parts are of several networks, contradict each other, or do not hold what the plan needs.
pub fn join(parts: &[NetworkPart], frame: Frame) -> Result<ConnectionProfile, CliError> {
    let networks: BTreeSet<_> = parts.iter().map(|part| part.network.as_str()).collect();
    if networks.len() > 1 {
        return Err(CliError::Refused(format!("these are parts of several networks: {networks:?}")));
    }
    let mut owners: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for part in parts {
        let mut named: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for peer in &part.peers {
            named.entry(&peer.msp).or_default().insert(&peer.address);
        }
        for (msp, addresses) in named {
            if *owners.entry(msp).or_insert_with(|| addresses.clone()) != addresses {
                return Err(CliError::Refused(format!("two parts name different peers of {msp}: only its own may")));
            }
        }
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
        client_tls: frame.client_tls,
    };
    profile.check().map_err(|error| CliError::Refused(format!("the parts make no profile: {error}")))?;
    Ok(profile)
}

/// Nodes by their addresses, each once.
fn merge<'a>(nodes: impl Iterator<Item = &'a NodeEndpoint>) -> Result<Vec<NodeEndpoint>, CliError> {
    let mut merged: Vec<NodeEndpoint> = Vec::new();
    for node in nodes {
        let Some(known) = merged.iter().find(|known| known.address == node.address) else {
            merged.push(node.clone());
            continue;
        };
        let refused = |what: String| Err(CliError::Refused(format!("{}: {what}", node.address)));
        if known.msp != node.msp {
            return refused(format!("one part says {}, another {}", known.msp, node.msp));
        }
        if known.server_name != node.server_name || certificates(known) != certificates(node) {
            return refused(
                "parts disagree on its server name or on its authorities for TLS: have both made anew".into(),
            );
        }
    }
    Ok(merged)
}

/// By which certificates a node is trusted, whatever their order.
fn certificates(node: &NodeEndpoint) -> BTreeSet<String> {
    crate::pki::split(&node.tls_ca_pem).into_iter().collect()
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
        Frame { channel: "mychannel".into(), chaincode: "vitro".into(), plan, identity, client_tls: None }
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
        claimed[1] = part("m-rc", 1);
        assert!(refused(&claimed, operator()).contains("one part says m-op, another m-rc"));
        assert!(refused(&parts()[..2], operator()).contains("fewer than 2"));
        assert!(refused(&parts()[1..], operator()).contains("m-op must endorse and has no peer"));
        let nobody = Endorsers { required: Vec::new(), any_of: Vec::new() };
        assert!(refused(&parts(), Plan::Other(nobody)).contains("nobody endorses"));
    }

    #[test]
    fn a_part_leads_nobody_to_other_nodes_than_an_organizations_own() {
        let operator = || Plan::Operator("m-op".into());
        let refused = |change: fn(&mut NetworkPart), expected: &str| {
            let mut changed = parts();
            change(&mut changed[1]);
            let error = join(&changed, frame(operator())).unwrap_err();
            assert!(matches!(error, CliError::Refused(_)) && error.to_string().contains(expected), "{error}");
        };
        // A peer of its own under the operator's name; the operator's own peer, but trusted by RC's authority.
        refused(|rc| rc.peers.push(node("m-op", 9)), "two parts name different peers of m-op");
        let trusted_by_another = |rc: &mut NetworkPart| {
            let mut peer = node("m-op", 1);
            peer.tls_ca_pem += &certificate("BBBB");
            rc.peers.push(peer);
        };
        refused(trusted_by_another, "parts disagree on");
        refused(|rc| rc.orderers[0].tls_ca_pem = certificate("BBBB"), "parts disagree on");
        refused(|rc| rc.orderers[0].server_name = Some("elsewhere".into()), "parts disagree on");
        // Who says the same, in whatever order, contradicts nobody.
        let mut same = parts();
        for one in &mut same {
            one.orderers[0].tls_ca_pem = certificate("AAAA") + &certificate("BBBB");
        }
        same[1].peers.push(node("m-op", 1));
        same[2].orderers[0].tls_ca_pem = certificate("BBBB") + &certificate("AAAA");
        let profile = join(&same, frame(operator())).unwrap();
        assert_eq!((profile.peers.len(), profile.orderers.len()), (4, 1));
    }

    #[test]
    fn a_profile_given_for_a_part_is_refused_without_its_key() {
        let text = serde_json::json!({ "channel": "c", "identity": { "key_pem": "hidden" } }).to_string();
        let error = NetworkPart::from_json("x.json", &text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hidden"));
    }
}
