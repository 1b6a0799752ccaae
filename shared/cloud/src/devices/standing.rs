//! Whether a device may send, since when not, and why: what a change of it makes of what is there.
//!
//! Pure. Suspensions and retirements come from several sides (an operator, ingest, revocation lists), in any order and more than once.
//! They are merged so that the order does not matter and a repetition changes nothing: the stricter status, the earlier instant, the lower
//! last good number and the graver cause stay. Only [`Device::activated`] goes back, and never from a retirement.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vitro_proof::{DeviceId, LocalDay, SequenceNumber, UnixMillis};

use super::{Device, Status};
use crate::error::CloudError;

/// Why a device was suspended or retired; the later ones are graver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Another device took its metering point over. It may still deliver its last day.
    Exchanged,
    /// An operator decided so.
    Operator,
    /// Signatures under its own certificate kept failing.
    SignatureFailures,
    /// It signed two envelopes under one number: its key was cloned, or it was set back.
    Equivocation,
    /// The authority that issued its certificate was revoked.
    IssuerRevoked,
    /// Its certificate was revoked.
    CertificateRevoked,
    /// Its certificate was revoked because its key is or may be known to others.
    KeyCompromised,
}

impl Cause {
    /// Every cause, the mildest first.
    pub const ALL: [Self; 7] = [
        Self::Exchanged,
        Self::Operator,
        Self::SignatureFailures,
        Self::Equivocation,
        Self::IssuerRevoked,
        Self::CertificateRevoked,
        Self::KeyCompromised,
    ];

    /// The code, as it is stored and shown (`docs/reasons.md`).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exchanged => "exchanged",
            Self::Operator => "operator",
            Self::SignatureFailures => "signature_failures",
            Self::Equivocation => "equivocation",
            Self::IssuerRevoked => "issuer_revoked",
            Self::CertificateRevoked => "certificate_revoked",
            Self::KeyCompromised => "key_compromised",
        }
    }

    /// Whether certificates were revoked: they never become good again, another one has to replace them.
    #[must_use]
    pub fn is_revocation(self) -> bool {
        matches!(self, Self::IssuerRevoked | Self::CertificateRevoked | Self::KeyCompromised)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Cause {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == text).ok_or_else(|| format!("{text:?} is no cause"))
    }
}

/// Where a certificate of a device belongs in AWS IoT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// It may connect.
    Active,
    /// It may not for now.
    Inactive,
    /// It never may again.
    Revoked,
}

impl Connection {
    /// AWS IoT's word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::Revoked => "REVOKED",
        }
    }
}

/// Why a device no longer counts, and from where on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspension {
    /// The instant from which it does not count.
    pub at: UnixMillis,
    /// The last number that is believed; nothing if none is.
    pub last_good: Option<SequenceNumber>,
    /// Why.
    pub cause: Cause,
}

/// A metering point's device was replaced by another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchanged {
    /// The device that took the point over.
    pub by: DeviceId,
    /// The site's local day on which it happened.
    pub day: LocalDay,
    /// When.
    pub at: UnixMillis,
    /// The last number of the old device that counts; nothing if none does.
    pub last_good: Option<SequenceNumber>,
    /// The first number of the new device that counts.
    pub first: SequenceNumber,
}

/// What a change of status did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChange {
    /// The entry as it is now.
    pub device: Device,
    /// Whether anything changed. Who asked for it sends a [`crate::queue::StatusTask`] if so, and also if
    /// [`Device::is_status_applied`] does not hold: an earlier task may have got lost.
    pub changed: bool,
}

impl Device {
    /// Whether AWS IoT Core and the ledger agree with this entry, as far as the function `status` has told.
    #[must_use]
    pub fn is_status_applied(&self) -> bool {
        self.status_applied >= self.status_revision
    }

    /// The certificates that are registered for it, by their ids in AWS IoT.
    pub fn certificates(&self) -> impl Iterator<Item = &str> {
        self.certificate_ids.iter().map(String::as_str)
    }

    /// These and those that were revoked, each once.
    pub fn all_certificates(&self) -> impl Iterator<Item = &str> {
        let revoked = self.revoked_certificates.iter().map(String::as_str);
        self.certificates().chain(revoked.filter(|id| !self.certificates().any(|own| own == *id)))
    }

    /// Where a certificate of the device belongs.
    ///
    /// A revoked one stays revoked. A device that was exchanged keeps its connection, so that it can still deliver its last day; what else
    /// it sends is refused. Every other halt takes the connection away: for good where it is retired or the certificate was revoked.
    #[must_use]
    pub fn connection_of(&self, certificate: &str) -> Connection {
        match (self.status, self.cause) {
            _ if self.revoked_certificates.contains(certificate) => Connection::Revoked,
            (Status::Active, _) | (Status::Retired, Some(Cause::Exchanged)) => Connection::Active,
            (Status::Suspended, _) => Connection::Inactive,
            (Status::Retired, _) => Connection::Revoked,
        }
    }

    /// The entry after a suspension; nothing if it changes nothing.
    #[must_use]
    pub fn suspended(&self, suspension: &Suspension) -> Option<Self> {
        self.halted(Status::Suspended, suspension)
    }

    /// The entry after a retirement; nothing if it changes nothing.
    #[must_use]
    pub fn retired(&self, suspension: &Suspension) -> Option<Self> {
        self.halted(Status::Retired, suspension)
    }

    /// The entry after another device took its metering point over: retired, as of its last good number. Nothing if that is known.
    ///
    /// # Errors
    /// [`CloudError::Refused`] if it was exchanged otherwise.
    pub fn exchanged(&self, exchange: &Exchanged) -> Result<Option<Self>, CloudError> {
        match &self.exchange {
            Some(known) if known == exchange => return Ok(None),
            Some(known) => {
                let (by, day) = (&known.by, known.day);
                return Err(CloudError::Refused(format!("{} was exchanged for {by} on {day} already", self.id)));
            }
            None => {}
        }
        let suspension = Suspension { at: exchange.at, last_good: exchange.last_good, cause: Cause::Exchanged };
        let mut next = self.retired(&suspension).unwrap_or_else(|| self.clone());
        next.exchange = Some(exchange.clone());
        next.status_revision = self.status_revision.saturating_add(1);
        Ok(Some(next))
    }

    fn halted(&self, status: Status, new: &Suspension) -> Option<Self> {
        let mut next = self.clone();
        if self.status == Status::Active {
            next.suspended_at = Some(new.at);
            next.last_good = new.last_good;
            next.cause = Some(new.cause);
        } else {
            next.suspended_at = Some(self.suspended_at.map_or(new.at, |at| at.min(new.at)));
            // Nothing is less than any number.
            next.last_good = self.last_good.min(new.last_good);
            next.cause = self.cause.max(Some(new.cause));
        }
        next.status = self.status.max(status);
        // A device that was suspended for a revocation before has another certificate by now, if a revocation comes again: nobody
        // suspends it twice for one (see [`Device::consequence_of`]). And a renewed certificate, too, is for the key.
        if new.cause.is_revocation() {
            next.revoked_certificates.extend(self.certificates().map(str::to_owned));
        }
        if next == *self {
            return None;
        }
        next.status_revision = self.status_revision.saturating_add(1);
        Some(next)
    }

    /// The entry after a reinstatement; nothing if it is active.
    ///
    /// After a revocation, `renewed` names the certificate that replaced the revoked one: the caller has verified its chain, and it is the
    /// entry's newest and was not among those that the device had when they were revoked. It comes back alone: nobody has verified
    /// the others. A compromised key never comes back, because every other certificate would be for that key.
    ///
    /// # Errors
    /// [`CloudError::Refused`] if it is retired, if its key is compromised, or if it is suspended for another revocation that no
    /// renewed certificate has healed.
    pub fn activated(&self, renewed: Option<&str>) -> Result<Option<Self>, CloudError> {
        let refused = |why: String| Err(CloudError::Refused(format!("{} {why}", self.id)));
        let mut revoked_certificates = self.revoked_certificates.clone();
        match (self.status, self.cause) {
            (Status::Active, _) => return Ok(None),
            (Status::Retired, _) => return refused("is retired, and that is for good".into()),
            (Status::Suspended, Some(Cause::KeyCompromised)) => {
                return refused(
                    "is suspended because its key is compromised, which no certificate heals: replace the device \
                     (`vitro device new --replaces`, `vitro device exchange`)"
                        .into(),
                );
            }
            (Status::Suspended, Some(cause)) if cause.is_revocation() => {
                let healed = renewed == Some(self.certificate_id.as_str())
                    && !self.revoked_certificates.contains(&self.certificate_id);
                if !healed {
                    return refused(format!(
                        "is suspended for {cause}: it needs another certificate for its key first (`vitro device renew`)"
                    ));
                }
                let others = self.certificates().filter(|id| *id != self.certificate_id);
                revoked_certificates.extend(others.map(str::to_owned));
            }
            (Status::Suspended, _) => {}
        }
        Ok(Some(Self {
            status: Status::Active,
            suspended_at: None,
            last_good: None,
            cause: None,
            gap_since: None,
            revoked_certificates,
            status_revision: self.status_revision.saturating_add(1),
            ..self.clone()
        }))
    }

    /// Whether a run that ends before the number `end` counts: always of an active device, else up to its last good number.
    #[must_use]
    pub fn is_good_before(&self, end: u64) -> bool {
        self.status == Status::Active || end <= self.last_good.map_or(0, |good| good.0.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::device;
    use super::*;

    fn suspension(at: i64, last_good: Option<u64>, cause: Cause) -> Suspension {
        Suspension { at: UnixMillis(at), last_good: last_good.map(SequenceNumber), cause }
    }

    /// A status without the count of its changes.
    fn standing(device: &Device) -> (Status, Option<UnixMillis>, Option<SequenceNumber>, Option<Cause>) {
        (device.status, device.suspended_at, device.last_good, device.cause)
    }

    #[test]
    fn a_second_revocation_takes_the_certificate_that_came_after_the_first() {
        let first = device().suspended(&suspension(1, None, Cause::CertificateRevoked)).unwrap();
        let renewed = Device {
            certificate_id: "cd34".into(),
            certificate_ids: first.certificate_ids.iter().cloned().chain(["cd34".into()]).collect(),
            ..first.clone()
        };
        assert!(renewed.activated(Some("cd34")).unwrap().is_some());
        let second = renewed.suspended(&suspension(2, None, Cause::IssuerRevoked)).unwrap();
        assert!(second.revoked_certificates.contains("cd34") && second.status_revision > renewed.status_revision);
        assert!(second.activated(Some("cd34")).is_err(), "it needs yet another one");
        assert_eq!(second.suspended(&suspension(2, None, Cause::IssuerRevoked)), None, "once");
        // What is no revocation says nothing of certificates.
        let halted = renewed.suspended(&suspension(0, None, Cause::Operator)).unwrap();
        assert!(!halted.revoked_certificates.contains("cd34"));
    }

    fn halts() -> impl Strategy<Value = (bool, Suspension)> {
        let cause = proptest::sample::select(Cause::ALL.to_vec());
        (any::<bool>(), any::<i64>(), proptest::option::of(any::<u64>()), cause)
            .prop_map(|(retire, at, good, cause)| (retire, suspension(at, good, cause)))
    }

    fn halt(device: &Device, (retire, suspension): &(bool, Suspension)) -> Device {
        let next = if *retire { device.retired(suspension) } else { device.suspended(suspension) };
        next.unwrap_or_else(|| device.clone())
    }

    #[test]
    fn causes_have_codes() {
        for cause in Cause::ALL {
            assert_eq!(cause.to_string().parse(), Ok(cause));
        }
        assert!("bored".parse::<Cause>().is_err());
        assert!(Cause::ALL.is_sorted());
    }

    #[test]
    fn an_earlier_suspension_stays() {
        let first = device().suspended(&suspension(1000, Some(70), Cause::Equivocation)).unwrap();
        assert_eq!((first.status_revision, first.is_status_applied()), (1, false));
        assert_eq!(first.suspended(&suspension(2000, Some(90), Cause::Operator)), None);
        let revoked = first.suspended(&suspension(2000, Some(90), Cause::CertificateRevoked)).unwrap();
        let earlier = suspension(1000, Some(70), Cause::CertificateRevoked);
        assert_eq!(standing(&revoked), standing(&device().suspended(&earlier).unwrap()));
        assert_eq!(revoked.status_revision, 2);
        assert!(revoked.revoked_certificates.contains("ab12"));
        let unknown = revoked.suspended(&suspension(1500, None, Cause::Operator)).unwrap();
        assert_eq!(unknown.last_good, None);
    }

    #[test]
    fn a_retired_device_stays_retired() {
        let retired = device().retired(&suspension(1000, Some(70), Cause::Exchanged)).unwrap();
        assert!(matches!(retired.activated(None), Err(CloudError::Refused(_))));
        assert_eq!(retired.suspended(&suspension(1000, Some(70), Cause::Exchanged)), None);
        let graver = retired.suspended(&suspension(500, Some(70), Cause::CertificateRevoked)).unwrap();
        assert_eq!((graver.status, graver.cause), (Status::Retired, Some(Cause::CertificateRevoked)));
    }

    #[test]
    fn an_exchange_retires_and_happens_once() {
        let exchange = Exchanged {
            by: "dev-2".parse().unwrap(),
            day: "2026-01-02".parse().unwrap(),
            at: UnixMillis(1000),
            last_good: Some(SequenceNumber(70)),
            first: SequenceNumber(0),
        };
        let exchanged = device().exchanged(&exchange).unwrap().unwrap();
        assert_eq!((exchanged.status, exchanged.cause), (Status::Retired, Some(Cause::Exchanged)));
        assert_eq!((exchanged.last_good, exchanged.status_revision), (Some(SequenceNumber(70)), 1));
        assert_eq!(exchanged.exchanged(&exchange).unwrap(), None);
        let other = Exchanged { by: "dev-3".parse().unwrap(), ..exchange.clone() };
        assert!(matches!(exchanged.exchanged(&other), Err(CloudError::Refused(_))));
        // A stricter suspension stays, with its cause; a retired device can still be replaced.
        let suspended = device().suspended(&suspension(500, Some(7), Cause::Equivocation)).unwrap();
        let exchanged = suspended.exchanged(&exchange).unwrap().unwrap();
        assert_eq!((exchanged.last_good, exchanged.cause), (Some(SequenceNumber(7)), Some(Cause::Equivocation)));
        let retired = device().retired(&suspension(500, Some(7), Cause::Operator)).unwrap();
        assert_eq!(retired.exchanged(&exchange).unwrap().unwrap().status_revision, 2);
    }

    #[test]
    fn a_revocation_is_healed_by_another_certificate_alone() {
        let revoked = device().suspended(&suspension(1000, Some(70), Cause::CertificateRevoked)).unwrap();
        for renewed in [None, Some("ab12"), Some("cd34")] {
            assert!(matches!(revoked.activated(renewed), Err(CloudError::Refused(_))), "{renewed:?}");
        }
        let renewed = Device { certificate_id: "cd34".into(), ..revoked };
        assert!(renewed.activated(Some("ab12")).is_err(), "the caller has verified another one");
        let active = renewed.activated(Some("cd34")).unwrap().unwrap();
        assert_eq!(standing(&active), standing(&device()));
        assert_eq!(active.status_revision, 2);
        assert_eq!(active.activated(None).unwrap(), None);
    }

    #[test]
    fn what_nobody_verified_does_not_come_back_beside_the_renewed_certificate() {
        let revoked = device().suspended(&suspension(1000, Some(70), Cause::CertificateRevoked)).unwrap();
        let ids = ["ab12", "bc23", "cd34"].map(str::to_owned);
        let renewed = Device { certificate_id: "cd34".into(), certificate_ids: ids.into(), ..revoked };
        let active = renewed.activated(Some("cd34")).unwrap().unwrap();
        let connections = ["ab12", "bc23", "cd34"].map(|id| active.connection_of(id));
        assert_eq!(connections, [Connection::Revoked, Connection::Revoked, Connection::Active]);
    }

    #[test]
    fn a_compromised_key_never_comes_back() {
        let revoked = device().suspended(&suspension(1000, Some(70), Cause::CertificateRevoked)).unwrap();
        let compromised = revoked.suspended(&suspension(2000, Some(90), Cause::KeyCompromised)).unwrap();
        assert_eq!(
            (compromised.cause, compromised.suspended_at),
            (Some(Cause::KeyCompromised), Some(UnixMillis(1000)))
        );
        // Neither as it is nor with another certificate, whoever revokes it afterwards for something milder.
        let renewed = Device { certificate_id: "cd34".into(), ..compromised };
        assert_eq!(renewed.suspended(&suspension(3000, Some(90), Cause::CertificateRevoked)), None);
        for certificate in [None, Some("ab12"), Some("cd34")] {
            let told = renewed.activated(certificate).unwrap_err().to_string();
            assert!(told.contains("its key is compromised") && told.contains("exchange"), "{told}");
        }
    }

    #[test]
    fn a_run_counts_up_to_the_last_good_number() {
        let suspended = device().suspended(&suspension(1, Some(7), Cause::Operator)).unwrap();
        assert!(suspended.is_good_before(8) && !suspended.is_good_before(9) && device().is_good_before(u64::MAX));
        let nothing = device().retired(&suspension(1, None, Cause::Operator)).unwrap();
        assert!(nothing.is_good_before(0) && !nothing.is_good_before(1));
    }

    proptest! {
        #[test]
        fn neither_order_nor_repetition_matters(
            halts in proptest::collection::vec(halts(), 1..6), order in any::<proptest::sample::Index>(),
        ) {
            let all = halts.iter().fold(device(), |device, one| halt(&device, one));
            let mut others = halts.clone();
            others.rotate_left(order.index(halts.len()));
            others.extend(halts.iter().rev().copied());
            let again = others.iter().fold(device(), |device, one| halt(&device, one));
            prop_assert_eq!(standing(&all), standing(&again));
            let earliest = halts.iter().map(|(_, s)| s.at).min();
            let lowest = halts.iter().map(|(_, s)| s.last_good).min().flatten();
            prop_assert_eq!((all.suspended_at, all.last_good), (earliest, lowest));
            prop_assert_eq!(all.status == Status::Retired, halts.iter().any(|(retire, _)| *retire));
            for one in &halts {
                prop_assert_eq!(&halt(&all, one), &all, "a repetition is no change");
            }
        }
    }
}
