//! The SenML profile (RFC 8428 in CBOR, section 6): reading a device's packs, and writing them.
//!
//! Reading is a pure function of the bytes, so device and cloud flag the same records. Numbers stay exact decimals.

use std::collections::BTreeSet;

use minicbor::Decoder;
use minicbor::data::{Tag, Type};

use crate::cbor;
use crate::decimal::Decimal;
use crate::error::ContentFault;
use crate::ids::{DeviceId, SensorName, UnixMillis};

/// The most records of one envelope.
pub const MAX_RECORDS: usize = 256;
/// RFC 8428, section 4.5.3: times from 2^28 on are absolute.
const ABSOLUTE: i64 = 1 << 28;
/// The last millisecond of the year 9999.
const LAST_MILLI: i64 = 253_402_300_799_999;
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
    let records = read_records(payload, thing)?;
    Ok(records.into_iter().map(|record| record.map_err(|refused| refused.fault)).collect())
}

/// A record with a fault, and whose it is as far as that can be told: a summary counts it as flagged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The sensor's name without the device's prefix; nothing if the name is not this device's.
    pub(crate) sensor: Option<String>,
    /// What is wrong.
    pub(crate) fault: ContentFault,
}

/// As [`read_pack`], with the sensors of the records that have a fault.
pub(crate) fn read_records(payload: &[u8], thing: &DeviceId) -> Result<Vec<Result<Record, Refused>>, ContentFault> {
    cbor::check(payload).map_err(|_| ContentFault::UnreadablePack)?;
    let mut d = Decoder::new(payload);
    let count = d.array().ok().flatten().ok_or(ContentFault::UnreadablePack)?;
    if count == 0 {
        return Err(ContentFault::UnreadablePack);
    }
    if count > MAX_RECORDS as u64 {
        return Err(ContentFault::TooManyRecords);
    }
    let mut base = Base::default();
    let mut seen = BTreeSet::new();
    let mut records = Vec::new();
    for _ in 0..count {
        let fields = Fields::read(&mut d, &mut base).ok_or(ContentFault::UnreadablePack)?;
        // A record that only sets base values says nothing itself.
        if fields.is_base_only() {
            continue;
        }
        let record = fields.resolve(&base, thing).and_then(|record| {
            if seen.insert((record.sensor.clone(), record.time)) {
                Ok(record)
            } else {
                Err(Refused { sensor: Some(record.sensor), fault: ContentFault::DuplicateRecord })
            }
        });
        records.push(record);
    }
    Ok(records)
}

/// A number as it stood in a record: it may be one that the profile does not allow.
type Number = Result<Decimal, ContentFault>;

/// Base values hold for all later records until they are set again (RFC 8428, section 4.1).
#[derive(Default)]
struct Base {
    name: String,
    time: Option<Number>,
    /// The base time as an instant: what a record without a time of its own has.
    instant: Option<Result<UnixMillis, ContentFault>>,
    unit: Option<String>,
    value: Option<Number>,
}

impl Base {
    fn set_time(&mut self, time: Number) {
        self.instant = Some(time.as_ref().map_err(|_| ContentFault::BadTime).and_then(instant_of));
        self.time = Some(time);
    }
}

#[derive(Default)]
struct Fields {
    name: Option<String>,
    unit: Option<String>,
    value: Option<Number>,
    text: Option<String>,
    other: usize,
    sum: bool,
    time: Option<Number>,
}

impl Fields {
    /// Reads one record's map; nothing if it breaks SenML's own syntax.
    fn read(d: &mut Decoder<'_>, base: &mut Base) -> Option<Self> {
        let mut fields = Self::default();
        for _ in 0..d.map().ok()?? {
            if d.datatype().ok()? == Type::String {
                // RFC 8428, section 4.4: a label that ends in "_" must be understood.
                if d.str().ok()?.ends_with('_') {
                    return None;
                }
                d.skip().ok()?;
                continue;
            }
            match i64::try_from(i128::from(d.int().ok()?)).ok()? {
                label::BASE_VERSION => {
                    if d.u8().ok()? > 10 {
                        return None;
                    }
                }
                label::BASE_NAME => base.name = d.str().ok()?.to_owned(),
                label::BASE_TIME => base.set_time(number(d)?),
                label::BASE_UNIT => base.unit = Some(d.str().ok()?.to_owned()),
                label::BASE_VALUE => base.value = Some(number(d)?),
                label::BASE_SUM => _ = number(d)?,
                label::NAME => fields.name = Some(d.str().ok()?.to_owned()),
                label::UNIT => fields.unit = Some(d.str().ok()?.to_owned()),
                label::VALUE => fields.value = Some(number(d)?),
                label::STRING => fields.text = Some(d.str().ok()?.to_owned()),
                label::BOOLEAN => {
                    d.bool().ok()?;
                    fields.other += 1;
                }
                label::SUM => {
                    _ = number(d)?;
                    fields.sum = true;
                }
                label::TIME => fields.time = Some(number(d)?),
                label::UPDATE_TIME => _ = number(d)?,
                label::DATA => {
                    d.bytes().ok()?;
                    fields.other += 1;
                }
                _ => d.skip().ok()?,
            }
        }
        Some(fields)
    }

    fn is_base_only(&self) -> bool {
        self.name.is_none()
            && self.value.is_none()
            && self.text.is_none()
            && self.other == 0
            && !self.sum
            && self.time.is_none()
            && self.unit.is_none()
    }

    fn resolve(self, base: &Base, thing: &DeviceId) -> Result<Record, Refused> {
        let full = format!("{}{}", base.name, self.name.as_deref().unwrap_or_default());
        let sensor = full
            .strip_prefix(thing.as_str())
            .and_then(|rest| rest.strip_prefix('/'))
            .filter(|rest| !rest.is_empty())
            .ok_or(Refused { sensor: None, fault: ContentFault::ForeignName })?
            .to_owned();
        match self.reading(base) {
            Ok((time, unit, value)) => Ok(Record { sensor, unit, time, value }),
            Err(fault) => Err(Refused { sensor: Some(sensor), fault }),
        }
    }

    /// What the record says beside its name: time, unit, value.
    fn reading(self, base: &Base) -> Result<(UnixMillis, Option<String>, Value), ContentFault> {
        let time = absolute_time(base, self.time)?;
        let values = usize::from(self.value.is_some()) + usize::from(self.text.is_some()) + self.other;
        if values > 1 {
            return Err(ContentFault::SeveralValues);
        }
        let value = match (self.value, self.text) {
            (Some(number), _) => {
                let number = number?;
                Value::Number(match &base.value {
                    Some(offset) => &number + offset.as_ref().map_err(|fault| *fault)?,
                    None => number,
                })
            }
            (None, Some(text)) if text == MISSING => Value::Missing,
            (None, Some(_)) => Value::Other,
            (None, None) if self.other > 0 => Value::Other,
            (None, None) if self.sum => return Err(ContentFault::SumOnly),
            // RFC 8428, section 4.2: a base value alone stands for the value.
            (None, None) => match &base.value {
                Some(value) => Value::Number(value.clone()?),
                None => return Err(ContentFault::NoValue),
            },
        };
        Ok((time, self.unit.or_else(|| base.unit.clone()), value))
    }
}

fn absolute_time(base: &Base, own: Option<Number>) -> Result<UnixMillis, ContentFault> {
    let Some(own) = own else { return base.instant.unwrap_or(Err(ContentFault::RelativeTime)) };
    let own = own.map_err(|_| ContentFault::BadTime)?;
    match &base.time {
        None => instant_of(&own),
        Some(base) => instant_of(&(base.as_ref().map_err(|_| ContentFault::BadTime)? + &own)),
    }
}

fn instant_of(time: &Decimal) -> Result<UnixMillis, ContentFault> {
    if *time < Decimal::from(ABSOLUTE) {
        return Err(ContentFault::RelativeTime);
    }
    let millis = time.to_scaled(3).ok_or(ContentFault::BadTime)?;
    i64::try_from(millis).ok().filter(|ms| *ms <= LAST_MILLI).map(UnixMillis).ok_or(ContentFault::BadTime)
}

/// Reads a number: an integer, a decimal fraction, or a float taken as the shortest decimal of its double. The outer nothing is
/// for an item that is no number at all.
fn number(d: &mut Decoder<'_>) -> Option<Number> {
    const OUT: ContentFault = ContentFault::NumberOutOfRange;
    // A mantissa lies under 2^63 in size, so i64 holds it; its most negative number is one too large.
    let mantissa = |d: &mut Decoder<'_>| -> Option<Result<i64, ContentFault>> {
        match d.datatype().ok()? {
            Type::Tag => {
                // A bignum is a number, but always out of range.
                if !matches!(d.tag().ok()?.as_u64(), 2 | 3) {
                    return None;
                }
                d.bytes().ok()?;
                Some(Err(OUT))
            }
            _ => {
                let int = i128::from(d.int().ok()?);
                Some(i64::try_from(int).ok().filter(|m| *m != i64::MIN).ok_or(OUT))
            }
        }
    };
    match d.datatype().ok()? {
        Type::F16 => d.f16().ok().map(|v| Decimal::from_float(f64::from(v)).map_err(|_| OUT)),
        Type::F32 => d.f32().ok().map(|v| Decimal::from_float(f64::from(v)).map_err(|_| OUT)),
        Type::F64 => d.f64().ok().map(|v| Decimal::from_float(v).map_err(|_| OUT)),
        Type::Tag => {
            let mut probe = d.clone();
            if probe.tag().ok()? != Tag::new(4) {
                return mantissa(d).map(|m| m.map(Decimal::from));
            }
            *d = probe;
            if d.array().ok()?? != 2 {
                return None;
            }
            let exponent = i128::from(d.int().ok()?);
            let mantissa = mantissa(d)?;
            Some(mantissa.and_then(|m| match i32::try_from(exponent) {
                Ok(e @ -12..=12) => Ok(Decimal::new(m, e)),
                _ => Err(OUT),
            }))
        }
        _ => mantissa(d).map(|m| m.map(Decimal::from)),
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
