//! What the revocation of a certificate asks of its device. Pure, and the same for whoever comes to know of it.

use vitro_proof::chain::{ChainFault, RevocationReason};

use super::{Cause, Device};

/// What was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The certificate itself, and why.
    Certificate(RevocationReason),
    /// An authority above it.
    Issuer,
}

impl Revoked {
    /// What a chain's fault says of a revocation; nothing if it failed for something else.
    #[must_use]
    pub fn of(fault: &ChainFault) -> Option<Self> {
        match fault {
            ChainFault::CertificateRevoked { reason, .. } => Some(Self::Certificate(*reason)),
            ChainFault::IssuerRevoked { .. } => Some(Self::Issuer),
            _ => None,
        }
    }

    /// Why a device is suspended for it.
    ///
    /// `keyCompromise` alone speaks of the key for ever (RFC 5280, 5.3.1). `unspecified`, which is also what a list without a reason
    /// says, leaves it open: it suspends, but an authority that signs another certificate for the same key afterwards vouches for the
    /// key anew. The compromise of an authority is none of the keys that it signed.
    #[must_use]
    pub fn cause(self) -> Cause {
        match self {
            Self::Certificate(RevocationReason::KeyCompromise) => Cause::KeyCompromised,
            Self::Certificate(_) => Cause::CertificateRevoked,
            Self::Issuer => Cause::IssuerRevoked,
        }
    }

    /// Whether the key of the certificate stays good when the certificate does not.
    fn is_of_the_certificate_alone(self) -> bool {
        match self {
            Self::Issuer => true,
            Self::Certificate(reason) => matches!(
                reason,
                RevocationReason::Superseded
                    | RevocationReason::CessationOfOperation
                    | RevocationReason::AffiliationChanged
                    | RevocationReason::CaCompromise
            ),
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing: it is no certificate of the device any more.
    Nothing,
    /// Nothing: it was done before, even if the device came back since with another certificate.
    CarriedOut,
    /// The certificate was replaced and goes; the device goes on.
    Withdraw,
    /// The device is suspended.
    Suspend(Cause),
}

impl Device {
    /// What the revocation of one of its certificates asks for.
    ///
    /// A compromised key takes the device out whatever became of the certificate meanwhile: its other certificates are for that key.
    #[must_use]
    pub fn consequence_of(&self, certificate: &str, revoked: Revoked) -> Consequence {
        let cause = revoked.cause();
        if cause == Cause::KeyCompromised {
            return if self.cause == Some(cause) { Consequence::CarriedOut } else { Consequence::Suspend(cause) };
        }
        if self.revoked_certificates.contains(certificate) {
            Consequence::CarriedOut
        } else if !self.certificate_ids.contains(certificate) {
            Consequence::Nothing
        } else if certificate != self.certificate_id && revoked.is_of_the_certificate_alone() {
            Consequence::Withdraw
        } else {
            Consequence::Suspend(cause)
        }
    }
}

#[cfg(test)]
mod tests {
    use vitro_proof::UnixMillis;

    use super::super::Suspension;
    use super::super::tests::device;
    use super::*;

    #[test]
    fn what_is_revoked_decides() {
        let certificate = Revoked::Certificate;
        let two = Device { certificate_ids: ["aa11".to_owned(), "ab12".to_owned()].into(), ..device() };
        for (id, revoked, wanted) in [
            ("ab12", certificate(RevocationReason::Superseded), Consequence::Suspend(Cause::CertificateRevoked)),
            ("ab12", certificate(RevocationReason::Unspecified), Consequence::Suspend(Cause::CertificateRevoked)),
            ("ab12", certificate(RevocationReason::KeyCompromise), Consequence::Suspend(Cause::KeyCompromised)),
            ("ab12", Revoked::Issuer, Consequence::Suspend(Cause::IssuerRevoked)),
            ("aa11", certificate(RevocationReason::Superseded), Consequence::Withdraw),
            ("aa11", Revoked::Issuer, Consequence::Withdraw),
            ("aa11", certificate(RevocationReason::Unspecified), Consequence::Suspend(Cause::CertificateRevoked)),
            ("0000", certificate(RevocationReason::Unspecified), Consequence::Nothing),
            // Withdrawn long ago, and yet the key is the same.
            ("0000", certificate(RevocationReason::KeyCompromise), Consequence::Suspend(Cause::KeyCompromised)),
        ] {
            assert_eq!(two.consequence_of(id, revoked), wanted, "{id} {revoked:?}");
        }
    }

    #[test]
    fn what_was_carried_out_is_so_until_it_gets_worse() {
        let suspension = |cause| Suspension { at: UnixMillis(1), last_good: None, cause };
        let revoked = device().suspended(&suspension(Cause::CertificateRevoked)).unwrap();
        let superseded = Revoked::Certificate(RevocationReason::Superseded);
        let compromised = Revoked::Certificate(RevocationReason::KeyCompromise);
        assert_eq!(revoked.consequence_of("ab12", superseded), Consequence::CarriedOut);
        assert_eq!(revoked.consequence_of("ab12", compromised), Consequence::Suspend(Cause::KeyCompromised));
        let worse = revoked.suspended(&suspension(Cause::KeyCompromised)).unwrap();
        assert_eq!(worse.consequence_of("ab12", compromised), Consequence::CarriedOut);
    }
}
