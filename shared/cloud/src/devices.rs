//! The registry of devices: who may send, with which key, and where its chain and its liveness mark stand.
//!
//! [`Device`] is the typed entry; [`Devices`] reads and changes the table `devices`. Changes that can race are conditional, and
//! what only grows (mark, `closed_through`) never goes back.

mod entry;
mod revocation;
mod revoked;
mod rules;
mod seals;
mod standing;
mod status;
mod table;

use std::collections::BTreeSet;

use vitro_proof::crypto::sha256;
use vitro_proof::{
    BlockNumber, DeviceId, Hash, ProofError, PublicKey, SensorTable, SequenceNumber, UnixMillis, ZoneName,
};

pub(crate) use entry::write as write_entry;
pub use revocation::{Consequence, Revoked};
pub use revoked::{LastGood, Suspend, suspend_revoked};
pub use rules::suspend_by_rule;
pub use seals::{Ask, SealStore, Turn};
pub use standing::{Cause, Connection, Exchanged, StatusChange, Suspension};
pub use status::StatusStore;
pub use table::{Devices, Registered};

/// How many parts the liveness index has for devices without an open gap; as many follow for those with one.
pub const LIVE_SHARDS: u8 = 8;
/// The mark is rewritten when a message is this much newer, in milliseconds of received time ...
pub const MARK_MILLIS: i64 = 10 * 60 * 1000;
/// ... or its number this much higher.
pub const MARK_NUMBERS: u64 = 64;

/// Whether a device may send; the later ones are stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It may.
    Active,
    /// It may not until an operator says so; what it sends is quarantined.
    Suspended,
    /// It never will again: its key is out of use.
    Retired,
}

impl Status {
    /// The word as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Retired => "retired",
        }
    }
}

impl std::str::FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Active, Self::Suspended, Self::Retired]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no status"))
    }
}

/// The newest message that the registry knows of. Coarse: it lags behind by up to [`MARK_MILLIS`] and [`MARK_NUMBERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The highest number noted.
    pub number: SequenceNumber,
    /// The newest received time noted.
    pub received: UnixMillis,
    /// The newest record's time of the message noted last, if it had one.
    pub time: Option<UnixMillis>,
}

impl Mark {
    /// Whether a message with this number and received time moves the mark.
    #[must_use]
    pub fn is_moved_by(&self, number: SequenceNumber, received: UnixMillis) -> bool {
        received.0 >= self.received.0.saturating_add(MARK_MILLIS)
            || number.0 >= self.number.0.saturating_add(MARK_NUMBERS)
    }

    /// The mark after `other`: neither number nor received time goes back.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        let time = if other.received >= self.received { other.time.or(self.time) } else { self.time };
        Self { number: self.number.max(other.number), received: self.received.max(other.received), time }
    }
}

/// The newest accepted block of a device's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub block: BlockNumber,
    /// Its hash.
    pub hash: Hash,
}

/// A device as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The thing name.
    pub id: DeviceId,
    /// Whether it may send.
    pub status: Status,
    /// The instant from which it does not count, of a suspended or retired device.
    pub suspended_at: Option<UnixMillis>,
    /// The last number that is believed of a suspended or retired device.
    pub last_good: Option<SequenceNumber>,
    /// Why it was suspended or retired.
    pub cause: Option<Cause>,
    /// Goes up with every change of status.
    pub status_revision: u64,
    /// The last revision that AWS IoT Core and the ledger agree with.
    pub status_applied: u64,
    /// The device that took its metering point over.
    pub exchange: Option<Exchanged>,
    /// The device whose metering point it is to take over, or has taken over.
    pub replaces: Option<DeviceId>,
    /// Certificates that it had when a revocation suspended it; none of them may connect again.
    pub revoked_certificates: BTreeSet<String>,
    /// Its key.
    pub public_key: PublicKey,
    /// Its newest certificate in PEM.
    pub certificate: String,
    /// The certificate's id in AWS IoT, which the rule gives as principal.
    pub certificate_id: String,
    /// The ids of all certificates by which it may connect, the newest included: a renewed device uses the old one until it has the
    /// new one.
    pub certificate_ids: BTreeSet<String>,
    /// Those of them that are being taken in: registered, and not yet active in AWS IoT for the first time. One that is inactive
    /// there and is not among these was ended by somebody.
    pub admitting: BTreeSet<String>,
    /// Since when it is believed: its first certificate's beginning, at the latest its registration. Nothing in entries that were
    /// written before there was such an instant.
    pub enrolled_at: Option<UnixMillis>,
    /// The metering point that it serves.
    pub metering_point: String,
    /// The zone of the site's calendar.
    pub zone: ZoneName,
    /// The group of devices that agreements cover.
    pub shard: String,
    /// By agreement its telemetry comes encrypted; what comes in clear is refused.
    pub confidential: bool,
    /// Every version of its sensors, the newest last; never empty.
    pub sensor_tables: Vec<SensorTable>,
    /// The newest message known; nothing if none came yet.
    pub mark: Option<Mark>,
    /// The newest accepted block; nothing if none came yet.
    pub head: Option<Head>,
    /// Numbers up to here belong to closed days; nothing if no day was closed.
    pub closed_through: Option<SequenceNumber>,
    /// Since when the device is silent, while a gap is open.
    pub gap_since: Option<UnixMillis>,
}

/// What is said of a device when it becomes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDevice {
    /// The thing name.
    pub id: DeviceId,
    /// Its key.
    pub public_key: PublicKey,
    /// Its certificate in PEM.
    pub certificate: String,
    /// The certificate's id in AWS IoT.
    pub certificate_id: String,
    /// Since when it is believed.
    pub enrolled_at: Option<UnixMillis>,
    /// The metering point that it serves, or is to take over.
    pub metering_point: String,
    /// The zone of the site's calendar.
    pub zone: ZoneName,
    /// The group of devices that agreements cover.
    pub shard: String,
    /// Whether its telemetry comes encrypted.
    pub confidential: bool,
    /// The device whose metering point it is to take over.
    pub replaces: Option<DeviceId>,
    /// Its sensors.
    pub sensor_tables: Vec<SensorTable>,
}

impl From<NewDevice> for Device {
    /// The device as it begins: active, and never heard.
    fn from(new: NewDevice) -> Self {
        Self {
            id: new.id,
            status: Status::Active,
            suspended_at: None,
            last_good: None,
            cause: None,
            status_revision: 0,
            status_applied: 0,
            exchange: None,
            replaces: new.replaces,
            revoked_certificates: BTreeSet::new(),
            public_key: new.public_key,
            certificate: new.certificate,
            certificate_ids: [new.certificate_id.clone()].into(),
            admitting: BTreeSet::new(),
            certificate_id: new.certificate_id,
            enrolled_at: new.enrolled_at,
            metering_point: new.metering_point,
            zone: new.zone,
            shard: new.shard,
            confidential: new.confidential,
            sensor_tables: new.sensor_tables,
            mark: None,
            head: None,
            closed_through: None,
            gap_since: None,
        }
    }
}

impl Device {
    /// The newest sensor table.
    ///
    /// # Errors
    /// [`ProofError::BadSensorTable`] if there is none, which registration does not let happen.
    pub fn sensor_table(&self) -> Result<&SensorTable, ProofError> {
        self.sensor_tables.last().ok_or_else(|| ProofError::BadSensorTable(format!("{} has none", self.id)))
    }

    /// The sensor table of a version.
    #[must_use]
    pub fn sensor_table_version(&self, version: u64) -> Option<&SensorTable> {
        self.sensor_tables.iter().find(|table| table.version() == version)
    }

    /// Whether the number belongs to a day that is closed.
    #[must_use]
    pub fn is_closed(&self, number: SequenceNumber) -> bool {
        self.closed_through.is_some_and(|closed| number <= closed)
    }
}

/// The part of the liveness index that a device is in.
#[must_use]
pub fn live_shard(device: &DeviceId) -> u8 {
    sha256(&[device.as_str().as_bytes()]).0[0] % LIVE_SHARDS
}

/// The part of the liveness index that a device with an open gap is in: apart from the others, so that looking for new gaps costs
/// nothing for the old ones.
#[must_use]
pub fn gap_shard(device: &DeviceId) -> u8 {
    LIVE_SHARDS + live_shard(device)
}

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::entry::tests::device;
    use super::*;

    fn mark(number: u64, received: i64) -> Mark {
        Mark { number: SequenceNumber(number), received: UnixMillis(received), time: None }
    }

    #[test]
    fn a_mark_moves_by_ten_minutes_or_64_numbers() {
        let mark = mark(100, 1_000_000);
        let moved = |number, received| mark.is_moved_by(SequenceNumber(number), UnixMillis(received));
        assert!(!moved(163, 1_000_000 + MARK_MILLIS - 1));
        assert!(moved(164, 0));
        assert!(moved(0, 1_000_000 + MARK_MILLIS));
    }

    #[test]
    fn a_mark_never_goes_back() {
        let merged = mark(100, 5).merged(&mark(7, 9));
        assert_eq!(merged, mark(100, 9));
        assert_eq!(merged.merged(&mark(101, 1)), mark(101, 9));
    }

    #[test]
    fn statuses_have_words() {
        for status in [Status::Active, Status::Suspended, Status::Retired] {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        assert!("gone".parse::<Status>().is_err());
    }

    #[test]
    fn devices_spread_over_the_index() {
        let shards: std::collections::BTreeSet<u8> =
            (0..100).map(|i| live_shard(&format!("dev-{i}").parse().unwrap())).collect();
        assert_eq!(shards.len(), usize::from(LIVE_SHARDS));
    }
}
