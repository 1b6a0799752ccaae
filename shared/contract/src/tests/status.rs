//! The life of a device after its registration, and billing across an exchange.

use proptest::prelude::*;
use vitro_proof::{Decimal, LocalDay};

use super::{activate, agreement, approve, codes, day, decimal, device, first_day, ledger_with, publish};
use crate::calendar::utc_midnight;
use crate::testing::{MemoryLedger, TestDevice, admin, client};
use crate::{
    ContractError, DeviceStatus, DeviceView, Exchange, ExchangeView, Halt, History, Item, Record, Role, Standing,
    StatementView, StatusReason, Unbilled, calls,
};

fn run<T: Record>(ledger: &mut MemoryLedger, call: &calls::Call<T>) -> Result<T, ContractError> {
    ledger.call(&client(Role::Operator), call.function, &call.args)
}

fn ask<T: Record>(ledger: &MemoryLedger, call: &calls::Call<T>) -> T {
    ledger.ask(&client(Role::Sp), call.function, &call.args).unwrap()
}

fn halt(at: i64, last_good: Option<u64>, reason: StatusReason) -> Halt {
    Halt { at, last_good, reason }
}

/// Ten in the morning in UTC.
fn morning(day: LocalDay) -> i64 {
    (utc_midnight(day) + 36_000) * 1000
}

/// A device that is to follow another at its metering point.
fn successor(name: &str, seed: u8, of: &TestDevice, first_day: LocalDay) -> TestDevice {
    let mut device = TestDevice::new(name, seed, first_day).unwrap();
    device.entry.metering_point = of.entry.metering_point.clone();
    device
}

fn register_successor(ledger: &mut MemoryLedger, device: &TestDevice) {
    run(ledger, &calls::register_successors(std::slice::from_ref(&device.entry))).unwrap();
    for role in [Role::Rc, Role::Dv] {
        approve(ledger, role, &[device]).unwrap();
    }
}

fn seal(device: &mut TestDevice, increase: &str) -> (Item, u64) {
    let sealed = device.seal_day(Some(&decimal(increase))).unwrap();
    (Item::day(sealed.message, &sealed.account), sealed.account.first + sealed.account.count)
}

fn close(ledger: &mut MemoryLedger, from: &str, to: &str) -> StatementView {
    run(ledger, &calls::close(&agreement().id, day(from), day(to))).unwrap()
}

#[test]
fn blocks_up_to_the_last_good_number_stay_publishable() {
    for (retire, code) in [(false, "device_suspended"), (true, "device_retired")] {
        let mut dev = device("dev-1", 1);
        let mut ledger = ledger_with(&[&dev]);
        let thing = dev.thing().clone();
        let items: Vec<Item> = (0..4).map(|_| seal(&mut dev, "1").0).collect();
        assert_eq!(codes(&publish(&mut ledger, &items[..1])), ["published"]);
        let halt = halt(5_000, Some(1), StatusReason::Equivocation);
        let call = if retire { calls::retire(&thing, &halt) } else { calls::suspend(&thing, &halt) };
        assert_eq!(run(&mut ledger, &call).unwrap().halt.as_ref(), Some(&halt));
        let verdicts = publish(&mut ledger, &items);
        assert_eq!(codes(&verdicts), ["unchanged", "published", code, code]);
        assert!(!verdicts[2].retryable() && verdicts[2].detail.contains("last good number is 1"));
        if retire {
            assert_eq!(run(&mut ledger, &calls::reinstate(&thing)).unwrap_err().code(), "device_retired");
        } else {
            run(&mut ledger, &calls::reinstate(&thing)).unwrap();
            assert_eq!(codes(&publish(&mut ledger, &items[2..])), ["published", "published"]);
        }
    }
}

#[test]
fn what_was_published_beyond_the_last_good_number_is_not_billed() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    activate(&mut ledger, &agreement());
    let thing = dev.thing().clone();
    let items: Vec<Item> = (0..4).map(|_| seal(&mut dev, "1").0).collect();
    publish(&mut ledger, &items);
    let first = close(&mut ledger, "2026-03-01", "2026-03-02");
    run(&mut ledger, &calls::suspend(&thing, &halt(5_000, Some(0), StatusReason::Operator))).unwrap();
    let statement = close(&mut ledger, "2026-03-03", "2026-03-03").statement;
    assert_eq!((statement.lines.len(), statement.unbilled[0].reason), (0, Unbilled::BeyondLastGood));
    // What is billed stays billed, also when the same period is asked for again.
    assert_eq!(close(&mut ledger, "2026-03-01", "2026-03-02"), first);
    assert_eq!(first.statement.lines.len(), 2);
    run(&mut ledger, &calls::reinstate(&thing)).unwrap();
    assert_eq!(close(&mut ledger, "2026-03-04", "2026-03-04").statement.lines.len(), 1);
}

#[test]
fn a_halt_is_made_stricter_and_never_milder() {
    let dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let thing = dev.thing().clone();
    let (operator, revoked) = (StatusReason::Operator, StatusReason::CertificateRevoked);
    let unchanged: DeviceStatus = run(&mut ledger, &calls::reinstate(&thing)).unwrap();
    assert_eq!((unchanged.revision, unchanged.standing), (0, Standing::Active));
    let first = run(&mut ledger, &calls::suspend(&thing, &halt(1_000, Some(70), operator))).unwrap();
    assert_eq!(run(&mut ledger, &calls::suspend(&thing, &halt(1_000, Some(70), operator))).unwrap(), first);
    for milder in [halt(1_001, Some(70), revoked), halt(1_000, Some(71), revoked)] {
        assert_eq!(run(&mut ledger, &calls::suspend(&thing, &milder)).unwrap_err().code(), "not_stricter");
    }
    run(&mut ledger, &calls::suspend(&thing, &halt(900, None, revoked))).unwrap();
    run(&mut ledger, &calls::retire(&thing, &halt(900, None, revoked))).unwrap();
    let refused = run(&mut ledger, &calls::suspend(&thing, &halt(1, None, revoked))).unwrap_err();
    assert_eq!(refused.code(), "device_retired");
    let far = halt((ledger.now + 301) * 1000, None, operator);
    assert_eq!(run(&mut ledger, &calls::retire(&thing, &far)).unwrap_err().code(), "bad_arguments");

    let history = ask(&ledger, &calls::device_history(&thing));
    let standings: Vec<_> = history.changes.iter().map(|change| (change.revision, change.standing)).collect();
    assert_eq!(standings, [(1, Standing::Suspended), (2, Standing::Suspended), (3, Standing::Retired)]);
    assert_eq!(history.changes[0], first);
    let view: DeviceView = ask(&ledger, &calls::device(&thing));
    assert_eq!((view.status.revision, view.serves), (3, true));
}

#[test]
fn only_the_operator_changes_a_status_and_every_party_sees_it() {
    let dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let thing = dev.thing();
    let halt = halt(1_000, None, StatusReason::Operator);
    let swap =
        Exchange { old: thing.clone(), new: thing.clone(), day: day("2026-03-01"), at: 0, last_good: None, first: 0 };
    for role in [Role::Rc, Role::Dv, Role::Sp] {
        for (function, args) in [
            ("registry:suspend", calls::suspend(thing, &halt).args),
            ("registry:retire", calls::retire(thing, &halt).args),
            ("registry:reinstate", calls::reinstate(thing).args),
            ("registry:exchange", calls::exchange(&swap).args),
            ("registry:register_successor", vec![dev.entry.encode()]),
        ] {
            assert_eq!(ledger.submit(&admin(role), function, &args).unwrap_err().code(), "forbidden", "{function}");
        }
        let seen = calls::device_history(thing);
        assert!(ledger.ask::<History>(&client(role), seen.function, &seen.args).unwrap().changes.is_empty());
    }
    let stranger = "dev-9".parse().unwrap();
    assert_eq!(run(&mut ledger, &calls::suspend(&stranger, &halt)).unwrap_err().code(), "unknown_device");
    let nowhere = calls::point_history(&"nowhere".parse().unwrap());
    let refused = ledger.ask::<History>(&client(Role::Rc), nowhere.function, &nowhere.args).unwrap_err();
    assert_eq!(refused.code(), "unknown_point");
}

#[test]
fn a_period_across_an_exchange_bills_both_devices() {
    let mut old = device("dev-1", 1);
    let mut ledger = ledger_with(&[&old]);
    activate(&mut ledger, &agreement());
    let swapped = day("2026-03-03");
    let mut new = successor("dev-2", 2, &old, swapped);
    let taken = run(&mut ledger, &calls::register_devices(std::slice::from_ref(&new.entry))).unwrap_err();
    assert_eq!(taken.code(), "metering_point_taken");
    register_successor(&mut ledger, &new);
    assert!(!ask(&ledger, &calls::device(new.thing())).serves, "it waits");

    // The old device's last day ends with its last good number; the new one's first day is the same day.
    let mut items: Vec<Item> = ["100", "3", "0.5"].iter().map(|increase| seal(&mut old, increase).0).collect();
    let last = old.sealed(Some(&decimal("1"))).unwrap();
    let wanted = Exchange {
        old: old.thing().clone(),
        new: new.thing().clone(),
        day: swapped,
        at: morning(swapped),
        last_good: Some(last.account.first - 1),
        first: 0,
    };
    let view: ExchangeView = run(&mut ledger, &calls::exchange(&wanted)).unwrap();
    assert_eq!(run(&mut ledger, &calls::exchange(&wanted)).unwrap(), view);
    items.push(Item::day(last.message, &last.account));
    items.extend(["7", "2", "4"].iter().map(|increase| seal(&mut new, increase).0));
    let verdicts = publish(&mut ledger, &items);
    assert_eq!(codes(&verdicts)[2..5], ["published", "device_retired", "published"]);

    let statement = close(&mut ledger, "2026-03-01", "2026-03-05").statement;
    let lines: Vec<_> =
        statement.lines.iter().map(|l| (l.day.to_string(), l.thing.as_str(), l.quantity.to_string())).collect();
    let expected = [
        ("2026-03-01", "dev-1", "0"),
        ("2026-03-02", "dev-1", "3"),
        ("2026-03-03", "dev-1", "0.5"),
        ("2026-03-03", "dev-2", "0"),
        ("2026-03-04", "dev-2", "2"),
        ("2026-03-05", "dev-2", "4"),
    ];
    assert_eq!(lines, expected.map(|(day, thing, quantity)| (day.to_owned(), thing, quantity.to_owned())));
    assert!(statement.lines.iter().all(|line| line.point == old.entry.metering_point));
    assert!(statement.unbilled.is_empty() && statement.quantity == decimal("9.5"));

    let history = ask(&ledger, &calls::point_history(&old.entry.metering_point));
    let served: Vec<_> = history.services.iter().map(|service| service.thing.as_str()).collect();
    assert_eq!(served, ["dev-1", "dev-2"]);
    assert_eq!((&history.services[0].until, &history.services[1].since), (&Some(view.clone()), &Some(view)));
    assert_eq!(history.changes.len(), 1);
    assert_eq!(ask(&ledger, &calls::device_history(new.thing())).services.len(), 1);
    let rows = ask(&ledger, &calls::summaries(&agreement().id, day("2026-03-01"), day("2026-03-05"), None)).rows;
    assert_eq!(rows.iter().filter(|row| row.day == swapped).count(), 2);
    assert_eq!(rows.len(), 6);
}

#[test]
fn a_last_day_that_does_not_come_is_visibly_unbilled() {
    let mut old = device("dev-1", 1);
    let mut ledger = ledger_with(&[&old]);
    activate(&mut ledger, &agreement());
    let swapped = day("2026-03-02");
    let mut new = successor("dev-2", 2, &old, day("2026-03-01"));
    register_successor(&mut ledger, &new);
    let (first, end) = seal(&mut old, "5");
    // A day of which numbers were published before anybody recorded the exchange: nobody splits its sum.
    let (beyond, _) = seal(&mut old, "5");
    let items = [first, beyond, seal(&mut new, "1").0, seal(&mut new, "2").0, seal(&mut new, "3").0];
    publish(&mut ledger, &items);
    let wanted = Exchange {
        old: old.thing().clone(),
        new: new.thing().clone(),
        day: swapped,
        at: morning(swapped),
        last_good: Some(end - 1),
        first: 2,
    };
    run(&mut ledger, &calls::exchange(&wanted)).unwrap();
    let statement = close(&mut ledger, "2026-03-01", "2026-03-04").statement;
    let lines: Vec<_> = statement.lines.iter().map(|l| (l.day.to_string(), l.thing.as_str())).collect();
    assert_eq!(lines, [("2026-03-01".to_owned(), "dev-1"), ("2026-03-03".to_owned(), "dev-2")]);
    let unbilled: Vec<_> = statement
        .unbilled
        .iter()
        .map(|u| (u.from.to_string(), u.thing.as_ref().map(|t| t.as_str()), u.reason))
        .collect();
    let expected = [
        ("2026-03-02".to_owned(), Some("dev-1"), Unbilled::BeyondLastGood),
        ("2026-03-02".to_owned(), Some("dev-2"), Unbilled::BeforeService),
        ("2026-03-04".to_owned(), Some("dev-2"), Unbilled::NotPublished),
    ];
    assert_eq!(unbilled, expected);
}

#[test]
fn an_exchange_needs_the_serving_device_and_a_waiting_one() {
    let (old, other) = (device("dev-1", 1), device("dev-3", 3));
    let mut ledger = ledger_with(&[&old, &other]);
    let new = successor("dev-2", 2, &old, first_day());
    let swapped = day("2026-03-02");
    let wanted = |old: &TestDevice, new: &TestDevice| Exchange {
        old: old.thing().clone(),
        new: new.thing().clone(),
        day: swapped,
        at: morning(swapped),
        last_good: Some(3),
        first: 0,
    };
    let code = |ledger: &mut MemoryLedger, exchange: &Exchange| {
        run(ledger, &calls::exchange(exchange)).map(|_| "").map_err(|error| error.code()).unwrap_or_else(|code| code)
    };
    assert_eq!(code(&mut ledger, &wanted(&old, &new)), "unknown_device");
    let free = successor("dev-4", 4, &new, first_day());
    let mut nowhere = free.entry.clone();
    nowhere.metering_point = "nowhere".parse().unwrap();
    let refused = run(&mut ledger, &calls::register_successors(&[nowhere])).unwrap_err();
    assert_eq!(refused.code(), "metering_point_free");
    register_successor(&mut ledger, &new);
    for (exchange, why) in [
        (wanted(&old, &other), "another point"),
        (wanted(&old, &old), "itself"),
        (wanted(&new, &old), "it serves nothing"),
        (Exchange { at: morning(day("2026-03-09")), ..wanted(&old, &new) }, "another day"),
    ] {
        assert_eq!(code(&mut ledger, &exchange), "exchange_refused", "{why}");
    }
    run(&mut ledger, &calls::suspend(new.thing(), &halt(1, None, StatusReason::Operator))).unwrap();
    assert_eq!(code(&mut ledger, &wanted(&old, &new)), "exchange_refused");
    run(&mut ledger, &calls::reinstate(new.thing())).unwrap();
    // An earlier suspension of the old one stays, with its reason.
    run(&mut ledger, &calls::suspend(old.thing(), &halt(7, Some(2), StatusReason::Equivocation))).unwrap();
    assert_eq!(code(&mut ledger, &wanted(&old, &new)), "");
    let status = ask(&ledger, &calls::device(old.thing())).status;
    assert_eq!((status.standing, status.halt), (Standing::Retired, Some(halt(7, Some(2), StatusReason::Equivocation))));
    let otherwise = Exchange { last_good: Some(4), ..wanted(&old, &new) };
    assert_eq!(code(&mut ledger, &otherwise), "exchange_refused");
    // The next exchange goes on from there, and not before it.
    let third = successor("dev-5", 5, &old, first_day());
    register_successor(&mut ledger, &third);
    let earlier = Exchange { at: morning(swapped) - 1, ..wanted(&new, &third) };
    assert_eq!(code(&mut ledger, &earlier), "exchange_refused");
    assert_eq!(code(&mut ledger, &wanted(&new, &third)), "");
    let history = ask(&ledger, &calls::point_history(&old.entry.metering_point));
    assert_eq!(history.services.len(), 3);
    assert!(history.services.iter().all(|service| service.holds(swapped)), "all three on one day");
}

#[test]
fn nobody_chooses_afterwards_which_meter_billed_the_past() {
    let mut old = device("dev-1", 1);
    let mut ledger = ledger_with(&[&old]);
    activate(&mut ledger, &agreement());
    let mut new = successor("dev-2", 2, &old, first_day());
    register_successor(&mut ledger, &new);
    let mut items: Vec<Item> = (0..5).map(|_| seal(&mut old, "10").0).collect();
    items.extend((0..5).map(|_| seal(&mut new, "1").0));
    publish(&mut ledger, &items);
    let billed = close(&mut ledger, "2026-03-01", "2026-03-02");
    let exchange = |on: &str| Exchange {
        old: old.thing().clone(),
        new: new.thing().clone(),
        day: day(on),
        at: morning(day(on)),
        last_good: Some(1),
        first: 0,
    };
    for settled in ["2026-03-01", "2026-03-02"] {
        let refused = run(&mut ledger, &calls::exchange(&exchange(settled))).unwrap_err();
        assert_eq!(refused.code(), "exchange_refused");
        assert!(refused.to_string().contains("is billed from 2026-03-01 to 2026-03-02"), "{refused}");
    }
    run(&mut ledger, &calls::exchange(&exchange("2026-03-03"))).unwrap();
    assert_eq!(close(&mut ledger, "2026-03-01", "2026-03-02"), billed);
}

/// What may happen to a status.
#[derive(Clone, Debug)]
enum Step {
    Suspend(Halt),
    Retire(Halt),
    Reinstate,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let halts = (0i64..6, proptest::option::of(0u64..6), proptest::sample::select(StatusReason::ALL.to_vec()))
        .prop_map(|(at, last_good, reason)| Halt { at, last_good, reason });
    let step = prop_oneof![
        6 => halts.clone().prop_map(Step::Suspend),
        1 => halts.prop_map(Step::Retire),
        3 => Just(Step::Reinstate),
    ];
    proptest::collection::vec(step, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_history_only_grows_and_a_halt_only_tightens(steps in steps()) {
        let dev = device("dev-1", 1);
        let mut ledger = ledger_with(&[&dev]);
        let thing = dev.thing().clone();
        let mut known: Vec<DeviceStatus> = Vec::new();
        for step in steps {
            let call = match &step {
                Step::Suspend(halt) => calls::suspend(&thing, halt),
                Step::Retire(halt) => calls::retire(&thing, halt),
                Step::Reinstate => calls::reinstate(&thing),
            };
            let before = ask(&ledger, &calls::device(&thing)).status;
            let after = run(&mut ledger, &call).unwrap_or_else(|_| before.clone());
            if let (Some(there), Some(now)) = (&before.halt, &after.halt) {
                prop_assert!(now.is_as_strict_as(there));
            }
            prop_assert!(before.standing != Standing::Retired || after.standing == Standing::Retired);
            if after != before {
                known.push(after.clone());
            }
            prop_assert_eq!(&ask(&ledger, &calls::device(&thing)).status, &after);
            prop_assert_eq!(&ask(&ledger, &calls::device_history(&thing)).changes, &known);
        }
    }

    #[test]
    fn a_statement_across_an_exchange_counts_nothing_twice(
        (days, at) in (2usize..7).prop_flat_map(|days| (Just(days), 0..days)),
        increases in proptest::collection::vec((1i64..1000, any::<bool>()), 14),
        lost in any::<bool>(),
    ) {
        let mut old = device("dev-1", 1);
        let mut ledger = ledger_with(&[&old]);
        activate(&mut ledger, &agreement());
        let mut new = successor("dev-2", 2, &old, first_day());
        register_successor(&mut ledger, &new);
        let all: Vec<LocalDay> = std::iter::successors(Some(first_day()), |day| day.next()).take(days).collect();
        let (mut items, mut ends) = (Vec::new(), Vec::new());
        // Both devices seal every day, the new one before and the old one after the exchange as well.
        for (n, (increase, _)) in increases.iter().take(days).enumerate() {
            let (item, end) = seal(&mut old, &increase.to_string());
            ends.push(end);
            if !(lost && n == at) {
                items.push(item);
            }
        }
        let mut starts = Vec::new();
        for (increase, is_there) in increases.iter().skip(7).take(days) {
            let (item, end) = seal(&mut new, &increase.to_string());
            starts.push(end - 1);
            if *is_there {
                items.push(item);
            }
        }
        let swap = Exchange {
            old: old.thing().clone(), new: new.thing().clone(), day: all[at], at: morning(all[at]),
            last_good: Some(ends[at] - 1), first: starts[at],
        };
        // Some was published before, some after.
        let cut = items.len() / 2;
        publish(&mut ledger, &items[..cut]);
        run(&mut ledger, &calls::exchange(&swap)).unwrap();
        publish(&mut ledger, &items[cut..]);
        let statement = run(&mut ledger, &calls::close(&agreement().id, all[0], all[days - 1])).unwrap().statement;
        let mut cited = std::collections::BTreeSet::new();
        let mut sum = Decimal::zero();
        for line in &statement.lines {
            let (device, serves) = if line.thing == *old.thing() { (0, line.day <= all[at]) } else { (7, line.day >= all[at]) };
            prop_assert!(serves && cited.insert(line.hash), "its own block, on a day that it served");
            let n = all.iter().position(|day| *day == line.day).unwrap();
            let counted = if n == 0 { 0 } else { increases[device + n].0 };
            prop_assert_eq!(&line.quantity, &Decimal::from(counted));
            sum = &sum + &Decimal::from(counted);
        }
        prop_assert_eq!(&statement.quantity, &sum);
        prop_assert_eq!(statement.shares.iter().map(|share| share.amount).sum::<i64>(), statement.total);
        // Every day of each service is either a line or said to be none.
        let unbilled: usize =
            statement.unbilled.iter().map(|u| ((utc_midnight(u.to) - utc_midnight(u.from)) / 86_400 + 1) as usize).sum();
        prop_assert_eq!(statement.lines.len() + unbilled, days + 1);
        let last_day = statement.lines.iter().any(|line| line.thing == *old.thing() && line.day == all[at]);
        prop_assert_eq!(last_day, !lost);
    }
}
