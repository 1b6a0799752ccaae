//! Chains of trust: does a device's certificate lead to an authority that the operator trusts, now, and was nothing on the way
//! revoked? X.509 by RFC 5280, in Vitro's profile:
//!
//! - every key is on P-256 and every signature is ecdsa-with-SHA256, roots included;
//! - an authority says so (`basicConstraints`, `keyUsage` with `keyCertSign`) and stands no deeper than those above it allow;
//! - a device's certificate is no authority's, is for signing (`keyUsage` with `digitalSignature`) and, if it names purposes at all,
//!   for TLS clients;
//! - each certificate of the chain is within its validity, the root too;
//! - each issuer has a current revocation list ([`Crl`]), and nothing below it is on it. Delta and indirect lists are not taken.
//!
//! Every check is made here, so that each way to fail has a code of its own ([`ChainFault`]); what is found good is then given to
//! `rustls-webpki` as a whole, which knows more of DER and name constraints and must agree.
//!
//! This module fetches nothing: roots, intermediates and lists are the caller's, and so is the time. OCSP is not looked at.

mod certificate;
mod crl;
mod fault;
mod path;
mod signature;
#[cfg(test)]
mod tests;

pub use certificate::{Certificate, CertificateId, Serial};
pub use crl::{Crl, CrlNumber, Revocation, RevocationReason};
pub use fault::{BrokenLink, ChainFault, CrlFault};
pub use signature::SeenSignatures;

use pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{EndEntityCert, ExpirationPolicy, KeyUsage, RevocationOptionsBuilder};

use crate::crypto::PublicKey;
use crate::ids::{Hash, UnixMillis};
use certificate::show;
use path::Path;

/// What is asked of a chain beyond its certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChainPolicy {
    /// Every issuer of the chain must have a current revocation list.
    #[default]
    WithRevocation,
    /// Revocation is somebody else's task, as in the contract, which has no lists: suspensions stand on the ledger.
    WithoutRevocation,
}

/// A device's certificate whose whole chain was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedChain {
    /// The device's public key.
    pub public_key: PublicKey,
    /// The subject's common name.
    pub common_name: String,
    /// The certificate's serial number.
    pub serial: Serial,
    /// What AWS IoT calls the certificate's id.
    pub certificate: CertificateId,
    /// The certificates above it: its issuer first, the root last.
    pub issuers: Vec<CertificateId>,
    /// SHA-256 of the issuer's SubjectPublicKeyInfo: with the serial number, it names the certificate for ever.
    pub issuer_key: Hash,
    /// The first instant at which the device's certificate is good.
    pub not_before: UnixMillis,
    /// The last second in which it is good.
    pub not_after: UnixMillis,
}

/// Verifies a device's certificate up to one of the roots.
///
/// `issuers` are the authorities between, in any order; what of them does not belong or cannot be read is passed over. `crls` are
/// revocation lists as [`Crl::verify`] gave them. Where several paths lead to a root, one good path is enough; else the fault of
/// the path that came furthest is told.
///
/// # Errors
/// [`ChainFault`], by the first check that fails: path, keys, signatures and form, purpose, validity from the root down,
/// revocation from the root down.
pub fn verify_chain(
    leaf: &[u8],
    issuers: &[&[u8]],
    roots: &[&[u8]],
    crls: &[&Crl],
    now: UnixMillis,
    policy: ChainPolicy,
) -> Result<VerifiedChain, ChainFault> {
    verify_with(signature::es256(), leaf, issuers, roots, crls, now, policy)
}

/// A device's certificate with the time during which its whole chain is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastingChain {
    /// The chain.
    pub chain: VerifiedChain,
    /// The first instant at which every certificate of it is good.
    pub not_before: UnixMillis,
    /// The last second in which every one is, all of it included.
    pub not_after: UnixMillis,
}

impl LastingChain {
    /// Whether every certificate of the chain is good at an instant.
    #[must_use]
    pub fn holds_at(&self, at: UnixMillis) -> bool {
        (self.not_before.seconds()..=self.not_after.seconds()).contains(&at.seconds())
    }
}

/// Verifies a device's certificate up to one of the roots without asking what time it is: every path that is good at some time, with
/// that time. Revocation is not looked at. Signatures that `seen` remembers are not verified again: of many devices below one authority
/// each costs one.
///
/// # Errors
/// [`ChainFault`] as [`verify_chain`] tells it, if no path is good at any time.
pub fn verify_lasting(
    leaf: &[u8],
    issuers: &[&[u8]],
    roots: &[&[u8]],
    seen: &SeenSignatures,
) -> Result<Vec<LastingChain>, ChainFault> {
    lasting_with(&seen.over(signature::es256()), leaf, issuers, roots)
}

/// [`verify_lasting`] with a given backend.
fn lasting_with(
    es256: &dyn SignatureVerificationAlgorithm,
    leaf: &[u8],
    issuers: &[&[u8]],
    roots: &[&[u8]],
) -> Result<Vec<LastingChain>, ChainFault> {
    let mut lasting = Vec::new();
    let fault = try_paths(leaf, issuers, roots, |path| {
        let chain = path.check_form(es256)?;
        let (not_before, not_after) = path.validity();
        path.check_validity(not_before)?;
        ask_webpki(es256, path, &[], not_before)?;
        lasting.push(LastingChain { chain, not_before, not_after });
        Ok(())
    })?;
    if lasting.is_empty() { Err(fault) } else { Ok(lasting) }
}

/// Checks what can be said of an authority alone: that it may sign certificates, with a key on P-256. Who signed it is not asked.
///
/// # Errors
/// [`ChainFault::WrongCurve`], [`ChainFault::BadChain`].
pub fn check_anchor(certificate: &[u8]) -> Result<(), ChainFault> {
    let certificate = Certificate::read(certificate)
        .map_err(|cause| ChainFault::BadChain { certificate: "the authority".into(), cause })?;
    path::check_may_sign(&certificate)
}

/// Checks that an authority's certificate may stand below another's: named and signed by it, and allowed to sign by both. A root is
/// given as its own issuer. Neither validity nor revocation is asked: those are asked of the whole chain, when it is used.
///
/// # Errors
/// [`ChainFault::UnknownCa`] if it names another issuer; [`ChainFault::WrongCurve`], [`ChainFault::BadChain`].
pub fn check_authority(certificate: &[u8], issuer: &[u8]) -> Result<(), ChainFault> {
    let read = |der| {
        Certificate::read(der).map_err(|cause| ChainFault::BadChain { certificate: "the authority".into(), cause })
    };
    path::check_authority(signature::es256(), &read(certificate)?, &read(issuer)?)
}

/// [`verify_chain`] with a given backend.
fn verify_with(
    es256: &dyn SignatureVerificationAlgorithm,
    leaf: &[u8],
    issuers: &[&[u8]],
    roots: &[&[u8]],
    crls: &[&Crl],
    now: UnixMillis,
    policy: ChainPolicy,
) -> Result<VerifiedChain, ChainFault> {
    let mut good = Vec::new();
    let check = |path: &Path<'_, '_>| match good.is_empty() {
        true => verify_path(es256, path, crls, now, policy).map(|verified| good.push(verified)),
        false => Ok(()),
    };
    let fault = try_paths(leaf, issuers, roots, check)?;
    good.pop().ok_or(fault)
}

/// Looks at every path. Tells the fault of the one that came furthest, or that there is none to a root.
fn try_paths(
    leaf: &[u8],
    issuers: &[&[u8]],
    roots: &[&[u8]],
    mut check: impl FnMut(&Path<'_, '_>) -> Result<(), ChainFault>,
) -> Result<ChainFault, ChainFault> {
    let leaf = Certificate::read(leaf).map_err(|cause| ChainFault::BadChain { certificate: "leaf".into(), cause })?;
    let roots = readable(roots);
    let mut issuers = readable(issuers);
    issuers.retain(|issuer| roots.iter().all(|root| root.der() != issuer.der()));
    let mut furthest: Option<ChainFault> = None;
    for path in &path::find(&leaf, &issuers, &roots)? {
        if let Err(fault) = check(path)
            && furthest.as_ref().is_none_or(|known| fault.step() > known.step())
        {
            furthest = Some(fault);
        }
    }
    Ok(furthest.unwrap_or_else(|| ChainFault::UnknownCa { issuer: show(leaf.issuer()) }))
}

/// What cannot be read cannot lead anywhere.
fn readable<'a>(ders: &[&'a [u8]]) -> Vec<Certificate<'a>> {
    ders.iter().filter_map(|der| Certificate::read(der).ok()).collect()
}

fn verify_path(
    es256: &dyn SignatureVerificationAlgorithm,
    path: &Path<'_, '_>,
    crls: &[&Crl],
    now: UnixMillis,
    policy: ChainPolicy,
) -> Result<VerifiedChain, ChainFault> {
    let verified = path.check_form(es256)?;
    path.check_validity(now)?;
    let lists = match policy {
        ChainPolicy::WithRevocation => path.check_revocation(crls, now)?,
        ChainPolicy::WithoutRevocation => Vec::new(),
    };
    ask_webpki(es256, path, &lists, now)?;
    Ok(verified)
}

/// Gives the very path and the very lists to webpki: what it refuses is refused.
fn ask_webpki(
    es256: &dyn SignatureVerificationAlgorithm,
    path: &Path<'_, '_>,
    lists: &[&Crl],
    now: UnixMillis,
) -> Result<(), ChainFault> {
    let refused = |error| fault::of_webpki(path, error);
    let der = |certificate: &Certificate<'_>| CertificateDer::from(certificate.der().to_vec());
    let leaf = der(path.leaf());
    let leaf = EndEntityCert::try_from(&leaf).map_err(refused)?;
    let root = der(path.root());
    let anchors = [webpki::anchor_from_trusted_cert(&root).map_err(refused)?];
    let between: Vec<_> = path.between().map(der).collect();
    let seconds = u64::try_from(now.seconds()).unwrap_or_default();
    let lists: Vec<&webpki::CertRevocationList<'_>> = lists.iter().map(|list| list.webpki()).collect();
    // Without lists there is nothing to ask: a policy that wants them has refused before.
    let revocation = RevocationOptionsBuilder::new(&lists)
        .ok()
        .map(|options| options.with_expiration_policy(ExpirationPolicy::Enforce).build());
    leaf.verify_for_usage(
        &[es256],
        &anchors,
        &between,
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)),
        KeyUsage::client_auth(),
        revocation,
        None,
    )
    .map(|_| ())
    .map_err(refused)
}
