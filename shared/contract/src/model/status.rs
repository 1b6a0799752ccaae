//! What becomes of a device after its registration, and which device served a metering point when.

use vitro_proof::{DeviceId, LocalDay};

use crate::error::ContractError;
use crate::ids::MeteringPoint;
use crate::wire::{record, words};

words! {
    /// Whether a device's blocks are taken.
    pub enum Standing {
        /// They are.
        0 "active" => Active,
        /// Up to its last good number, until it is reinstated.
        1 "suspended" => Suspended,
        /// Up to its last good number, for good.
        2 "retired" => Retired,
    }
}

words! {
    /// Why a device was suspended or retired.
    pub enum StatusReason {
        /// The operator decided so.
        0 "operator" => Operator,
        /// It signed two envelopes under one number.
        1 "equivocation" => Equivocation,
        /// Signatures under its own certificate kept failing.
        2 "signature_failures" => SignatureFailures,
        /// Its certificate was revoked.
        3 "certificate_revoked" => CertificateRevoked,
        /// The authority that issued its certificate was revoked.
        4 "issuer_revoked" => IssuerRevoked,
        /// Another device took its metering point over.
        5 "exchanged" => Exchanged,
    }
}

impl StatusReason {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Operator,
        Self::Equivocation,
        Self::SignatureFailures,
        Self::CertificateRevoked,
        Self::IssuerRevoked,
        Self::Exchanged,
    ];
}

impl std::str::FromStr for StatusReason {
    type Err = ContractError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|reason| reason.as_str() == text);
        found.ok_or_else(|| ContractError::malformed("a reason", format!("{text:?} is none")))
    }
}

record! {
    /// From where on a device does not count, and why.
    pub struct Halt, "a halt", version 1 {
        /// The instant from which it does not count, in Unix milliseconds.
        1 => at: i64,
        /// The last number that counts; nothing if none does.
        2 => last_good: Option<u64>,
        /// Why.
        3 => reason: StatusReason,
    }
}

impl Halt {
    /// Whether this halt is as strict as `other`: not later, and no number more.
    #[must_use]
    pub fn is_as_strict_as(&self, other: &Self) -> bool {
        // Nothing is less than any number.
        self.at <= other.at && self.last_good <= other.last_good
    }

    /// The stricter of both in each respect, with the reason of this one.
    pub(crate) fn merged(&self, other: &Self) -> Self {
        Self { at: self.at.min(other.at), last_good: self.last_good.min(other.last_good), reason: self.reason }
    }
}

record! {
    /// A device's status after one change of it.
    pub struct DeviceStatus, "a device's status", version 1 {
        /// The device.
        1 => thing: DeviceId,
        /// Counts its changes; 0 for a device whose status never changed.
        2 => revision: u64,
        /// Whether its blocks are taken.
        3 => standing: Standing,
        /// From where on not; nothing of an active device.
        4 => halt: Option<Halt>,
        /// The transaction that changed it; of revision 0, the one that registered the device.
        5 => tx: String,
        /// Its timestamp.
        6 => time: i64,
    }
}

impl DeviceStatus {
    /// Whether a run that ends before the number `end` counts: of a device that is halted, up to its last good number.
    #[must_use]
    pub fn is_good_before(&self, end: u64) -> bool {
        self.halt.as_ref().is_none_or(|halt| end <= halt.last_good.map_or(0, |good| good.saturating_add(1)))
    }
}

record! {
    /// One device takes a metering point over from another.
    pub struct Exchange, "an exchange", version 1 {
        /// The device that served it.
        1 => old: DeviceId,
        /// The device that serves it from now on.
        2 => new: DeviceId,
        /// The site's local day on which it happened: the last that the old one bills, and the first of the new one.
        3 => day: LocalDay,
        /// When, in Unix milliseconds.
        4 => at: i64,
        /// The last number of the old device that counts; nothing if none does.
        5 => last_good: Option<u64>,
        /// The first number of the new device that counts.
        6 => first: u64,
    }
}

record! {
    /// An exchange on the ledger.
    pub struct ExchangeView, "an exchange on the ledger", version 1 {
        /// The metering point.
        1 => point: MeteringPoint,
        /// Counts the exchanges of the point from 0.
        2 => number: u64,
        /// What happened.
        3 => exchange: Exchange,
        /// The transaction.
        4 => tx: String,
        /// Its timestamp.
        5 => time: i64,
    }
}

record! {
    /// A device's service at a metering point. It serves a point once.
    pub struct Service {
        /// The point.
        0 => point: MeteringPoint,
        /// The device.
        1 => thing: DeviceId,
        /// How it began; nothing for the point's first device.
        2 => since: Option<ExchangeView>,
        /// How it ended; nothing while it goes on.
        3 => until: Option<ExchangeView>,
    }
}

impl Service {
    /// Whether the device served the point on some part of the day.
    #[must_use]
    pub fn holds(&self, day: LocalDay) -> bool {
        self.since.as_ref().is_none_or(|view| view.exchange.day <= day)
            && self.until.as_ref().is_none_or(|view| day <= view.exchange.day)
    }

    /// The first number that counts here.
    pub(crate) fn first(&self) -> u64 {
        self.since.as_ref().map_or(0, |view| view.exchange.first)
    }
}

record! {
    /// What became of a device, or of a metering point's devices. It only grows.
    pub struct History, "a history", version 1 {
        /// Changes of status, oldest first for each device.
        1 => changes: Vec<DeviceStatus>,
        /// Which device served which point, in their order.
        2 => services: Vec<Service>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Record;

    #[test]
    fn reasons_are_words_both_ways() {
        for reason in StatusReason::ALL {
            assert_eq!(reason.as_str().parse::<StatusReason>().unwrap(), reason);
        }
        assert!("bored".parse::<StatusReason>().is_err());
    }

    #[test]
    fn the_encoding_is_fixed() {
        let halt = Halt { at: 1_000, last_good: Some(7), reason: StatusReason::Exchanged };
        assert_eq!(hex::encode(halt.encode()), "a40001011903e802070305");
        assert_eq!(Halt::decode(&halt.encode()).unwrap(), halt);
        assert!(Halt::decode(&[0xa4, 0, 2, 1, 0, 2, 0xf6, 3, 0]).is_err(), "another version");
    }
}
