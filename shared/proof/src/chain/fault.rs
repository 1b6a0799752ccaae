//! What can be wrong with a chain or a revocation list, each with its reason code (`docs/reasons.md`, "Chain").

use thiserror::Error;

use super::crl::{CrlNumber, RevocationReason};
use super::path::Path;
use crate::error::Reason;
use crate::ids::UnixMillis;

/// Why a device's certificate is not believed. Names come out of certificates, so they are shown quoted and cut.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChainFault {
    /// No path leads to a trusted root.
    #[error("no trusted authority is {issuer}")]
    UnknownCa {
        /// Who signed the last certificate that was found.
        issuer: String,
    },
    /// A key of the chain is not a point of P-256 in uncompressed form.
    #[error("the key of {certificate} is not one of P-256")]
    WrongCurve {
        /// Whose key.
        certificate: String,
    },
    /// A certificate of the chain is malformed, does not verify, or may not stand where it stands.
    #[error("{certificate}: {cause}")]
    BadChain {
        /// Which certificate.
        certificate: String,
        /// What is wrong with it.
        cause: BrokenLink,
    },
    /// The certificate is good, but not one of a device.
    #[error("not a device's certificate: {0}")]
    NotADeviceCertificate(&'static str),
    /// An authority's certificate has expired.
    #[error("the authority {issuer} expired")]
    IssuerExpired {
        /// Which authority.
        issuer: String,
        /// The last second in which it was good.
        not_after: UnixMillis,
    },
    /// An authority's certificate is not valid yet.
    #[error("the authority {issuer} is not valid yet")]
    IssuerNotYetValid {
        /// Which authority.
        issuer: String,
        /// The first instant at which it is good.
        not_before: UnixMillis,
    },
    /// The device's certificate has expired.
    #[error("the certificate expired")]
    CertificateExpired {
        /// The last second in which it was good.
        not_after: UnixMillis,
    },
    /// The device's certificate is not valid yet.
    #[error("the certificate is not valid yet")]
    CertificateNotYetValid {
        /// The first instant at which it is good.
        not_before: UnixMillis,
    },
    /// An issuer has no revocation list that covers what it signed: nobody knows what is revoked.
    #[error("no revocation list of {issuer} covers {certificate}")]
    CrlMissing {
        /// Whose list.
        issuer: String,
        /// The certificate that was to be looked up.
        certificate: String,
    },
    /// The newest revocation list of an issuer should have been replaced by now.
    #[error("the revocation list of {issuer} is out of date")]
    CrlExpired {
        /// Whose list.
        issuer: String,
        /// When the next one was due.
        next_update: UnixMillis,
    },
    /// An authority of the chain was revoked by the one above it.
    #[error("the authority {issuer} was revoked ({reason})")]
    IssuerRevoked {
        /// Which authority.
        issuer: String,
        /// When.
        at: UnixMillis,
        /// Why, as its issuer says.
        reason: RevocationReason,
    },
    /// The device's certificate was revoked.
    #[error("the certificate was revoked ({reason})")]
    CertificateRevoked {
        /// When.
        at: UnixMillis,
        /// Why, as its issuer says.
        reason: RevocationReason,
    },
}

impl Reason for ChainFault {
    fn reason(&self) -> &'static str {
        match self {
            Self::UnknownCa { .. } => "unknown_ca",
            Self::WrongCurve { .. } => "wrong_curve",
            Self::BadChain { .. } => "bad_chain",
            Self::NotADeviceCertificate(_) => "not_a_device_certificate",
            Self::IssuerExpired { .. } => "issuer_expired",
            Self::IssuerNotYetValid { .. } => "issuer_not_yet_valid",
            Self::CertificateExpired { .. } => "certificate_expired",
            Self::CertificateNotYetValid { .. } => "certificate_not_yet_valid",
            Self::CrlMissing { .. } => "crl_missing",
            Self::CrlExpired { .. } => "crl_expired",
            Self::IssuerRevoked { .. } => "issuer_revoked",
            Self::CertificateRevoked { .. } => "certificate_revoked",
        }
    }
}

impl ChainFault {
    /// How far a path came before it failed.
    pub(super) fn step(&self) -> u8 {
        match self {
            Self::UnknownCa { .. } => 0,
            Self::WrongCurve { .. } => 1,
            Self::BadChain { .. } => 2,
            Self::NotADeviceCertificate(_) => 3,
            Self::IssuerExpired { .. }
            | Self::IssuerNotYetValid { .. }
            | Self::CertificateExpired { .. }
            | Self::CertificateNotYetValid { .. } => 4,
            Self::CrlMissing { .. }
            | Self::CrlExpired { .. }
            | Self::IssuerRevoked { .. }
            | Self::CertificateRevoked { .. } => 5,
        }
    }
}

/// What makes a certificate unfit for its place in a chain (`bad_chain`).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BrokenLink {
    /// It is no X.509 certificate of version 3 in DER, or bytes follow it.
    #[error("not readable: {0}")]
    Unreadable(String),
    /// Its serial number is not positive or longer than 20 bytes.
    #[error("its serial number is not positive or too long")]
    Serial,
    /// It is signed by another algorithm than ecdsa-with-SHA256.
    #[error("not signed by ecdsa-with-SHA256")]
    Algorithm,
    /// Its signature does not verify under its issuer's key.
    #[error("its signature does not verify")]
    Signature,
    /// It signs others, but `basicConstraints` does not say that it is an authority.
    #[error("it is not an authority's")]
    NotAnAuthority,
    /// More authorities follow than it, or one above it, allows.
    #[error("more authorities follow than it allows")]
    PathLength,
    /// It signs others without `keyCertSign`.
    #[error("its key usage does not allow it to sign certificates")]
    KeyUsage,
    /// It breaks the name constraints of an authority above it.
    #[error("its names are not those that its authorities may vouch for")]
    Names,
    /// It has a critical extension that nobody here knows, or one twice, or one that cannot be read.
    #[error("an extension is critical and unknown, repeated or not readable")]
    Extension,
    /// `rustls-webpki` refuses it for another reason.
    #[error("{0}")]
    Refused(String),
}

/// Why a revocation list is not taken. The list that was known before stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CrlFault {
    /// It is no X.509 revocation list of version 2 in DER with a number and a next update.
    #[error("not a revocation list: {0}")]
    Unreadable(String),
    /// It is a delta or an indirect list, covers only some reasons or attribute certificates, or has an unknown critical
    /// extension: what it leaves out is not known to be good.
    #[error("this kind of revocation list is not taken: {0}")]
    Unsupported(&'static str),
    /// It is not of this authority: another name, or the authority may not sign lists.
    #[error("not a list of this authority: {0}")]
    OtherIssuer(&'static str),
    /// Its signature does not verify under the authority's key.
    #[error("its signature does not verify")]
    BadSignature,
    /// It should have been replaced by now.
    #[error("it is out of date")]
    Stale {
        /// When the next one was due.
        next_update: UnixMillis,
    },
    /// It was made in the future.
    #[error("it is not valid yet")]
    NotYetValid {
        /// When it says that it was made.
        this_update: UnixMillis,
    },
    /// Its number is below that of the list known before: an older list was put in its place.
    #[error("its number {number} is below {known}")]
    NumberBackwards {
        /// Its number.
        number: CrlNumber,
        /// The number known before.
        known: CrlNumber,
    },
}

impl Reason for CrlFault {
    fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "crl_unreadable",
            Self::Unsupported(_) => "crl_unsupported",
            Self::OtherIssuer(_) => "crl_other_issuer",
            Self::BadSignature => "crl_bad_signature",
            Self::Stale { .. } => "crl_stale",
            Self::NotYetValid { .. } => "crl_not_yet_valid",
            Self::NumberBackwards { .. } => "crl_number_backwards",
        }
    }
}

/// What webpki says of a path that passed every check of ours. Dates and revocation cannot differ, since both read the same
/// fields; whatever else it finds is a fault of the chain.
pub(super) fn of_webpki(path: &Path<'_, '_>, error: webpki::Error) -> ChainFault {
    use webpki::Error;
    let cause = match error {
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => {
            return ChainFault::NotADeviceCertificate("it is not for TLS clients");
        }
        Error::CaUsedAsEndEntity => return ChainFault::NotADeviceCertificate("it is an authority's"),
        Error::NameConstraintViolation | Error::UnsupportedNameType | Error::MalformedNameConstraint => {
            BrokenLink::Names
        }
        Error::UnsupportedCriticalExtension | Error::ExtensionValueInvalid | Error::MalformedExtensions => {
            BrokenLink::Extension
        }
        Error::PathLenConstraintViolated => BrokenLink::PathLength,
        Error::InvalidSignatureForPublicKey => BrokenLink::Signature,
        other => BrokenLink::Refused(other.to_string()),
    };
    ChainFault::BadChain { certificate: path.leaf().label(), cause }
}
