//! Daily blocks: messages, payloads, summaries, chains, and the operator's account beside them.

use vitro_proof::account::Account;
use vitro_proof::block::{
    Block, BlockMessage, ChainLink, DailyLink, OpenedBlock, ReceivedBlock, Span, check_follows, check_openings,
};
use vitro_proof::confidential::NoKeys;
use vitro_proof::summary::{self, Figures, Summarizer, Summary, closings, grid_slots};
use vitro_proof::{BlockNumber, DayBounds, Decimal, Envelope, Hash, LocalDay, cbor};

use super::pack::{FROM, check_decimal};
use super::{Anybody, DEVICE, DEVICE_KEYS, TABLE, parts};

/// The ways in.
pub(crate) const WHOLE: u8 = 0;
pub(crate) const PAYLOAD: u8 = 1;
pub(crate) const SUMMARIES: u8 = 2;
pub(crate) const CHAIN: u8 = 3;
pub(crate) const ACCOUNT: u8 = 4;

pub(crate) fn run(data: &[u8]) -> bool {
    let Some((way, data)) = data.split_first() else { return false };
    match way % 5 {
        WHOLE => whole(data),
        PAYLOAD => payload(data),
        SUMMARIES => summaries(data),
        CHAIN => chain(data),
        _ => account(data),
    }
}

/// A message as it comes. Whether it opens under the device's key.
fn whole(bytes: &[u8]) -> bool {
    let Some((message, opened)) = open(bytes) else { return false };
    match message.open(&DEVICE, &*DEVICE_KEYS) {
        Ok(verified) => assert_eq!(verified, opened),
        Err(fault) => assert_eq!(fault, vitro_proof::block::OpenError::Signature),
    }
    message.open(&DEVICE, &*DEVICE_KEYS).is_ok()
}

/// Reads a message and opens it whoever signed it.
fn open(bytes: &[u8]) -> Option<(BlockMessage, OpenedBlock)> {
    let received = ReceivedBlock::decode(bytes);
    let clear = BlockMessage::decode(bytes);
    let received = match (received, clear) {
        (Ok(ReceivedBlock::Clear(message)), clear) => {
            assert_eq!(clear.as_ref(), Ok(&message));
            ReceivedBlock::Clear(message)
        }
        (Ok(confidential), clear) => {
            assert!(clear.is_err());
            confidential
        }
        (Err(_), clear) => {
            assert!(clear.is_err());
            return None;
        }
    };
    let written = received.encode();
    assert!(written.len() <= bytes.len());
    assert_eq!(ReceivedBlock::decode(&written).as_ref(), Ok(&received));
    let _ = received.recipient();
    let message = received.reveal(&DEVICE, &Anybody, &NoKeys).ok()?;
    let opened = message.open(&DEVICE, &Anybody).ok()?;
    check(&opened, &message);
    Some((message, opened))
}

/// What holds for all blocks that open.
pub(super) fn check(opened: &OpenedBlock, message: &BlockMessage) {
    let envelope = Envelope::parse(&message.envelope).unwrap();
    assert_eq!((opened.hash, opened.number.0), (envelope.hash(), envelope.header().number));
    assert_eq!(opened.block.thing, *DEVICE);
    assert_eq!(summary::digest(&message.salt, &message.summaries), opened.block.summaries_digest);
    assert!(opened.summaries.windows(2).all(|pair| pair[0].sensor < pair[1].sensor));
    let bounds = opened.block.bounds;
    assert!((1..=26 * 3600).contains(&(bounds.to - bounds.from)));
    for summary in &opened.summaries {
        check_summary(summary, bounds);
    }
    check_payload(&opened.block, envelope.payload());

    // The same block as ours would have written it opens as well: what the ledger keeps is written anew.
    let written = summary::encode(&opened.summaries);
    assert_eq!(summary::decode(&written).unwrap(), opened.summaries);
    let block = Block { summaries_digest: summary::digest(&[9; 16], &written), ..opened.block.clone() };
    let again = BlockMessage::seal(opened.number, &block, [9; 16], written, &Anybody).unwrap();
    let again = again.open(&DEVICE, &Anybody).unwrap();
    assert_eq!((&again.block, &again.summaries), (&block, &opened.summaries));

    // A block does not follow itself.
    let itself = ChainLink { number: opened.number, hash: opened.hash };
    assert!(check_follows(opened, Some(itself), None).is_err());
    // Another salt or other summaries are not what was signed.
    let mut salt = message.salt;
    salt[3] ^= 1;
    assert!(BlockMessage { salt, ..message.clone() }.open(&DEVICE, &Anybody).is_err());
}

/// What holds for a summary in a block that opened, and for all that ours computes.
pub(super) fn check_summary(summary: &Summary, bounds: DayBounds) {
    assert_eq!(summary.figures.is_some(), summary.values > 0);
    assert_eq!((summary.first.is_some(), summary.last.is_some()), (summary.values > 0, summary.values > 0));
    for at in [&summary.first, &summary.last].into_iter().flatten() {
        assert!(bounds.contains(at.time));
        check_decimal(&at.value);
    }
    match &summary.figures {
        Some(Figures::Gauge { min, max, sum }) => [min, max, sum].into_iter().for_each(check_decimal),
        Some(Figures::Counter { increase, largest_step, grid, .. }) => {
            assert_eq!(grid.len(), grid_slots(bounds));
            assert!(grid.iter().all(|slot| !slot.is_negative()));
            assert_eq!(grid.iter().fold(Decimal::zero(), |sum, slot| &sum + slot), *increase);
            assert!(largest_step <= increase);
            grid.iter().chain([increase, largest_step]).for_each(check_decimal);
            assert_eq!(summary.increase().as_ref(), Some(increase));
        }
        None => assert_eq!(summary.increase(), summary.counter.then(Decimal::zero)),
    }
    if let Some(opening) = &summary.opening {
        assert!(summary.counter);
        check_decimal(opening);
    }
}

fn check_payload(block: &Block, payload: &[u8]) {
    let written = block.encode();
    assert_eq!(cbor::check(&written), Ok(()));
    assert!(written.len() <= payload.len());
    assert_eq!(Block::decode(&written).as_ref(), Ok(block));
    assert_eq!(block.end() - block.first, block.count);
    assert_eq!(block.day.to_string().parse::<LocalDay>().unwrap(), block.day);
}

/// The payload of a block's envelope.
fn payload(bytes: &[u8]) -> bool {
    let Ok(block) = Block::decode(bytes) else { return false };
    check_payload(&block, bytes);
    true
}

/// A block around these summaries: four bytes say how long its day is and where in an hour it begins, and which number it has.
fn summaries(data: &[u8]) -> bool {
    let Some((head, bytes)) = data.split_at_checked(4) else { return false };
    let from = FROM + i64::from(head[0]) * 60;
    let length = i64::from(u16::from_be_bytes([head[1], head[2]])) * 2;
    let read = summary::decode(bytes);
    let block = Block {
        thing: DEVICE.clone(),
        previous: Hash([0; 32]),
        span: if head[3] % 2 == 0 { Span::Daily { previous_daily: None } } else { Span::Interim },
        day: "2018-10-14".parse().unwrap(),
        zone: "Etc/GMT+7".parse().unwrap(),
        bounds: DayBounds { from, to: from + length },
        first: 0,
        count: u64::from(head[3]),
        root: Hash([1; 32]),
        bytes: 0,
        units: 0,
        table_version: 1,
        summaries_digest: summary::digest(&[7; 16], bytes),
    };
    let number = BlockNumber((head[3] / 2).into());
    let message = BlockMessage::seal(number, &block, [7; 16], bytes.to_vec(), &Anybody).unwrap();
    let Ok(opened) = message.open(&DEVICE, &Anybody) else { return false };
    assert_eq!(read.unwrap(), opened.summaries);
    check(&opened, &message);
    if opened.block.is_daily() {
        assert!(empty_day(&opened));
    }
    !opened.summaries.is_empty()
}

/// Seals the day after a daily block, without readings. Whether it follows.
pub(super) fn empty_day(before: &OpenedBlock) -> bool {
    let Some(number) = before.number.next() else { return false };
    let left = closings(&before.summaries);
    let from = before.block.bounds.to;
    let Some(to) = from.checked_add(86_400) else { return false };
    let bounds = DayBounds { from, to };
    let mut summaries = Summarizer::new(&DEVICE, &TABLE, bounds, &left).finish();
    // A stranger's block may have other sensors than the table.
    summaries.retain(|summary| before.summaries.iter().any(|known| known.sensor == summary.sensor && known.counter));
    let bytes = summary::encode(&summaries);
    let block = Block {
        previous: before.hash,
        span: Span::Daily { previous_daily: Some(before.hash) },
        bounds,
        first: before.block.end(),
        count: 0,
        summaries_digest: summary::digest(&[3; 16], &bytes),
        ..before.block.clone()
    };
    let message = BlockMessage::seal(number, &block, [3; 16], bytes, &Anybody).unwrap();
    let opened = message.open(&DEVICE, &Anybody).unwrap();
    check_openings(&opened.summaries, &before.summaries).unwrap();
    for summary in opened.summaries.iter().filter(|summary| summary.counter) {
        assert_eq!(summary.closing(), left.get(&summary.sensor), "carried over the empty day");
    }
    let daily = DailyLink { hash: before.hash, to: from, end: before.block.end() };
    check_follows(&opened, Some(ChainLink { number: before.number, hash: before.hash }), Some(daily)).is_ok()
}

/// Messages that come one after another.
fn chain(data: &[u8]) -> bool {
    let mut chain: Vec<OpenedBlock> = Vec::new();
    let messages = parts(data);
    for bytes in &messages {
        let Some((_, next)) = open(bytes) else { return false };
        let before = chain.last().map(|block| ChainLink { number: block.number, hash: block.hash });
        let daily = chain.iter().rev().find(|block| block.block.is_daily());
        let link = daily.map(|block| DailyLink { hash: block.hash, to: block.block.bounds.to, end: block.block.end() });
        if check_follows(&next, before, link).is_err() {
            return false;
        }
        // What follows continues numbers, hashes, runs and days, and opens where the day before has closed.
        assert_eq!(next.number.0, chain.len() as u64);
        assert_eq!(next.block.previous, before.map_or(Hash([0; 32]), |link| link.hash));
        assert_eq!(next.block.first, daily.map_or(0, |block| block.block.end()));
        assert!(daily.is_none_or(|block| block.block.bounds.to == next.block.bounds.from));
        let left = daily.map(|block| block.summaries.clone()).unwrap_or_default();
        let opens = check_openings(&next.summaries, &left).is_ok();
        let closing = closings(&left);
        let counters = || next.summaries.iter().filter(|summary| summary.counter);
        assert_eq!(opens, counters().all(|summary| summary.opening.as_ref() == closing.get(&summary.sensor)));
        if !opens {
            return false;
        }
        chain.push(next);
    }
    chain.len() > 2
}

/// The operator's account.
fn account(bytes: &[u8]) -> bool {
    let Ok(account) = Account::decode(bytes) else { return false };
    let written = account.encode();
    assert_eq!(cbor::check(&written), Ok(()));
    assert!(written.len() <= bytes.len());
    assert_eq!(Account::decode(&written).unwrap(), account);
    for ranges in [&account.healed, &account.missing] {
        assert!(ranges.iter().all(|(from, to)| from <= to));
        assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }
    true
}
