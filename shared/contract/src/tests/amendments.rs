//! Agreements that are amended, ended and tried out.

use proptest::prelude::*;
use vitro_proof::{Decimal, LocalDay};

use super::{activate, agreement, approve, day, decimal, device, first_day, ledger_with, publish, register};
use crate::calls::{self, Call};
use crate::testing::{MemoryLedger, TestDevice, admin, client};
use crate::{
    Agreement, AgreementView, Amendment, ContractError, DeedKind, Field, Held, Item, PerUnit, PeriodKind, Record, Role,
    Simulation, StatementView, Tariff, Termination, Unbilled,
};

fn run<T: Record>(ledger: &mut MemoryLedger, role: Role, call: &Call<T>) -> Result<T, ContractError> {
    ledger.call(&admin(role), call.function, &call.args)
}

fn close(ledger: &mut MemoryLedger, from: &str, to: &str) -> Result<StatementView, ContractError> {
    run(ledger, Role::Operator, &calls::close(&agreement().id, day(from), day(to)))
}

fn with_price(price: &str, from: &str) -> Agreement {
    let mut terms = agreement();
    let Tariff::PerUnit(PerUnit { price: of_unit, .. }) = &mut terms.tariff;
    *of_unit = decimal(price);
    terms.term.from = day(from);
    terms
}

fn amendment(replaces: &Agreement, terms: Agreement) -> Amendment {
    Amendment { replaces: replaces.hash(), terms }
}

/// All four approve; the last answer.
fn all_approve(ledger: &mut MemoryLedger, view: &AgreementView) -> Result<AgreementView, ContractError> {
    let call = calls::approve(&view.agreement.id, view.hash);
    for role in [Role::Rc, Role::Dv, Role::Sp] {
        assert!(!run(ledger, role, &call)?.active, "three are not enough");
    }
    run(ledger, Role::Operator, &call)
}

fn amend(ledger: &mut MemoryLedger, amendment: &Amendment) -> Result<AgreementView, ContractError> {
    let view = run(ledger, Role::Sp, &calls::amend(amendment))?;
    assert!(!view.active && view.approvals.is_empty(), "proposing is not approving");
    all_approve(ledger, &view)
}

fn terminate(ledger: &mut MemoryLedger, ends: vitro_proof::Hash, last: &str) -> Result<AgreementView, ContractError> {
    let termination = Termination { agreement: agreement().id, ends, last: day(last) };
    let view = run(ledger, Role::Dv, &calls::terminate(&termination))?;
    all_approve(ledger, &view)
}

/// A device that counted 4 kWh a day for so many days, all published.
fn metered(ledger: &mut MemoryLedger, dev: &mut TestDevice, days: usize) {
    let items: Vec<Item> = (0..days)
        .map(|_| dev.seal_day(Some(&Decimal::from(4))).unwrap())
        .map(|day| Item::day(day.message, &day.account))
        .collect();
    assert!(publish(ledger, &items).iter().all(|verdict| verdict.accepted));
}

#[test]
fn each_day_is_billed_by_the_version_that_holds_on_it() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    metered(&mut ledger, &mut dev, 9);
    let first = agreement();
    activate(&mut ledger, &first);
    let before = close(&mut ledger, "2026-03-01", "2026-03-03").unwrap();

    let dearer = amendment(&first, with_price("1", "2026-03-06"));
    let view = amend(&mut ledger, &dearer).unwrap();
    assert_eq!((view.kind, view.replaces, view.active), (DeedKind::Amendment, Some(first.hash()), true));
    assert_eq!(view.holds, Some(Held { from: day("2026-03-06"), to: None }));
    assert_eq!(view.hash, dearer.hash());

    assert_eq!(close(&mut ledger, "2026-03-04", "2026-03-06").unwrap_err().code(), "bad_period", "two versions");
    let old = close(&mut ledger, "2026-03-04", "2026-03-05").unwrap().statement;
    let new = close(&mut ledger, "2026-03-06", "2026-03-09").unwrap().statement;
    assert_eq!((old.agreement_hash, old.total), (first.hash(), 200));
    assert_eq!((new.agreement_hash, new.total), (dearer.hash(), 1600));
    // The same period again gives the same statement, whatever was amended since.
    assert_eq!(close(&mut ledger, "2026-03-01", "2026-03-03").unwrap(), before);

    let get = |ledger: &MemoryLedger, call: Call<AgreementView>| {
        ledger.ask::<AgreementView>(&client(Role::Rc), call.function, &call.args)
    };
    let id = &first.id;
    assert_eq!(get(&ledger, calls::agreement(id, None)).unwrap().hash, dearer.hash());
    assert_eq!(get(&ledger, calls::agreement_on(id, day("2026-03-05"))).unwrap().hash, first.hash());
    assert_eq!(get(&ledger, calls::agreement_on(id, day("2026-03-06"))).unwrap().hash, dearer.hash());
    let too_early = get(&ledger, calls::agreement_on(id, day("2026-02-28"))).unwrap_err();
    assert_eq!(too_early.code(), "agreement_not_active");
    let replaced = get(&ledger, calls::agreement(id, Some(first.hash()))).unwrap();
    assert_eq!(replaced.holds, Some(Held { from: first_day(), to: Some(day("2026-03-05")) }));
}

#[test]
fn an_amendment_is_of_the_newest_version_and_of_days_that_are_not_billed() {
    let dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let first = agreement();
    let code = |result: Result<AgreementView, ContractError>| result.unwrap_err().code();
    let early = amendment(&first, with_price("1", "2026-03-06"));
    assert_eq!(code(amend(&mut ledger, &early)), "agreement_not_active");
    activate(&mut ledger, &first);
    close(&mut ledger, "2026-03-01", "2026-03-05").unwrap();
    assert_eq!(code(amend(&mut ledger, &amendment(&first, with_price("1", "2026-03-05")))), "bad_amendment");
    assert_eq!(code(amend(&mut ledger, &amendment(&first, with_price("1", "2026-02-01")))), "bad_amendment");
    let negative = amendment(&first, with_price("-1", "2026-03-06"));
    assert_eq!(code(amend(&mut ledger, &negative)), "bad_agreement");
    assert_eq!(
        code(amend(&mut ledger, &amendment(&with_price("9", "2026-03-01"), first.clone()))),
        "agreement_superseded"
    );

    // Two amendments of one version: when the one is active, the other is stale, although three approved it.
    let (one, two) = (early, amendment(&first, with_price("2", "2026-03-07")));
    let other = run(&mut ledger, Role::Rc, &calls::amend(&two)).unwrap();
    for role in [Role::Operator, Role::Dv, Role::Sp] {
        run(&mut ledger, role, &calls::approve(&first.id, other.hash)).unwrap();
    }
    let active = amend(&mut ledger, &one).unwrap();
    assert_eq!(code(run(&mut ledger, Role::Rc, &calls::approve(&first.id, other.hash))), "agreement_superseded");
    assert_eq!(run(&mut ledger, Role::Rc, &calls::approve(&first.id, active.hash)).unwrap(), active, "no effect twice");
    assert_eq!(code(run(&mut ledger, Role::Rc, &calls::propose(&with_price("3", "2026-04-01")))), "agreement_active");

    // Approved days ago and billed since: the fourth approval comes too late.
    let late = run(&mut ledger, Role::Rc, &calls::amend(&Amendment { replaces: active.hash, ..two })).unwrap();
    for role in [Role::Rc, Role::Dv, Role::Sp] {
        run(&mut ledger, role, &calls::approve(&first.id, late.hash)).unwrap();
    }
    close(&mut ledger, "2026-03-06", "2026-03-07").unwrap();
    assert_eq!(code(run(&mut ledger, Role::Operator, &calls::approve(&first.id, late.hash))), "bad_amendment");
}

#[test]
fn a_termination_is_an_end_that_all_four_approved() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    metered(&mut ledger, &mut dev, 6);
    let first = agreement();
    activate(&mut ledger, &first);
    close(&mut ledger, "2026-03-01", "2026-03-02").unwrap();
    assert_eq!(terminate(&mut ledger, first.hash(), "2026-03-01").unwrap_err().code(), "bad_amendment");
    let view = terminate(&mut ledger, first.hash(), "2026-03-04").unwrap();
    assert_eq!((view.kind, view.last, view.holds.clone()), (DeedKind::Termination, Some(day("2026-03-04")), None));
    assert_eq!(view.agreement, first);
    assert_eq!(close(&mut ledger, "2026-03-03", "2026-03-05").unwrap_err().code(), "bad_period");
    assert_eq!(close(&mut ledger, "2026-03-05", "2026-03-05").unwrap_err().code(), "bad_period");
    assert_eq!(close(&mut ledger, "2026-03-03", "2026-03-04").unwrap().statement.total, 200);
    assert_eq!(run(&mut ledger, Role::Rc, &calls::approve(&first.id, view.hash)).unwrap(), view, "no effect twice");
    assert_eq!(terminate(&mut ledger, first.hash(), "2026-03-05").unwrap_err().code(), "agreement_terminated");
    let revived = amendment(&first, with_price("1", "2026-04-01"));
    assert_eq!(amend(&mut ledger, &revived).unwrap_err().code(), "agreement_terminated");
    let page = calls::summaries(&first.id, first_day(), day("2026-03-31"), None);
    let rows = ledger.ask::<crate::SummaryPage>(&client(Role::Sp), page.function, &page.args).unwrap().rows;
    assert_eq!(rows.last().unwrap().day, day("2026-03-04"), "no summaries of days on which it does not hold");
}

#[test]
fn months_are_amended_and_ended_where_they_begin_and_end() {
    let dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let mut monthly = agreement();
    monthly.term.period = PeriodKind::Month;
    activate(&mut ledger, &monthly);
    let with_period = |period, from: &str| {
        let mut terms = with_price("1", from);
        terms.term.period = period;
        terms
    };
    for (terms, fits) in [
        (with_period(PeriodKind::Month, "2026-04-15"), false),
        (with_period(PeriodKind::Days, "2026-04-15"), false),
        (with_period(PeriodKind::Days, "2026-05-01"), true),
    ] {
        let result = run(&mut ledger, Role::Rc, &calls::amend(&amendment(&monthly, terms)));
        assert_eq!(result.is_ok(), fits, "{result:?}");
    }
    let end = |last: &str| Termination { agreement: monthly.id.clone(), ends: monthly.hash(), last: day(last) };
    assert_eq!(run(&mut ledger, Role::Rc, &calls::terminate(&end("2026-04-29"))).unwrap_err().code(), "bad_amendment");
    run(&mut ledger, Role::Rc, &calls::terminate(&end("2026-04-30"))).unwrap();
    let daily = with_period(PeriodKind::Days, "2026-05-01");
    let to_days = amend(&mut ledger, &amendment(&monthly, daily)).unwrap();
    // From days to months only where a month begins.
    for (from, fits) in [("2026-05-20", false), ("2026-06-01", true)] {
        let back = Amendment { replaces: to_days.hash, terms: with_period(PeriodKind::Month, from) };
        assert_eq!(run(&mut ledger, Role::Rc, &calls::amend(&back)).is_ok(), fits);
    }
    close(&mut ledger, "2026-04-01", "2026-04-30").unwrap();
    close(&mut ledger, "2026-05-01", "2026-05-07").unwrap();
}

#[test]
fn summaries_are_of_the_version_that_holds() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    metered(&mut ledger, &mut dev, 4);
    let first = agreement();
    activate(&mut ledger, &first);
    let mut terms = with_price("0.25", "2026-03-03");
    terms.fields = vec![Field { sensor: "temp".parse().unwrap(), unit: "Cel".into() }, terms.fields[0].clone()];
    amend(&mut ledger, &amendment(&first, terms)).unwrap();
    let page = calls::summaries(&first.id, first_day(), day("2026-03-31"), None);
    let rows = ledger.ask::<crate::SummaryPage>(&client(Role::Sp), page.function, &page.args).unwrap().rows;
    assert_eq!(rows.iter().map(|row| row.summaries.len()).collect::<Vec<_>>(), [1, 1, 2, 2]);
}

#[test]
fn only_admins_amend_and_end() {
    let dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let first = agreement();
    activate(&mut ledger, &first);
    let amend = calls::amend(&amendment(&first, with_price("1", "2026-03-06")));
    let end = calls::terminate(&Termination { agreement: first.id.clone(), ends: first.hash(), last: first_day() });
    for role in Role::ALL {
        for (function, args) in [(amend.function, &amend.args), (end.function, &end.args)] {
            assert_eq!(ledger.submit(&client(role), function, args).unwrap_err().code(), "wrong_identity");
            ledger.submit(&admin(role), function, args).unwrap();
        }
    }
    // What ends a version that nobody knows, or another agreement's, is refused.
    let stray = Termination { agreement: "a-2".parse().unwrap(), ends: first.hash(), last: first_day() };
    assert_eq!(run(&mut ledger, Role::Rc, &calls::terminate(&stray)).unwrap_err().code(), "agreement_not_active");
}

#[test]
fn a_draft_tells_what_it_would_have_billed() {
    let (mut dev, mut other) = (device("dev-1", 1), device("dev-2", 2));
    let mut ledger = ledger_with(&[&dev]);
    register(&mut ledger, &[&other]);
    approve(&mut ledger, Role::Rc, &[&other]).unwrap();
    metered(&mut ledger, &mut dev, 40);
    metered(&mut ledger, &mut other, 2);
    let mut draft = with_price("0.3333", "2027-01-01");
    draft.term.period = PeriodKind::Month;
    let ask = |ledger: &MemoryLedger, from: &str, to: &str| {
        let call = calls::simulate(&draft, day(from), day(to));
        ledger.ask::<Simulation>(&client(Role::Rc), call.function, &call.args)
    };
    let simulation = ask(&ledger, "2026-03-01", "2026-04-15").unwrap();
    let periods: Vec<_> = simulation
        .periods
        .iter()
        .map(|p| (p.from.to_string(), p.to.to_string(), p.lines, p.exact.to_string()))
        .collect();
    // 30 days of 4 kWh in March (the first has no opening), 9 in April.
    let expected = [("2026-03-01", "2026-03-31", 31, "39.996"), ("2026-04-01", "2026-04-15", 9, "11.9988")];
    assert_eq!(periods, expected.map(|(from, to, lines, exact)| (from.into(), to.into(), lines, exact.to_string())));
    assert_eq!((simulation.total, simulation.terms), (4000 + 1200, draft.hash()));
    let reasons: Vec<_> = simulation.periods[1].unbilled.iter().map(|left| left.reason).collect();
    assert_eq!(reasons, [Unbilled::NotPublished, Unbilled::NotApproved]);
    assert_eq!(ask(&ledger, "2026-08-01", "2026-09-02").unwrap_err().code(), "period_not_over");

    // A peer has no time for all points of a large shard and a whole year.
    let mut wide = draft.clone();
    wide.points = Some((0..700).map(|n| format!("point-{n:03}").parse().unwrap()).collect());
    for (last, code) in [("2026-03-28", None), ("2026-03-29", Some("too_many_lines"))] {
        let call = calls::simulate(&wide, first_day(), day(last));
        let asked = ledger.ask::<Simulation>(&client(Role::Rc), call.function, &call.args);
        assert_eq!(asked.err().map(|error| error.code()), code, "700 points up to {last}");
    }

    // A proposal by its hash tells the same, and leaves no trace.
    let proposed = run(&mut ledger, Role::Sp, &calls::propose(&draft)).unwrap();
    let call = calls::simulate_proposal(&draft.id, proposed.hash, day("2026-03-01"), day("2026-04-15"));
    let called = ledger.simulate(&client(Role::Dv), call.function, &call.args).unwrap();
    assert_eq!(call.read(&called.response.payload).unwrap(), simulation);
    assert!(called.writes.is_empty() && called.response.event.is_none());
    let unknown = calls::simulate_proposal(&draft.id, vitro_proof::Hash([1; 32]), first_day(), first_day());
    let refused = ledger.simulate(&client(Role::Dv), unknown.function, &unknown.args).unwrap_err();
    assert_eq!(refused.code(), "unknown_agreement");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_simulation_is_what_closing_gives(
        increases in proptest::collection::vec(proptest::option::weighted(0.8, 1i64..100_000), 1..12),
        price in 0i64..100_000,
        lengths in proptest::collection::vec(1usize..5, 1..6),
        daily in any::<bool>(),
    ) {
        let mut dev = device("dev-1", 1);
        let mut ledger = ledger_with(&[&dev]);
        let days: Vec<LocalDay> = std::iter::successors(Some(first_day()), |day| day.next()).take(increases.len()).collect();
        for increase in &increases {
            let sealed = dev.seal_day(Some(&Decimal::new(increase.unwrap_or(1), -3))).unwrap();
            if increase.is_some() {
                publish(&mut ledger, &[Item::day(sealed.message, &sealed.account)]);
            }
        }
        let mut terms = agreement();
        terms.term.period = if daily { PeriodKind::Day } else { PeriodKind::Days };
        let Tariff::PerUnit(tariff) = &mut terms.tariff;
        tariff.price = Decimal::new(price, -5);
        let mut at = 0;
        for length in lengths {
            if at >= days.len() {
                break;
            }
            let (from, to) = (days[at], days[(at + length - 1).min(days.len() - 1)]);
            at += length;
            let call = calls::simulate(&terms, from, to);
            let simulated = ledger.ask::<Simulation>(&client(Role::Rc), call.function, &call.args).unwrap();
            if at == length {
                activate(&mut ledger, &terms);
            }
            let mut total = 0;
            for period in &simulated.periods {
                let closed = run(&mut ledger, Role::Operator, &calls::close(&terms.id, period.from, period.to)).unwrap();
                let statement = closed.statement;
                prop_assert_eq!(
                    (statement.lines.len() as u64, &statement.unbilled, &statement.quantity, &statement.exact),
                    (period.lines, &period.unbilled, &period.quantity, &period.exact)
                );
                prop_assert_eq!((statement.total, &statement.shares), (period.total, &period.shares));
                total += statement.total;
            }
            prop_assert_eq!(total, simulated.total);
        }
    }
}
