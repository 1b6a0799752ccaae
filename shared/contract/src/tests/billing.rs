//! Statements, and the evidence under them.

use proptest::prelude::*;
use vitro_proof::{Account, Decimal, Envelope, Header, Kind, Leaf, merkle};

use super::{activate, agreement, approve, day, decimal, device, differing, ledger, ledger_with, publish, register};
use crate::calendar::utc_midnight;
use crate::testing::{MemoryLedger, TestDay, client};
use crate::{
    CLOSED_EVENT, ContractError, Inclusion, Item, Path, PeriodKind, Record, Role, StatementHead, StatementView,
    Unbilled,
};

fn close(ledger: &mut MemoryLedger, from: &str, to: &str) -> Result<StatementView, ContractError> {
    let args = [b"a-1".to_vec(), from.as_bytes().to_vec(), to.as_bytes().to_vec()];
    ledger.call(&client(Role::Operator), "billing:close", &args)
}

#[test]
fn a_statement_is_computed_from_days_that_agree() {
    let (mut one, mut two, mut three) = (device("dev-1", 1), device("dev-2", 2), device("dev-3", 3));
    let mut ledger = ledger();
    register(&mut ledger, &[&one, &two, &three]);
    for role in [Role::Rc, Role::Dv] {
        approve(&mut ledger, role, &[&one, &two]).unwrap();
    }
    approve(&mut ledger, Role::Rc, &[&three]).unwrap();
    let mut terms = agreement();
    terms.points = Some(["nowhere", "point-dev-1", "point-dev-2", "point-dev-3"].map(|p| p.parse().unwrap()).to_vec());
    activate(&mut ledger, &terms);
    let mut items = Vec::new();
    let mut seal = |dev: &mut crate::testing::TestDevice, increase: &str, change: fn(&Account) -> Account| {
        let sealed = dev.seal_day(Some(&decimal(increase))).unwrap();
        items.push(Item::day(sealed.message, &change(&sealed.account)));
    };
    // dev-1: a first day (which has no opening and counts nothing), two that agree. dev-2: the second differs, the third is missing
    // with its block. dev-3 was approved by RC alone.
    seal(&mut one, "100", Clone::clone);
    seal(&mut one, "3.0903", Clone::clone);
    seal(&mut one, "0.01", Clone::clone);
    seal(&mut two, "100", Clone::clone);
    seal(&mut two, "7", differing);
    seal(&mut three, "50", Clone::clone);
    seal(&mut three, "50", Clone::clone);
    assert!(publish(&mut ledger, &items).iter().all(|verdict| verdict.accepted));
    let missed = two.sealed(Some(&decimal("1"))).unwrap();
    let none = Account { block: None, missing: vec![(2, 2)], ..missed.account };
    assert_eq!(publish(&mut ledger, &[Item::account(&none)])[0].code, "account_added");

    let view = close(&mut ledger, "2026-03-01", "2026-03-04").unwrap();
    let statement = &view.statement;
    assert_eq!(view.id, statement.id());
    let lines: Vec<_> = statement.lines.iter().map(|l| (l.thing.as_str(), l.day, l.quantity.to_string())).collect();
    assert_eq!(
        lines,
        [
            ("dev-1", day("2026-03-01"), "0".to_owned()),
            ("dev-1", day("2026-03-02"), "3.0903".to_owned()),
            ("dev-1", day("2026-03-03"), "0.01".to_owned()),
            ("dev-2", day("2026-03-01"), "0".to_owned()),
        ]
    );
    assert_eq!(statement.lines[1].opening, Some(decimal("100")));
    assert_eq!(statement.lines[1].closing, Some(decimal("103.0903")));
    let unbilled: Vec<_> = statement.unbilled.iter().map(|u| (u.point.as_str(), u.from, u.to, u.reason)).collect();
    assert_eq!(
        unbilled,
        [
            ("nowhere", day("2026-03-01"), day("2026-03-04"), Unbilled::NoDevice),
            ("point-dev-1", day("2026-03-04"), day("2026-03-04"), Unbilled::NotPublished),
            ("point-dev-2", day("2026-03-02"), day("2026-03-02"), Unbilled::Differs),
            ("point-dev-2", day("2026-03-03"), day("2026-03-03"), Unbilled::NoBlock),
            ("point-dev-2", day("2026-03-04"), day("2026-03-04"), Unbilled::NotPublished),
            ("point-dev-3", day("2026-03-01"), day("2026-03-04"), Unbilled::NotApproved),
        ]
    );
    // 3.1003 kWh at 0.25 EUR: 0.775075, rounded once.
    assert_eq!((statement.exact.to_string().as_str(), statement.total), ("0.775075", 78));
    assert_eq!(statement.currency.show(statement.total), "0.78 EUR");
    assert_eq!(statement.payer, Role::Dv);
    let shares: Vec<_> = statement.shares.iter().map(|share| (share.role, share.amount)).collect();
    assert_eq!(shares, [(Role::Rc, 55), (Role::Sp, 23)]);
}

#[test]
fn a_period_closes_once() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    activate(&mut ledger, &agreement());
    let days: Vec<TestDay> = (0..3).map(|_| dev.seal_day(Some(&Decimal::from(4))).unwrap()).collect();
    let item = |n: usize| Item::day(days[n].message.clone(), &days[n].account);
    publish(&mut ledger, &[item(0), item(1)]);
    let args = [b"a-1".to_vec(), b"2026-03-01".to_vec(), b"2026-03-03".to_vec()];
    let response = ledger.submit(&client(Role::Operator), "billing:close", &args).unwrap();
    let first = StatementView::decode(&response.payload).unwrap();
    let event = response.event.unwrap();
    assert_eq!((event.name.as_str(), StatementHead::decode(&event.payload).unwrap()), (CLOSED_EVENT, first.head()));
    assert_eq!(first.statement.total, 100);

    // What comes later does not change what is billed.
    publish(&mut ledger, &[item(2), Item::account(&differing(&days[1].account))]);
    ledger.now += 86_400;
    let again = ledger.simulate(&client(Role::Operator), "billing:close", &args).unwrap();
    assert!(again.writes.is_empty() && again.response.event.is_none());
    assert_eq!(StatementView::decode(&again.response.payload).unwrap(), first);
    for (from, to) in [("2026-03-03", "2026-03-03"), ("2026-03-02", "2026-03-09"), ("2026-03-01", "2026-03-04")] {
        assert_eq!(close(&mut ledger, from, to).unwrap_err().code(), "period_overlaps");
    }
    close(&mut ledger, "2026-03-04", "2026-03-05").unwrap();
    let heads: Vec<StatementHead> = ledger.ask(&client(Role::Dv), "billing:statements", &[b"a-1".to_vec()]).unwrap();
    assert_eq!(heads.len(), 2);
    let id = [heads[0].id.to_string().into_bytes()];
    assert_eq!(ledger.ask::<StatementView>(&client(Role::Sp), "billing:statement", &id).unwrap(), first);
    let unknown = [days[0].hash.to_string().into_bytes()];
    let refused = ledger.submit(&client(Role::Sp), "billing:statement", &unknown).unwrap_err();
    assert_eq!(refused.code(), "unknown_statement");
}

#[test]
fn what_is_published_after_an_early_close_is_billed_all_the_same() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    activate(&mut ledger, &agreement());
    let days: Vec<TestDay> = (0..3).map(|_| dev.seal_day(Some(&Decimal::from(4))).unwrap()).collect();
    let items: Vec<Item> = days.iter().map(|day| Item::day(day.message.clone(), &day.account)).collect();
    let over = crate::calendar::utc_end(day("2026-03-03"));
    ledger.now = over - 15 * 3_600 - 1;
    assert_eq!(close(&mut ledger, "2026-03-01", "2026-03-03").unwrap_err().code(), "period_not_over");
    // At 09:00 UTC of the last day it is over on Kiritimati, and nowhere else. Who closes then, or lies about the time, gets an empty
    // statement, and every day on the next one.
    ledger.now += 1;
    let hasty = close(&mut ledger, "2026-03-01", "2026-03-03").unwrap();
    assert_eq!((hasty.statement.lines.len(), hasty.statement.total), (0, 0));
    ledger.now += 10 * 86_400;
    publish(&mut ledger, &items);
    let next = close(&mut ledger, "2026-03-04", "2026-03-05").unwrap().statement;
    assert_eq!((next.corrections.len(), next.total), (3, 200), "the first day counts from its first value: nothing");
}

#[test]
fn a_part_of_a_month_is_billed_where_the_term_begins_and_ends() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let mut terms = agreement();
    terms.term.period = PeriodKind::Month;
    (terms.term.from, terms.term.to) = (day("2026-03-15"), Some(day("2026-05-20")));
    activate(&mut ledger, &terms);
    for _ in 0..90 {
        let sealed = dev.seal_day(Some(&Decimal::from(4))).unwrap();
        publish(&mut ledger, &[Item::day(sealed.message, &sealed.account)]);
    }
    for (from, to) in [("2026-03-01", "2026-03-31"), ("2026-03-16", "2026-03-31"), ("2026-05-01", "2026-05-31")] {
        assert_eq!(close(&mut ledger, from, to).unwrap_err().code(), "bad_period");
    }
    let lines =
        |ledger: &mut MemoryLedger, from: &str, to: &str| close(ledger, from, to).unwrap().statement.lines.len();
    assert_eq!(lines(&mut ledger, "2026-03-15", "2026-03-31"), 17);
    assert_eq!(lines(&mut ledger, "2026-04-01", "2026-04-30"), 30);
    assert_eq!(lines(&mut ledger, "2026-05-01", "2026-05-20"), 20);
}

#[test]
fn a_day_after_a_hole_is_billed_only_when_it_is_filled() {
    for filled in [false, true] {
        let mut dev = device("dev-1", 1);
        let mut ledger = ledger_with(&[&dev]);
        activate(&mut ledger, &agreement());
        let days: Vec<TestDay> = (0..3).map(|_| dev.seal_day(Some(&Decimal::from(4))).unwrap()).collect();
        let item = |n: usize| Item::day(days[n].message.clone(), &days[n].account);
        publish(&mut ledger, &[item(0), item(2)]);
        if filled {
            publish(&mut ledger, &[item(1)]);
        }
        let statement = close(&mut ledger, "2026-03-03", "2026-03-03").unwrap().statement;
        if filled {
            assert_eq!(statement.total, 100);
        } else {
            assert_eq!((statement.total, statement.unbilled[0].reason), (0, Unbilled::HoleBefore));
        }
    }
}

#[test]
fn only_the_operator_closes_and_only_periods_of_the_agreement() {
    let dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    assert_eq!(close(&mut ledger, "2026-03-01", "2026-03-31").unwrap_err().code(), "agreement_not_active");
    let mut terms = agreement();
    terms.term.period = PeriodKind::Month;
    terms.term.to = Some(day("2026-12-31"));
    activate(&mut ledger, &terms);
    for (from, to, code) in [
        ("2026-03-02", "2026-03-31", "bad_period"),
        ("2026-02-01", "2026-02-28", "bad_period"),
        ("2026-03-31", "2026-03-01", "bad_period"),
        ("2027-01-01", "2027-01-31", "bad_period"),
        ("2026-09-01", "2026-09-30", "period_not_over"),
        ("yesterday", "today", "bad_arguments"),
    ] {
        assert_eq!(close(&mut ledger, from, to).unwrap_err().code(), code, "{from} {to}");
    }
    let args = [b"a-1".to_vec(), b"2026-03-01".to_vec(), b"2026-03-31".to_vec()];
    for role in [Role::Rc, Role::Dv, Role::Sp] {
        assert_eq!(ledger.submit(&client(role), "billing:close", &args).unwrap_err().code(), "forbidden");
    }
    let statement = close(&mut ledger, "2026-03-01", "2026-03-31").unwrap().statement;
    assert_eq!((statement.total, statement.unbilled.len()), (0, 1), "days in a row are one entry");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_statement_is_what_an_outsider_computes(
        days in proptest::collection::vec((0i64..10_000_000, 0u8..4), 1..8),
        price in 0i64..1_000_000,
        shares in proptest::collection::vec(1u64..1000, 2),
    ) {
        let mut dev = device("dev-1", 1);
        let mut ledger = ledger_with(&[&dev]);
        let mut terms = agreement();
        let crate::Tariff::PerUnit(tariff) = &mut terms.tariff;
        tariff.price = Decimal::new(price, -5);
        for (payee, share) in terms.payees.iter_mut().zip(&shares) {
            payee.share = *share;
        }
        activate(&mut ledger, &terms);
        dev.seal_day(Some(&Decimal::zero())).map(|d| publish(&mut ledger, &[Item::day(d.message, &d.account)])).unwrap();
        let (mut expected, mut billed) = (Decimal::zero(), Vec::new());
        let mut hole = false;
        for (mantissa, fate) in &days {
            let increase = Decimal::new(*mantissa, -4);
            let at = dev.day();
            let sealed = dev.seal_day(Some(&increase)).unwrap();
            match fate {
                // The operator's account differs.
                0 => _ = publish(&mut ledger, &[Item::day(sealed.message, &differing(&sealed.account))]),
                // The block is lost.
                1 => {}
                // It agrees, at once or by a second account.
                _ => {
                    if *fate == 3 {
                        publish(&mut ledger, &[Item::day(sealed.message.clone(), &differing(&sealed.account))]);
                    }
                    publish(&mut ledger, &[Item::day(sealed.message, &sealed.account)]);
                    if !hole {
                        expected = &expected + &increase;
                        billed.push(at);
                    }
                }
            }
            hole = *fate == 1;
        }
        let last = dev.day().previous().unwrap();
        let statement = close(&mut ledger, "2026-03-02", &last.to_string()).unwrap().statement;
        prop_assert_eq!(statement.lines.iter().map(|line| line.day).collect::<Vec<_>>(), billed);
        prop_assert_eq!(&statement.quantity, &expected);
        let exact = &expected * &Decimal::new(price, -5);
        prop_assert_eq!(&statement.exact, &exact);
        // Minor units times 10^7, rounded by integers.
        let fine = exact.to_scaled(9).unwrap();
        prop_assert_eq!(i128::from(statement.total), (fine + 5_000_000) / 10_000_000);
        prop_assert_eq!(statement.shares.iter().map(|share| share.amount).sum::<i64>(), statement.total);
        let unbilled: usize = statement
            .unbilled
            .iter()
            .map(|u| ((utc_midnight(u.to) - utc_midnight(u.from)) / 86_400 + 1) as usize)
            .sum();
        prop_assert_eq!(unbilled + statement.lines.len(), days.len());
    }
}

#[test]
fn a_reading_is_proven_to_be_part_of_a_published_day() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let header = |number| Header {
        kind: Kind::Telemetry,
        content: vitro_proof::ContentType::Senml,
        kid: "dev-1".into(),
        number,
    };
    let envelopes: Vec<Vec<u8>> =
        (0..5).map(|n| vitro_proof::envelope::seal(&header(n), &[0x80], dev.signer()).unwrap()).collect();
    let leaves: Vec<Leaf> = envelopes.iter().map(|bytes| Envelope::parse(bytes).unwrap().leaf()).collect();
    let day = dev.seal_with_leaves(&Decimal::from(1), &leaves).unwrap();
    publish(&mut ledger, &[Item::day(day.message, &day.account)]);
    let ask = |at: &str, envelope: &[u8], index: usize| -> Result<Inclusion, ContractError> {
        let path = Path { siblings: merkle::inclusion_proof(&leaves, index).unwrap() };
        let args = [b"dev-1".to_vec(), at.as_bytes().to_vec(), envelope.to_vec(), path.encode()];
        ledger.ask(&client(Role::Dv), "audit:verify_inclusion", &args)
    };
    for (n, envelope) in envelopes.iter().enumerate() {
        let inclusion = ask("2026-03-01", envelope, n).unwrap();
        assert_eq!((inclusion.number, inclusion.root), (n as u64, merkle::root(&leaves)));
        assert_eq!(ask("2026-03-01", envelope, (n + 1) % 5).unwrap_err().code(), "not_included");
    }
    assert_eq!(ask("2026-03-02", &envelopes[0], 0).unwrap_err().code(), "unknown_day");
    // By the number of the block, as for an interim one.
    assert_eq!(ask("0", &envelopes[0], 0).unwrap(), ask("2026-03-01", &envelopes[0], 0).unwrap());
    assert_eq!(ask("1", &envelopes[0], 0).unwrap_err().code(), "unknown_block");
    let mut flipped = envelopes[0].clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert_eq!(ask("2026-03-01", &flipped, 0).unwrap_err().code(), "bad_evidence");
    let never_sent = vitro_proof::envelope::seal(&header(0), &[0x81, 0x00], dev.signer()).unwrap();
    assert_eq!(ask("2026-03-01", &never_sent, 0).unwrap_err().code(), "not_included");
}
