//! Whether an endorsement is the organization's that was asked: signed by the key of the certificate in it, which is one of its MSP, and where
//! the channel's configuration is known, issued by its CA to a peer.
//!
//! A committer checks all of this again, so nothing false gets in without it. But the transaction would be in a block and not valid, for good: one
//! organization's peer could stop everybody else. What is found here instead is a peer that failed, and another one stands in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    EcdsaVerificationAlgorithm, UnparsedPublicKey,
};
use prost::Message;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::Instant;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384};
use x509_parser::oid_registry::{OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::channel::config_of;
use crate::der;
use crate::proto::common::Block;
use crate::proto::configuration::{ConfigGroup, FabricMspConfig, MspConfig};
use crate::proto::msp::SerializedIdentity;
use crate::proto::peer::ProposalResponse;
use crate::signature::{from_der, is_low_s, is_low_s_p384};

/// How long the organizations' CAs are believed to be the same.
const HOLD: Duration = Duration::from_secs(600);

/// The CAs of a channel's organizations, from its configuration.
#[derive(Debug, Default)]
pub(crate) struct Authorities(BTreeMap<String, Msp>);

/// An organization's.
#[derive(Debug)]
struct Msp {
    /// Roots and intermediates; nothing where one of them has a kind of key that is not read here.
    issuers: Option<Vec<Key>>,
    /// The OU that its peers have, where it tells roles by them.
    peer_unit: Option<String>,
}

impl Authorities {
    /// Reads them from a configuration block.
    ///
    /// # Errors
    /// What is missing, or cannot be read.
    pub(crate) fn read(block: &Block) -> Result<Self, String> {
        let config = config_of(block)?.config.ok_or("it holds no configuration")?;
        let channel = config.channel_group.ok_or("it holds no channel group")?;
        let application = channel.groups.get("Application").ok_or("it names no organizations")?;
        application.groups.values().map(read_msp).collect::<Result<_, _>>().map(Self)
    }
}

/// The CAs as they were last read.
#[derive(Debug)]
pub(crate) struct Known {
    asked: Instant,
    /// From then on, until they are read anew.
    hold: Duration,
    found: Option<Arc<Authorities>>,
}

impl Known {
    /// After they were read, or could not be: old ones are better than none, and are read anew after `rest`.
    pub(crate) fn renewed(old: Option<Self>, read: Option<Authorities>, now: Instant, rest: Duration) -> Self {
        let hold = if read.is_some() { HOLD } else { rest };
        let found = read.map(Arc::new).or_else(|| old.and_then(|old| old.found));
        Self { asked: now, hold, found }
    }

    /// Has them read anew once they are as old as `rest`; they are kept until that succeeds.
    pub(crate) fn doubt(&mut self, rest: Duration) {
        self.hold = self.hold.min(rest);
    }

    /// Whether they need not be read anew.
    pub(crate) fn holds(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.asked) < self.hold
    }

    /// Nothing if they never could be read.
    pub(crate) fn found(&self) -> Option<Arc<Authorities>> {
        self.found.clone()
    }
}

fn read_msp(group: &ConfigGroup) -> Result<(String, Msp), String> {
    let value = group.values.get("MSP").ok_or("an organization has no MSP")?;
    let msp = MspConfig::decode(&value.value[..]).and_then(|msp| FabricMspConfig::decode(&msp.config[..]));
    let msp = msp.map_err(|error| format!("an MSP: {error}"))?;
    let issuers = msp.root_certs.iter().chain(&msp.intermediate_certs).map(|pem| {
        let der = CertificateDer::from_pem_slice(pem).ok()?;
        Key::of(X509Certificate::from_der(&der).ok()?.1.public_key())
    });
    let units = msp.fabric_node_ous.filter(|units| units.enable);
    let peer_unit = units.and_then(|units| units.peer_ou_identifier).map(|unit| unit.organizational_unit_identifier);
    let peer_unit = peer_unit.filter(|unit| !unit.is_empty());
    Ok((msp.name, Msp { issuers: issuers.collect(), peer_unit }))
}

/// A public key on one of the curves that Fabric's CAs use.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    curve: Curve,
    point: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
}

impl Key {
    fn of(info: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        let curve = info.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok())?;
        if info.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY {
            return None;
        }
        let curve = match curve {
            curve if curve == OID_EC_P256 => Curve::P256,
            curve if curve == OID_NIST_EC_P384 => Curve::P384,
            _ => return None,
        };
        Some(Self { curve, point: info.subject_public_key.data.to_vec() })
    }

    fn verifies(&self, algorithm: &'static EcdsaVerificationAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(algorithm, &self.point).verify(message, signature).is_ok()
    }

    fn issued(&self, certificate: &X509Certificate<'_>) -> bool {
        let hash = &certificate.signature_algorithm.algorithm;
        let algorithm = match self.curve {
            Curve::P256 if *hash == OID_SIG_ECDSA_WITH_SHA256 => &ECDSA_P256_SHA256_ASN1,
            Curve::P256 if *hash == OID_SIG_ECDSA_WITH_SHA384 => &ECDSA_P256_SHA384_ASN1,
            Curve::P384 if *hash == OID_SIG_ECDSA_WITH_SHA256 => &ECDSA_P384_SHA256_ASN1,
            Curve::P384 if *hash == OID_SIG_ECDSA_WITH_SHA384 => &ECDSA_P384_SHA384_ASN1,
            _ => return false,
        };
        self.verifies(algorithm, certificate.tbs_certificate.as_ref(), &certificate.signature_value.data)
    }
}

/// Checks the endorsement in a peer's answer. Its time is not asked, as Fabric's committers do not ask it of an endorser.
///
/// # Errors
/// What is wrong with it, in words for the log.
pub(crate) fn check_endorsement(
    answer: &ProposalResponse,
    msp: &str,
    authorities: Option<&Authorities>,
) -> Result<(), String> {
    let endorsement = answer.endorsement.as_ref().ok_or("its answer is not endorsed")?;
    let endorser = SerializedIdentity::decode(&endorsement.endorser[..]).map_err(|_| "its endorser cannot be read")?;
    if endorser.mspid != msp {
        return Err(format!("it endorses in the name of {}", endorser.mspid.chars().take(80).collect::<String>()));
    }
    let der = CertificateDer::from_pem_slice(&endorser.id_bytes).map_err(|_| "its certificate cannot be read")?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| "its certificate cannot be read")?;
    let key = Key::of(certificate.public_key()).ok_or("its certificate's key is not read here")?;
    let message = [&answer.payload[..], &endorsement.endorser].concat();
    // Fabric's peers refuse a high `s` on every curve.
    let low = match key.curve {
        Curve::P256 => from_der(&endorsement.signature).is_some_and(|raw| is_low_s(&raw)),
        Curve::P384 => der::signature(&endorsement.signature).is_some_and(|raw| is_low_s_p384(&raw)),
    };
    // Fabric's peers hash with SHA-256 whatever their curve.
    let algorithm = match key.curve {
        Curve::P256 => &ECDSA_P256_SHA256_ASN1,
        Curve::P384 => &ECDSA_P384_SHA256_ASN1,
    };
    if !low || !key.verifies(algorithm, &message, &endorsement.signature) {
        return Err("its endorsement's signature is not valid".to_owned());
    }
    let Some(authorities) = authorities else { return Ok(()) };
    let organization = authorities.0.get(msp).ok_or_else(|| format!("{msp} is not on the channel"))?;
    if organization.issuers.as_ref().is_some_and(|issuers| !issuers.iter().any(|key| key.issued(&certificate))) {
        return Err(format!("its certificate is not issued by {msp}'s CA"));
    }
    let mut units = certificate.subject().iter_organizational_unit().filter_map(|unit| unit.as_str().ok());
    if organization.peer_unit.as_ref().is_some_and(|peer| !units.any(|unit| unit == peer)) {
        return Err("its certificate is not a peer's".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Identity, PemSigner, creator};
    use crate::proto::common::{BlockData, ChannelHeader, Envelope, Header, HeaderType, Payload};
    use crate::proto::configuration::{Config, ConfigEnvelope, ConfigValue, FabricNodeOus, FabricOuIdentifier};
    use crate::proto::peer::Endorsement;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SignatureAlgorithm};

    /// A CA: its certificate in PEM and what it issues with.
    struct Authority(String, Issuer<'static, KeyPair>);

    fn authority(kind: &'static SignatureAlgorithm, above: Option<&Authority>) -> Authority {
        let key = KeyPair::generate_for(kind).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = match above {
            Some(above) => params.signed_by(&key, &above.1).unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        Authority(certificate.pem(), Issuer::new(params, key))
    }

    /// A member's certificate and key.
    fn member(of: &Authority, unit: &str) -> (String, PemSigner) {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        (params.signed_by(&key, &of.1).unwrap().pem(), PemSigner::from_pem(&key.serialize_pem()).unwrap())
    }

    fn endorsed(msp: &str, (certificate, signer): (String, PemSigner)) -> ProposalResponse {
        let identity = Identity::new(msp, &certificate, Arc::new(signer));
        let signature = identity.sign(&[b"result", identity.creator()].concat()).unwrap();
        let endorsement = Some(Endorsement { endorser: identity.creator().to_vec(), signature });
        ProposalResponse { payload: b"result".to_vec(), endorsement, ..Default::default() }
    }

    /// A channel of `RcMSP` and `DvMSP`; RC tells its peers by their OU.
    fn channel(rc: &[&Authority], below: &[&Authority], dv: &Authority) -> Authorities {
        let pem = |all: &[&Authority]| all.iter().map(|one| one.0.clone().into_bytes()).collect();
        let unit = FabricOuIdentifier { certificate: Vec::new(), organizational_unit_identifier: "peer".into() };
        let units = FabricNodeOus { enable: true, peer_ou_identifier: Some(unit), ..Default::default() };
        let rc = FabricMspConfig {
            name: "RcMSP".into(),
            root_certs: pem(rc),
            intermediate_certs: pem(below),
            fabric_node_ous: Some(units),
            ..Default::default()
        };
        let dv = FabricMspConfig { name: "DvMSP".into(), root_certs: pem(&[dv]), ..Default::default() };
        let group = |msp: FabricMspConfig| {
            let value = MspConfig { r#type: 0, config: msp.encode_to_vec() }.encode_to_vec();
            let values = [("MSP".to_owned(), ConfigValue { value, ..Default::default() })];
            (msp.name, ConfigGroup { values: values.into(), ..Default::default() })
        };
        let groups = [group(rc), group(dv)].into();
        let application = ("Application".to_owned(), ConfigGroup { groups, ..Default::default() });
        let root = ConfigGroup { groups: [application].into(), ..Default::default() };
        let config = Config { sequence: 0, channel_group: Some(root) };
        let header = ChannelHeader { r#type: HeaderType::Config as i32, ..Default::default() }.encode_to_vec();
        let payload = Payload {
            header: Some(Header { channel_header: header, signature_header: Vec::new() }),
            data: ConfigEnvelope { config: Some(config), last_update: None }.encode_to_vec(),
        };
        let envelope = Envelope { payload: payload.encode_to_vec(), signature: Vec::new() };
        let data = Some(BlockData { data: vec![envelope.encode_to_vec()] });
        Authorities::read(&Block { data, ..Default::default() }).unwrap()
    }

    #[test]
    fn a_peers_endorsement_is_taken_and_nobody_elses() {
        let (rc, dv) =
            (authority(&rcgen::PKCS_ECDSA_P256_SHA256, None), authority(&rcgen::PKCS_ECDSA_P384_SHA384, None));
        let below = authority(&rcgen::PKCS_ECDSA_P384_SHA384, Some(&rc));
        let channel = channel(&[&rc], &[&below], &dv);
        let check = |answer: &ProposalResponse, msp| check_endorsement(answer, msp, Some(&channel));
        let refused = |answer: &ProposalResponse, msp| check(answer, msp).unwrap_err();

        assert_eq!(check(&endorsed("RcMSP", member(&rc, "peer")), "RcMSP"), Ok(()));
        assert_eq!(check(&endorsed("RcMSP", member(&below, "peer")), "RcMSP"), Ok(()));
        // DV has no units.
        assert_eq!(check(&endorsed("DvMSP", member(&dv, "any")), "DvMSP"), Ok(()));

        let foreign = endorsed("RcMSP", member(&dv, "peer"));
        assert_eq!(refused(&foreign, "RcMSP"), "its certificate is not issued by RcMSP's CA");
        assert_eq!(check_endorsement(&foreign, "RcMSP", None), Ok(()), "nobody knows RC's CA");
        assert_eq!(refused(&endorsed("RcMSP", member(&rc, "client")), "RcMSP"), "its certificate is not a peer's");
        let honest = endorsed("RcMSP", member(&rc, "peer"));
        assert_eq!(refused(&honest, "DvMSP"), "it endorses in the name of RcMSP");
        let sp = endorsed("SpMSP", member(&rc, "peer"));
        assert_eq!(refused(&sp, "SpMSP"), "SpMSP is not on the channel");
        let other = ProposalResponse { payload: b"another result".to_vec(), ..honest.clone() };
        assert_eq!(refused(&other, "RcMSP"), "its endorsement's signature is not valid");
        let none = ProposalResponse { endorsement: None, ..honest };
        assert_eq!(refused(&none, "RcMSP"), "its answer is not endorsed");
    }

    #[test]
    fn a_high_s_and_what_is_no_certificate_are_refused() {
        let rc = authority(&rcgen::PKCS_ECDSA_P256_SHA256, None);
        let mut high = endorsed("RcMSP", member(&rc, "peer"));
        let endorsement = high.endorsement.as_mut().unwrap();
        let low = p256::ecdsa::Signature::from_der(&endorsement.signature).unwrap();
        let turned = p256::ecdsa::Signature::from_scalars(low.r(), -*low.s()).unwrap();
        endorsement.signature = turned.to_der().as_bytes().to_vec();
        assert!(check_endorsement(&high, "RcMSP", None).is_err());
        let mut empty = high.clone();
        empty.endorsement.as_mut().unwrap().endorser = creator("RcMSP", "no certificate");
        assert_eq!(check_endorsement(&empty, "RcMSP", None), Err("its certificate cannot be read".to_owned()));
    }

    /// A peer's certificate on P-384, and what its key signed over "result" and the creator made of it, by OpenSSL; then the same with n - s.
    const P384: &str = "\
-----BEGIN CERTIFICATE-----
MIIB0TCCAVigAwIBAgIUdKbZHD10Kcjh2z/KDhNesYuGdW8wCgYIKoZIzj0EAwIw
HzEOMAwGA1UEAwwFcGVlcjAxDTALBgNVBAsMBHBlZXIwIBcNMjYxMTI4MTQwOTQ1
WhgPMjEyNjExMDQxNDA5NDVaMB8xDjAMBgNVBAMMBXBlZXIwMQ0wCwYDVQQLDARw
ZWVyMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEWVez71YaKj1cXBK0GY1QjznRUX4W
ZE2eGxsvn1xmHdN/bxqN1PwGZDQzb8Iqz4Kf2Rm6u4DqGaajV0IDPYGexHYPzsUD
Aq8mqeWqChbNE9OnF/qyvi6FJ4GwTkH/S8OPo1MwUTAdBgNVHQ4EFgQU8z8GLbco
AGCmSGwzCS21XCTXgbkwHwYDVR0jBBgwFoAU8z8GLbcoAGCmSGwzCS21XCTXgbkw
DwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNnADBkAjBlV3bsHln1uYA9HRX7
okTFJmjbj3v4qu4YOv8DdZYQHtYOuTXDqwL5VkFa5y4zU4oCMFMsgDwIkcEeihLP
U0KewS2SfRWEL9TQnwbGRK8MzaEW3ySgcuImB8Se+mow5QwozQ==
-----END CERTIFICATE-----
";
    const P384_LOW: &str = concat!(
        "3065023100e6d27bd2d620222d332ef6e3714b8ea359039599bbf314bfc8149e92b9d2c21adf9af8bb804f5d1990309f",
        "c1fdb1919702307e924275521e1017642d271a4a6a9f8725162ad80e2b1e2ed82117ef161f304b293ab0f41167014cef",
        "612aa674921cdf",
    );
    const P384_HIGH: &str = concat!(
        "3066023100e6d27bd2d620222d332ef6e3714b8ea359039599bbf314bfc8149e92b9d2c21adf9af8bb804f5d1990309f",
        "c1fdb19197023100816dbd8aade1efe89bd2d8e5b5956078dae9d527f1d4e1d0ef423592de17fd942edf5cbe3749a62d",
        "fd8aeec458330c94",
    );

    #[test]
    fn a_high_s_is_refused_on_p_384_as_well() {
        let check = |signature: &str| {
            let endorser = creator("RcMSP", P384);
            let endorsement = Some(Endorsement { endorser, signature: hex::decode(signature).unwrap() });
            let answer = ProposalResponse { payload: b"result".to_vec(), endorsement, ..Default::default() };
            check_endorsement(&answer, "RcMSP", None)
        };
        assert_eq!(check(P384_LOW), Ok(()));
        assert_eq!(check(P384_HIGH), Err("its endorsement's signature is not valid".to_owned()));
    }

    #[test]
    fn cas_in_doubt_are_read_anew_and_kept_while_that_fails() {
        let rc = authority(&rcgen::PKCS_ECDSA_P256_SHA256, None);
        let rest = Duration::from_secs(60);
        let start = Instant::now();
        let mut known = Known::renewed(None, Some(channel(&[&rc], &[], &rc)), start, rest);
        let first = known.found().unwrap();
        assert!(known.holds(start + HOLD - rest));
        assert!(!known.holds(start + HOLD));
        known.doubt(rest);
        assert!(known.holds(start + rest / 2), "not more often than that");
        assert!(!known.holds(start + rest));
        // They cannot be read: the old ones go on, and are tried again soon.
        let later = start + rest;
        let kept = Known::renewed(Some(known), None, later, rest);
        assert!(Arc::ptr_eq(&kept.found().unwrap(), &first));
        assert!(kept.holds(later + rest / 2) && !kept.holds(later + rest));
        let read = Known::renewed(Some(kept), Some(channel(&[&rc], &[], &rc)), later + rest, rest);
        assert!(!Arc::ptr_eq(&read.found().unwrap(), &first));
        assert!(read.holds(later + HOLD));
        // Where they never could be, nobody knows them.
        let never = Known::renewed(None, None, start, rest);
        assert!(never.found().is_none() && !never.holds(start + rest));
    }

    #[test]
    fn a_ca_whose_kind_of_key_is_not_read_here_is_left_to_the_committers() {
        let (rc, dv) = (authority(&rcgen::PKCS_ED25519, None), authority(&rcgen::PKCS_ECDSA_P256_SHA256, None));
        let channel = channel(&[&rc], &[], &dv);
        for issuer in [&rc, &dv] {
            let answer = endorsed("RcMSP", member(issuer, "peer"));
            assert_eq!(check_endorsement(&answer, "RcMSP", Some(&channel)), Ok(()));
        }
    }
}
