//! The SenML profile (RFC 8428 in CBOR, section 6): reading a device's packs, and writing them.
//!
//! Reading is a pure function of the bytes, so device and cloud flag the same records. Numbers stay exact decimals.

mod common;
mod lines;
mod quantity;

use crate::cbor;
use crate::decimal::Decimal;
use crate::error::ContentFault;
use crate::ids::{DeviceId, SensorName, UnixMillis};

pub(crate) use lines::{Line, Lines, Said, read_lines};
pub(crate) use quantity::Quantity;

/// The most records of one envelope.
pub const MAX_RECORDS: usize = 256;
/// What a logger writes for a value it marks missing.
pub const MISSING: &str = "missing";

/// A reading: one sensor at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The sensor's name, without the device's prefix. It may still be unknown to the sensor table.
    pub sensor: String,
    /// The resolved unit, if there is one.
    pub unit: Option<String>,
    /// When it was measured.
    pub time: UnixMillis,
    /// What was measured.
    pub value: Value,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number, exact.
    Number(Decimal),
    /// The logger marked the value missing.
    Missing,
    /// Text, a boolean or data: kept in the envelope, never a number.
    Other,
}

/// A pack's records in their order, each as it resolves or with its fault.
pub type Pack = Vec<Result<Record, ContentFault>>;

/// A label of a SenML record in CBOR (RFC 8428, table 4).
mod label {
    pub(super) const BASE_VERSION: i64 = -1;
    pub(super) const BASE_NAME: i64 = -2;
    pub(super) const BASE_TIME: i64 = -3;
    pub(super) const BASE_UNIT: i64 = -4;
    pub(super) const BASE_VALUE: i64 = -5;
    pub(super) const BASE_SUM: i64 = -6;
    pub(super) const NAME: i64 = 0;
    pub(super) const UNIT: i64 = 1;
    pub(super) const VALUE: i64 = 2;
    pub(super) const STRING: i64 = 3;
    pub(super) const BOOLEAN: i64 = 4;
    pub(super) const SUM: i64 = 5;
    pub(super) const TIME: i64 = 6;
    pub(super) const UPDATE_TIME: i64 = 7;
    pub(super) const DATA: i64 = 8;
}

/// Reads the payload of a device's telemetry envelope.
///
/// # Errors
/// A [`ContentFault`] that concerns the whole pack; faults of single records stand in their place in the pack.
pub fn read_pack(payload: &[u8], thing: &DeviceId) -> Result<Pack, ContentFault> {
    let lines = read_lines(payload, thing)?;
    Ok(lines.into_iter().map(|line| line.map(Record::from).map_err(|refused| refused.fault)).collect())
}

impl From<Line<'_>> for Record {
    fn from(line: Line<'_>) -> Self {
        Self {
            sensor: line.sensor.into_owned(),
            unit: line.unit.map(str::to_owned),
            time: line.time,
            value: match line.said {
                Said::Number(number) => Value::Number(number.into()),
                Said::Missing => Value::Missing,
                Said::Other => Value::Other,
            },
        }
    }
}

/// What a device wants to say of one sensor, for [`write_pack`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The sensor.
    pub sensor: SensorName,
    /// Its declared unit.
    pub unit: String,
    /// The number, or nothing if the logger marked it missing.
    pub value: Option<Decimal>,
}

/// Writes a device's readings of one instant as a pack: deterministic CBOR, base name and base time in the first record.
#[must_use]
pub fn write_pack(thing: &DeviceId, time: UnixMillis, readings: &[Reading]) -> Vec<u8> {
    cbor::encode(|e| {
        e.array(readings.len() as u64)?;
        for (index, reading) in readings.iter().enumerate() {
            let first = index == 0;
            e.map(if first { 5 } else { 3 })?;
            // Deterministic order of the keys' encodings: 0, 1, 2 or 3, then -2 (0x21), -3 (0x22).
            e.i64(label::NAME)?.str(reading.sensor.as_str())?;
            e.i64(label::UNIT)?.str(&reading.unit)?;
            match &reading.value {
                Some(value) => value.encode(e.i64(label::VALUE)?)?,
                None => _ = e.i64(label::STRING)?.str(MISSING)?,
            }
            if first {
                e.i64(label::BASE_NAME)?.str(&format!("{thing}/"))?;
                e.i64(label::BASE_TIME)?;
                time_of(time).encode(e)?;
            }
        }
        Ok(())
    })
}

fn time_of(time: UnixMillis) -> Decimal {
    Decimal::new(time.0, -3)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::quantity::{ABSOLUTE, LAST_MILLI};
    use super::*;

    fn thing() -> DeviceId {
        "dev-1".parse().unwrap()
    }

    /// A pack of one record with base name and time, and the given further fields.
    fn one(fields: &str, count: u8) -> Pack {
        let bytes = hex::decode(format!("81{:02x}21666465762d312f221a5c3f0000{fields}", 0xa2 + count)).unwrap();
        read_pack(&bytes, &thing()).unwrap()
    }

    #[test]
    fn what_is_written_reads_back() {
        let readings = vec![
            Reading { sensor: "energy".parse().unwrap(), unit: "kWh".into(), value: Some("3.0903".parse().unwrap()) },
            Reading { sensor: "temp".parse().unwrap(), unit: "Cel".into(), value: None },
        ];
        let time = UnixMillis(1_539_500_400_250);
        let pack = read_pack(&write_pack(&thing(), time, &readings), &thing()).unwrap();
        assert_eq!(pack.len(), 2);
        let energy = pack[0].clone().unwrap();
        assert_eq!((energy.sensor.as_str(), energy.unit.as_deref(), energy.time), ("energy", Some("kWh"), time));
        assert_eq!(energy.value, Value::Number("3.0903".parse().unwrap()));
        assert_eq!(pack[1].clone().unwrap().value, Value::Missing);
    }

    #[test]
    fn numbers_come_in_three_forms() {
        let value = |fields: &str| one(fields, 2)[0].clone().map(|record| record.value);
        assert_eq!(value("00616102 182a".replace(' ', "").as_str()), Ok(Value::Number(Decimal::from(42))));
        assert_eq!(value("00616102c482231978b7"), Ok(Value::Number("3.0903".parse().unwrap())));
        assert_eq!(value("00616102fb3fb999999999999a"), Ok(Value::Number("0.1".parse().unwrap())));
        assert_eq!(value("00616102f93c00"), Ok(Value::Number(Decimal::from(1))));
        assert_eq!(value("00616102f97e00"), Err(ContentFault::NumberOutOfRange), "NaN");
        assert_eq!(value("00616102c4820d01"), Err(ContentFault::NumberOutOfRange), "10^13");
        assert_eq!(value("006161021bffffffffffffffff"), Err(ContentFault::NumberOutOfRange));
        assert_eq!(value("00616102c249010000000000000000"), Err(ContentFault::NumberOutOfRange));
    }

    #[test]
    fn faults_stay_in_their_place() {
        assert_eq!(one("006161", 1)[0], Err(ContentFault::NoValue));
        assert_eq!(one("0061610203036178", 3)[0], Err(ContentFault::SeveralValues));
        assert_eq!(one("0061610503", 2)[0], Err(ContentFault::SumOnly));
        assert_eq!(one("00616104f5", 2)[0].clone().unwrap().value, Value::Other);
        assert_eq!(one("0061610201063a7fffffff", 3)[0], Err(ContentFault::RelativeTime));
        assert_eq!(one("006161020106c4822301", 3)[0], Err(ContentFault::BadTime), "a tenth of a millisecond");
    }

    #[test]
    fn a_foreign_name_is_no_reading_of_ours() {
        let bytes = hex::decode("81a421666465762d322f221a5c3f00000061610201").unwrap();
        assert_eq!(read_pack(&bytes, &thing()).unwrap(), vec![Err(ContentFault::ForeignName)]);
    }

    #[test]
    fn a_name_and_time_occurs_once() {
        let bytes = hex::decode("82a421666465762d312f221a5c3f00000061610201a20061610202").unwrap();
        let pack = read_pack(&bytes, &thing()).unwrap();
        assert!(pack[0].is_ok());
        assert_eq!(pack[1], Err(ContentFault::DuplicateRecord));
    }

    #[test]
    fn nonsense_is_a_fault_and_never_a_panic() {
        for bad in ["", "80", "a0", "8101", "81a102f6", "81a1615f01", "81a1200b", "9f"] {
            assert_eq!(read_pack(&hex::decode(bad).unwrap(), &thing()), Err(ContentFault::UnreadablePack), "{bad}");
        }
        let many = [vec![0x99, 0x01, 0x01], vec![0xa0; 257]].concat();
        assert_eq!(read_pack(&many, &thing()), Err(ContentFault::TooManyRecords));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_pack(&bytes, &thing());
        }

        #[test]
        fn readings_round_trip(values in proptest::collection::vec(proptest::option::of((-(i64::MAX)..=i64::MAX, -12i32..=12)), 1..20), ms in ABSOLUTE * 1000..LAST_MILLI) {
            let readings: Vec<Reading> = values.iter().enumerate().map(|(i, value)| Reading {
                sensor: format!("s{i}").parse().unwrap(),
                unit: "W".into(),
                value: value.map(|(m, e)| Decimal::new(m, e)),
            }).collect();
            let pack = read_pack(&write_pack(&thing(), UnixMillis(ms), &readings), &thing()).unwrap();
            // Normalising may leave an integer beyond 64 bits, which a reading cannot be; the agent never writes one.
            for (reading, record) in readings.iter().zip(pack) {
                match record {
                    Ok(record) => {
                        prop_assert_eq!(record.time, UnixMillis(ms));
                        prop_assert_eq!(record.value, reading.value.clone().map_or(Value::Missing, Value::Number));
                    }
                    Err(fault) => prop_assert_eq!(fault, ContentFault::NumberOutOfRange),
                }
            }
        }
    }
}
