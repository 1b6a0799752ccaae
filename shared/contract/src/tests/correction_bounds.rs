//! What a statement has room for, and that nothing makes it too large or keeps others from being billed.

use super::corrections::{close, correct, item, run, sealed};
use super::pki::{Authority, days};
use super::{activate, agreement, approve, day, decimal, device, first_day, ledger, ledger_with, publish, register};
use crate::calls::{self, Call};
use crate::testing::{MemoryLedger, TestDevice, client};
use crate::{Halt, Item, Record, Role, StatusReason, Unbilled};

/// What a call adds to a transaction, roughly: what it writes, the keys that it reads and ranges over, and its answer.
fn size_of<T: Record>(ledger: &MemoryLedger, call: &Call<T>) -> usize {
    let simulated = ledger.simulate(&client(Role::Operator), call.function, &call.args).unwrap();
    let written: usize = simulated.writes.iter().map(|(key, value)| key.len() + value.len()).sum();
    let read: usize = simulated.reads.keys().map(|key| key.len() + 12).sum();
    let found = simulated.ranges.iter().flat_map(|range| &range.found).map(|(key, _)| key.len() + 12);
    let ends = simulated.ranges.iter().map(|range| range.start.len() + range.end.len() + 12);
    written + read + found.chain(ends).sum::<usize>() + simulated.response.payload.len()
}

#[test]
fn what_changed_elsewhere_in_the_shard_keeps_nobody_from_being_billed() {
    let mut devices: Vec<TestDevice> =
        (0u8..60).map(|n| device(&format!("a-device-with-a-long-name-{n:03}"), n + 1)).collect();
    let mut ledger = ledger_with(&devices.iter().collect::<Vec<_>>());
    ledger.now += 366 * 86_400;
    let mut of_one = agreement();
    of_one.points = Some(vec![devices[7].entry.metering_point.clone()]);
    let mut others = agreement();
    others.id = "others".parse().unwrap();
    for terms in [&of_one, &others] {
        activate(&mut ledger, terms);
        run(&mut ledger, &calls::close(&terms.id, first_day(), day("2026-06-30"))).unwrap();
    }
    // After an outage, of every device come fifty days at once: three thousand marks, fifty of which are of the one.
    for dev in &mut devices {
        let items: Vec<Item> = sealed(dev, 50).iter().map(item).collect();
        publish(&mut ledger, &items);
    }
    let next = calls::close(&of_one.id, day("2026-07-01"), day("2026-07-31"));
    let size = size_of(&ledger, &next);
    assert!(size < 120_000, "{size} bytes");
    let mut corrected = run(&mut ledger, &next).unwrap().statement.corrections.len();
    for _ in 0..10 {
        let call = calls::correct(&of_one.id, of_one.hash());
        let Ok(settlement) = run(&mut ledger, &call) else { break };
        corrected += settlement.statement.map_or(0, |view| view.statement.corrections.len());
    }
    assert_eq!(corrected, 50);
    assert_eq!(correct(&mut ledger, of_one.hash()).unwrap_err().code(), "nothing_to_correct");
    // The others get through all of them, a few hundred at a time, and no transaction is too large for that.
    let (mut corrected, mut statements) = (0, 0);
    loop {
        let call = calls::correct(&others.id, others.hash());
        let Ok(settlement) = run(&mut ledger, &call) else { break };
        corrected += settlement.statement.map_or(0, |view| view.statement.corrections.len());
        statements += 1;
        assert!(statements < 20, "it goes on and on");
    }
    assert_eq!(corrected, 60 * 50);
}

#[test]
fn days_that_turn_out_unchanged_leave_room_for_a_statement() {
    let mut devices: Vec<TestDevice> =
        (0u8..6).map(|n| device(&format!("a-device-with-a-name-as-long-as-they-come-{n}"), n + 1)).collect();
    let mut ledger = ledger_with(&devices.iter().collect::<Vec<_>>());
    ledger.now += 3 * 366 * 86_400;
    activate(&mut ledger, &agreement());
    for dev in &mut devices {
        for part in sealed(dev, 530).chunks(100) {
            publish(&mut ledger, &part.iter().map(item).collect::<Vec<_>>());
        }
    }
    close(&mut ledger, "2026-03-01", "2026-08-12");
    close(&mut ledger, "2026-08-13", "2027-01-24");
    close(&mut ledger, "2027-01-25", "2027-02-27");
    let halt = Halt { at: 1_000, last_good: None, reason: StatusReason::Operator };
    for dev in &devices {
        run(&mut ledger, &calls::suspend(dev.thing(), &halt)).unwrap();
        run(&mut ledger, &calls::reinstate(dev.thing())).unwrap();
    }
    let full = calls::close(&agreement().id, day("2027-02-28"), day("2027-08-12"));
    let size = size_of(&ledger, &full);
    assert!(size < 950_000, "{size} bytes");
    let statement = run(&mut ledger, &full).unwrap().statement;
    assert!(statement.lines.len() > 990 && statement.corrections.is_empty() && statement.waiting > 0);
    let mut calls_made = 0;
    loop {
        let call = calls::correct(&agreement().id, agreement().hash());
        match ledger.simulate(&client(Role::Operator), call.function, &call.args) {
            Ok(_) => assert!(size_of(&ledger, &call) < 950_000),
            Err(_) => break,
        }
        assert_eq!(run(&mut ledger, &call).unwrap().statement, None, "nothing is billed otherwise");
        calls_made += 1;
        assert!(calls_made < 10);
    }
}

#[test]
fn one_absurd_register_keeps_nobody_else_from_being_billed() {
    let (mut sound, mut absurd) = (device("dev-1", 1), device("dev-2", 2));
    let mut ledger = ledger_with(&[&sound, &absurd]);
    activate(&mut ledger, &agreement());
    close(&mut ledger, "2026-03-01", "2026-03-02");
    // Both come late; a register of 64 bits that is read as all ones, and worse.
    let mut items: Vec<Item> = sealed(&mut sound, 3).iter().map(item).collect();
    for increase in ["1", "18446744073709551615", "100000000000000000000000000"] {
        items.push(item(&absurd.seal_day(Some(&decimal(increase))).unwrap()));
    }
    publish(&mut ledger, &items);
    let next = close(&mut ledger, "2026-03-03", "2026-03-03").statement;
    assert_eq!((next.lines.len(), next.lines[0].thing.as_str()), (1, "dev-1"));
    assert_eq!(next.unbilled[0].reason, Unbilled::OutOfRange);
    let corrected: Vec<_> = next.corrections.iter().map(|one| (one.thing.as_str(), one.amount.to_string())).collect();
    assert_eq!(corrected, [("dev-1", "0".to_owned()), ("dev-1", "1".to_owned()), ("dev-2", "0".to_owned())]);
    assert_eq!(correct(&mut ledger, agreement().hash()).unwrap_err().code(), "nothing_to_correct");
}

#[test]
fn what_does_not_fit_waits_for_the_next_and_is_told() {
    // By a mark for each day, and by one for all of them.
    for approved_late in [false, true] {
        let mut dev = device("dev-1", 1);
        let mut ledger = ledger();
        ledger.now += 3 * 366 * 86_400;
        register(&mut ledger, &[&dev]);
        approve(&mut ledger, Role::Rc, &[&dev]).unwrap();
        activate(&mut ledger, &agreement());
        let days = sealed(&mut dev, 600);
        let items: Vec<Item> = days.iter().map(item).collect();
        if approved_late {
            publish(&mut ledger, &items);
        } else {
            approve(&mut ledger, Role::Dv, &[&dev]).unwrap();
        }
        close(&mut ledger, "2026-03-01", "2026-12-31");
        close(&mut ledger, "2027-01-01", "2027-12-31");
        if approved_late {
            approve(&mut ledger, Role::Dv, &[&dev]).unwrap();
        } else {
            publish(&mut ledger, &items);
        }
        let call = calls::correct(&agreement().id, agreement().hash());
        let size = size_of(&ledger, &call);
        assert!(size < 900_000, "{size} bytes");
        let first = run(&mut ledger, &call).unwrap();
        let statement = first.statement.unwrap().statement;
        // A mark is done when the day after its day is looked at, too.
        let (most, waiting) = if approved_late { (440, 1) } else { (500, 101) };
        assert_eq!((statement.corrections.len(), statement.waiting, first.waiting), (most, waiting, waiting));
        let second = run(&mut ledger, &call).unwrap();
        let rest = second.statement.unwrap().statement;
        assert_eq!((rest.corrections.len(), rest.waiting), (600 - most, 0));
        assert_eq!(statement.total + rest.total, 599 * 100, "the first day opens the counter");
        assert!(statement.corrections.iter().all(|one| one.day < rest.corrections[0].day));
        assert_eq!(run(&mut ledger, &call).unwrap_err().code(), "nothing_to_correct");
    }
}

#[test]
fn a_renewed_certificate_of_an_approved_device_is_nothing_to_look_at() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    activate(&mut ledger, &agreement());
    publish(&mut ledger, &sealed(&mut dev, 3).iter().map(item).collect::<Vec<_>>());
    close(&mut ledger, "2026-03-01", "2026-03-03");
    let authority = Authority::root("Customer", days(day("2020-01-01"), day("2039-12-31")));
    let valid = days(day("2026-01-01"), day("2027-12-31"));
    let chain = [authority.certify("dev-1", &dev.entry.public_key, valid)];
    run(&mut ledger, &calls::certify(dev.thing(), &chain)).unwrap();
    assert_eq!(correct(&mut ledger, agreement().hash()).unwrap_err().code(), "nothing_to_correct");
}
