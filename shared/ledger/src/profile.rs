//! The connection profile: where a network is, whom to trust there, and as whom to speak.
//!
//! It is JSON, so that it fits one secret of Secrets Manager; who reads it from there hands the text to
//! [`ConnectionProfile::from_json`]. A network found by Managed Blockchain and one given by hand end in the same structure.

use std::collections::BTreeSet;
use std::fmt;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::LedgerError;

/// A network as one client sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionProfile {
    /// The channel.
    pub channel: String,
    /// The name under which the contract is deployed.
    pub chaincode: String,
    /// Peers of any organization. Queries and commits prefer those of the identity's own, in the order given.
    pub peers: Vec<NodeEndpoint>,
    /// Orderers, in the order in which they are tried.
    pub orderers: Vec<NodeEndpoint>,
    /// Whose endorsements a transaction needs.
    pub endorsers: Endorsers,
    /// As whom to speak.
    pub identity: IdentityProfile,
    /// What the client shows peers and orderers of a network that wants to know who connects (`clientAuthRequired`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_tls: Option<ClientTls>,
}

/// A TLS certificate of the client's own, and its key. The nodes know its issuer as a TLS CA of the organization; it is another one than the
/// identity's.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientTls {
    /// The certificate in PEM, those above it behind it.
    pub certificate_pem: String,
    /// The private key in PEM.
    pub key_pem: SecretPem,
}

impl ClientTls {
    /// SHA-256 over the certificate in DER: what a request for a delivery carries (`tls_cert_hash`), so that nobody can have it delivered to
    /// another connection.
    ///
    /// # Errors
    /// [`LedgerError::Profile`] if it is no certificate in PEM.
    pub fn certificate_hash(&self) -> Result<[u8; 32], LedgerError> {
        let certificate = CertificateDer::from_pem_slice(self.certificate_pem.as_bytes());
        let certificate =
            certificate.map_err(|_| LedgerError::Profile("client_tls holds no certificate in PEM".to_owned()))?;
        Ok(Sha256::digest(&certificate).into())
    }
}

/// A peer or an orderer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEndpoint {
    /// A name for messages and logs.
    pub name: String,
    /// The organization's MSP id.
    pub msp: String,
    /// `https://host:port`. TLS is not optional.
    pub address: String,
    /// The certificates that its TLS certificate must chain to, in PEM.
    pub tls_ca_pem: String,
    /// The name in its TLS certificate, where that is not the address's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// A plan that satisfies the chaincode's endorsement policy: all of `required`, and from each group as many as it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endorsers {
    /// MSP ids that must endorse.
    pub required: Vec<String>,
    /// Groups of which only some must.
    #[serde(default)]
    pub any_of: Vec<EndorserGroup>,
}

impl Endorsers {
    /// Whether these organizations' word is what the plan asks for.
    #[must_use]
    pub fn satisfied_by(&self, organizations: &BTreeSet<&str>) -> bool {
        let spoke = |msp: &&String| organizations.contains(msp.as_str());
        self.required.iter().all(|msp| spoke(&msp))
            && self.any_of.iter().all(|group| group.of.iter().filter(spoke).count() >= group.count)
    }
}

/// `count` of the organizations `of`, tried in the order given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndorserGroup {
    /// How many must endorse.
    pub count: usize,
    /// MSP ids to choose from.
    pub of: Vec<String>,
}

/// As whom to speak.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityProfile {
    /// The organization's MSP id.
    pub msp: String,
    /// The certificate in PEM, as the organization's CA issued it.
    pub certificate_pem: String,
    /// The private key in PEM; absent where somebody else signs (KMS, a party's own machine).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pem: Option<SecretPem>,
}

/// A private key in PEM: wiped when dropped, never printed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretPem(#[serde(with = "secret")] Zeroizing<String>);

impl SecretPem {
    /// Takes the text of a PEM file.
    #[must_use]
    pub fn new(pem: String) -> Self {
        Self(Zeroizing::new(pem))
    }

    /// The text, for whoever parses the key.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretPem(..)")
    }
}

mod secret {
    use serde::{Deserialize, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(text: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(deserializer).map(Zeroizing::new)
    }
}

impl ConnectionProfile {
    /// Reads and checks a profile.
    ///
    /// # Errors
    /// [`LedgerError::Profile`] if it is not one: unknown or missing fields, an address without `https`, a plan that the peers
    /// cannot fulfil. The message never quotes the text, which holds a key.
    pub fn from_json(text: &str) -> Result<Self, LedgerError> {
        let profile: Self = serde_json::from_str(text).map_err(|error| {
            // serde's own message may quote a value, so only its place and kind are told.
            LedgerError::Profile(format!(
                "line {}, column {}: {:?} error",
                error.line(),
                error.column(),
                error.classify()
            ))
        })?;
        profile.check()?;
        Ok(profile)
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// [`LedgerError::Profile`] with the first fault.
    pub fn check(&self) -> Result<(), LedgerError> {
        let fault = |text: String| Err(LedgerError::Profile(text));
        if self.peers.is_empty() || self.orderers.is_empty() {
            return fault("a peer and an orderer are needed".to_owned());
        }
        for node in self.peers.iter().chain(&self.orderers) {
            if !node.address.starts_with("https://") {
                return fault(format!("{}: the address must begin with https://", node.name));
            }
        }
        let has_peer = |msp: &String| self.peers.iter().any(|peer| peer.msp == *msp);
        if let Some(msp) = self.endorsers.required.iter().find(|msp| !has_peer(msp)) {
            return fault(format!("{msp} must endorse and has no peer"));
        }
        for group in &self.endorsers.any_of {
            if group.of.iter().filter(|msp| has_peer(msp)).count() < group.count {
                return fault(format!("fewer than {} of {:?} have a peer", group.count, group.of));
            }
        }
        if self.endorsers.required.is_empty() && self.endorsers.any_of.is_empty() {
            return fault("nobody endorses".to_owned());
        }
        // A committer counts an organization's endorsement once, however often a plan names it.
        let mut seen = BTreeSet::new();
        let groups = self.endorsers.any_of.iter().flat_map(|group| &group.of);
        if let Some(twice) = self.endorsers.required.iter().chain(groups).find(|msp| !seen.insert(msp.as_str())) {
            return fault(format!("{twice} is named twice among the endorsers"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> serde_json::Value {
        serde_json::json!({
            "channel": "mychannel",
            "chaincode": "vitro",
            "peers": [{"name": "p", "msp": "OperatorMSP", "address": "https://127.0.0.1:7051", "tls_ca_pem": ""}],
            "orderers": [{"name": "o", "msp": "OrdererMSP", "address": "https://127.0.0.1:7050", "tls_ca_pem": ""}],
            "endorsers": {"required": ["OperatorMSP"]},
            "identity": {"msp": "OperatorMSP", "certificate_pem": "", "key_pem": "hidden"},
        })
    }

    #[test]
    fn a_key_shows_in_no_debug_output_and_in_no_error() {
        let good = ConnectionProfile::from_json(&profile().to_string()).unwrap();
        assert!(!format!("{good:?}").contains("hidden"));
        let mut bad = profile();
        bad["identity"]["key_pem"] = serde_json::json!(["hidden"]);
        let error = ConnectionProfile::from_json(&bad.to_string()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hidden"));
        let mut tls = profile();
        tls["client_tls"] = serde_json::json!({"certificate_pem": "", "key_pem": "hidden"});
        let tls = ConnectionProfile::from_json(&tls.to_string()).unwrap();
        assert!(!format!("{tls:?}").contains("hidden"));
        let error = tls.client_tls.unwrap().certificate_hash().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hidden"));
    }

    #[test]
    fn unknown_fields_plain_text_and_plans_without_peers_are_refused() {
        let mut unknown = profile();
        unknown["surprise"] = 1.into();
        let mut plain = profile();
        plain["orderers"][0]["address"] = "http://127.0.0.1:7050".into();
        let mut lonely = profile();
        lonely["endorsers"]["any_of"] = serde_json::json!([{"count": 2, "of": ["RcMSP", "OperatorMSP"]}]);
        let mut nobody = profile();
        nobody["endorsers"]["required"] = serde_json::json!([]);
        let mut twice = profile();
        twice["endorsers"]["any_of"] = serde_json::json!([{"count": 1, "of": ["OperatorMSP"]}]);
        for bad in [unknown, plain, lonely, nobody, twice] {
            let error = ConnectionProfile::from_json(&bad.to_string()).unwrap_err();
            assert!(matches!(error, LedgerError::Profile(_)), "{error}");
            assert!(!error.retryable());
        }
    }

    #[test]
    fn a_plan_is_satisfied_by_the_operator_and_two_of_three() {
        let plan = Endorsers {
            required: vec!["O".into()],
            any_of: vec![EndorserGroup { count: 2, of: ["R", "D", "S"].map(str::to_owned).to_vec() }],
        };
        for (organizations, holds) in
            [("ORD", true), ("OSR", true), ("ORDS", true), ("RDS", false), ("OS", false), ("", false), ("OXR", false)]
        {
            let said = organizations.split("").filter(|msp| !msp.is_empty()).collect();
            assert_eq!(plan.satisfied_by(&said), holds, "{organizations}");
        }
    }

    #[test]
    fn goes_to_json_and_back() {
        let text = profile().to_string();
        let read = ConnectionProfile::from_json(&text).unwrap();
        let again = serde_json::to_value(&read).unwrap();
        assert_eq!(again["identity"]["key_pem"], "hidden");
    }
}
