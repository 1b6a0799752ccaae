//! No sequence of calls forks a chain.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vitro_proof::{Block, BlockMessage, BlockNumber, Decimal, Envelope, Hash, Span, summary};

use super::{codes, device, differing, ledger_with, publish};
use crate::Item;
use crate::data::by_number;
use crate::testing::{MemoryLedger, TestDay, TestDevice, client};
use crate::{ChainView, Role, State, StateError};

/// Six days of a device with every branch that a cloned or broken key could sign: two blocks for each number on each of two paths.
fn branches() -> Vec<TestDay> {
    let (mut left, mut right) = (device("dev-1", 1), device("dev-1", 1));
    let mut sealed = Vec::new();
    for n in 0..6 {
        let (even, odd) = (Decimal::from(n), Decimal::from(n + 10));
        sealed.push(left.sealed(Some(&odd)).unwrap());
        sealed.push(left.seal_day(Some(&even)).unwrap());
        sealed.push(right.sealed(None).unwrap());
        sealed.push(right.seal_day(Some(&odd)).unwrap());
    }
    sealed
}

/// Reads what is committed, for looking at it through the contract's own eyes.
struct ReadOnly<'a>(&'a MemoryLedger);

impl State for ReadOnly<'_> {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.0.contents().get(key).map(|value| value.to_vec()))
    }

    fn put(&mut self, key: &str, _: Vec<u8>) -> Result<(), StateError> {
        Err(StateError(key.to_owned()))
    }

    fn range(&mut self, start: &str, _: &str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        Err(StateError(start.to_owned()))
    }
}

/// Every block names the one before it where that is there, and no two daily blocks follow the same one.
fn check_no_fork(ledger: &MemoryLedger, dev: &TestDevice) {
    let chain: ChainView = ledger.ask(&client(Role::Rc), "data:chain", &[b"dev-1".to_vec()]).unwrap();
    let mut state = ReadOnly(ledger);
    let mut tx = crate::tx::Tx::new(&mut state);
    let mut followed = BTreeMap::new();
    let mut days = BTreeMap::new();
    for (from, to) in &chain.known {
        let mut before: Option<Hash> = None;
        for n in *from..=*to {
            let opened = by_number(&mut tx, dev.thing(), n).unwrap().unwrap().opened;
            assert_eq!(opened.number.0, n);
            if let Some(before) = before {
                assert_eq!(opened.block.previous, before, "block {n}");
            }
            before = Some(opened.hash);
            if let Span::Daily { previous_daily } = opened.block.span {
                assert_eq!(followed.insert(previous_daily, n), None, "two blocks follow the same daily block");
                assert_eq!(days.insert(opened.block.day, n), None, "two blocks of one day");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_sequence_of_publish_calls_forks_a_chain(
        calls in proptest::collection::vec(proptest::collection::vec((0usize..24, any::<bool>()), 1..5), 1..8),
    ) {
        let dev = device("dev-1", 1);
        let mut ledger = ledger_with(&[&dev]);
        let sealed = branches();
        let mut taken: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for call in calls {
            let items: Vec<Item> = call
                .iter()
                .map(|(pick, agree)| {
                    let TestDay { message, account, .. } = &sealed[*pick];
                    Item::day(message.clone(), &if *agree { account.clone() } else { differing(account) })
                })
                .collect();
            publish(&mut ledger, &items);
            check_no_fork(&ledger, &dev);
            // A block that is there stays there.
            for (key, value) in ledger.contents() {
                if key.starts_with("block/") {
                    let first = taken.entry(key.to_owned()).or_insert_with(|| value.to_vec());
                    prop_assert_eq!(first.as_slice(), value);
                }
            }
        }
    }
}

#[test]
fn another_block_under_a_used_number_is_refused() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let twin = dev.sealed(Some(&Decimal::from(9))).unwrap();
    let real = dev.seal_day(Some(&Decimal::from(1))).unwrap();
    let verdicts =
        publish(&mut ledger, &[Item::day(real.message, &real.account), Item::day(twin.message, &twin.account)]);
    assert_eq!(codes(&verdicts), ["published", "fork"]);
}

#[test]
fn only_the_block_whose_hash_is_named_can_fill_a_hole() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let zero = dev.seal_day(Some(&Decimal::from(1))).unwrap();
    let twin = dev.sealed(Some(&Decimal::from(9))).unwrap();
    let one = dev.seal_day(Some(&Decimal::from(1))).unwrap();
    let two = dev.seal_day(Some(&Decimal::from(1))).unwrap();
    let item = |day: &TestDay| Item::day(day.message.clone(), &day.account);
    let verdicts = publish(&mut ledger, &[item(&zero), item(&two), item(&twin), item(&one)]);
    assert_eq!(codes(&verdicts), ["published", "published", "broken_chain", "published"]);
}

/// Signs a day again after changing its block.
fn resealed(dev: &TestDevice, day: &TestDay, number: u64, change: impl FnOnce(&mut Block)) -> TestDay {
    let message = BlockMessage::decode(&day.message).unwrap();
    let mut block = Block::decode(Envelope::parse(&message.envelope).unwrap().payload()).unwrap();
    change(&mut block);
    let message =
        BlockMessage::seal(BlockNumber(number), &block, message.salt, message.summaries, dev.signer()).unwrap();
    let hash = Envelope::parse(&message.envelope).unwrap().hash();
    let mut account = day.account.clone();
    (account.block, account.day, account.first) = (Some(BlockNumber(number)), block.day, block.first);
    TestDay { message: message.encode(), hash, account }
}

#[test]
fn a_block_that_does_not_continue_the_day_before_is_refused() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let zero = dev.seal_day(Some(&Decimal::from(1))).unwrap();
    let good = dev.sealed(Some(&Decimal::from(1))).unwrap();
    let item = |day: &TestDay| Item::day(day.message.clone(), &day.account);
    assert_eq!(codes(&publish(&mut ledger, &[item(&zero)])), ["published"]);
    let bad = [
        (resealed(&dev, &good, 1, |b| b.first += 1), "not_contiguous"),
        (resealed(&dev, &good, 1, |b| b.bounds.from += 3600), "bad_summaries"),
        (resealed(&dev, &good, 1, |b| b.day = b.day.next().unwrap().next().unwrap()), "bad_label"),
        (resealed(&dev, &good, 1, |b| b.zone = "Europe/Warsaw".parse().unwrap()), "other_zone"),
        (resealed(&dev, &good, 1, |b| b.table_version = 9), "unknown_table"),
        (resealed(&dev, &good, 1, |b| b.previous = Hash([5; 32])), "broken_chain"),
        (resealed(&dev, &good, 1, |b| b.span = Span::Daily { previous_daily: None }), "fork"),
        (resealed(&dev, &good, 0, |_| ()), "fork"),
        (resealed(&dev, &good, 1, |b| b.summaries_digest = Hash([5; 32])), "digest_mismatch"),
        (resealed(&dev, &good, 1, |b| b.bounds.to += 5 * 3600), "bad_day_length"),
    ];
    let items: Vec<Item> = bad.iter().map(|(day, _)| item(day)).collect();
    assert_eq!(codes(&publish(&mut ledger, &items)), bad.iter().map(|(_, code)| *code).collect::<Vec<_>>());
    assert_eq!(codes(&publish(&mut ledger, &[item(&good)])), ["published"]);
}

#[test]
fn a_false_opening_is_refused_or_found_when_the_hole_is_filled() {
    // Two devices of one key: the second never saw the first day's 5 kWh and opens its second day elsewhere.
    let (mut honest, mut liar) = (device("dev-1", 1), device("dev-1", 1));
    let zero = honest.seal_day(Some(&Decimal::from(5))).unwrap();
    liar.seal_day(Some(&Decimal::from(1))).unwrap();
    let lie = liar.sealed(Some(&Decimal::from(1))).unwrap();
    let lie = resealed(&honest, &lie, 1, |b| {
        b.previous = zero.hash;
        b.span = Span::Daily { previous_daily: Some(zero.hash) };
    });
    let item = |day: &TestDay| Item::day(day.message.clone(), &day.account);
    let mut ledger = ledger_with(&[&honest]);
    let verdicts = publish(&mut ledger, &[item(&zero), item(&lie)]);
    assert_eq!(codes(&verdicts), ["published", "bad_opening"]);

    let mut ledger = ledger_with(&[&honest]);
    let verdicts = publish(&mut ledger, &[item(&lie)]);
    assert_eq!(verdicts[0].continuity, Some(crate::Continuity::HoleBefore));
    publish(&mut ledger, &[item(&zero)]);
    let args = [b"dev-1".to_vec(), b"2026-03-02".to_vec()];
    let view: crate::DayView = ledger.ask(&client(Role::Rc), "data:day", &args).unwrap();
    assert_eq!(view.continuity, Some(crate::Continuity::Broken));
}

#[test]
fn the_first_daily_block_has_none_before_it() {
    let mut dev = device("dev-1", 1);
    let zero = dev.seal_day(None).unwrap();
    let one = dev.seal_day(None).unwrap();
    let two = dev.seal_day(None).unwrap();
    let second_first = resealed(&dev, &two, 2, |b| b.span = Span::Daily { previous_daily: None });
    let item = |day: &TestDay| Item::day(day.message.clone(), &day.account);
    let mut ledger = ledger_with(&[&dev]);
    let verdicts = publish(&mut ledger, &[item(&one), item(&second_first), item(&zero), item(&two)]);
    assert_eq!(codes(&verdicts), ["published", "broken_chain", "published", "published"]);
    let mut ledger = ledger_with(&[&dev]);
    let verdicts = publish(&mut ledger, &[item(&second_first), item(&one)]);
    assert_eq!(codes(&verdicts), ["published", "broken_chain"]);
}

#[test]
fn a_day_has_one_block_and_what_is_refused_late_leaves_nothing() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let zero = dev.seal_day(None).unwrap();
    let one = dev.seal_day(None).unwrap();
    let midnight = crate::calendar::utc_midnight(super::first_day());
    // Two days of 22 hours that both begin where the label of the first allows it.
    let zero = resealed(&dev, &zero, 0, |b| {
        (b.bounds.from, b.bounds.to) = (midnight - 12 * 3600, midnight + 10 * 3600);
    });
    let one = resealed(&dev, &one, 1, |b| {
        (b.bounds.from, b.bounds.to) = (midnight + 10 * 3600, midnight + 32 * 3600);
        b.day = super::first_day();
        b.previous = zero.hash;
        b.span = Span::Daily { previous_daily: Some(zero.hash) };
    });
    let item = |day: &TestDay| Item::day(day.message.clone(), &day.account);
    let verdicts = publish(&mut ledger, &[item(&zero), item(&one)]);
    assert_eq!(codes(&verdicts), ["published", "day_taken"]);
    let chain: ChainView = ledger.ask(&client(Role::Rc), "data:chain", &[b"dev-1".to_vec()]).unwrap();
    assert_eq!(chain.known, [(0, 0)]);
    assert!(!ledger.keys().iter().any(|key| key.contains(&one.hash.to_string())));
    assert!(!ledger.keys().iter().any(|key| key.starts_with("block/") && key.ends_with('1')));
}

#[test]
fn interim_blocks_are_links_of_the_chain_and_no_days() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let zero = dev.seal_day(Some(&Decimal::from(1))).unwrap();
    let next = dev.sealed(Some(&Decimal::from(1))).unwrap();
    let interim = resealed(&dev, &next, 1, |b| {
        b.span = Span::Interim;
        b.bounds.to -= 3600 * 2;
    });
    // The day's grid belongs to the whole day, so an interim block needs summaries of its own.
    let message = BlockMessage::decode(&interim.message).unwrap();
    let mut block = Block::decode(Envelope::parse(&message.envelope).unwrap().payload()).unwrap();
    let summaries = summary::encode(&[]);
    block.summaries_digest = summary::digest(&message.salt, &summaries);
    let unlike = BlockMessage::seal(BlockNumber(1), &block, message.salt, summaries, dev.signer()).unwrap();
    let mut full = summary::decode(&message.summaries).unwrap();
    for summary in &mut full {
        if let Some(summary::Figures::Counter { grid, .. }) = &mut summary.figures {
            grid.truncate(grid.len() - 8);
        }
    }
    let summaries = summary::encode(&full);
    block.summaries_digest = summary::digest(&message.salt, &summaries);
    let interim = BlockMessage::seal(BlockNumber(1), &block, message.salt, summaries, dev.signer()).unwrap();
    let hash = Envelope::parse(&interim.envelope).unwrap().hash();
    let whole = resealed(&dev, &next, 2, |b| b.previous = hash);
    let items = [
        Item::day(zero.message.clone(), &zero.account),
        Item::interim(unlike.encode()),
        Item { account: Some(crate::Bytes(next.account.encode())), ..Item::interim(interim.encode()) },
        Item::interim(interim.encode()),
        Item::interim(interim.encode()),
        Item::day(whole.message.clone(), &whole.account),
    ];
    let verdicts = publish(&mut ledger, &items);
    assert_eq!(
        codes(&verdicts),
        ["published", "table_mismatch", "account_of_interim", "published", "unchanged", "published"]
    );
    assert_eq!(verdicts[5].continuity, Some(crate::Continuity::Continues));
    let call = crate::calls::block(dev.thing(), 1);
    let view: crate::BlockView = ledger.ask(&client(Role::Rc), call.function, &call.args).unwrap();
    assert_eq!((view.daily, view.message.0), (false, interim.encode()));
    check_no_fork(&ledger, &dev);
}
