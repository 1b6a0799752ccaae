//! What became of days, and what an auditor gets of one.

use vitro_proof::{Account, Decimal, DeviceId};

use super::{
    activate, agreement, approve, day, decimal, device, differing, first_day, ledger, ledger_with, publish, register,
};
use crate::calls::{self, Call};
use crate::testing::{MemoryLedger, TestDay, TestDevice, admin, client};
use crate::{
    AuditDay, Bytes, Continuity, DayHistory, DayOutcome, DeviceApproval, Halt, Item, Record, Role, Standing,
    StatementView, StatusReason, Unbilled,
};

fn ask<T: Record>(ledger: &MemoryLedger, call: &Call<T>) -> T {
    ledger.ask(&client(Role::Sp), call.function, &call.args).unwrap()
}

fn run<T: Record>(ledger: &mut MemoryLedger, call: &Call<T>) -> T {
    ledger.call(&admin(Role::Operator), call.function, &call.args).unwrap()
}

fn history_of(ledger: &MemoryLedger, thing: &DeviceId, at: &str) -> DayHistory {
    let mut page = ask(ledger, &calls::day_history(thing, day(at), day(at)));
    assert_eq!((page.days.len(), page.next), (1, None));
    page.days.remove(0)
}

fn sealed(dev: &mut TestDevice, increase: i64) -> TestDay {
    dev.seal_day(Some(&Decimal::from(increase))).unwrap()
}

fn item(day: &TestDay) -> Item {
    Item::day(day.message.clone(), &day.account)
}

fn close(ledger: &mut MemoryLedger, from: &str, to: &str) -> StatementView {
    run(ledger, &calls::close(&agreement().id, day(from), day(to)))
}

#[test]
fn a_day_tells_its_accounts_and_the_statements_that_cite_it() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    activate(&mut ledger, &agreement());
    let mut other = agreement();
    other.id = "a-2".parse().unwrap();
    activate(&mut ledger, &other);
    let mut elsewhere = agreement();
    (elsewhere.id, elsewhere.shard) = ("a-3".parse().unwrap(), "south".parse().unwrap());
    activate(&mut ledger, &elsewhere);
    let days = [sealed(&mut dev, 1), sealed(&mut dev, 4), sealed(&mut dev, 5)];
    // The second day: no block at first, then a block from which the account differs, then one that agrees.
    let none = Account { block: None, missing: vec![(1, 1)], ..days[1].account.clone() };
    publish(&mut ledger, &[item(&days[0]), Item::account(&none)]);
    publish(&mut ledger, &[Item::day(days[1].message.clone(), &differing(&days[1].account))]);
    publish(&mut ledger, &[item(&days[1]), item(&days[2])]);
    let thing = dev.thing().clone();
    assert!(history_of(&ledger, &thing, "2026-03-02").statements.is_empty());

    let first = close(&mut ledger, "2026-03-01", "2026-03-03");
    let second = run(&mut ledger, &calls::close(&other.id, day("2026-03-02"), day("2026-03-02")));
    run(&mut ledger, &calls::close(&elsewhere.id, day("2026-03-02"), day("2026-03-02")));
    let history = history_of(&ledger, &thing, "2026-03-02");
    let outcomes: Vec<_> = history.accounts.iter().map(|step| step.outcome).collect();
    assert_eq!(outcomes, [DayOutcome::NoBlock, DayOutcome::Differs, DayOutcome::Agrees]);
    assert_eq!((history.outcome, history.continuity), (Some(DayOutcome::Agrees), Some(Continuity::Continues)));
    assert_eq!(history.block.as_ref().unwrap().hash, days[1].hash);
    let cited: Vec<_> = history.statements.iter().map(|c| (c.statement, c.agreement.as_str(), c.stands)).collect();
    assert_eq!(cited, [(first.id, "a-1", true), (second.id, "a-2", true)]);
    assert_eq!(history.statements[0].line.as_ref(), Some(&first.statement.lines[1]));
    assert_eq!(history.statements[0].agreement_hash, agreement().hash());

    // A correction: nothing billed is touched, and what is billed does not stand any more.
    let worse = Account { missing: vec![(1, 1)], ..days[1].account.clone() };
    publish(&mut ledger, &[Item::account(&worse)]);
    let corrected = history_of(&ledger, &thing, "2026-03-02");
    assert_eq!(corrected.outcome, Some(DayOutcome::Differs));
    assert_eq!(corrected.accounts[..3], history.accounts);
    assert!(corrected.statements.iter().all(|citation| !citation.stands && citation.line.is_some()));
    assert!(corrected.statements.iter().all(|citation| citation.corrections.is_empty()), "not yet");
    assert_eq!(history_of(&ledger, &thing, "2026-03-03").statements.len(), 1);
}

#[test]
fn a_day_that_is_not_billed_says_so_until_it_comes() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    activate(&mut ledger, &agreement());
    let days = [sealed(&mut dev, 1), sealed(&mut dev, 4)];
    publish(&mut ledger, &[item(&days[0])]);
    close(&mut ledger, "2026-03-01", "2026-03-05");
    let thing = dev.thing().clone();
    let missing = history_of(&ledger, &thing, "2026-03-02");
    assert_eq!((missing.outcome, missing.accounts.len()), (None, 0));
    let citation = &missing.statements[0];
    assert_eq!(citation.unbilled.as_ref().unwrap().reason, Unbilled::NotPublished);
    assert!(citation.line.is_none() && citation.stands);
    publish(&mut ledger, &[item(&days[1])]);
    assert!(!history_of(&ledger, &thing, "2026-03-02").statements[0].stands, "it would be billed today");
    assert!(history_of(&ledger, &thing, "2026-03-03").statements[0].stands);
}

#[test]
fn a_devices_days_come_in_pages() {
    let (mut dev, mut other) = (device("dev-1", 1), device("dev-10", 2));
    let mut ledger = ledger_with(&[&dev, &other]);
    let items: Vec<Item> = (0..60).flat_map(|n| [item(&sealed(&mut dev, n)), item(&sealed(&mut other, n))]).collect();
    publish(&mut ledger, &items);
    let thing = dev.thing().clone();
    let page = ask(&ledger, &calls::day_history(&thing, day("2026-01-01"), day("2026-08-01")));
    assert_eq!((page.days.len(), page.days[0].day, page.next), (50, first_day(), Some(day("2026-04-20"))));
    let rest = ask(&ledger, &calls::day_history(&thing, page.next.unwrap(), day("2026-08-01")));
    assert_eq!((rest.days.len(), rest.next), (10, None));
    assert!(page.days.iter().chain(&rest.days).all(|day| day.thing == thing));
    let call = calls::day_history(&thing, day("2026-03-01"), day("2027-03-02"));
    let refused = ledger.simulate(&client(Role::Sp), call.function, &call.args).unwrap_err();
    assert_eq!(refused.code(), "bad_period", "more than 366 days");
    let block = ask(&ledger, &calls::block(&thing, 3));
    assert_eq!((block.day, block.daily), (day("2026-03-04"), true));
    assert_eq!(items[6].block, Some(block.message));
    let call = calls::block(&thing, 60);
    let refused = ledger.simulate(&client(Role::Sp), call.function, &call.args).unwrap_err();
    assert_eq!(refused.code(), "unknown_block");
}

#[test]
fn a_page_reads_the_statements_of_its_days_alone() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    activate(&mut ledger, &agreement());
    let items: Vec<Item> = (0..60).map(|n| item(&sealed(&mut dev, n))).collect();
    publish(&mut ledger, &items);
    let closed: Vec<_> = [("2026-03-01", "2026-03-31"), ("2026-04-01", "2026-04-20"), ("2026-04-21", "2026-04-29")]
        .into_iter()
        .map(|(from, to)| close(&mut ledger, from, to).id)
        .collect();
    let read = |from: &str| {
        let call = calls::day_history(dev.thing(), day(from), day("2026-06-30"));
        let asked = ledger.simulate(&client(Role::Sp), call.function, &call.args).unwrap();
        let page = call.read(&asked.response.payload).unwrap();
        let is_read = |id: &&vitro_proof::Hash| asked.reads.contains_key(&crate::keys::statement(**id));
        (page, closed.iter().filter(is_read).copied().collect::<Vec<_>>())
    };
    // The 51st day is looked at, to tell whether there is another page: 2026-04-20.
    let (page, statements) = read("2026-03-01");
    assert_eq!((page.days.len(), page.next, statements.as_slice()), (50, Some(day("2026-04-20")), &closed[..2]));
    let (page, statements) = read("2026-04-20");
    assert_eq!((page.days.len(), page.next, statements.as_slice()), (10, None, &closed[1..]));
    let cited: Vec<_> = page.days.iter().map(|day| day.statements[0].statement).collect();
    assert_eq!((cited[0], cited[1], cited[9]), (closed[1], closed[2], closed[2]));
}

#[test]
fn an_auditor_gets_a_day_in_one_answer() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger();
    register(&mut ledger, &[&dev]);
    approve(&mut ledger, Role::Rc, &[&dev]).unwrap();
    approve(&mut ledger, Role::Dv, &[&dev]).unwrap();
    let mut narrow = agreement();
    (narrow.id, narrow.points) = ("a-2".parse().unwrap(), Some(vec!["point-dev-9".parse().unwrap()]));
    let mut later = agreement();
    (later.id, later.term.from) = ("a-3".parse().unwrap(), day("2026-03-03"));
    for terms in [&agreement(), &narrow, &later] {
        activate(&mut ledger, terms);
    }
    let days = [sealed(&mut dev, 1), sealed(&mut dev, 4)];
    publish(&mut ledger, &[item(&days[0]), item(&days[1])]);
    let statement = close(&mut ledger, "2026-03-01", "2026-03-02");

    // After that the certificate is renewed, which RC and DV have not approved yet, and the device is suspended.
    ledger.now += 3_600;
    let before = dev.entry.clone();
    dev.entry.certificate = vitro_proof::Hash([7; 32]);
    register(&mut ledger, &[&dev]);
    let halt = Halt { at: ledger.now * 1000, last_good: Some(1), reason: StatusReason::Operator };
    run(&mut ledger, &calls::suspend(dev.thing(), &halt));

    let thing = dev.thing().clone();
    let audit: AuditDay = ask(&ledger, &calls::audit_day(&thing, day("2026-03-02")));
    assert_eq!(audit.message, Some(Bytes(days[1].message.clone())));
    assert_eq!(audit.previous.as_ref().unwrap().hash, days[0].hash);
    assert_eq!((audit.entries.len(), audit.revision), (2, 0));
    assert_eq!(audit.entries[0].entry, before);
    assert_eq!((audit.entries[0].approvals.len(), audit.entries[1].approvals.len()), (2, 0));
    assert_eq!(audit.entries[1].entry.certificate, vitro_proof::Hash([7; 32]));
    assert_eq!(audit.device.changes.last().unwrap().standing, Standing::Suspended);
    let covered: Vec<_> = audit.agreements.iter().map(|c| (c.agreement.as_str(), c.counts)).collect();
    assert_eq!(covered, [("a-1", true)], "not the other points', not the later one's; by the entry that was approved");
    assert_eq!(audit.history.statements[0].statement, statement.id);
    assert!(audit.history.statements[0].stands, "an entry that waits for approval takes no bill back");
    assert_eq!(audit.roles, crate::testing::roles().unwrap());

    let approval = DeviceApproval { thing: thing.clone(), entry: dev.entry.hash() };
    for role in [Role::Rc, Role::Dv] {
        let call = calls::approve_devices(std::slice::from_ref(&approval));
        ledger.submit(&admin(role), call.function, &call.args).unwrap();
    }
    let audit: AuditDay = ask(&ledger, &calls::audit_day(&thing, day("2026-03-02")));
    assert!(audit.agreements[0].counts && audit.history.statements[0].stands);
    // A day of which there is nothing is an answer, too.
    let empty: AuditDay = ask(&ledger, &calls::audit_day(&thing, day("2026-03-03")));
    assert_eq!((empty.message, empty.history.outcome, empty.previous), (None, None, None));
    assert_eq!(empty.agreements.len(), 2);
    let call = calls::audit_day(&"dev-9".parse().unwrap(), first_day());
    let refused = ledger.simulate(&client(Role::Rc), call.function, &call.args).unwrap_err();
    assert_eq!(refused.code(), "unknown_device");
    assert_eq!(audit.history.statements[0].line.as_ref().unwrap().quantity, decimal("4"));
}
