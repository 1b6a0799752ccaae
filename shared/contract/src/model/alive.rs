//! Signs of life: what the operator says of a shard's devices, hour by hour.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vitro_proof::crypto::sha256;
use vitro_proof::{Decimal, DeviceId, Hash, Leaf, SensorName, merkle};

use crate::error::ContractError;
use crate::ids::Shard;
use crate::wire::{Encoder, Record, Wire, Written, record, wire};

/// Seconds of an hour.
const SECONDS: i64 = 3_600;

/// An hour, by the Unix second with which it begins: a multiple of 3,600. As text, that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Hour(i64);

impl Hour {
    /// The last hour that begins at a Unix second of at most twelve digits, which keeps keys in order.
    const MAX: i64 = 999_999_999_999 / SECONDS * SECONDS;

    /// The hour that begins at this second.
    ///
    /// # Errors
    /// [`ContractError::Malformed`] if none begins there.
    pub fn beginning(second: i64) -> Result<Self, ContractError> {
        if (0..=Self::MAX).contains(&second) && second % SECONDS == 0 {
            Ok(Self(second))
        } else {
            Err(ContractError::malformed("an hour", format!("none begins at {second}")))
        }
    }

    /// The hour that holds a second.
    ///
    /// # Errors
    /// [`ContractError::Malformed`] if it lies before 1970, or too far from now.
    pub fn holding(second: i64) -> Result<Self, ContractError> {
        Self::beginning(second.div_euclid(SECONDS) * SECONDS)
    }

    /// The Unix second with which it begins.
    #[must_use]
    pub fn begin(self) -> i64 {
        self.0
    }

    /// The Unix second with which it ends: the first of the next hour.
    #[must_use]
    pub fn end(self) -> i64 {
        self.0 + SECONDS
    }

    /// The hour so many later, or the last.
    pub(crate) fn plus(self, hours: i64) -> Self {
        Self(self.0.saturating_add(hours.saturating_mul(SECONDS)).clamp(0, Self::MAX))
    }
}

impl TryFrom<i64> for Hour {
    type Error = ContractError;

    fn try_from(second: i64) -> Result<Self, Self::Error> {
        Self::beginning(second)
    }
}

impl From<Hour> for i64 {
    fn from(hour: Hour) -> Self {
        hour.0
    }
}

impl FromStr for Hour {
    type Err = ContractError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let second: i64 = text.parse().map_err(|error| ContractError::malformed("an hour", error))?;
        let hour = Self::beginning(second)?;
        // One hour has one text: no sign, no leading zeros.
        if hour.to_string() == text { Ok(hour) } else { Err(ContractError::malformed("an hour", "not plain digits")) }
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Wire for Hour {
    fn write(&self, e: &mut Encoder<'_>) -> Written {
        self.0.write(e)
    }

    fn read(d: &mut minicbor::Decoder<'_>) -> Result<Self, ContractError> {
        Self::beginning(d.i64().map_err(wire)?)
    }
}

record! {
    /// A sensor's last value.
    pub struct LastValue {
        /// The sensor.
        0 => sensor: SensorName,
        /// Its unit.
        1 => unit: String,
        /// The value; nothing if it was marked missing.
        2 => value: Option<Decimal>,
    }
}

record! {
    /// What the operator knew of a device at the end of an hour. Its hash is a leaf of the hour's tree.
    pub struct SignOfLife, "a sign of life", version 1 {
        /// The device.
        1 => thing: DeviceId,
        /// Whether it was heard of within the 60 minutes before the end of the hour.
        2 => alive: bool,
        /// The last number that was heard; nothing if none ever was.
        3 => number: Option<u64>,
        /// When it was received, in Unix milliseconds.
        4 => heard: Option<i64>,
        /// The last values, sorted by sensor. A device reports even when it measures 0.
        5 => values: Vec<LastValue>,
    }
}

impl SignOfLife {
    /// The leaf: SHA-256 over a zero byte and the record's bytes (RFC 9162, section 2.1).
    #[must_use]
    pub fn leaf(&self) -> Leaf {
        Leaf(sha256(&[&[0], &self.encode()]).0)
    }
}

impl Record for Vec<SignOfLife> {
    const NAME: &'static str = "signs of life";
}

record! {
    /// How many of a shard's devices showed life in an hour, and the root over what was heard of each.
    pub struct Alive, "a shard's hour", version 1 {
        /// The shard.
        1 => shard: Shard,
        /// The hour.
        2 => hour: Hour,
        /// The Merkle root (RFC 9162) over the [`SignOfLife`] of each device, in the order of their names.
        3 => root: Hash,
        /// How many were heard of.
        4 => alive: u64,
        /// How many were silent.
        5 => silent: u64,
    }
}

impl Alive {
    /// The hour of these devices.
    ///
    /// # Errors
    /// [`ContractError::BadArguments`] if they are not sorted by name, each once, or a device's values are not sorted by sensor.
    pub fn of(shard: Shard, hour: Hour, signs: &[SignOfLife]) -> Result<Self, ContractError> {
        let sorted = signs.windows(2).all(|pair| pair[0].thing < pair[1].thing)
            && signs.iter().all(|sign| sign.values.windows(2).all(|pair| pair[0].sensor < pair[1].sensor));
        if !sorted {
            return Err(ContractError::BadArguments("devices and sensors are sorted, each occurs once".into()));
        }
        let leaves: Vec<Leaf> = signs.iter().map(SignOfLife::leaf).collect();
        let alive = signs.iter().filter(|sign| sign.alive).count() as u64;
        Ok(Self { shard, hour, root: merkle::root(&leaves), alive, silent: signs.len() as u64 - alive })
    }

    /// How many devices it is about: the leaves of its tree.
    #[must_use]
    pub fn devices(&self) -> u64 {
        self.alive.saturating_add(self.silent)
    }
}

record! {
    /// A shard's hour on the ledger.
    pub struct AliveView, "a shard's hour on the ledger", version 1 {
        /// What the operator said.
        1 => alive: Alive,
        /// In which transaction.
        2 => tx: String,
        /// Its timestamp: how long after the hour it was said.
        3 => time: i64,
    }
}

record! {
    /// Hours in a row, both included.
    pub struct Hours {
        /// The first.
        0 => from: Hour,
        /// The last.
        1 => to: Hour,
    }
}

record! {
    /// Some of a shard's hours.
    pub struct AlivePage, "a shard's hours", version 1 {
        /// The hours of which something was said, in order.
        1 => hours: Vec<AliveView>,
        /// Those of which nothing was.
        2 => missing: Vec<Hours>,
        /// Where the next page begins; nothing on the last.
        3 => next: Option<Hour>,
    }
}

record! {
    /// A device's sign of life, proven to be part of a published hour.
    pub struct AliveInclusion, "an inclusion in an hour", version 1 {
        /// The hour.
        1 => hour: AliveView,
        /// What the operator said of the device.
        2 => sign: SignOfLife,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_begin_where_they_begin() {
        assert_eq!(Hour::holding(7_199).unwrap(), "3600".parse().unwrap());
        assert_eq!(Hour::beginning(3_600).unwrap().end(), 7_200);
        for bad in ["3601", "-3600", "+3600", "03600", "9999999999999", "x", ""] {
            assert!(bad.parse::<Hour>().is_err(), "{bad}");
        }
        assert!(Hour::beginning(Hour::MAX).is_ok() && Hour::beginning(Hour::MAX + SECONDS).is_err());
    }

    #[test]
    fn the_encoding_is_fixed() {
        let sign = SignOfLife {
            thing: "dev-1".parse().unwrap(),
            alive: true,
            number: Some(42),
            heard: Some(1_539_500_460_000),
            values: vec![LastValue { sensor: "energy".parse().unwrap(), unit: "kWh".into(), value: "0".parse().ok() }],
        };
        let expected = "a6000101656465762d3102f503182a041b000001667160c7e00581a30066656e6572677901636b57680200";
        assert_eq!(hex::encode(sign.encode()), expected);
        let hour =
            Alive::of("west".parse().unwrap(), Hour::beginning(1_539_500_400).unwrap(), std::slice::from_ref(&sign))
                .unwrap();
        assert_eq!((hour.root.0, hour.alive, hour.silent), (sign.leaf().0, 1, 0));
        assert_eq!(Alive::decode(&hour.encode()).unwrap(), hour);
        let empty = Alive::of("west".parse().unwrap(), hour.hour, &[]).unwrap();
        assert_eq!((empty.root, empty.devices()), (sha256(&[]), 0));
    }
}
