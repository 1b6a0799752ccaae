//! Paths from a certificate to a root, and what is checked on one.

use pki_types::SignatureVerificationAlgorithm;

use super::VerifiedChain;
use super::certificate::{Certificate, show};
use super::crl::Crl;
use super::fault::{BrokenLink, ChainFault};
use crate::ids::UnixMillis;

/// No chain has more authorities between a device and its root; webpki's limit as well.
const MAX_BETWEEN: usize = 6;
/// Authorities that carry the same name under several certificates make several paths. More than this is an attack.
const MAX_PATHS: usize = 16;

/// A device's certificate, the authorities above it, a root: each names the next as its issuer. Nothing else is known of it yet.
pub(super) struct Path<'p, 'a> {
    /// At least two: the leaf first, the root last.
    certificates: Vec<&'p Certificate<'a>>,
}

/// Every path from the leaf to a root, shorter ones first.
///
/// # Errors
/// [`ChainFault::UnknownCa`] if there is none.
pub(super) fn find<'p, 'a>(
    leaf: &'p Certificate<'a>,
    issuers: &'p [Certificate<'a>],
    roots: &'p [Certificate<'a>],
) -> Result<Vec<Path<'p, 'a>>, ChainFault> {
    let mut found = Vec::new();
    // Breadth first, so the work is bounded by the number of partial paths that are kept.
    let mut partial = vec![vec![leaf]];
    let mut last = leaf;
    while !partial.is_empty() {
        let mut longer = Vec::new();
        for path in partial {
            let Some(head) = path.last().copied() else { continue };
            last = head;
            let extended = |next: &'p Certificate<'a>| path.iter().copied().chain([next]).collect::<Vec<_>>();
            for root in roots.iter().filter(|root| head.names_issuer(root)) {
                if found.len() < MAX_PATHS {
                    found.push(Path { certificates: extended(root) });
                }
            }
            if path.len() > MAX_BETWEEN {
                continue;
            }
            for issuer in issuers.iter().filter(|issuer| head.names_issuer(issuer)) {
                let looped = path.iter().any(|known| known.der() == issuer.der());
                if !looped && longer.len() < MAX_PATHS {
                    longer.push(extended(issuer));
                }
            }
        }
        partial = longer;
    }
    if found.is_empty() {
        return Err(ChainFault::UnknownCa { issuer: show(last.issuer()) });
    }
    Ok(found)
}

impl<'p, 'a> Path<'p, 'a> {
    /// The device's certificate.
    pub(super) fn leaf(&self) -> &'p Certificate<'a> {
        self.certificates[0]
    }

    /// The root.
    pub(super) fn root(&self) -> &'p Certificate<'a> {
        self.certificates[self.certificates.len() - 1]
    }

    /// The authorities between, the leaf's issuer first.
    pub(super) fn between(&self) -> impl Iterator<Item = &'p Certificate<'a>> {
        self.certificates[1..self.certificates.len() - 1].iter().copied()
    }

    /// Each certificate below the root with its issuer, from the root down.
    fn links_down(&self) -> impl Iterator<Item = (&'p Certificate<'a>, &'p Certificate<'a>)> {
        self.certificates.windows(2).rev().map(|pair| (pair[0], pair[1]))
    }

    fn is_leaf(&self, certificate: &Certificate<'_>) -> bool {
        certificate.der() == self.leaf().der()
    }

    /// Checks keys, signatures, and that each certificate may stand where it stands.
    pub(super) fn check_form(&self, es256: &dyn SignatureVerificationAlgorithm) -> Result<VerifiedChain, ChainFault> {
        for certificate in self.certificates.iter().rev() {
            if certificate.public_key().is_none() {
                return Err(ChainFault::WrongCurve { certificate: certificate.label() });
            }
        }
        // A root that is signed by another (one that the operator has pinned) is taken as it is; its own signature shows that
        // not a bit of it has changed.
        if self.root().is_self_issued() {
            check_signature(es256, self.root(), self.root())?;
        }
        for (certificate, issuer) in self.links_down() {
            check_signature(es256, certificate, issuer)?;
        }
        for (depth, authority) in self.certificates.iter().enumerate().skip(1) {
            let broken = |cause| Err(ChainFault::BadChain { certificate: authority.label(), cause });
            if !authority.is_authority() {
                return broken(BrokenLink::NotAnAuthority);
            }
            if !authority.may_sign_certificates() {
                return broken(BrokenLink::KeyUsage);
            }
            let follow = depth - 1;
            if authority.path_length().is_some_and(|limit| usize::try_from(limit).is_ok_and(|limit| follow > limit)) {
                return broken(BrokenLink::PathLength);
            }
        }
        self.check_leaf()
    }

    fn check_leaf(&self) -> Result<VerifiedChain, ChainFault> {
        let leaf = self.leaf();
        if leaf.is_authority() {
            return Err(ChainFault::NotADeviceCertificate("it is an authority's"));
        }
        leaf.check_purpose().map_err(ChainFault::NotADeviceCertificate)?;
        let common_name = leaf.common_name().ok_or(ChainFault::NotADeviceCertificate("it has not one common name"))?;
        let public_key = leaf.public_key().ok_or_else(|| ChainFault::WrongCurve { certificate: leaf.label() })?;
        Ok(VerifiedChain {
            public_key,
            common_name: common_name.to_owned(),
            serial: leaf.serial().clone(),
            certificate: leaf.id(),
            issuers: self.certificates[1..].iter().map(|issuer| issuer.id()).collect(),
            issuer_key: self.certificates[1].key_hash(),
            not_before: leaf.not_before(),
            not_after: leaf.not_after(),
        })
    }

    /// The first and the last second in which every certificate is within its validity; the wrong way round if there is none.
    pub(super) fn validity(&self) -> (UnixMillis, UnixMillis) {
        let leaf = self.leaf();
        self.certificates.iter().fold((leaf.not_before(), leaf.not_after()), |(begin, end), certificate| {
            (begin.max(certificate.not_before()), end.min(certificate.not_after()))
        })
    }

    /// Checks that every certificate is within its validity, both seconds included (RFC 5280, section 4.1.2.5).
    pub(super) fn check_validity(&self, now: UnixMillis) -> Result<(), ChainFault> {
        for certificate in self.certificates.iter().rev() {
            let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
            let leaf = self.is_leaf(certificate);
            let issuer = || certificate.label();
            if now.seconds() < not_before.seconds() {
                return Err(if leaf {
                    ChainFault::CertificateNotYetValid { not_before }
                } else {
                    ChainFault::IssuerNotYetValid { issuer: issuer(), not_before }
                });
            }
            if now.seconds() > not_after.seconds() {
                return Err(if leaf {
                    ChainFault::CertificateExpired { not_after }
                } else {
                    ChainFault::IssuerExpired { issuer: issuer(), not_after }
                });
            }
        }
        Ok(())
    }

    /// Looks every certificate but the root up in its issuer's newest list that covers it. A root is not revoked, it is taken out of
    /// the trust store. Gives the lists that were used.
    pub(super) fn check_revocation<'c>(&self, crls: &[&'c Crl], now: UnixMillis) -> Result<Vec<&'c Crl>, ChainFault> {
        let mut used = Vec::new();
        for (certificate, issuer) in self.links_down() {
            let newest = crls
                .iter()
                .filter(|list| list.is_of(issuer) && list.covers(certificate) && list.this_update() <= now)
                .max_by_key(|list| list.number());
            let list: &'c Crl = newest
                .ok_or_else(|| ChainFault::CrlMissing { issuer: issuer.label(), certificate: certificate.label() })?;
            if list.is_stale(now) {
                return Err(ChainFault::CrlExpired { issuer: issuer.label(), next_update: list.next_update() });
            }
            if let Some(revocation) = list.revocation(certificate.serial()) {
                let (at, reason) = (revocation.at, revocation.reason);
                return Err(if self.is_leaf(certificate) {
                    ChainFault::CertificateRevoked { at, reason }
                } else {
                    ChainFault::IssuerRevoked { issuer: certificate.label(), at, reason }
                });
            }
            used.push(list);
        }
        Ok(used)
    }
}

/// Checks an authority's certificate and its issuer's as far as the two alone can tell.
pub(super) fn check_authority(
    es256: &dyn SignatureVerificationAlgorithm,
    certificate: &Certificate<'_>,
    issuer: &Certificate<'_>,
) -> Result<(), ChainFault> {
    if !certificate.names_issuer(issuer) {
        return Err(ChainFault::UnknownCa { issuer: show(certificate.issuer()) });
    }
    check_may_sign(certificate)?;
    check_may_sign(issuer)?;
    if certificate.der() != issuer.der() && issuer.path_length() == Some(0) {
        return Err(ChainFault::BadChain { certificate: issuer.label(), cause: BrokenLink::PathLength });
    }
    check_signature(es256, certificate, issuer)
}

/// Checks that a certificate is an authority's that may sign others, by a key on P-256.
pub(super) fn check_may_sign(authority: &Certificate<'_>) -> Result<(), ChainFault> {
    let broken = |cause| Err(ChainFault::BadChain { certificate: authority.label(), cause });
    if authority.public_key().is_none() {
        return Err(ChainFault::WrongCurve { certificate: authority.label() });
    }
    if !authority.is_authority() {
        return broken(BrokenLink::NotAnAuthority);
    }
    if !authority.may_sign_certificates() {
        return broken(BrokenLink::KeyUsage);
    }
    Ok(())
}

fn check_signature(
    es256: &dyn SignatureVerificationAlgorithm,
    certificate: &Certificate<'_>,
    issuer: &Certificate<'_>,
) -> Result<(), ChainFault> {
    let key = issuer.public_key().ok_or_else(|| ChainFault::WrongCurve { certificate: issuer.label() })?;
    certificate
        .check_signature(es256, &key)
        .map_err(|cause| ChainFault::BadChain { certificate: certificate.label(), cause })
}
