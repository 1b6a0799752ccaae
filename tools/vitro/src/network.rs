//! Parts of a Fabric network, as each organization knows its own, and how they become one connection profile.
//!
//! A part holds addresses and certificates, no key: organizations hand theirs to one another. Whether Managed Blockchain or a person wrote
//! it makes no difference from here on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use vitro_ledger::{ClientTls, ConnectionProfile, EndorserGroup, Endorsers, IdentityProfile, NodeEndpoint};

use crate::error::CliError;
use crate::pki;

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

/// How many parties there are beside the operator: RC, DV and SP.
const PARTIES: usize = 3;

/// Whose endorsements a transaction needs.
#[derive(Debug)]
pub enum Plan {
    /// The policy that the contract is made for: the operator and two of the three others that have peers.
    Operator(String),
    /// Another one.
    Other(Endorsers),
}

/// Joins parts into a profile. Peers come in the order of the parts, the identity's own organization first.
///
/// Whoever hands over a part could name nodes of others, or authorities of its own for them, and so answer in their name. So nobody is
/// believed before another: an organization's peers are those of one part alone, and parts that name the same node say the same of it. Nor
/// does a part bring in endorsers: [`Plan::Operator`] is for three other organizations, and with a fourth two of one party could suffice.
///
/// # Errors
/// [`CliError::Refused`] if the parts are of several networks, contradict each other, hold a trust anchor that cannot be read, or do not hold
/// just what the plan needs.
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
        Plan::Operator(operator) => of_operator(operator, &peers)?,
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
    // What cannot be read shall be told now, not when somebody connects.
    for node in profile.peers.iter().chain(&profile.orderers) {
        check_anchors(node)?;
    }
    Ok(profile)
}

/// The operator and two of the others, if these are three.
fn of_operator(operator: String, peers: &[NodeEndpoint]) -> Result<Endorsers, CliError> {
    let mut named: BTreeSet<_> = peers.iter().map(|peer| peer.msp.clone()).collect();
    if !named.remove(&operator) {
        return Err(CliError::Refused(format!("the parts make no profile: {operator} must endorse and has no peer")));
    }
    let of: Vec<String> = named.into_iter().collect();
    if of.len() != PARTIES {
        let (count, others) = (of.len(), if of.is_empty() { "none".to_owned() } else { of.join(", ") });
        return Err(CliError::Refused(format!(
            "beside {operator} the parts name peers of {count} organizations ({others}), and --operator is for {PARTIES}: two of them endorse \
             beside the operator. If just these belong there, name the chaincode's policy: --required {operator} --any-of 2:MSP,MSP,MSP"
        )));
    }
    Ok(Endorsers { required: vec![operator], any_of: vec![EndorserGroup { count: 2, of }] })
}

/// Whether TLS can rely on what a node is trusted by.
fn check_anchors(node: &NodeEndpoint) -> Result<(), CliError> {
    let anchors = pki::split(&node.tls_ca_pem);
    let readable = |pem: &String| {
        pki::der(pem).is_ok_and(|der| webpki::anchor_from_trusted_cert(&pki_types::CertificateDer::from(der)).is_ok())
    };
    if anchors.is_empty() || !anchors.iter().all(readable) {
        let (name, address) = (&node.name, &node.address);
        return Err(CliError::Refused(format!(
            "{name} ({address}): its authorities for TLS are no certificates in PEM"
        )));
    }
    Ok(())
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
    pki::split(&node.tls_ca_pem).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// The certificate of an authority of this name, the same at every call.
    fn certificate(name: &'static str) -> String {
        static MADE: Mutex<BTreeMap<&str, String>> = Mutex::new(BTreeMap::new());
        let validity = pki::Validity::new(0, 10).unwrap();
        let make = || pki::root_certificate(name, &pki::new_key().unwrap(), validity, 0).unwrap();
        MADE.lock().unwrap().entry(name).or_insert_with(make).clone()
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
        assert!(refused(&parts()[..2], operator()).contains("of 1 organizations (m-rc)"));
        assert!(refused(&parts()[..1], operator()).contains("of 0 organizations (none)"));
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
    fn a_part_brings_no_endorser_into_the_operators_plan() {
        // A second organization of RC's: with it, RC and the operator would be three.
        let mut changed = parts();
        changed[1].peers.push(node("m-rc2", 9));
        let error = join(&changed, frame(Plan::Operator("m-op".into()))).unwrap_err();
        assert!(matches!(error, CliError::Refused(_)), "{error:?}");
        let told = error.to_string();
        assert!(told.contains("of 4 organizations (m-dv, m-rc, m-rc2, m-sp)"), "{told}");
        assert!(told.contains("--required m-op --any-of 2:MSP,MSP,MSP"), "{told}");
        // Who says whose word counts may have more peers in the network.
        let of = parts_of(["m-dv", "m-rc", "m-sp"]).to_vec();
        let named = Endorsers { required: vec!["m-op".into()], any_of: vec![EndorserGroup { count: 2, of }] };
        let profile = join(&changed, frame(Plan::Other(named.clone()))).unwrap();
        assert_eq!((profile.peers.len(), profile.endorsers), (5, named));
    }

    #[test]
    fn trust_anchors_that_cannot_be_read_are_told() {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
        for anchors in ["junk".to_owned(), String::new(), broken.clone(), certificate("AAAA") + &broken] {
            for change in [(|part, pem| part.peers[0].tls_ca_pem = pem) as fn(&mut NetworkPart, String), |part, pem| {
                part.orderers = vec![NodeEndpoint { tls_ca_pem: pem, ..node("n-1", 30009) }]
            }] {
                let mut changed = parts();
                change(&mut changed[2], anchors.clone());
                let error = join(&changed, frame(Plan::Operator("m-op".into()))).unwrap_err();
                assert!(error.to_string().contains("its authorities for TLS are no certificates"), "{error}");
            }
        }
    }

    #[test]
    fn a_profile_given_for_a_part_is_refused_without_its_key() {
        let text = serde_json::json!({ "channel": "c", "identity": { "key_pem": "hidden" } }).to_string();
        let error = NetworkPart::from_json("x.json", &text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hidden"));
    }
}
