//! A shard's hours.

use proptest::prelude::*;
use vitro_proof::{Leaf, merkle};

use super::{device, ledger, ledger_with, register};
use crate::calls::{self, Call};
use crate::testing::{MemoryLedger, TestDevice, admin, client};
use crate::{
    ALIVE_EVENT, Alive, AlivePage, AliveView, ContractError, Hour, Hours, LastValue, Path, Record, Role, Shard,
    SignOfLife,
};

fn shard() -> Shard {
    "north".parse().unwrap()
}

/// The hour so many hours before the ledger's clock.
fn hour(ledger: &MemoryLedger, ago: i64) -> Hour {
    Hour::holding(ledger.now - ago * 3_600).unwrap()
}

fn sign(thing: &str, alive: bool) -> SignOfLife {
    let values = vec![LastValue { sensor: "yield".parse().unwrap(), unit: "kWh".into(), value: "0".parse().ok() }];
    let (number, heard) = (alive.then_some(7), alive.then_some(1_000));
    SignOfLife { thing: thing.parse().unwrap(), alive, number, heard, values: if alive { values } else { vec![] } }
}

fn say(ledger: &mut MemoryLedger, alive: &Alive) -> Result<AliveView, ContractError> {
    let call = calls::alive(alive);
    ledger.call(&client(Role::Operator), call.function, &call.args)
}

fn ask<T: Record>(ledger: &MemoryLedger, call: &Call<T>) -> Result<T, ContractError> {
    ledger.ask(&client(Role::Rc), call.function, &call.args)
}

#[test]
fn an_hour_is_said_once_in_one_small_transaction() {
    let mut ledger = ledger();
    let signs = [sign("dev-1", true), sign("dev-2", false)];
    let said = Alive::of(shard(), hour(&ledger, 1), &signs).unwrap();
    let call = calls::alive(&said);
    let simulation = ledger.simulate(&client(Role::Operator), call.function, &call.args).unwrap();
    let event = simulation.response.event.clone().unwrap();
    let view = AliveView::decode(&event.payload).unwrap();
    assert_eq!((event.name.as_str(), &view.alive), (ALIVE_EVENT, &said));
    assert_eq!((view.alive.alive, view.alive.silent), (1, 1));
    // One key of its own: neither another shard nor another hour waits for it.
    assert_eq!((simulation.writes.len(), simulation.ranges.len()), (1, 0));
    let bytes: usize = simulation.writes.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(bytes < 250, "{bytes}");
    assert!(ledger.commit(&simulation));

    ledger.now += 600;
    let again = ledger.simulate(&client(Role::Operator), call.function, &call.args).unwrap();
    assert!(again.writes.is_empty() && again.response.event.is_none());
    assert_eq!(call.read(&again.response.payload).unwrap(), view, "the first transaction's");
    let all_alive = Alive::of(shard(), said.hour, &[sign("dev-1", true), sign("dev-2", true)]).unwrap();
    assert_eq!(say(&mut ledger, &all_alive).unwrap_err().code(), "hour_taken", "nobody makes a silence good");
    let elsewhere = Alive::of("south".parse().unwrap(), said.hour, &[]).unwrap();
    say(&mut ledger, &elsewhere).unwrap();
}

#[test]
fn an_hour_is_said_when_it_is_over_and_by_the_operator_alone() {
    let mut ledger = ledger();
    let said = Alive::of(shard(), hour(&ledger, 0), &[]).unwrap();
    ledger.now = said.hour.end() - 1;
    let refused = say(&mut ledger, &said).unwrap_err();
    assert!(refused.code() == "hour_not_over" && refused.retryable());
    ledger.now = said.hour.end();
    let call = calls::alive(&said);
    for role in [Role::Rc, Role::Dv, Role::Sp] {
        assert_eq!(ledger.submit(&admin(role), call.function, &call.args).unwrap_err().code(), "forbidden");
    }
    let rootless = Alive { root: vitro_proof::Hash([1; 32]), ..said.clone() };
    assert_eq!(say(&mut ledger, &rootless).unwrap_err().code(), "bad_arguments");
    let many = Alive { alive: u64::MAX, silent: 1, ..said.clone() };
    assert_eq!(say(&mut ledger, &many).unwrap_err().code(), "bad_arguments");
    say(&mut ledger, &said).unwrap();
    // Half an hour is none: the third field of the record is the hour.
    let mut bytes = said.encode();
    let at = bytes.windows(5).position(|five| five[0] == 0x1a && five[1..] == (said.hour.begin() as u32).to_be_bytes());
    bytes[at.unwrap() + 4] ^= 2;
    let refused = ledger.submit(&client(Role::Operator), "data:alive", &[bytes]).unwrap_err();
    assert_eq!(refused.code(), "malformed");
    let unsorted = Alive::of(shard(), said.hour, &[sign("dev-2", true), sign("dev-1", true)]).unwrap_err();
    assert_eq!(unsorted.code(), "bad_arguments");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn hours_of_which_nothing_was_said_are_told(
        said in proptest::collection::btree_set(0i64..1_200, 0..30),
        window in (0i64..1_200, 0i64..1_200),
    ) {
        let mut ledger = ledger();
        let begin = hour(&ledger, 1_300);
        let at = |n: i64| Hour::beginning(begin.begin() + n * 3_600).unwrap();
        for n in &said {
            say(&mut ledger, &Alive::of(shard(), at(*n), &[]).unwrap()).unwrap();
            // A shard whose name begins alike.
            say(&mut ledger, &Alive::of("north-1".parse().unwrap(), at(*n), &[]).unwrap()).unwrap();
        }
        let (from, to) = (window.0.min(window.1), window.0.max(window.1));
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        let mut next = Some(at(from));
        while let Some(start) = next {
            let page: AlivePage = ask(&ledger, &calls::hours(&shard(), start, at(to))).unwrap();
            prop_assert!(page.hours.iter().all(|view| view.alive.shard == shard()));
            found.extend(page.hours.into_iter().map(|view| view.alive.hour));
            for Hours { from, to } in page.missing {
                missing.extend((from.begin()..=to.begin()).step_by(3_600));
            }
            prop_assert!(page.next.is_none_or(|next| next > start));
            next = page.next;
        }
        let expected: Vec<Hour> = said.iter().filter(|n| (from..=to).contains(n)).map(|n| at(*n)).collect();
        prop_assert_eq!(found, expected);
        let silent: Vec<i64> = (from..=to).filter(|n| !said.contains(n)).map(|n| at(n).begin()).collect();
        prop_assert_eq!(missing, silent);
    }

    #[test]
    fn what_was_said_of_a_device_is_proven(count in 1usize..9, pick in any::<prop::sample::Index>(), other in any::<bool>()) {
        let devices: Vec<TestDevice> = (1..=9).map(|n| device(&format!("dev-{n}"), n)).collect();
        let mut ledger = ledger_with(&devices.iter().collect::<Vec<_>>());
        let signs: Vec<SignOfLife> = (1..=count).map(|n| sign(&format!("dev-{n}"), n % 2 == 0)).collect();
        let said = Alive::of(shard(), hour(&ledger, 1), &signs).unwrap();
        let view = say(&mut ledger, &said).unwrap();
        let leaves: Vec<Leaf> = signs.iter().map(SignOfLife::leaf).collect();
        let index = pick.index(count);
        let path = Path { siblings: merkle::inclusion_proof(&leaves, index).unwrap() };
        let ask_for = |sign: &SignOfLife, index: u64| ask(&ledger, &calls::verify_alive(&shard(), said.hour, sign, index, &path));
        let proven = ask_for(&signs[index], index as u64).unwrap();
        prop_assert_eq!((&proven.hour, &proven.sign), (&view, &signs[index]));
        prop_assert_eq!(ask_for(&signs[index], index as u64 + 1 + u64::from(other)).unwrap_err().code(), "not_included");
        // Another thing than what was said then.
        let changed = SignOfLife { alive: !signs[index].alive, ..signs[index].clone() };
        prop_assert_eq!(ask_for(&changed, index as u64).unwrap_err().code(), "not_included");
    }
}

#[test]
fn an_hour_proves_nothing_of_another_shard_or_hour() {
    let (mut far, near) = (device("dev-2", 2), device("dev-1", 1));
    far.entry.shard = "south".parse().unwrap();
    let mut ledger = ledger();
    register(&mut ledger, &[&near, &far]);
    let said = Alive::of(shard(), hour(&ledger, 1), &[sign("dev-2", true)]).unwrap();
    say(&mut ledger, &said).unwrap();
    let path = Path { siblings: vec![] };
    let code = |thing: &str, hour| {
        ask(&ledger, &calls::verify_alive(&shard(), hour, &sign(thing, true), 0, &path)).unwrap_err().code()
    };
    assert_eq!(code("dev-2", said.hour), "bad_evidence");
    assert_eq!(code("dev-1", said.hour), "not_included");
    assert_eq!(code("dev-3", said.hour), "unknown_device");
    assert_eq!(code("dev-1", hour(&ledger, 2)), "unknown_hour");
}
