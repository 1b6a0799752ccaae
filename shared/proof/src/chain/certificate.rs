//! One certificate, read and not yet believed.

use std::fmt;
use std::str::FromStr;

use pki_types::SignatureVerificationAlgorithm;
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_SIG_ECDSA_WITH_SHA256;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AlgorithmIdentifier, X509Name, X509Version};

use super::fault::BrokenLink;
use crate::crypto::{PublicKey, sha256};
use crate::error::ProofError;
use crate::ids::{Hash, UnixMillis};

/// The SubjectPublicKeyInfo of a P-256 key before its uncompressed point: there is no other way to write it in DER.
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The critical extensions that are checked here or by webpki: `keyUsage`, `subjectAltName`, `basicConstraints`, `nameConstraints`,
/// `cRLDistributionPoints`, `extKeyUsage`.
const KNOWN_CRITICAL: [&str; 6] = ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.31", "2.5.29.37"];

/// What AWS IoT calls a certificate's id: SHA-256 of its DER.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CertificateId(pub Hash);

impl CertificateId {
    /// The id of a certificate in DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(sha256(&[der]))
    }
}

impl fmt::Display for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for CertificateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateId({self})")
    }
}

impl FromStr for CertificateId {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A certificate's serial number: a positive integer of at most 20 bytes (RFC 5280, section 4.1.2.2), written as lower-case
/// hexadecimal of whole bytes without leading zero bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(Vec<u8>);

impl Serial {
    /// Takes the content of a DER integer, or the same without its sign byte.
    ///
    /// # Errors
    /// [`ProofError::BadName`] if it is zero or too long.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProofError> {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        match &bytes[zeros..] {
            [] => Err(bad_serial(bytes)),
            bytes if bytes.len() > 20 => Err(bad_serial(bytes)),
            bytes => Ok(Self(bytes.to_vec())),
        }
    }

    /// The content of a DER integer.
    fn from_der(bytes: &[u8]) -> Result<Self, BrokenLink> {
        if bytes.first().is_none_or(|first| first & 0x80 != 0) {
            return Err(BrokenLink::Serial);
        }
        Self::from_bytes(bytes).map_err(|_| BrokenLink::Serial)
    }

    /// The number's bytes, big-endian, without leading zeros.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn bad_serial(bytes: &[u8]) -> ProofError {
    ProofError::BadName { what: "serial number", text: hex::encode(&bytes[..bytes.len().min(40)]) }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

impl FromStr for Serial {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = hex::decode(text)
            .map_err(|_| ProofError::BadName { what: "serial number", text: text.chars().take(80).collect() })?;
        Self::from_bytes(&bytes)
    }
}

impl TryFrom<String> for Serial {
    type Error = ProofError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.to_string()
    }
}

/// A certificate that could be read. Nothing in it is believed until [`super::verify_chain`] says so.
#[derive(Clone, Debug)]
pub struct Certificate<'a> {
    der: &'a [u8],
    parsed: X509Certificate<'a>,
    serial: Serial,
}

impl<'a> Certificate<'a> {
    /// Reads one certificate in DER.
    ///
    /// # Errors
    /// [`BrokenLink::Unreadable`], [`BrokenLink::Serial`] or [`BrokenLink::Extension`] if its form is wrong.
    pub fn read(der: &'a [u8]) -> Result<Self, BrokenLink> {
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|e| BrokenLink::Unreadable(e.to_string()))?;
        if !rest.is_empty() {
            return Err(BrokenLink::Unreadable("bytes follow it".into()));
        }
        if parsed.version() != X509Version::V3 {
            return Err(BrokenLink::Unreadable("not of version 3".into()));
        }
        let serial = Serial::from_der(parsed.raw_serial())?;
        let unknown = |oid: &str| !KNOWN_CRITICAL.contains(&oid);
        if parsed.extensions_map().is_err()
            || parsed.extensions().iter().any(|extension| extension.parsed_extension().error().is_some())
            || parsed.extensions().iter().any(|extension| extension.critical && unknown(&extension.oid.to_id_string()))
        {
            return Err(BrokenLink::Extension);
        }
        Ok(Self { der, parsed, serial })
    }

    /// The certificate's bytes.
    #[must_use]
    pub fn der(&self) -> &'a [u8] {
        self.der
    }

    /// What AWS IoT calls its id.
    #[must_use]
    pub fn id(&self) -> CertificateId {
        CertificateId::of(self.der)
    }

    /// Its serial number.
    #[must_use]
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// The subject's common name, if it has exactly one.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        let mut names = self.parsed.subject().iter_common_name();
        match (names.next(), names.next()) {
            (Some(name), None) => name.as_str().ok(),
            _ => None,
        }
    }

    /// The first instant at which it is good.
    #[must_use]
    pub fn not_before(&self) -> UnixMillis {
        millis(self.parsed.validity().not_before.timestamp())
    }

    /// The last second in which it is good.
    #[must_use]
    pub fn not_after(&self) -> UnixMillis {
        millis(self.parsed.validity().not_after.timestamp())
    }

    /// Its key, if that has the form of one of P-256. Whether the point lies on the curve is for a verifier to say.
    #[must_use]
    pub fn public_key(&self) -> Option<PublicKey> {
        self.parsed.public_key().raw.strip_prefix(&P256_SPKI).and_then(|point| PublicKey::from_sec1(point).ok())
    }

    /// SHA-256 of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn key_hash(&self) -> Hash {
        sha256(&[self.parsed.public_key().raw])
    }

    /// Whether it says that it is an authority's.
    #[must_use]
    pub fn is_authority(&self) -> bool {
        matches!(self.parsed.basic_constraints(), Ok(Some(constraints)) if constraints.value.ca)
    }

    /// Where the revocation list that it could be on is found, as its issuer wrote it.
    #[must_use]
    pub fn crl_urls(&self) -> Vec<&str> {
        self.parsed
            .iter_extensions()
            .flat_map(|extension| match extension.parsed_extension() {
                ParsedExtension::CRLDistributionPoints(points) => {
                    points.iter().flat_map(|point| uris(point.distribution_point.as_ref())).collect()
                }
                _ => Vec::new(),
            })
            .collect()
    }

    /// The DER of its subject's name.
    pub(super) fn subject_raw(&self) -> &[u8] {
        self.parsed.subject().as_raw()
    }

    /// Its issuer's name.
    pub(super) fn issuer(&self) -> &X509Name<'a> {
        &self.parsed.tbs_certificate.issuer
    }

    /// Its subject, for people.
    pub(super) fn label(&self) -> String {
        show(self.parsed.subject())
    }

    /// Whether the other could have issued this one: the names are the same, and so are the key identifiers where both have one.
    pub(super) fn names_issuer(&self, issuer: &Certificate<'_>) -> bool {
        if self.issuer().as_raw() != issuer.subject_raw() {
            return false;
        }
        let wanted = self.parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
            _ => None,
        });
        let has = issuer.parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
            _ => None,
        });
        wanted.is_none() || has.is_none() || wanted == has
    }

    /// Whether it carries its own issuer's name.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.subject_raw() == self.issuer().as_raw()
    }

    /// How many authorities may follow it, if it says so.
    pub(super) fn path_length(&self) -> Option<u32> {
        self.parsed.basic_constraints().ok().flatten().and_then(|constraints| constraints.value.path_len_constraint)
    }

    /// Whether it may sign certificates.
    pub(super) fn may_sign_certificates(&self) -> bool {
        matches!(self.parsed.key_usage(), Ok(Some(usage)) if usage.value.key_cert_sign())
    }

    /// Whether it may sign revocation lists.
    pub(super) fn may_sign_lists(&self) -> bool {
        matches!(self.parsed.key_usage(), Ok(Some(usage)) if usage.value.crl_sign())
    }

    /// Whether it may sign messages, and connect as a TLS client.
    pub(super) fn check_purpose(&self) -> Result<(), &'static str> {
        if !matches!(self.parsed.key_usage(), Ok(Some(usage)) if usage.value.digital_signature()) {
            return Err("its key usage does not allow it to sign");
        }
        match self.parsed.extended_key_usage() {
            Ok(None) => Ok(()),
            Ok(Some(usage)) if usage.value.client_auth => Ok(()),
            _ => Err("it is not for TLS clients"),
        }
    }

    /// Checks its signature under a key.
    pub(super) fn check_signature(
        &self,
        es256: &dyn SignatureVerificationAlgorithm,
        issuer: &PublicKey,
    ) -> Result<(), BrokenLink> {
        let certificate = &self.parsed;
        if !is_es256(&certificate.signature_algorithm)
            || certificate.tbs_certificate.signature != certificate.signature_algorithm
        {
            return Err(BrokenLink::Algorithm);
        }
        if certificate.signature_value.unused_bits != 0 {
            return Err(BrokenLink::Signature);
        }
        es256
            .verify_signature(
                issuer.as_bytes(),
                certificate.tbs_certificate.as_ref(),
                &certificate.signature_value.data,
            )
            .map_err(|_| BrokenLink::Signature)
    }
}

/// Whether an algorithm is ecdsa-with-SHA256, which has no parameters (RFC 5758, section 3.2).
pub(super) fn is_es256(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    algorithm.algorithm == OID_SIG_ECDSA_WITH_SHA256 && algorithm.parameters.is_none()
}

/// The addresses in the name of a distribution point.
pub(super) fn uris<'n>(name: Option<&'n DistributionPointName<'_>>) -> Vec<&'n str> {
    let Some(DistributionPointName::FullName(names)) = name else { return Vec::new() };
    let uri = |name: &'n GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    };
    names.iter().filter_map(uri).collect()
}

/// A name for people: strangers choose it, so it is quoted and cut.
pub(super) fn show(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().next().and_then(|name| name.as_str().ok());
    let whole = || name.to_string();
    format!("{:?}", common.map_or_else(whole, str::to_owned).chars().take(80).collect::<String>())
}

pub(super) fn millis(seconds: i64) -> UnixMillis {
    UnixMillis(seconds.saturating_mul(1000))
}
