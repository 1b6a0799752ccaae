//! Certificate revocation lists (RFC 5280, section 5).
//!
//! A list is taken whole or not at all. `certificateHold` counts as a revocation: while its authority holds a certificate back, its
//! device is not believed. Whether a hold that is lifted lets the device back in is the caller's decision.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use pki_types::SignatureVerificationAlgorithm;
use serde::{Deserialize, Serialize};
use x509_parser::extensions::{IssuingDistributionPoint, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::{CertificateRevocationList, RevokedCertificate};

use super::certificate::{Certificate, Serial, is_es256, millis, uris};
use super::fault::CrlFault;
use super::signature;
use crate::crypto::{PublicKey, sha256};
use crate::error::ProofError;
use crate::ids::{Hash, UnixMillis};

/// A list's number: it grows from list to list and has at most 20 bytes (RFC 5280, section 5.2.3). Written as hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CrlNumber([u8; 20]);

impl CrlNumber {
    /// Takes a number, big-endian.
    ///
    /// # Errors
    /// [`ProofError::BadLength`] if it has more than 20 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProofError> {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let bytes = &bytes[zeros..];
        let mut number = [0; 20];
        let Some(start) = number.len().checked_sub(bytes.len()) else {
            return Err(ProofError::BadLength { what: "CRL number", expected: 20, found: bytes.len() });
        };
        number[start..].copy_from_slice(bytes);
        Ok(Self(number))
    }
}

impl From<u64> for CrlNumber {
    fn from(number: u64) -> Self {
        let mut bytes = [0; 20];
        bytes[12..].copy_from_slice(&number.to_be_bytes());
        Self(bytes)
    }
}

impl fmt::Display for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = hex::encode(self.0);
        let digits = digits.trim_start_matches('0');
        f.write_str(if digits.is_empty() { "0" } else { digits })
    }
}

impl fmt::Debug for CrlNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CrlNumber({self})")
    }
}

impl FromStr for CrlNumber {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ProofError::BadName { what: "CRL number", text: text.chars().take(80).collect() };
        if text.is_empty() || text.len() > 40 {
            return Err(bad());
        }
        Self::from_bytes(&hex::decode(format!("{text:0>40}")).map_err(|_| bad())?)
    }
}

impl TryFrom<String> for CrlNumber {
    type Error = ProofError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CrlNumber> for String {
    fn from(number: CrlNumber) -> Self {
        number.to_string()
    }
}

/// Why a certificate was revoked, as its authority says (RFC 5280, section 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RevocationReason {
    /// The authority does not say.
    Unspecified,
    /// The device's private key is or may be known to others.
    KeyCompromise,
    /// The authority's private key is or may be known to others.
    CaCompromise,
    /// The subject's name or belonging has changed.
    AffiliationChanged,
    /// Another certificate has taken its place.
    Superseded,
    /// It is not needed any more.
    CessationOfOperation,
    /// Held back for now.
    CertificateHold,
    /// A privilege that it stood for was taken back.
    PrivilegeWithdrawn,
    /// The attribute authority is compromised.
    AaCompromise,
}

impl RevocationReason {
    /// The reason's name in RFC 5280.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::CaCompromise => "cACompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::CertificateHold => "certificateHold",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
            Self::AaCompromise => "aACompromise",
        }
    }

    fn of_code(code: u8) -> Result<Self, CrlFault> {
        Ok(match code {
            0 => Self::Unspecified,
            1 => Self::KeyCompromise,
            2 => Self::CaCompromise,
            3 => Self::AffiliationChanged,
            4 => Self::Superseded,
            5 => Self::CessationOfOperation,
            6 => Self::CertificateHold,
            9 => Self::PrivilegeWithdrawn,
            10 => Self::AaCompromise,
            // Whoever writes that a certificate is taken from the list means a list that this one is a delta to.
            8 => return Err(CrlFault::Unsupported("removeFromCRL belongs into delta lists")),
            _ => return Err(CrlFault::Unreadable("an unknown reason".into())),
        })
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// When the authority revoked the certificate.
    pub at: UnixMillis,
    /// Why.
    pub reason: RevocationReason,
}

/// Which certificates a list speaks of.
#[derive(Debug, Default)]
struct Scope {
    /// Only of devices' and not of authorities' certificates.
    only_users: bool,
    /// Only of authorities' certificates.
    only_authorities: bool,
    /// Only of certificates that name one of these places, if there are any: one part of several.
    places: Option<Vec<String>>,
}

/// A revocation list whose signature was verified. Whether it is current is asked at the instant of use.
#[derive(Debug)]
pub struct Crl {
    hash: Hash,
    issuer_name: Vec<u8>,
    issuer_key: PublicKey,
    number: CrlNumber,
    this_update: UnixMillis,
    next_update: UnixMillis,
    revoked: BTreeMap<Serial, Revocation>,
    scope: Scope,
    webpki: webpki::CertRevocationList<'static>,
}

impl Crl {
    /// Reads a list in DER and verifies that this authority signed it. The authority's own chain is not looked at.
    ///
    /// # Errors
    /// [`CrlFault`], but for the faults of time and number.
    pub fn verify(der: &[u8], issuer: &[u8]) -> Result<Self, CrlFault> {
        Self::verify_with(signature::es256(), der, issuer)
    }

    /// [`Self::verify`] and [`Self::check_current`].
    ///
    /// # Errors
    /// [`CrlFault`], but for that of the number: see [`Self::check_follows`].
    pub fn parse_and_verify(der: &[u8], issuer: &[u8], now: UnixMillis) -> Result<Self, CrlFault> {
        let list = Self::verify(der, issuer)?;
        list.check_current(now)?;
        Ok(list)
    }

    pub(super) fn verify_with(
        es256: &dyn SignatureVerificationAlgorithm,
        der: &[u8],
        issuer: &[u8],
    ) -> Result<Self, CrlFault> {
        let unreadable = |what: &str| CrlFault::Unreadable(what.to_owned());
        let issuer = Certificate::read(issuer).map_err(|_| CrlFault::OtherIssuer("its certificate is not readable"))?;
        let (rest, list) = CertificateRevocationList::from_der(der).map_err(|e| CrlFault::Unreadable(e.to_string()))?;
        if !rest.is_empty() {
            return Err(unreadable("bytes follow it"));
        }
        if list.issuer().as_raw() != issuer.subject_raw() {
            return Err(CrlFault::OtherIssuer("it carries another name"));
        }
        let issuer_key = issuer.public_key().ok_or(CrlFault::OtherIssuer("its key is not one of P-256"))?;
        if !issuer.is_authority() || !issuer.may_sign_lists() {
            return Err(CrlFault::OtherIssuer("its certificate does not allow it to sign lists"));
        }
        if !is_es256(&list.signature_algorithm)
            || list.tbs_cert_list.signature != list.signature_algorithm
            || list.signature_value.unused_bits != 0
        {
            return Err(CrlFault::BadSignature);
        }
        es256
            .verify_signature(issuer_key.as_bytes(), list.tbs_cert_list.as_ref(), &list.signature_value.data)
            .map_err(|_| CrlFault::BadSignature)?;

        let (number, scope) = read_extensions(&list)?;
        let next_update = list.next_update().ok_or_else(|| unreadable("it has no next update"))?;
        let webpki = webpki::OwnedCertRevocationList::from_der(der).map_err(of_webpki)?;
        Ok(Self {
            hash: sha256(&[der]),
            issuer_name: list.issuer().as_raw().to_vec(),
            issuer_key,
            number,
            this_update: millis(list.last_update().timestamp()),
            next_update: millis(next_update.timestamp()),
            revoked: read_entries(&list)?,
            scope,
            webpki: webpki.into(),
        })
    }

    /// SHA-256 of its DER.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> CrlNumber {
        self.number
    }

    /// When it was made.
    #[must_use]
    pub fn this_update(&self) -> UnixMillis {
        self.this_update
    }

    /// From when on it is out of date.
    #[must_use]
    pub fn next_update(&self) -> UnixMillis {
        self.next_update
    }

    /// What it revokes, by serial number.
    pub fn revoked(&self) -> impl Iterator<Item = (&Serial, &Revocation)> {
        self.revoked.iter()
    }

    /// What it says of a serial number.
    #[must_use]
    pub fn revocation(&self, serial: &Serial) -> Option<&Revocation> {
        self.revoked.get(serial)
    }

    /// Checks that it is neither out of date nor of the future.
    ///
    /// # Errors
    /// [`CrlFault::Stale`], [`CrlFault::NotYetValid`].
    pub fn check_current(&self, now: UnixMillis) -> Result<(), CrlFault> {
        if now < self.this_update {
            return Err(CrlFault::NotYetValid { this_update: self.this_update });
        }
        if self.is_stale(now) {
            return Err(CrlFault::Stale { next_update: self.next_update });
        }
        Ok(())
    }

    /// Checks that its number is not below that of the newest list known before. The same number is the same list again.
    ///
    /// # Errors
    /// [`CrlFault::NumberBackwards`].
    pub fn check_follows(&self, known: CrlNumber) -> Result<(), CrlFault> {
        if self.number < known {
            return Err(CrlFault::NumberBackwards { number: self.number, known });
        }
        Ok(())
    }

    pub(super) fn is_stale(&self, now: UnixMillis) -> bool {
        now >= self.next_update
    }

    /// Whether it was signed by this authority, under this or another certificate of the same key and name.
    pub(super) fn is_of(&self, issuer: &Certificate<'_>) -> bool {
        self.issuer_name == issuer.subject_raw() && issuer.public_key() == Some(self.issuer_key)
    }

    /// Whether a certificate of its issuer would stand on it, were it revoked. One part of a list in several speaks only of those
    /// certificates that name its place; one that names no place may be on any part.
    pub(super) fn covers(&self, certificate: &Certificate<'_>) -> bool {
        if certificate.is_authority() && self.scope.only_users
            || !certificate.is_authority() && self.scope.only_authorities
        {
            return false;
        }
        match &self.scope.places {
            None => true,
            Some(places) => certificate.crl_urls().iter().any(|url| places.iter().any(|place| place == url)),
        }
    }

    pub(super) fn webpki(&self) -> &webpki::CertRevocationList<'static> {
        &self.webpki
    }
}

fn read_extensions(list: &CertificateRevocationList<'_>) -> Result<(CrlNumber, Scope), CrlFault> {
    let mut number = None;
    let mut scope = Scope::default();
    if list.tbs_cert_list.extensions_map().is_err() {
        return Err(CrlFault::Unreadable("an extension twice".into()));
    }
    for extension in list.extensions() {
        if extension.oid.to_id_string() == "2.5.29.27" {
            return Err(CrlFault::Unsupported("a delta list"));
        }
        match extension.parsed_extension() {
            ParsedExtension::CRLNumber(value) => {
                let value = CrlNumber::from_bytes(&value.to_bytes_be());
                number = Some(value.map_err(|_| CrlFault::Unreadable("its number is too long".into()))?);
            }
            ParsedExtension::IssuingDistributionPoint(point) => scope = read_scope(point)?,
            ParsedExtension::AuthorityKeyIdentifier(_) => {}
            parsed if parsed.error().is_some() => {
                return Err(CrlFault::Unreadable(format!("the extension {}", extension.oid)));
            }
            _ if extension.critical => return Err(CrlFault::Unsupported("an unknown critical extension")),
            _ => {}
        }
    }
    let number = number.ok_or_else(|| CrlFault::Unreadable("it has no number".into()))?;
    Ok((number, scope))
}

fn read_scope(point: &IssuingDistributionPoint<'_>) -> Result<Scope, CrlFault> {
    if point.indirect_crl {
        return Err(CrlFault::Unsupported("an indirect list"));
    }
    if point.only_some_reasons.is_some() {
        return Err(CrlFault::Unsupported("a list of only some reasons"));
    }
    if point.only_contains_attribute_certs {
        return Err(CrlFault::Unsupported("a list of attribute certificates"));
    }
    let places = point.distribution_point.as_ref().map(|name| uris(Some(name)));
    if places.as_ref().is_some_and(Vec::is_empty) {
        return Err(CrlFault::Unsupported("its place is not named by an address"));
    }
    Ok(Scope {
        only_users: point.only_contains_user_certs,
        only_authorities: point.only_contains_ca_certs,
        places: places.map(|places| places.into_iter().map(str::to_owned).collect()),
    })
}

fn read_entries(list: &CertificateRevocationList<'_>) -> Result<BTreeMap<Serial, Revocation>, CrlFault> {
    let mut revoked = BTreeMap::new();
    for entry in list.iter_revoked_certificates() {
        let serial = Serial::from_bytes(entry.raw_serial())
            .map_err(|_| CrlFault::Unreadable("a serial number is zero or too long".into()))?;
        let revocation = read_entry(entry)?;
        // Named twice: revoked since the first time.
        let known = revoked.entry(serial).or_insert(revocation);
        if revocation.at < known.at {
            *known = revocation;
        }
    }
    Ok(revoked)
}

fn read_entry(entry: &RevokedCertificate<'_>) -> Result<Revocation, CrlFault> {
    let mut reason = RevocationReason::Unspecified;
    for extension in entry.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::ReasonCode(code) => reason = RevocationReason::of_code(code.0)?,
            ParsedExtension::InvalidityDate(_) => {}
            // certificateIssuer is one of these: it makes an entry another authority's.
            _ if extension.critical => return Err(CrlFault::Unsupported("an entry with a critical extension")),
            parsed if parsed.error().is_some() => {
                return Err(CrlFault::Unreadable(format!("an entry's extension {}", extension.oid)));
            }
            _ => {}
        }
    }
    Ok(Revocation { at: millis(entry.revocation_date.timestamp()), reason })
}

/// What webpki says of a list that was read before: it is stricter with DER.
fn of_webpki(error: webpki::Error) -> CrlFault {
    use webpki::Error;
    match error {
        Error::UnsupportedDeltaCrl => CrlFault::Unsupported("a delta list"),
        Error::UnsupportedIndirectCrl => CrlFault::Unsupported("an indirect list"),
        Error::UnsupportedCriticalExtension => CrlFault::Unsupported("an unknown critical extension"),
        Error::UnsupportedCrlIssuingDistributionPoint => CrlFault::Unsupported("its scope"),
        Error::UnsupportedRevocationReasonsPartitioning => CrlFault::Unsupported("a list of only some reasons"),
        other => CrlFault::Unreadable(other.to_string()),
    }
}
