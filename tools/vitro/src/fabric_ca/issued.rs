//! A certificate that a Fabric CA gave, checked before anybody relies on it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::answer::Enrolled;
use crate::error::CliError;
use crate::instant::show_seconds;
use crate::pki::{self, CertificateFacts};

/// The types of identity by which an MSP with NodeOUs tells roles; the CA writes the type as an organizational unit.
const ROLES: [&str; 4] = ["client", "admin", "peer", "orderer"];

/// A certificate that was found good.
#[derive(Clone, Debug)]
pub struct Issued {
    /// In PEM.
    pub certificate: String,
    /// The CA's certificate and those above it, in PEM.
    pub chain: Vec<String>,
    /// What it says.
    pub facts: CertificateFacts,
}

impl Issued {
    /// Checks that the answer is a certificate of the CA that it shows, for this name and this key, and good now.
    ///
    /// # Errors
    /// [`CliError::NotTaken`].
    pub(super) fn check(answer: &Enrolled, id: &str, key: &[u8], now: i64) -> Result<Self, CliError> {
        let came = pem(&answer.certificate);
        let refused = |why: &str| CliError::NotTaken {
            why: format!("the CA's certificate for {id} is not taken: {why}"),
            certificate: came.clone().unwrap_or_else(|| answer.certificate.clone()),
        };
        let certificate = came.as_deref().ok_or_else(|| refused("it cannot be read"))?;
        let [certificate] = &pki::split(certificate)[..] else { return Err(refused("it is not one certificate")) };
        let chain = pem(&answer.server.chain).map(|text| pki::split(&text)).unwrap_or_default();
        let facts = pki::read_certificate(certificate).map_err(|_| refused("it cannot be read"))?;
        let der = pki::der(certificate).map_err(|_| refused("it cannot be read"))?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| refused("it cannot be read"))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key {
            return Err(refused("it is for another key"));
        }
        if facts.name != id {
            return Err(refused(&format!("it is for {}", facts.name)));
        }
        if facts.validity.not_before > now {
            // The CA's clock is ahead of ours, or ours is behind: peers judge by theirs.
            return Err(refused(&format!("it is good only from {} on", show_seconds(facts.validity.not_before))));
        }
        if facts.validity.not_after < now {
            return Err(refused(&format!("it expired at {}", show_seconds(facts.validity.not_after))));
        }
        chains(&der, &chain, now).map_err(|why| refused(&why))?;
        Ok(Self { certificate: certificate.clone(), chain, facts })
    }

    /// What the identity is to an MSP with NodeOUs; nothing where the type is one that Fabric does not know.
    #[must_use]
    pub fn role(&self) -> Option<&'static str> {
        ROLES.into_iter().find(|role| self.facts.units.iter().any(|unit| unit == role))
    }
}

fn pem(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}

/// Verifies a certificate up to a self-signed one of the chain.
fn chains(leaf: &[u8], chain: &[String], now: i64) -> Result<(), String> {
    let ders: Vec<_> = chain.iter().filter_map(|one| pki::der(one).ok()).map(CertificateDer::from).collect();
    let is_root = |der: &&CertificateDer<'static>| {
        X509Certificate::from_der(der).is_ok_and(|(_, parsed)| parsed.subject() == parsed.issuer())
    };
    let anchors: Vec<_> =
        ders.iter().filter(is_root).filter_map(|der| webpki::anchor_from_trusted_cert(der).ok()).collect();
    if anchors.is_empty() {
        return Err("the CA shows no root".into());
    }
    let leaf = CertificateDer::from(leaf);
    let leaf = EndEntityCert::try_from(&leaf).map_err(|e| e.to_string())?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(now.unsigned_abs()));
    let usage = KeyUsage::client_auth();
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &ders, at, usage, None, None)
        .map(|_| ())
        .map_err(|e| format!("it does not come from the CA that answered: {e}"))
}
