//! SenML packs: read, inspected, summed up to a day, and that day signed, opened and compared as device and cloud do it.

use std::collections::{BTreeMap, BTreeSet};

use vitro_proof::block::{Block, BlockMessage, Span, check_follows, check_openings};
use vitro_proof::confidential::NoKeys;
use vitro_proof::envelope::{MAX_BYTES, Unsigned};
use vitro_proof::reconcile::{CloudDay, Comparison, DayFrame, Stored, compare};
use vitro_proof::senml::{self, MAX_RECORDS, Reading, Record, Value, read_pack, write_pack};
use vitro_proof::summary::{self, Summarizer, Summary, Times, closings};
use vitro_proof::{
    BlockNumber, ContentFault, ContentType, DayBounds, Decimal, Hash, LocalDay, SensorName, SequenceNumber, UnixMillis,
    cbor,
};

use super::block::{check_summary, empty_day};
use super::{Anybody, DEVICE, TABLE, UNSIGNED, parts, telemetry};

/// The ways in.
pub(crate) const PACK: u8 = 0;
pub(crate) const FIRST_DAY: u8 = 1;
pub(crate) const LATER_DAY: u8 = 2;

/// 2018-10-14 in Etc/GMT+7.
pub(crate) const FROM: i64 = 1_539_500_400;
const BOUNDS: DayBounds = DayBounds { from: FROM, to: FROM + 86_400 };

pub(crate) fn run(data: &[u8]) -> bool {
    let Some((way, data)) = data.split_first() else { return false };
    if data.len() > MAX_BYTES - 256 {
        return false;
    }
    match way % 3 {
        PACK => one(data) & day(&[data], &BTreeMap::new()),
        FIRST_DAY => day(&parts(data), &BTreeMap::new()),
        _ => {
            let left = [("energy", "4.61923"), ("water", "99999.5")];
            let left = left.map(|(sensor, value)| (sensor.parse().unwrap(), value.parse().unwrap()));
            day(&parts(data), &BTreeMap::from(left))
        }
    }
}

/// One pack by itself. Whether all of it counts.
fn one(payload: &[u8]) -> bool {
    let (times, faults) = summary::inspect(Ok(payload), &DEVICE, &TABLE);
    let pack = match read_pack(payload, &DEVICE) {
        Ok(pack) => pack,
        Err(fault) => {
            assert_eq!((times, faults), (None, BTreeSet::from([fault])));
            return false;
        }
    };
    assert!(pack.len() <= MAX_RECORDS);
    let mut said = BTreeSet::new();
    let mut told = BTreeSet::new();
    for record in &pack {
        match record {
            Ok(record) => {
                assert!(!record.sensor.is_empty());
                assert!((1 << 28) * 1000 <= record.time.0 && record.time.0 <= 253_402_300_799_999);
                assert!(said.insert((&record.sensor, record.time)), "a name and time counts once");
                told.extend(fault_of(record));
                rewrite(record);
            }
            Err(fault) => _ = told.insert(*fault),
        }
    }
    assert_eq!(faults, told, "ingest flags what a record has");
    let ends = said.iter().map(|(_, time)| *time).min().zip(said.iter().map(|(_, time)| *time).max());
    assert_eq!(times, ends.map(|(oldest, newest)| Times { oldest, newest }));
    faults.is_empty() && !said.is_empty()
}

/// What is wrong with a record by the sensor table: the rules of `docs/formats.md`, section 5, once more.
fn fault_of(record: &Record) -> Option<ContentFault> {
    let Some(position) = TABLE.position(&record.sensor) else { return Some(ContentFault::UnknownSensor) };
    let declared = Some(TABLE.sensors()[position].unit.as_str());
    match &record.value {
        Value::Missing if record.unit.is_none() => None,
        _ if record.unit.as_deref() != declared => Some(ContentFault::UnitMismatch),
        Value::Missing | Value::Number(_) => None,
        Value::Other => Some(ContentFault::NotANumber),
    }
}

/// What was read, written by ours and read back, is the same.
fn rewrite(record: &Record) {
    let (Ok(sensor), Some(unit)) = (record.sensor.parse::<SensorName>(), record.unit.clone()) else { return };
    let (value, fits) = match &record.value {
        Value::Number(number) => {
            check_decimal(number);
            let (_, scale) = number.as_big().as_bigint_and_exponent();
            let (mantissa, _) = number.as_big().with_scale(scale.max(0)).into_bigint_and_exponent();
            (Some(number.clone()), scale <= 12 && i64::try_from(mantissa).is_ok_and(|m| m != i64::MIN))
        }
        Value::Missing => (None, true),
        Value::Other => return,
    };
    let written = write_pack(&DEVICE, record.time, &[Reading { sensor, unit, value }]);
    assert_eq!(cbor::check(&written), Ok(()));
    // A sum with a base value, a float or a decimal of a large exponent may have more digits than a device writes.
    let wanted = if fits { Ok(record.clone()) } else { Err(ContentFault::NumberOutOfRange) };
    assert_eq!(read_pack(&written, &DEVICE), Ok(vec![wanted]));
}

/// One number has one encoding and one text.
pub(super) fn check_decimal(number: &Decimal) {
    let mut bytes = Vec::new();
    number.encode(&mut minicbor::Encoder::new(&mut bytes)).unwrap();
    assert_eq!(cbor::check(&bytes), Ok(()));
    let mut d = minicbor::Decoder::new(&bytes);
    assert_eq!(Decimal::decode(&mut d).unwrap(), *number);
    assert_eq!(d.position(), bytes.len());
    assert_eq!(number.to_string().parse::<Decimal>().unwrap(), *number);
}

/// Envelopes of these payloads, under the numbers from 0 on.
fn sealed(packs: &[&[u8]]) -> Vec<Vec<u8>> {
    let seal =
        |(pack, number): (&&[u8], u64)| Unsigned::new(&telemetry(number, ContentType::Senml), pack).sign(&UNSIGNED);
    packs.iter().zip(0..).map(seal).collect()
}

/// A day of these packs: what the device signs, the cloud opens and finds to agree with its own account, whatever the packs hold.
fn day(packs: &[&[u8]], openings: &BTreeMap<SensorName, Decimal>) -> bool {
    let summaries = summed_up(packs, openings);
    for summary in &summaries {
        check_summary(summary, BOUNDS);
    }

    let envelopes = sealed(packs);
    let day: LocalDay = "2018-10-14".parse().unwrap();
    let count = packs.len() as u64;
    let frame = DayFrame { thing: &DEVICE, day, bounds: BOUNDS, first: 0, count, table: &TABLE, openings };
    let stored = envelopes.iter().zip(0..).map(|(envelope, n)| Stored { number: SequenceNumber(n), envelope });
    let cloud = CloudDay::compute(&frame, stored, &NoKeys).unwrap();
    assert_eq!(cloud.summaries, summaries);
    assert_eq!((cloud.held, cloud.missing.len(), cloud.equivocal.len()), (count, 0, 0));

    let bytes = summary::encode(&summaries);
    let block = Block {
        thing: DEVICE.clone(),
        previous: Hash([0; 32]),
        span: Span::Daily { previous_daily: None },
        day,
        zone: "Etc/GMT+7".parse().unwrap(),
        bounds: BOUNDS,
        first: 0,
        count,
        root: cloud.root,
        bytes: envelopes.iter().map(|envelope| envelope.len() as u64).sum(),
        units: cloud.units,
        table_version: 1,
        summaries_digest: summary::digest(&[5; 16], &bytes),
    };
    let message = BlockMessage::seal(BlockNumber(0), &block, [5; 16], bytes, &Anybody).unwrap();
    let opened = BlockMessage::decode(&message.encode()).unwrap().open(&DEVICE, &Anybody).unwrap();
    assert_eq!(compare(&opened, &cloud), Comparison::Agrees);
    check_follows(&opened, None, None).unwrap();
    check_openings(&opened.summaries, &summaries_that_leave(openings)).unwrap();
    assert!(empty_day(&opened), "a day without readings can follow");

    // A day that lacks one of its envelopes never agrees.
    if let Some((_, rest)) = envelopes.split_first() {
        let stored = rest.iter().zip(1..).map(|(envelope, n)| Stored { number: SequenceNumber(n), envelope });
        let cloud = CloudDay::compute(&frame, stored, &NoKeys).unwrap();
        assert_eq!(compare(&opened, &cloud), Comparison::Lacks(vec![(0, 0)]));
    }
    summaries.iter().any(|summary| summary.values > 0)
}

/// The day's summaries, which the order in which the envelopes come does not change.
fn summed_up(packs: &[&[u8]], openings: &BTreeMap<SensorName, Decimal>) -> Vec<Summary> {
    let mut forward = Summarizer::new(&DEVICE, &TABLE, BOUNDS, openings);
    let mut backward = Summarizer::new(&DEVICE, &TABLE, BOUNDS, openings);
    let numbered = || packs.iter().zip(0..).map(|(pack, number)| (SequenceNumber(number), *pack));
    numbered().for_each(|(number, pack)| forward.add(number, Ok(pack)));
    numbered().collect::<Vec<_>>().into_iter().rev().for_each(|(number, pack)| backward.add(number, Ok(pack)));
    assert_eq!((forward.unreadable(), forward.heard()), (backward.unreadable(), backward.heard()));

    let read: Vec<senml::Pack> = packs.iter().filter_map(|pack| read_pack(pack, &DEVICE).ok()).collect();
    assert_eq!(forward.unreadable(), (packs.len() - read.len()) as u64);
    let heard = forward.heard();
    let within = |time: &UnixMillis| BOUNDS.contains(*time);
    assert!(heard.values().flatten().all(within));
    let summaries = forward.finish();
    assert_eq!(summaries, backward.finish());

    let names: Vec<&SensorName> = summaries.iter().map(|summary| &summary.sensor).collect();
    assert_eq!(names, TABLE.sensors().iter().map(|sensor| &sensor.name).collect::<Vec<_>>());
    let mut counted = 0;
    for (summary, sensor) in summaries.iter().zip(TABLE.sensors()) {
        // No reading is lost and none counts twice: each is a value, missing, or flagged.
        let decreases = match &summary.figures {
            Some(summary::Figures::Counter { decreases, .. }) => *decreases,
            _ => 0,
        };
        let all = summary.values + summary.missing + summary.flagged - decreases;
        let named = |record: &&Record| record.sensor == sensor.name.as_str();
        let good = read.iter().flatten().flatten().filter(named).count() as u64;
        assert!(good <= all);
        counted += all;
        let times: BTreeSet<UnixMillis> = heard[&sensor.name].iter().copied().collect();
        assert_eq!(times.len() as u64, summary.values + summary.missing);
        assert_eq!(summary.opening.as_ref(), openings.get(&sensor.name).filter(|_| summary.counter));
    }
    assert!(counted <= read.iter().map(Vec::len).sum::<usize>() as u64);
    summaries
}

/// The day before, without readings, that left these openings.
fn summaries_that_leave(openings: &BTreeMap<SensorName, Decimal>) -> Vec<Summary> {
    let before = Summarizer::new(&DEVICE, &TABLE, BOUNDS, openings).finish();
    assert_eq!(closings(&before), *openings);
    before
}
