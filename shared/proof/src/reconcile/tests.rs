use proptest::prelude::*;

use super::*;
use crate::Signer;
use crate::block::{Block, BlockMessage, Span};
use crate::confidential::NoKeys;
use crate::crypto::{P256Key, SoftwareSigner};
use crate::envelope::{ContentType, Header, Kind, seal};
use crate::ids::UnixMillis;
use crate::senml::{Reading, write_pack};

const FROM: i64 = 1_767_225_600;
const BOUNDS: DayBounds = DayBounds { from: FROM, to: FROM + 86_400 };

fn thing() -> DeviceId {
    "dev-1".parse().unwrap()
}

fn signer() -> SoftwareSigner {
    SoftwareSigner::from_scalar(&[5; 32]).unwrap()
}

fn table() -> SensorTable {
    serde_json::from_str(r#"{"version":4,"sensors":[{"name":"energy","unit":"kWh","kind":"counter"}]}"#).unwrap()
}

/// The envelope of this number: one value, minutes after the day's begin.
fn envelope(number: u64, value: u64) -> Vec<u8> {
    let header = Header { kind: Kind::Telemetry, content: ContentType::Senml, kid: "dev-1".into(), number };
    let time = UnixMillis((FROM + i64::try_from(number).unwrap() * 60) * 1000);
    let value = Some(Decimal::from(i64::try_from(value).unwrap()));
    let reading = Reading { sensor: "energy".parse().unwrap(), unit: "kWh".into(), value };
    seal(&header, &write_pack(&thing(), time, &[reading]), &signer()).unwrap()
}

fn run(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, Vec<u8>)> {
    numbers.into_iter().map(|number| (number, envelope(number, number))).collect()
}

fn cloud(first: u64, count: u64, stored: &[(u64, Vec<u8>)]) -> CloudDay {
    let (thing, table, openings) = (thing(), table(), BTreeMap::new());
    let day = "2026-01-01".parse().unwrap();
    let frame = DayFrame { thing: &thing, day, bounds: BOUNDS, first, count, table: &table, openings: &openings };
    let stored = stored.iter().map(|(number, bytes)| Stored { number: SequenceNumber(*number), envelope: bytes });
    CloudDay::compute(&frame, stored, &NoKeys).unwrap()
}

/// The block that an honest device seals over such a day.
fn block_of(day: &CloudDay) -> OpenedBlock {
    let summaries = summary::encode(&day.summaries);
    let block = Block {
        thing: day.thing.clone(),
        previous: Hash([0; 32]),
        span: Span::Daily { previous_daily: None },
        day: day.day,
        zone: "Etc/UTC".parse().unwrap(),
        bounds: day.bounds,
        first: day.first,
        count: day.count,
        root: day.root,
        bytes: day.bytes,
        units: day.units,
        table_version: day.table_version,
        summaries_digest: summary::digest(&[1; 16], &summaries),
    };
    let message = BlockMessage::seal(BlockNumber(0), &block, [1; 16], summaries, &signer()).unwrap();
    message.open(&thing(), &P256Key::new(&signer().public_key()).unwrap()).unwrap()
}

#[test]
fn the_same_envelopes_agree() {
    let day = cloud(5, 10, &run(5..15));
    assert_eq!((day.held, &day.missing, &day.equivocal), (10, &vec![], &vec![]));
    let block = block_of(&day);
    assert_eq!(compare(&block, &day), Comparison::Agrees);
    let account = day.account(Some(BlockNumber(0)), &[1; 16], vec![]);
    assert_eq!((account.root, account.summaries_digest), (block.block.root, block.block.summaries_digest));
}

#[test]
fn what_is_lost_is_named_and_what_heals_agrees() {
    let whole = run(0..20);
    let block = block_of(&cloud(0, 20, &whole));
    let held: Vec<_> = whole.iter().filter(|(n, _)| ![0, 7, 8, 19].contains(n)).cloned().collect();
    let day = cloud(0, 20, &held);
    assert_eq!(compare(&block, &day), Comparison::Lacks(vec![(0, 0), (7, 8), (19, 19)]));
    assert_eq!(day.account(Some(BlockNumber(0)), &[1; 16], vec![]).missing, day.missing);
    assert_eq!(compare(&block, &cloud(0, 20, &whole)), Comparison::Agrees);
}

#[test]
fn what_is_not_of_the_run_is_left_out() {
    let day = cloud(5, 3, &run(0..20));
    assert_eq!((day.held, day.missing.len(), day.root), (3, 0, cloud(5, 3, &run(5..8)).root));
}

#[test]
fn two_envelopes_under_one_number_are_told() {
    let mut stored = run(0..4);
    stored.insert(2, (1, envelope(1, 77)));
    stored.insert(3, (1, envelope(1, 78)));
    let day = cloud(0, 4, &stored);
    assert_eq!((day.held, day.equivocal.clone()), (4, vec![1]));
    assert_eq!(compare(&block_of(&day), &day), Comparison::Agrees);
    let honest = block_of(&cloud(0, 4, &run(0..4)));
    assert_eq!(compare(&honest, &day), Comparison::Agrees, "the first one stored was the honest one");
    stored.swap(1, 2);
    assert_eq!(compare(&honest, &cloud(0, 4, &stored)), Comparison::Differs("the Merkle root"));
}

#[test]
fn each_difference_has_its_name() {
    let day = cloud(0, 4, &run(0..4));
    let block = block_of(&day);
    let differs = |change: fn(&mut OpenedBlock)| {
        let mut other = block.clone();
        change(&mut other);
        compare(&other, &day)
    };
    for (comparison, what) in [
        (differs(|b| b.block.count = 5), "the run or the day"),
        (differs(|b| b.block.bounds.to += 1), "the run or the day"),
        (differs(|b| b.block.day = b.block.day.next().unwrap()), "the run or the day"),
        (differs(|b| b.block.root = Hash([0; 32])), "the Merkle root"),
        (differs(|b| b.block.table_version = 5), "the version of the sensor table"),
        (differs(|b| b.block.bytes += 1), "the bytes or metered units"),
        (differs(|b| b.block.units += 1), "the bytes or metered units"),
        (differs(|b| b.summaries[0].flagged += 1), "the summaries"),
        (differs(|b| b.summaries.clear()), "the summaries"),
    ] {
        assert_eq!(comparison, Comparison::Differs(what));
    }
}

#[test]
fn an_empty_day_agrees_with_an_empty_block() {
    let day = cloud(7, 0, &run(0..3));
    assert_eq!((day.held, day.root), (0, merkle::root(&[])));
    assert_eq!(compare(&block_of(&day), &day), Comparison::Agrees);
    assert_eq!(day.gaps.len(), 1, "and the silence is recorded");
}

#[test]
fn a_run_without_end_costs_nothing() {
    let day = cloud(3, u64::MAX - 3, &run([4, 9]));
    assert_eq!(day.missing, vec![(3, 3), (5, 8), (10, u64::MAX - 1)]);
    assert_eq!(cloud(u64::MAX, u64::MAX, &[]).missing, vec![]);
}

#[test]
fn a_damaged_store_is_an_error() {
    let (thing, table, openings) = (thing(), table(), BTreeMap::new());
    let day = "2026-01-01".parse().unwrap();
    let frame = DayFrame { thing: &thing, day, bounds: BOUNDS, first: 0, count: 1, table: &table, openings: &openings };
    let stored = [Stored { number: SequenceNumber(0), envelope: b"rubbish" }];
    assert!(CloudDay::compute(&frame, stored, &NoKeys).is_err());
    assert!(leaves([b"rubbish".as_slice()]).is_err());
}

#[test]
fn a_stored_envelope_proves_its_place() {
    let stored = run(0..11);
    let day = cloud(0, 11, &stored);
    let leaves = leaves(stored.iter().map(|(_, bytes)| bytes.as_slice())).unwrap();
    let path = merkle::inclusion_proof(&leaves, 6).unwrap();
    assert!(merkle::verify_inclusion(leaves[6], 6, 11, &path, day.root));
}

#[test]
fn outcomes_have_words_and_two_of_them_agree() {
    let all = [Outcome::Matched, Outcome::Backfilled, Outcome::Incomplete, Outcome::Mismatched, Outcome::Missing];
    assert_eq!(all.map(Outcome::agrees), [true, true, false, false, false]);
    for outcome in all {
        assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
    }
}

#[test]
fn a_cloud_day_round_trips_as_json() {
    let day = cloud(0, 5, &run([0, 2]));
    let text = serde_json::to_string(&day).unwrap();
    assert_eq!(serde_json::from_str::<CloudDay>(&text).unwrap(), day);
}

proptest! {
    #[test]
    fn holes_and_numbers_make_up_the_run(first in 0u64..50, count in 0u64..60, held in proptest::collection::btree_set(0u64..120, 0..60)) {
        let end = first + count;
        let held: Vec<u64> = held.into_iter().filter(|n| (first..end).contains(n)).collect();
        let missing = holes(first, end, &held);
        let mut all: Vec<u64> = missing.iter().flat_map(|(from, to)| *from..=*to).chain(held).collect();
        all.sort_unstable();
        prop_assert_eq!(all, (first..end).collect::<Vec<_>>());
        prop_assert!(missing.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "as few ranges as can be");
    }
}
