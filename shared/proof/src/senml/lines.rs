//! A pack's records, resolved where they lie: names and units are borrowed from the payload, numbers stay in machine words. This is
//! what every message of every device goes through; [`super::read_pack`] is the same with records that own what they say.

use std::borrow::Cow;

use minicbor::Decoder;
use minicbor::data::Type;

use super::common::Cursor;
use super::quantity::{Number, Quantity, number};
use super::{MAX_RECORDS, MISSING, label};
use crate::cbor;
use crate::error::ContentFault;
use crate::ids::{DeviceId, UnixMillis};

/// A record without a fault.
#[derive(Clone, Debug)]
pub(crate) struct Line<'a> {
    /// The sensor's name, without the device's prefix. It may still be unknown to the sensor table.
    pub(crate) sensor: Cow<'a, str>,
    /// The resolved unit, if there is one.
    pub(crate) unit: Option<&'a str>,
    /// When it was measured.
    pub(crate) time: UnixMillis,
    /// What was measured.
    pub(crate) said: Said,
}

/// What a record says.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// A number, exact.
    Number(Quantity),
    /// The logger marked the value missing.
    Missing,
    /// Text, a boolean or data.
    Other,
}

/// A record with a fault, and whose it is as far as that can be told: a summary counts it as flagged.
#[derive(Clone, Debug)]
pub(crate) struct Refused<'a> {
    /// The sensor's name without the device's prefix; nothing if the name is not this device's.
    pub(crate) sensor: Option<Cow<'a, str>>,
    /// What is wrong.
    pub(crate) fault: ContentFault,
}

/// A pack's records in their order.
pub(crate) type Lines<'a> = Vec<Result<Line<'a>, Refused<'a>>>;

/// Reads a payload's records.
pub(crate) fn read_lines<'a>(payload: &'a [u8], thing: &DeviceId) -> Result<Lines<'a>, ContentFault> {
    read_common(payload, thing).map_or_else(|| read_any(payload, thing), Ok)
}

/// Reads them if they are of the shape that devices write ([`super::common`]).
fn read_common<'a>(payload: &'a [u8], thing: &DeviceId) -> Option<Lines<'a>> {
    let mut cursor = Cursor::new(payload);
    let count = cursor.count().and_then(|count| usize::try_from(count).ok());
    let count = count.filter(|count| (1..=MAX_RECORDS).contains(count))?;
    let (mut base, mut seen, mut lines) = (Base::default(), Seen::of(count), Vec::with_capacity(count));
    for _ in 0..count {
        let fields = cursor.fields(&mut base)?;
        seen.add(&mut lines, fields, &base, thing);
    }
    cursor.is_at_end().then_some(lines)
}

/// Reads whatever SenML allows.
fn read_any<'a>(payload: &'a [u8], thing: &DeviceId) -> Result<Lines<'a>, ContentFault> {
    cbor::check(payload).map_err(|_| ContentFault::UnreadablePack)?;
    let mut d = Decoder::new(payload);
    let count = d.array().ok().flatten().ok_or(ContentFault::UnreadablePack)?;
    if count == 0 {
        return Err(ContentFault::UnreadablePack);
    }
    let count = usize::try_from(count).ok().filter(|count| *count <= MAX_RECORDS);
    let count = count.ok_or(ContentFault::TooManyRecords)?;
    let mut base = Base::default();
    let mut seen = Seen::of(count);
    let mut lines = Vec::with_capacity(count);
    for _ in 0..count {
        let fields = Fields::read(&mut d, &mut base).ok_or(ContentFault::UnreadablePack)?;
        seen.add(&mut lines, fields, &base, thing);
    }
    Ok(lines)
}

/// Which records came already: the places of those without a fault, in order of sensor and time.
struct Seen {
    places: Vec<usize>,
    /// Where the record asked for last belongs.
    at: usize,
}

impl Seen {
    /// None yet, and room for so many.
    fn of(count: usize) -> Self {
        Self { places: Vec::with_capacity(count), at: 0 }
    }

    /// Adds a record to the lines before it.
    fn add<'a>(&mut self, lines: &mut Lines<'a>, fields: Fields<'a>, base: &Base<'a>, thing: &DeviceId) {
        // A record that only sets base values says nothing itself.
        if fields.is_base_only() {
            return;
        }
        let line = match fields.resolve(base, thing) {
            Ok(line) if self.contains(lines, &line) => {
                Err(Refused { sensor: Some(line.sensor), fault: ContentFault::DuplicateRecord })
            }
            Ok(line) => {
                self.note(lines.len());
                Ok(line)
            }
            Err(refused) => Err(refused),
        };
        lines.push(line);
    }

    fn contains(&mut self, lines: &Lines<'_>, line: &Line<'_>) -> bool {
        let compare = |place: &usize| match &lines[*place] {
            Ok(known) => known.sensor.cmp(&line.sensor).then(known.time.cmp(&line.time)),
            // Cannot be: only records without a fault are noted.
            Err(_) => std::cmp::Ordering::Less,
        };
        // Devices write in the order of their sensor table: then the last one tells.
        if self.places.last().is_none_or(|last| compare(last).is_lt()) {
            self.at = self.places.len();
            return false;
        }
        match self.places.binary_search_by(compare) {
            Ok(_) => true,
            Err(at) => {
                self.at = at;
                false
            }
        }
    }

    fn note(&mut self, place: usize) {
        self.places.insert(self.at, place);
    }
}

/// Base values hold for all later records until they are set again (RFC 8428, section 4.1).
#[derive(Default)]
pub(super) struct Base<'a> {
    pub(super) name: &'a str,
    time: Option<Number>,
    /// The base time as an instant: what a record without a time of its own has.
    instant: Option<Result<UnixMillis, ContentFault>>,
    unit: Option<&'a str>,
    value: Option<Number>,
}

impl Base<'_> {
    pub(super) fn set_time(&mut self, time: Number) {
        self.instant = Some(time.as_ref().map_err(|_| ContentFault::BadTime).and_then(Quantity::instant));
        self.time = Some(time);
    }
}

#[derive(Default)]
pub(super) struct Fields<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) unit: Option<&'a str>,
    pub(super) value: Option<Number>,
    text: Option<&'a str>,
    other: usize,
    sum: bool,
    pub(super) time: Option<Number>,
}

impl<'a> Fields<'a> {
    /// Reads one record's map; nothing if it breaks SenML's own syntax.
    fn read(d: &mut Decoder<'a>, base: &mut Base<'a>) -> Option<Self> {
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
                label::BASE_NAME => base.name = d.str().ok()?,
                label::BASE_TIME => base.set_time(number(d)?),
                label::BASE_UNIT => base.unit = Some(d.str().ok()?),
                label::BASE_VALUE => base.value = Some(number(d)?),
                label::BASE_SUM => _ = number(d)?,
                label::NAME => fields.name = Some(d.str().ok()?),
                label::UNIT => fields.unit = Some(d.str().ok()?),
                label::VALUE => fields.value = Some(number(d)?),
                label::STRING => fields.text = Some(d.str().ok()?),
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

    fn resolve(self, base: &Base<'a>, thing: &DeviceId) -> Result<Line<'a>, Refused<'a>> {
        let sensor = sensor(base.name, self.name.unwrap_or_default(), thing)
            .ok_or(Refused { sensor: None, fault: ContentFault::ForeignName })?;
        match self.reading(base) {
            Ok((time, unit, said)) => Ok(Line { sensor, unit, time, said }),
            Err(fault) => Err(Refused { sensor: Some(sensor), fault }),
        }
    }

    /// What the record says beside its name: time, unit, value.
    fn reading(self, base: &Base<'a>) -> Result<(UnixMillis, Option<&'a str>, Said), ContentFault> {
        let time = absolute_time(base, self.time)?;
        let values = usize::from(self.value.is_some()) + usize::from(self.text.is_some()) + self.other;
        if values > 1 {
            return Err(ContentFault::SeveralValues);
        }
        let said = match (self.value, self.text) {
            (Some(number), _) => {
                let number = number?;
                Said::Number(match &base.value {
                    Some(offset) => number.plus(offset.as_ref().map_err(|fault| *fault)?),
                    None => number,
                })
            }
            (None, Some(text)) if text == MISSING => Said::Missing,
            (None, Some(_)) => Said::Other,
            (None, None) if self.other > 0 => Said::Other,
            (None, None) if self.sum => return Err(ContentFault::SumOnly),
            // RFC 8428, section 4.2: a base value alone stands for the value.
            (None, None) => match &base.value {
                Some(value) => Said::Number(value.clone()?),
                None => return Err(ContentFault::NoValue),
            },
        };
        Ok((time, self.unit.or(base.unit), said))
    }
}

/// What follows `<thing>/` in base name and name joined; nothing if they do not begin so, or nothing follows.
fn sensor<'a>(base: &'a str, name: &'a str, thing: &DeviceId) -> Option<Cow<'a, str>> {
    let own = |full: &'a str| full.strip_prefix(thing.as_str())?.strip_prefix('/');
    let sensor = match (own(base), name) {
        (Some(""), name) => Cow::Borrowed(name),
        (Some(rest), "") => Cow::Borrowed(rest),
        (Some(rest), name) => Cow::Owned([rest, name].concat()),
        (None, name) if base.is_empty() => Cow::Borrowed(own(name)?),
        (None, name) => {
            let full = [base, name].concat();
            Cow::Owned(full.strip_prefix(thing.as_str())?.strip_prefix('/')?.to_owned())
        }
    };
    Some(sensor).filter(|sensor| !sensor.is_empty())
}

fn absolute_time(base: &Base<'_>, own: Option<Number>) -> Result<UnixMillis, ContentFault> {
    let Some(own) = own else { return base.instant.unwrap_or(Err(ContentFault::RelativeTime)) };
    let own = own.map_err(|_| ContentFault::BadTime)?;
    match &base.time {
        None => own.instant(),
        Some(base) => own.instant_after(base.as_ref().map_err(|_| ContentFault::BadTime)?),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn thing() -> DeviceId {
        "dev-1".parse().unwrap()
    }

    proptest! {
        #[test]
        fn a_name_may_be_cut_anywhere(full in "(dev-1/|dev-1|dev-2/|)[a-z/]{0,4}", at in any::<prop::sample::Index>()) {
            let joined = full.strip_prefix("dev-1/").filter(|rest| !rest.is_empty());
            let (base, name) = full.split_at(at.index(full.len() + 1));
            let thing = thing();
            let found = sensor(base, name, &thing);
            prop_assert_eq!(found.as_deref(), joined);
        }

        #[test]
        fn a_record_is_a_duplicate_exactly_if_it_came_before(records in proptest::collection::vec((0u8..6, 0u8..4), 1..40)) {
            let payload = crate::cbor::encode(|e| {
                e.array(records.len() as u64)?;
                for (name, time) in &records {
                    e.map(3)?.i64(label::NAME)?.str(&format!("dev-1/s{name}"))?;
                    e.i64(label::VALUE)?.u8(1)?.i64(label::TIME)?.u64(1 << 30 | u64::from(*time))?;
                }
                Ok(())
            });
            let lines = read_lines(&payload, &thing()).unwrap();
            for (index, line) in lines.iter().enumerate() {
                let fault = line.as_ref().err().map(|refused| refused.fault);
                let again = records[..index].contains(&records[index]);
                prop_assert_eq!(fault, again.then_some(ContentFault::DuplicateRecord));
            }
        }
    }

    /// A number as a device writes it, or otherwise.
    fn numbers() -> impl Strategy<Value = Vec<u8>> {
        let encoded = |mantissa: i64, exponent: Option<i64>| {
            crate::cbor::encode(|e| match exponent {
                None => e.i64(mantissa)?.ok(),
                Some(exponent) => e.tag(minicbor::data::Tag::new(4))?.array(2)?.i64(exponent)?.i64(mantissa)?.ok(),
            })
        };
        prop_oneof![
            (any::<i64>(), proptest::option::of(-14i64..14)).prop_map(move |(m, e)| encoded(m, e)),
            (1i64 << 30..1 << 32).prop_map(move |m| encoded(m, None)),
            any::<f64>().prop_map(|v| crate::cbor::encode(|e| e.f64(v)?.ok())),
            Just(vec![0x63, b'a', b'b', b'c']),
        ]
    }

    /// Labels, those that the common shape has more often than others, each with a value that may fit.
    fn pairs() -> impl Strategy<Value = Vec<u8>> {
        let names =
            prop_oneof![Just("dev-1/"), Just("a"), Just("b"), Just("dev-1/c"), Just("Cel"), Just("dev-2/a"), Just("")];
        (prop_oneof![9 => prop::sample::select(vec![-3i64, -2, 0, 1, 2, 6]), 1 => -9i64..12], names, numbers())
            .prop_map(|(label, name, number)| {
                let mut bytes = crate::cbor::encode(|e| e.i64(label)?.ok());
                match label {
                    label::BASE_NAME | label::NAME | label::UNIT => {
                        bytes.extend(crate::cbor::encode(|e| e.str(name)?.ok()))
                    }
                    _ => bytes.extend(number),
                }
                bytes
            })
    }

    proptest! {
        #[test]
        fn what_the_common_reader_reads_the_general_one_reads_the_same(
            records in proptest::collection::vec(proptest::collection::vec(pairs(), 0..5), 1..5),
            cut in proptest::option::weighted(0.2, any::<prop::sample::Index>()),
            flip in proptest::option::weighted(0.2, (any::<prop::sample::Index>(), 0u8..8)),
        ) {
            let mut payload = vec![0x80 | records.len() as u8];
            for record in &records {
                payload.push(0xa0 | record.len() as u8);
                payload.extend(record.concat());
            }
            if let Some((at, bit)) = flip {
                let at = at.index(payload.len());
                payload[at] ^= 1 << bit;
            }
            if let Some(at) = cut {
                payload.truncate(at.index(payload.len()));
            }
            if let Some(common) = read_common(&payload, &thing()) {
                prop_assert_eq!(format!("{:?}", Ok::<_, ContentFault>(common)), format!("{:?}", read_any(&payload, &thing())));
            }
        }
    }

    #[test]
    fn what_devices_write_is_common() {
        let reading = |sensor: &str, value: i64| crate::senml::Reading {
            sensor: sensor.parse().unwrap(),
            unit: "kWh".into(),
            value: Some(crate::Decimal::new(value, -4)),
        };
        let readings = [reading("a", 5), reading("b", -30_903), reading("c", i64::MAX >> 2)];
        let pack = crate::senml::write_pack(&thing(), UnixMillis(1_795_176_000_123), &readings);
        assert_eq!(read_common(&pack, &thing()).unwrap().len(), 3);
        // A label twice, in two encodings.
        let twice = [0x81, 0xa2, 0x02, 0x01, 0x18, 0x02, 0x01];
        assert!(read_common(&twice, &thing()).is_none() && read_any(&twice, &thing()).is_err());
    }
}
