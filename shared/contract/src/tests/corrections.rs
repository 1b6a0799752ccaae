//! What comes after a period was closed, and how a later statement makes it good.

use proptest::prelude::*;
use vitro_proof::{Decimal, LocalDay};

use super::{
    activate, agreement, approve, day, decimal, device, differing, first_day, ledger, ledger_with, publish, register,
};
use crate::calls::{self, Call};
use crate::testing::{MemoryLedger, TestDay, TestDevice, admin, client};
use crate::{
    Agreement, Amendment, CLOSED_EVENT, ContractError, Correction, Halt, Item, Owed, Payee, Record, Role, Settlement,
    Statement, StatementHead, StatementView, StatusReason, Tariff, Termination, Unbilled,
};

pub(super) fn run<T: Record>(ledger: &mut MemoryLedger, call: &Call<T>) -> Result<T, ContractError> {
    ledger.call(&admin(Role::Operator), call.function, &call.args)
}

pub(super) fn close(ledger: &mut MemoryLedger, from: &str, to: &str) -> StatementView {
    run(ledger, &calls::close(&agreement().id, day(from), day(to))).unwrap()
}

pub(super) fn correct(ledger: &mut MemoryLedger, terms: vitro_proof::Hash) -> Result<Settlement, ContractError> {
    run(ledger, &calls::correct(&agreement().id, terms))
}

pub(super) fn sealed(dev: &mut TestDevice, count: usize) -> Vec<TestDay> {
    (0..count).map(|_| dev.seal_day(Some(&Decimal::from(4))).unwrap()).collect()
}

pub(super) fn item(day: &TestDay) -> Item {
    Item::day(day.message.clone(), &day.account)
}

fn owed(quantity: &str, amount: &str) -> Option<Owed> {
    Some(Owed { quantity: decimal(quantity), amount: decimal(amount) })
}

/// Day, what it was, what it is, and the difference.
fn told(correction: &Correction) -> (String, Option<Owed>, Option<Owed>, String) {
    let after = correction.line.as_ref().map(Owed::of);
    (correction.day.to_string(), correction.before.clone(), after, correction.amount.to_string())
}

#[test]
fn what_came_late_is_corrected_once_by_the_next_statement() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    activate(&mut ledger, &agreement());
    let days = sealed(&mut dev, 9);
    publish(&mut ledger, &[item(&days[0]), item(&days[1])]);
    let first = close(&mut ledger, "2026-03-01", "2026-03-03");
    assert_eq!((first.statement.total, first.statement.unbilled[0].reason), (100, Unbilled::NotPublished));
    // The third day comes after all; of the second the operator says now that it misses something.
    publish(&mut ledger, &[item(&days[2]), Item::account(&differing(&days[1].account))]);
    publish(&mut ledger, &[item(&days[3])]);
    let second = close(&mut ledger, "2026-03-04", "2026-03-04");
    let statement = &second.statement;
    let corrections: Vec<_> = statement.corrections.iter().map(told).collect();
    assert_eq!(
        corrections,
        [
            ("2026-03-02".to_owned(), owed("4", "1"), None, "-1".to_owned()),
            ("2026-03-03".to_owned(), None, owed("4", "1"), "1".to_owned()),
        ]
    );
    assert!(statement.corrections.iter().all(|one| one.corrects == first.id && one.terms == agreement().hash()));
    assert_eq!(statement.corrections[0].reason, Some(Unbilled::Differs));
    assert_eq!(statement.corrections[1].line.as_ref().unwrap().hash, days[2].hash);
    assert_eq!((statement.lines.len(), statement.total, &statement.quantity), (1, 100, &decimal("4")));
    assert_eq!((second.head().corrections, second.head().waiting, second.head().alone), (2, 0, false));
    // Each once; what is said again, and differs again, is the next one's.
    publish(&mut ledger, &[item(&days[4])]);
    assert!(close(&mut ledger, "2026-03-05", "2026-03-05").statement.corrections.is_empty());
    let mut healed = days[1].account.clone();
    healed.healed = vec![(healed.first, healed.first)];
    publish(&mut ledger, &[Item::account(&healed)]);
    let third = close(&mut ledger, "2026-03-06", "2026-03-06").statement;
    assert_eq!(third.corrections.len(), 1);
    assert_eq!((third.corrections[0].corrects, third.total), (second.id, 100), "it names who spoke last");
    let page = ledger
        .ask::<crate::HistoryPage>(
            &client(Role::Sp),
            "data:history",
            &calls::day_history(dev.thing(), day("2026-03-02"), day("2026-03-02")).args,
        )
        .unwrap();
    let cited = &page.days[0].statements[0];
    assert!(cited.stands && cited.line.is_some());
    let by: Vec<_> = cited.corrections.iter().map(|one| (one.statement, one.correction.amount.to_string())).collect();
    assert_eq!(by, [(second.id, "-1".to_owned()), (third.id(), "1".to_owned())]);
    assert_eq!(run(&mut ledger, &calls::statement(first.id)).unwrap(), first, "nothing billed is touched");
}

#[test]
fn a_credit_takes_back_from_each_what_the_bill_gave() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let mut terms = agreement();
    let Tariff::PerUnit(tariff) = &mut terms.tariff;
    tariff.price = decimal("0.1925");
    activate(&mut ledger, &terms);
    let days = sealed(&mut dev, 2);
    publish(&mut ledger, &[item(&days[0]), item(&days[1])]);
    let bill = close(&mut ledger, "2026-03-01", "2026-03-02").statement;
    publish(&mut ledger, &[Item::account(&differing(&days[1].account))]);
    let credit = close(&mut ledger, "2026-03-03", "2026-03-03").statement;
    assert_eq!((bill.total, credit.total), (77, -77));
    let shares = |statement: &Statement| statement.shares.iter().map(|share| share.amount).collect::<Vec<_>>();
    assert_eq!((shares(&bill), shares(&credit)), (vec![54, 23], vec![-54, -23]));
    assert_eq!(credit.currency.show(credit.total), "-0.77 EUR");
    assert_eq!((credit.payer, credit.exact), (bill.payer, decimal("-0.77")));
}

#[test]
fn a_filled_hole_corrects_the_day_after_it_too() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    activate(&mut ledger, &agreement());
    let days = sealed(&mut dev, 4);
    publish(&mut ledger, &[item(&days[0]), item(&days[2]), item(&days[3])]);
    let first = close(&mut ledger, "2026-03-01", "2026-03-03").statement;
    assert_eq!(
        first.unbilled.iter().map(|left| left.reason).collect::<Vec<_>>(),
        [Unbilled::NotPublished, Unbilled::HoleBefore]
    );
    publish(&mut ledger, &[item(&days[1])]);
    let second = close(&mut ledger, "2026-03-04", "2026-03-04").statement;
    let corrected: Vec<_> = second.corrections.iter().map(|one| one.day).collect();
    assert_eq!(corrected, ["2026-03-02", "2026-03-03"].map(day));
    assert_eq!((second.lines.len(), second.total), (1, 300));
}

#[test]
fn acceptance_status_and_exchange_correct_what_they_decide() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger();
    register(&mut ledger, &[&dev]);
    approve(&mut ledger, Role::Rc, &[&dev]).unwrap();
    activate(&mut ledger, &agreement());
    let days = sealed(&mut dev, 4);
    publish(&mut ledger, &days.iter().map(item).collect::<Vec<_>>());
    let version = agreement().hash();
    assert_eq!(close(&mut ledger, "2026-03-01", "2026-03-03").statement.total, 0);
    // Accepted after all: the first days are billed.
    approve(&mut ledger, Role::Dv, &[&dev]).unwrap();
    let late = correct(&mut ledger, version).unwrap().statement.unwrap().statement;
    assert_eq!((late.corrections.len(), late.total), (3, 200));
    // A renewed entry that waits for approval changes nothing.
    dev.entry.certificate = vitro_proof::Hash([7; 32]);
    register(&mut ledger, &[&dev]);
    assert_eq!(correct(&mut ledger, version).unwrap_err().code(), "nothing_to_correct");
    publish(&mut ledger, &[Item::account(&differing(&days[1].account))]);
    publish(
        &mut ledger,
        &[Item::account(&{
            let mut again = days[1].account.clone();
            again.healed = vec![(again.first, again.first)];
            again
        })],
    );
    assert_eq!(correct(&mut ledger, version).unwrap(), Settlement { statement: None, waiting: 0 });
    assert_eq!(correct(&mut ledger, version).unwrap_err().code(), "nothing_to_correct");
    // A suspension from a number on takes back what lies beyond it, a reinstatement gives it again.
    let halt = Halt { at: 1_000, last_good: Some(1), reason: StatusReason::Equivocation };
    run(&mut ledger, &calls::suspend(dev.thing(), &halt)).unwrap();
    let credit = correct(&mut ledger, version).unwrap().statement.unwrap().statement;
    assert_eq!((credit.total, credit.corrections[0].reason), (-100, Some(Unbilled::BeyondLastGood)));
    run(&mut ledger, &calls::reinstate(dev.thing())).unwrap();
    assert_eq!(correct(&mut ledger, version).unwrap().statement.unwrap().statement.total, 100);
}

#[test]
fn a_chain_that_comes_late_corrects_the_days_that_it_makes_count() {
    let always = super::pki::days(day("2020-01-01"), day("2039-12-31"));
    let root = super::pki::Authority::root("Customer", always);
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger();
    register(&mut ledger, &[&dev]);
    let terms = Agreement { authorities: vec![crate::Bytes(root.der.clone())], ..agreement() };
    activate(&mut ledger, &terms);
    let days = sealed(&mut dev, 3);
    publish(&mut ledger, &days.iter().map(item).collect::<Vec<_>>());
    assert_eq!(close(&mut ledger, "2026-03-01", "2026-03-03").statement.total, 0);
    // Good from the second day on.
    let valid = super::pki::days(day("2026-03-02"), day("2026-12-31"));
    let leaf = root.certify("dev-1", &dev.entry.public_key, valid);
    run(&mut ledger, &calls::certify(dev.thing(), &[leaf])).unwrap();
    let late = correct(&mut ledger, terms.hash()).unwrap().statement.unwrap().statement;
    assert_eq!(late.corrections.iter().map(|one| one.day).collect::<Vec<_>>(), ["2026-03-02", "2026-03-03"].map(day));
    assert_eq!(late.total, 200);
}

fn amended(ledger: &mut MemoryLedger, replaces: &Agreement, change: impl FnOnce(&mut Agreement)) -> Amendment {
    let mut terms = replaces.clone();
    change(&mut terms);
    let amendment = Amendment { replaces: replaces.hash(), terms };
    let call = calls::amend(&amendment);
    ledger.submit(&admin(Role::Rc), call.function, &call.args).unwrap();
    let call = calls::approve(&amendment.terms.id, amendment.hash());
    for role in Role::ALL {
        ledger.submit(&admin(role), call.function, &call.args).unwrap();
    }
    amendment
}

#[test]
fn a_day_is_corrected_by_its_own_price_and_only_beside_its_own_payees() {
    for sp_pays in [false, true] {
        let mut dev = device("dev-1", 1);
        let mut ledger = ledger_with(&[&dev]);
        activate(&mut ledger, &agreement());
        let days = sealed(&mut dev, 4);
        publish(&mut ledger, &[item(&days[0]), item(&days[1])]);
        let first = close(&mut ledger, "2026-03-01", "2026-03-03");
        let amendment = amended(&mut ledger, &agreement(), |terms| {
            terms.term.from = day("2026-03-04");
            let Tariff::PerUnit(tariff) = &mut terms.tariff;
            tariff.price = decimal("0.5");
            if sp_pays {
                terms.payer = Role::Sp;
                terms.payees = vec![Payee { role: Role::Rc, share: 1 }];
            }
        });
        publish(&mut ledger, &[item(&days[2]), item(&days[3])]);
        let second = close(&mut ledger, "2026-03-04", "2026-03-04").statement;
        let old = |statement: &Statement| {
            let one = &statement.corrections[0];
            (one.terms, one.corrects, one.amount.to_string())
        };
        let expected = (agreement().hash(), first.id, "1".to_owned());
        if !sp_pays {
            assert_eq!((second.total, old(&second)), (300, expected), "four at the new price, and four at the old");
            assert_eq!(correct(&mut ledger, agreement().hash()).unwrap_err().code(), "nothing_to_correct");
            continue;
        }
        // Another payer: a statement of its own, under the terms of its days.
        assert_eq!((second.total, second.corrections.len(), second.payer), (200, 0, Role::Sp));
        assert_eq!(correct(&mut ledger, amendment.hash()).unwrap_err().code(), "nothing_to_correct");
        let own = correct(&mut ledger, agreement().hash()).unwrap().statement.unwrap().statement;
        assert_eq!((own.total, own.payer, own.alone, old(&own)), (100, Role::Dv, true, expected));
        assert_eq!((own.from, own.to, own.agreement_hash), (day("2026-03-03"), day("2026-03-03"), agreement().hash()));
    }
}

#[test]
fn what_comes_after_the_end_is_settled_by_a_statement_of_corrections_alone() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    activate(&mut ledger, &agreement());
    let days = sealed(&mut dev, 3);
    publish(&mut ledger, &[item(&days[0]), item(&days[1])]);
    let id = agreement().id;
    close(&mut ledger, "2026-03-01", "2026-03-03");
    let end = Termination { agreement: id.clone(), ends: agreement().hash(), last: day("2026-03-03") };
    let call = calls::terminate(&end);
    ledger.submit(&admin(Role::Dv), call.function, &call.args).unwrap();
    for role in Role::ALL {
        let call = calls::approve(&id, end.hash());
        ledger.submit(&admin(role), call.function, &call.args).unwrap();
    }
    publish(&mut ledger, &[item(&days[2])]);
    let call = calls::correct(&id, agreement().hash());
    for role in [Role::Rc, Role::Dv, Role::Sp] {
        let refused = ledger.submit(&client(role), call.function, &call.args).unwrap_err();
        assert_eq!(refused.code(), "forbidden");
    }
    let response = ledger.submit(&client(Role::Operator), call.function, &call.args).unwrap();
    let view = call.read(&response.payload).unwrap().statement.unwrap();
    let event = response.event.unwrap();
    assert_eq!((event.name.as_str(), StatementHead::decode(&event.payload).unwrap()), (CLOSED_EVENT, view.head()));
    assert_eq!((view.statement.total, view.statement.alone), (100, true));
    let heads = run(&mut ledger, &calls::statements(&id)).unwrap();
    assert_eq!(heads.iter().map(|head| head.alone).collect::<Vec<_>>(), [false, true]);
    assert_eq!(run(&mut ledger, &calls::statement(view.id)).unwrap(), view);
    assert_eq!(run(&mut ledger, &call).unwrap_err().code(), "nothing_to_correct");
    let unknown = calls::correct(&id, end.hash());
    assert_eq!(run(&mut ledger, &unknown).unwrap_err().code(), "agreement_not_active");
}

#[test]
fn nothing_slips_between_a_statement_and_a_publication() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    activate(&mut ledger, &agreement());
    let days = sealed(&mut dev, 5);
    publish(&mut ledger, &[item(&days[0])]);
    let operator = client(Role::Operator);
    let close = |from: &str| calls::close(&agreement().id, day(from), day(from));
    for (n, at) in ["2026-03-01", "2026-03-02", "2026-03-03"].into_iter().enumerate() {
        // Whoever publishes while a statement is drawn has not seen it: one of the two has to try again.
        let call = close(at);
        let args = [vec![item(&days[n + 1])].encode()];
        let drawn = ledger.simulate(&operator, call.function, &call.args).unwrap();
        let published = ledger.simulate(&operator, "data:publish", &args).unwrap();
        assert!(ledger.commit(&drawn));
        assert!(!ledger.commit(&published), "it does not know that the day may be closed");
        ledger.submit(&operator, "data:publish", &args).unwrap();
    }
    let last = run(&mut ledger, &calls::close(&agreement().id, day("2026-03-04"), day("2026-03-05"))).unwrap();
    let corrected: Vec<LocalDay> = last.statement.corrections.iter().map(|one| one.day).collect();
    assert_eq!((corrected.len(), last.statement.lines.len()), (0, 1), "each came before its day was closed");
    publish(&mut ledger, &[item(&days[4])]);
    let settlement = correct(&mut ledger, agreement().hash()).unwrap();
    assert_eq!(settlement.statement.unwrap().statement.corrections[0].day, day("2026-03-05"));
}

#[test]
fn a_statement_without_corrections_keeps_its_bytes() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    activate(&mut ledger, &agreement());
    let days = sealed(&mut dev, 3);
    publish(&mut ledger, &[item(&days[0])]);
    let first = close(&mut ledger, "2026-03-01", "2026-03-02").statement;
    assert_eq!(&first.encode()[..3], [0xad, 0x00, 0x01], "a map of thirteen, version 1");
    publish(&mut ledger, &[item(&days[1])]);
    let second = close(&mut ledger, "2026-03-03", "2026-03-03").statement;
    assert_eq!(&second.encode()[..3], [0xb0, 0x00, 0x02], "of sixteen, version 2");
    for statement in [first, second] {
        assert_eq!(Statement::decode(&statement.encode()).unwrap(), statement);
        let json = serde_json::to_string(&statement).unwrap();
        assert_eq!(serde_json::from_str::<Statement>(&json).unwrap(), statement);
    }
}

/// What happens on a ledger, day by day.
#[derive(Clone, Debug)]
enum Event {
    /// The next day is published, agreeing or not.
    Day { agrees: bool },
    /// The next day is held back.
    Held,
    /// One of those that were held back comes.
    Comes { pick: usize },
    /// Another account of a published day.
    Account { pick: usize, agrees: bool },
    /// The days up to now that are open are closed.
    Close,
    /// Corrections alone.
    Correct,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => proptest::bool::weighted(0.8).prop_map(|agrees| Event::Day { agrees }),
        2 => Just(Event::Held),
        3 => (0usize..8).prop_map(|pick| Event::Comes { pick }),
        3 => (0usize..8, any::<bool>()).prop_map(|(pick, agrees)| Event::Account { pick, agrees }),
        4 => Just(Event::Close),
        1 => Just(Event::Correct),
    ];
    proptest::collection::vec(event, 4..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However days come and are closed, all statements together bill each day at what closing once at the end would, exactly; and each
    /// of them rounds once.
    #[test]
    fn lines_and_corrections_come_to_what_one_statement_at_the_end_would(
        events in events(),
        price in 1i64..1_000_000,
        increases in proptest::collection::vec(1i64..10_000_000, 40),
    ) {
        let mut terms = agreement();
        let Tariff::PerUnit(tariff) = &mut terms.tariff;
        tariff.price = Decimal::new(price, -6);
        let mut dev = device("dev-1", 1);
        let mut ledger = ledger_with(&[&dev]);
        activate(&mut ledger, &terms);
        let (mut made, mut held, mut open) = (Vec::<TestDay>::new(), Vec::<usize>::new(), first_day());
        let mut accounts = 0u64;
        let mut statements: Vec<Statement> = Vec::new();
        let mut another = |account: &vitro_proof::Account, agrees: bool| {
            // An account that is there already changes nothing: each says something of its own.
            accounts += 1;
            let mut account = account.clone();
            account.healed = vec![(accounts * 2, accounts * 2)];
            if agrees { account } else { differing(&account) }
        };
        for event in events.iter().chain([&Event::Close]) {
            match event {
                Event::Day { agrees } => {
                    let day = dev.seal_day(Some(&Decimal::new(increases[made.len()], -3))).unwrap();
                    publish(&mut ledger, &[Item::day(day.message.clone(), &another(&day.account, *agrees))]);
                    made.push(day);
                }
                Event::Held => {
                    held.push(made.len());
                    made.push(dev.seal_day(Some(&Decimal::new(increases[made.len()], -3))).unwrap());
                }
                Event::Comes { pick } if !held.is_empty() => {
                    let day = &made[held.remove(pick % held.len())];
                    publish(&mut ledger, &[Item::day(day.message.clone(), &another(&day.account, true))]);
                }
                Event::Account { pick, agrees } => {
                    let published: Vec<usize> = (0..made.len()).filter(|n| !held.contains(n)).collect();
                    if let Some(n) = published.iter().rev().cycle().take(8).nth(*pick) {
                        publish(&mut ledger, &[Item::account(&another(&made[*n].account, *agrees))]);
                    }
                }
                Event::Close if open < dev.day() => {
                    let call = calls::close(&terms.id, open, dev.day().previous().unwrap());
                    statements.push(run(&mut ledger, &call).unwrap().statement);
                    open = dev.day();
                }
                Event::Correct if !statements.is_empty() => {
                    if let Ok(settlement) = correct(&mut ledger, terms.hash()) {
                        statements.extend(settlement.statement.map(|view| view.statement));
                    }
                }
                Event::Comes { .. } | Event::Close | Event::Correct => {}
            }
        }
        if let Ok(settlement) = correct(&mut ledger, terms.hash()) {
            statements.extend(settlement.statement.map(|view| view.statement));
        }
        prop_assume!(!made.is_empty());
        let last = dev.day().previous().unwrap();
        let once: crate::Simulation =
            ledger.ask(&client(Role::Rc), "agreement:simulate", &calls::simulate(&terms, first_day(), last).args).unwrap();
        let sum = |of: fn(&Statement) -> &Decimal| {
            statements.iter().map(of).fold(Decimal::zero(), |sum, one| &sum + one)
        };
        prop_assert_eq!(&sum(|statement| &statement.exact), &once.periods[0].exact);
        prop_assert_eq!(&sum(|statement| &statement.quantity), &once.periods[0].quantity);
        // Day by day, too.
        let mut other = agreement();
        other.id = "a-2".parse().unwrap();
        other.tariff = terms.tariff.clone();
        activate(&mut ledger, &other);
        let lines = run(&mut ledger, &calls::close(&other.id, first_day(), last)).unwrap().statement.lines;
        for day in std::iter::successors(Some(first_day()), |day| day.next()).take_while(|day| *day <= last) {
            let billed = statements.iter().flat_map(|statement| {
                let lines = statement.lines.iter().filter(|line| line.day == day).map(|line| &line.amount);
                lines.chain(statement.corrections.iter().filter(|one| one.day == day).map(|one| &one.amount))
            });
            let billed = billed.fold(Decimal::zero(), |sum, one| &sum + one);
            let once = lines.iter().find(|line| line.day == day).map_or_else(Decimal::zero, |line| line.amount.clone());
            prop_assert_eq!(billed, once, "{}", day);
        }
        for statement in &statements {
            // In billionths: the price has six digits, a quantity three, and a minor unit is a hundredth.
            let off = statement.exact.to_scaled(9).unwrap() - i128::from(statement.total) * 10_000_000;
            prop_assert!(off.abs() <= 5_000_000, "each statement rounds once, by half a unit at most");
            prop_assert_eq!(statement.shares.iter().map(|share| share.amount).sum::<i64>(), statement.total);
        }
    }
}
