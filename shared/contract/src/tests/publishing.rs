//! Blocks and accounts, item by item.

use proptest::prelude::*;
use vitro_proof::{Account, BlockNumber, Decimal, Hash};

use super::{
    activate, agreement, approve, codes, day, decimal, device, differing, first_day, ledger, ledger_with, publish,
    register,
};
use crate::calendar::utc_midnight;
use crate::call::{QUERIES, UPDATES};
use crate::testing::{admin, client};
use crate::{
    Bytes, ChainView, Continuity, DayChange, DayOutcome, DayView, Item, PUBLISHED_EVENT, Record, Role, SummaryPage,
    Verdict,
};

#[test]
fn several_days_of_a_device_fit_one_transaction() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let days: Vec<_> = (0..5).map(|n| dev.seal_day(Some(&Decimal::from(n))).unwrap()).collect();
    let items: Vec<Item> = days.iter().map(|day| Item::day(day.message.clone(), &day.account)).collect();
    let simulation = ledger.simulate(&client(Role::Operator), "data:publish", &[items.encode()]).unwrap();
    let event = simulation.response.event.clone().unwrap();
    assert_eq!(event.name, PUBLISHED_EVENT);
    assert_eq!(Vec::<DayChange>::decode(&event.payload).unwrap().len(), 5);
    assert!(ledger.commit(&simulation));
    let verdicts = Vec::<Verdict>::decode(&simulation.response.payload).unwrap();
    for verdict in &verdicts {
        assert_eq!((verdict.code.as_str(), verdict.outcome), ("published", Some(DayOutcome::Agrees)));
        assert_eq!(verdict.continuity, Some(Continuity::Continues));
    }

    // The same again changes nothing and raises no event.
    let again = ledger.simulate(&client(Role::Operator), "data:publish", &[items.encode()]).unwrap();
    assert!(again.writes.is_empty() && again.response.event.is_none());
    assert!(codes(&Vec::<Verdict>::decode(&again.response.payload).unwrap()).iter().all(|code| *code == "unchanged"));

    let view: DayView =
        ledger.ask(&client(Role::Rc), "data:day", &[b"dev-1".to_vec(), b"2026-03-02".to_vec()]).unwrap();
    assert_eq!(view.message, Some(Bytes(days[1].message.clone())), "the block as it came");
    assert_eq!(view.block.unwrap().tx, simulation.tx_id);
}

#[test]
fn a_refused_item_writes_nothing_and_holds_nobody_up() {
    let (mut one, mut two, mut stranger) = (device("dev-1", 1), device("dev-2", 2), device("dev-3", 3));
    let mut ledger = ledger_with(&[&one, &two]);
    let increase = decimal("1.5");
    let (a, b, c) = (
        one.seal_day(Some(&increase)).unwrap(),
        two.seal_day(Some(&increase)).unwrap(),
        stranger.seal_day(Some(&increase)).unwrap(),
    );
    let mut flipped = a.message.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    // dev-3's key under dev-1's name.
    let mut forger = device("dev-1", 3);
    let forged = forger.seal_day(Some(&increase)).unwrap();
    let other_day = Account { day: day("2026-03-02"), ..a.account.clone() };
    let other_block = Account { block: Some(BlockNumber(7)), ..a.account.clone() };
    let items = vec![
        Item { block: None, account: None, number: None },
        Item { block: Some(Bytes(b"nonsense".to_vec())), account: Some(Bytes(a.account.encode())), number: None },
        Item { block: Some(Bytes(a.message.clone())), account: Some(Bytes(vec![0xff])), number: None },
        Item { block: Some(Bytes(flipped)), account: Some(Bytes(a.account.encode())), number: None },
        Item { block: Some(Bytes(a.message.clone())), account: None, number: None },
        Item::day(c.message.clone(), &c.account),
        Item::day(forged.message.clone(), &forged.account),
        Item::day(b.message.clone(), &a.account),
        Item::day(a.message.clone(), &other_day),
        Item::day(a.message.clone(), &other_block),
        Item::account(&a.account),
        Item::day(b.message.clone(), &b.account),
    ];
    let verdicts = publish(&mut ledger, &items);
    assert_eq!(
        codes(&verdicts),
        [
            "empty_item",
            "not_a_block",
            "not_an_account",
            "digest_mismatch",
            "no_account",
            "unknown_device",
            "bad_signature",
            "block_other_device",
            "other_day",
            "other_block",
            "other_block",
            "published"
        ]
    );
    assert_eq!(verdicts.iter().filter(|verdict| verdict.accepted).count(), 1);
    assert!(!ledger.keys().iter().any(|key| key.starts_with("block/dev-1") || key.starts_with("day/dev-1")));
}

#[test]
fn two_devices_share_no_key() {
    let (mut one, mut two) = (device("dev-1", 1), device("dev-10", 2));
    let mut ledger = ledger_with(&[&one, &two]);
    let increase = Decimal::from(1);
    let item = |day: crate::testing::TestDay| vec![Item::day(day.message, &day.account)].encode();
    let (a, b) = (item(one.seal_day(Some(&increase)).unwrap()), item(two.seal_day(Some(&increase)).unwrap()));
    let operator = client(Role::Operator);
    let first = ledger.simulate(&operator, "data:publish", &[a]).unwrap();
    let second = ledger.simulate(&operator, "data:publish", &[b]).unwrap();
    assert!(first.writes.keys().all(|key| !second.reads.contains_key(key) && !second.writes.contains_key(key)));
    assert!(first.ranges.is_empty() && second.ranges.is_empty());
    assert!(ledger.commit(&first) && ledger.commit(&second), "neither waits for the other");
}

#[test]
fn accounts_are_only_appended() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let sealed = dev.seal_day(Some(&Decimal::from(1))).unwrap();
    let none = Account {
        block: None,
        summaries_digest: Hash([1; 32]),
        missing: vec![(0, 0)],
        root: Hash([2; 32]),
        ..sealed.account.clone()
    };
    let bad = differing(&sealed.account);
    let outcome = |verdicts: Vec<Verdict>| (verdicts[0].code.clone(), verdicts[0].outcome);
    assert_eq!(
        outcome(publish(&mut ledger, &[Item::account(&none)])),
        ("account_added".into(), Some(DayOutcome::NoBlock))
    );
    let item = Item::day(sealed.message.clone(), &bad);
    assert_eq!(outcome(publish(&mut ledger, &[item])), ("published".into(), Some(DayOutcome::Differs)));
    let item = Item::account(&sealed.account);
    assert_eq!(
        outcome(publish(&mut ledger, std::slice::from_ref(&item))),
        ("account_added".into(), Some(DayOutcome::Agrees))
    );
    // Late repetitions of the older accounts displace nothing.
    let verdicts = publish(&mut ledger, &[Item::day(sealed.message, &bad), Item::account(&none), item]);
    assert_eq!(codes(&verdicts), ["unchanged", "other_block", "unchanged"]);
    assert_eq!(verdicts[0].outcome, Some(DayOutcome::Agrees));
    let view: DayView =
        ledger.ask(&client(Role::Rc), "data:day", &[b"dev-1".to_vec(), b"2026-03-01".to_vec()]).unwrap();
    let accounts: Vec<_> = view.accounts.iter().map(|published| published.account.0.clone()).collect();
    assert_eq!(accounts, [none.encode(), bad.encode(), sealed.account.encode()]);
}

#[test]
fn an_account_may_come_again_after_another_one_by_its_number() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let sealed = dev.seal_day(Some(&Decimal::from(1))).unwrap();
    let bad = differing(&sealed.account);
    let mut said = |item: Item| {
        let verdict = publish(&mut ledger, &[item]).remove(0);
        (verdict.code, verdict.outcome)
    };
    let (agrees, differs) = (Some(DayOutcome::Agrees), Some(DayOutcome::Differs));
    let good = || Item::account(&sealed.account);
    assert_eq!(said(Item::day(sealed.message.clone(), &sealed.account).numbered(1)), ("published".into(), agrees));
    assert_eq!(said(Item::account(&bad).numbered(2)), ("account_added".into(), differs));
    // Late repetitions of the first: known by their number, or by what they say.
    assert_eq!(said(good().numbered(1)), ("unchanged".into(), differs));
    assert_eq!(said(good()), ("unchanged".into(), differs));
    // What was right in the first place is said again, on purpose.
    assert_eq!(said(good().numbered(4)), ("account_added".into(), agrees));
    assert_eq!(said(good().numbered(4)), ("unchanged".into(), agrees));
    assert_eq!(said(Item::account(&bad).numbered(4)), ("account_taken".into(), None));
    assert_eq!(said(Item::account(&bad).numbered(3)), ("account_superseded".into(), None));
    let view: DayView =
        ledger.ask(&client(Role::Rc), "data:day", &[b"dev-1".to_vec(), b"2026-03-01".to_vec()]).unwrap();
    assert_eq!(view.outcome, DayOutcome::Agrees);
    let numbers: Vec<_> = view.accounts.iter().map(|published| published.number).collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(4)]);
}

#[test]
fn an_account_from_before_the_numbers_is_known() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let sealed = dev.seal_day(Some(&Decimal::from(1))).unwrap();
    let item = Item::day(sealed.message, &sealed.account);
    assert_eq!(codes(&publish(&mut ledger, std::slice::from_ref(&item))), ["published"]);
    assert_eq!(codes(&publish(&mut ledger, &[item.numbered(1)])), ["unchanged"]);
}

#[test]
fn only_an_account_that_attests_the_whole_block_agrees() {
    let changes: [fn(&mut Account); 5] = [
        |account| account.missing = vec![(0, 0)],
        |account| account.root = Hash([1; 32]),
        |account| account.summaries_digest = Hash([1; 32]),
        |account| account.first += 1,
        |account| account.count += 1,
    ];
    for change in changes {
        let mut dev = device("dev-1", 1);
        let mut ledger = ledger_with(&[&dev]);
        let sealed = dev.seal_day(Some(&Decimal::from(1))).unwrap();
        let mut account = sealed.account.clone();
        change(&mut account);
        let verdicts = publish(&mut ledger, &[Item::day(sealed.message, &account)]);
        assert_eq!((verdicts[0].code.as_str(), verdicts[0].outcome), ("published", Some(DayOutcome::Differs)));
        // What was healed is told, and agrees.
        let healed = Account { healed: vec![(0, 0)], ..sealed.account };
        assert_eq!(publish(&mut ledger, &[Item::account(&healed)])[0].outcome, Some(DayOutcome::Agrees));
    }
}

#[test]
fn a_day_is_published_when_it_is_over() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let sealed = dev.seal_day(None).unwrap();
    let end = utc_midnight(first_day()) + 86_400;
    let item = [Item::day(sealed.message, &sealed.account)];
    ledger.now = end - 1;
    let verdicts = publish(&mut ledger, &item);
    assert_eq!(codes(&verdicts), ["day_not_over"]);
    assert!(verdicts[0].retryable());
    ledger.now = end;
    assert_eq!(codes(&publish(&mut ledger, &item)), ["published"]);
}

#[test]
fn only_the_operator_publishes() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let sealed = dev.seal_day(None).unwrap();
    let items = [vec![Item::day(sealed.message, &sealed.account)].encode()];
    for role in [Role::Rc, Role::Dv, Role::Sp] {
        assert_eq!(ledger.submit(&admin(role), "data:publish", &items).unwrap_err().code(), "forbidden");
    }
}

#[test]
fn holes_are_visible_and_can_be_filled() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let days: Vec<_> = (0..4).map(|_| dev.seal_day(Some(&Decimal::from(2))).unwrap()).collect();
    let item = |n: usize| Item::day(days[n].message.clone(), &days[n].account);
    let verdicts = publish(&mut ledger, &[item(0), item(2), item(3)]);
    let continuity: Vec<_> = verdicts.iter().map(|verdict| verdict.continuity.unwrap()).collect();
    assert_eq!(continuity, [Continuity::Continues, Continuity::HoleBefore, Continuity::Continues]);
    let chain = |ledger: &crate::testing::MemoryLedger| -> ChainView {
        ledger.ask(&client(Role::Dv), "data:chain", &[b"dev-1".to_vec()]).unwrap()
    };
    assert_eq!(chain(&ledger).holes, [(1, 1)]);
    assert_eq!(chain(&ledger).head.unwrap().hash, days[3].hash);
    let verdicts = publish(&mut ledger, &[item(1)]);
    assert_eq!(verdicts[0].continuity, Some(Continuity::Continues));
    assert!(chain(&ledger).holes.is_empty());
}

#[test]
fn summaries_come_in_pages_with_the_agreements_sensors_only() {
    let mut devices = [device("dev-1", 1), device("dev-2", 2), device("dev-3", 3)];
    let mut ledger = ledger();
    register(&mut ledger, &devices.iter().collect::<Vec<_>>());
    approve(&mut ledger, Role::Rc, &[&devices[0]]).unwrap();
    approve(&mut ledger, Role::Dv, &[&devices[0]]).unwrap();
    activate(&mut ledger, &agreement());
    let mut items = Vec::new();
    for dev in &mut devices {
        for _ in 0..50 {
            let sealed = dev.seal_day(Some(&decimal("0.5"))).unwrap();
            items.push(Item::day(sealed.message, &sealed.account));
        }
    }
    assert!(publish(&mut ledger, &items).iter().all(|verdict| verdict.accepted));
    let mut args = vec![b"a-1".to_vec(), b"2026-03-02".to_vec(), b"2026-04-15".to_vec()];
    let first: SummaryPage = ledger.ask(&client(Role::Rc), "data:summaries", &args).unwrap();
    assert_eq!(first.rows.len(), 100);
    args.push(first.next.clone().unwrap().into_bytes());
    let last: SummaryPage = ledger.ask(&client(Role::Rc), "data:summaries", &args).unwrap();
    assert_eq!((last.rows.len(), last.next), (35, None));
    let rows: Vec<_> = first.rows.iter().chain(&last.rows).collect();
    assert!(rows.windows(2).all(|pair| (&pair[0].thing, pair[0].day) < (&pair[1].thing, pair[1].day)));
    for row in rows {
        assert_eq!(row.counts, row.thing.as_str() == "dev-1");
        assert_eq!(row.summaries.len(), 1, "the gauge is not among the agreement's fields");
        assert_eq!(row.summaries[0].increase(), Some(decimal("0.5")));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_bring_the_contract_down(
        noise in proptest::collection::vec(any::<u8>(), 0..80),
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let mut dev = device("dev-1", 1);
        let mut ledger = ledger_with(&[&dev]);
        let sealed = dev.seal_day(Some(&Decimal::from(1))).unwrap();
        let (mut message, mut account) = (sealed.message.clone(), sealed.account.encode());
        let (in_message, in_account) = (at.index(message.len()), at.index(account.len()));
        message[in_message] ^= flip;
        account[in_account] ^= flip;
        let items = [
            Item { block: Some(Bytes(noise.clone())), account: None, number: None },
            Item { block: None, account: Some(Bytes(noise.clone())), number: None },
            Item { block: Some(Bytes(message)), account: Some(Bytes(sealed.account.encode())), number: None },
            Item { block: Some(Bytes(sealed.message.clone())), account: Some(Bytes(account)), number: None },
        ];
        let verdicts = publish(&mut ledger, &items);
        // Only the signature's second form could pass among altered messages, and one flipped byte does not make it.
        prop_assert!(verdicts[..3].iter().all(|verdict| !verdict.accepted));
        for function in UPDATES.iter().chain(QUERIES) {
            for args in [vec![], vec![noise.clone()], vec![noise.clone(); 3], vec![noise.clone(); 4]] {
                let called = ledger.simulate(&admin(Role::Operator), function, &args);
                prop_assert!(!called.is_err_and(|error| error.code() == "unknown_function"));
            }
        }
    }
}
