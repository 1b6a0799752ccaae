use vitro_client::memory::{MemoryChannel, Trouble};
use vitro_cloud::clock::FixedClock;
use vitro_cloud::memory::{Fuse, MemoryArchive};
use vitro_contract::testing::{MemoryLedger, TestDevice, admin, client};
use vitro_contract::{Agreement, Amendment, DeviceApproval, Item, Role, Statement};
use vitro_ledger::LedgerError;
use vitro_proof::UnixMillis;

use super::*;

/// 2026-01-10T06:00:00Z: the 8th is settled.
const NOW: i64 = 1_768_024_800;

struct World {
    channel: MemoryChannel,
    archive: MemoryArchive,
    fuse: Fuse,
    bill: Bill<MemoryChannel, MemoryArchive, FixedClock>,
}

/// Three published days of one device, 2026-01-02 to 2026-01-04, and an active agreement.
async fn world(period: &str) -> World {
    let channel = MemoryChannel::new(MemoryLedger::configured(NOW).unwrap(), client(Role::Operator));
    let operator = Client::new(channel.clone());
    let mut device = TestDevice::new("dev-1", 1, "2026-01-02".parse().unwrap()).unwrap();
    operator.register_devices(std::slice::from_ref(&device.entry)).await.unwrap();
    let approval = vec![DeviceApproval { thing: device.thing().clone(), entry: device.entry.hash() }];
    for role in [Role::Rc, Role::Dv] {
        Client::new(channel.by(admin(role))).approve_devices(&approval).await.unwrap();
    }
    let mut items = Vec::new();
    for _ in 0..3 {
        let day = device.seal_day(Some(&"3.0903".parse().unwrap())).unwrap();
        items.push(Item::day(day.message, &day.account));
    }
    assert!(operator.publish(&items).await.unwrap().answer.iter().all(|verdict| verdict.accepted));
    agree(&channel, &crate::periods::tests::agreement(period, "2026-01-02", Some("2026-01-04"))).await;
    let fuse = Fuse::default();
    let archive = MemoryArchive::new(fuse.clone());
    let stack = StackName::new("acme".parse().unwrap(), "dev").unwrap();
    let clock = FixedClock::new(UnixMillis(NOW * 1000));
    World { bill: Bill::new(channel.clone(), archive.clone(), clock, &stack), channel, archive, fuse }
}

/// All four parties want this agreement.
async fn agree(channel: &MemoryChannel, agreement: &Agreement) {
    for role in Role::ALL {
        let party = Client::new(channel.by(admin(role)));
        let proposed = party.propose(agreement).await.unwrap().answer;
        party.approve(&agreement.id, proposed.hash).await.unwrap();
    }
}

impl World {
    /// With as much time as the function has.
    async fn handle(&self, input: &Input) -> (Result<Answer, BillError>, Metrics) {
        self.bill.handle(input, UnixMillis((NOW + 120) * 1000)).await
    }
}

fn input(json: &str) -> Input {
    serde_json::from_str(json).unwrap()
}

#[tokio::test]
async fn a_period_closes_once_and_is_archived() {
    let world = world("days").await;
    let close = input(r#"{"agreement":"a-1","from":"2026-01-02","to":"2026-01-04"}"#);
    let (answer, metrics) = world.handle(&close).await;
    let Answer::One(issued) = answer.unwrap() else { panic!("one period, one statement") };
    // The first day has no opening: its counter starts at its first value. The others count 3.0903 each.
    assert_eq!((issued.quantity.as_str(), issued.total, issued.currency.as_str()), ("6.1806", 155, "EUR"));
    assert!((metrics.total("StatementsIssued") - 1.0).abs() < f64::EPSILON);
    let objects = world.archive.newest();
    assert_eq!(issued.key, "statements/a-1/2026-01-02_2026-01-04.cbor");
    let statement = Statement::decode(&objects[&issued.key]).unwrap();
    assert_eq!(statement.id(), issued.statement);
    let json: serde_json::Value = serde_json::from_slice(&objects[&issued.key.replace("cbor", "json")]).unwrap();
    assert_eq!(json["statement"]["quantity"], "6.1806");
    assert_eq!(json["id"], issued.statement.to_string());

    let (again, metrics) = world.handle(&close).await;
    assert_eq!(again.unwrap(), Answer::One(issued));
    assert!(metrics.total("StatementsIssued").abs() < f64::EPSILON);
    assert_eq!(world.archive.newest(), objects);
}

#[tokio::test]
async fn a_run_cut_short_between_ledger_and_archive_is_finished_by_the_schedule() {
    for stores in 0..2 {
        let world = world("days").await;
        world.fuse.set(Some(stores));
        let close = input(r#"{"agreement":"a-1","from":"2026-01-02","to":"2026-01-04"}"#);
        world.handle(&close).await.0.unwrap_err();
        world.fuse.set(None);
        world.handle(&input("{}")).await.0.unwrap();
        let stored = world.archive.newest();
        assert!(stored.contains_key("statements/a-1/2026-01-02_2026-01-04.cbor"), "{stores}");
        assert!(stored.contains_key("statements/a-1/2026-01-02_2026-01-04.json"), "{stores}");
    }
}

#[tokio::test]
async fn the_schedule_closes_what_has_ended() {
    let world = world("day").await;
    let (answer, metrics) = world.handle(&input("{}")).await;
    let Answer::Many { statements } = answer.unwrap() else { panic!("a list") };
    let days: Vec<String> = statements.iter().map(|issued| issued.from.to_string()).collect();
    assert_eq!(days, ["2026-01-02", "2026-01-03", "2026-01-04"]);
    assert!((metrics.total("StatementsIssued") - 3.0).abs() < f64::EPSILON);
    let (answer, _) = world.handle(&input("{}")).await;
    assert_eq!(answer.unwrap(), Answer::Many { statements: vec![] });
}

#[tokio::test]
async fn one_failure_holds_no_other_period_up() {
    let world = world("day").await;
    world.channel.trouble([Trouble::Before(LedgerError::OutcomeUnknown { tx_id: "t".into() })]);
    let (answer, metrics) = world.handle(&input("{}")).await;
    let error = answer.unwrap_err();
    assert!(error.retryable(), "{error}");
    assert!((metrics.total("StatementsIssued") - 2.0).abs() < f64::EPSILON);
    let (answer, _) = world.handle(&input("{}")).await;
    let Answer::Many { statements } = answer.unwrap() else { panic!("a list") };
    assert_eq!(statements.len(), 1);
}

#[tokio::test]
async fn an_agreement_that_always_fails_blocks_no_other() {
    let world = world("day").await;
    // More agreements than a run closes periods, each with periods that fail.
    let failing: Vec<AgreementId> = (0..25).map(|n| format!("b-{n:02}").parse().unwrap()).collect();
    for id in &failing {
        let template = crate::periods::tests::agreement("day", "2025-12-01", None);
        agree(&world.channel, &Agreement { id: id.clone(), ..template }).await;
        world.channel.refuse(id.to_string(), "too_many_lines: more than 1000: close a shorter period");
    }
    let (answer, metrics) = world.handle(&input("{}")).await;
    let BillError::Some { failed, tried, first } = answer.unwrap_err() else { panic!("a run") };
    assert_eq!((failed, tried), (failing.len() * MOST_FAILURES, failing.len() * MOST_FAILURES + 3));
    assert_eq!(first.code(), "too_many_lines");
    assert!((metrics.total("StatementsIssued") - 3.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_run_closes_so_many_in_turn_and_the_next_goes_on() {
    let world = world("day").await;
    let second = crate::periods::tests::agreement("day", "2025-12-12", Some("2026-01-08"));
    agree(&world.channel, &Agreement { id: "a-2".parse().unwrap(), ..second }).await;
    let mut closed = Vec::new();
    for expected in [MOST_A_RUN, 11, 0] {
        let (answer, _) = world.handle(&input("{}")).await;
        let Answer::Many { statements } = answer.unwrap() else { panic!("a list") };
        assert_eq!(statements.len(), expected);
        closed.extend(statements.into_iter().map(|issued| issued.agreement.to_string()));
    }
    // The agreement with few periods did not wait for the one with many.
    assert_eq!(closed.iter().take(6).filter(|id| *id == "a-1").count(), 3);
}

#[test]
fn every_element_comes_first_once_in_as_many_days() {
    let mut first = std::collections::BTreeSet::new();
    for day in 20_000..20_007 {
        let mut list: VecDeque<u8> = (0..7).collect();
        rotate(&mut list, day);
        first.extend(list.pop_front());
    }
    assert_eq!(first.len(), 7);
    rotate(&mut VecDeque::<u8>::new(), 1);
}

#[tokio::test]
async fn no_period_begins_when_the_time_is_over() {
    let world = world("day").await;
    let before = world.channel.submitted().len();
    let (answer, _) = world.bill.handle(&input("{}"), UnixMillis((NOW + 30) * 1000)).await;
    assert_eq!(answer.unwrap(), Answer::Many { statements: vec![] });
    assert_eq!(world.channel.submitted().len(), before);
}

#[tokio::test]
async fn the_contracts_refusal_is_told() {
    let world = world("day").await;
    let (answer, _) = world.handle(&input(r#"{"agreement":"a-1","from":"2026-01-02","to":"2026-01-04"}"#)).await;
    let error = answer.unwrap_err();
    assert!(error.to_string().contains("bad_period"), "{error}");
    assert_eq!(error.code(), "bad_period");
    assert!(!error.retryable());
}

#[test]
fn inputs_are_read_strictly() {
    assert_eq!(input("{}"), Input::Ended(EndedInput {}));
    for bad in [r#"{"agreement":"a-1"}"#, r#"{"agreement":"a/1","from":"2026-01-02","to":"2026-01-04"}"#, "3"] {
        assert!(serde_json::from_str::<Input>(bad).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn an_amended_agreement_is_billed_by_each_of_its_versions() {
    let world = world("day").await;
    let operator = Client::new(world.channel.clone());
    let first = operator.agreement(&"a-1".parse().unwrap()).await.unwrap();
    let mut terms = crate::periods::tests::agreement("day", "2026-01-04", Some("2026-01-05"));
    terms.tariff = serde_json::from_value(serde_json::json!({
        "kind": "per_unit", "sensor": "yield", "unit": "kWh", "price": "1",
    }))
    .unwrap();
    let amendment = Amendment { replaces: first.hash, terms };
    for role in Role::ALL {
        let party = Client::new(world.channel.by(admin(role)));
        let proposed = party.amend(&amendment).await.unwrap().answer;
        party.approve(&proposed.agreement.id, proposed.hash).await.unwrap();
    }
    let (answer, _) = world.handle(&input("{}")).await;
    let Answer::Many { statements } = answer.unwrap() else { panic!("a list") };
    let issued: Vec<_> = statements.iter().map(|issued| (issued.from.to_string(), issued.total)).collect();
    let expected = [("2026-01-02", 0), ("2026-01-03", 77), ("2026-01-04", 309), ("2026-01-05", 0)];
    assert_eq!(issued, expected.map(|(day, total)| (day.to_owned(), total)));
}

#[tokio::test]
async fn what_comes_after_an_agreements_end_is_corrected_by_the_schedule() {
    let world = world("days").await;
    let (answer, _) = world.handle(&input(r#"{"agreement":"a-1","from":"2026-01-02","to":"2026-01-03"}"#)).await;
    assert!(answer.is_ok());
    let none = |answer: Result<Answer, BillError>| match answer.unwrap() {
        Answer::Many { statements } => statements.is_empty(),
        Answer::One(_) => false,
    };
    assert!(none(world.handle(&input("{}")).await.0), "nothing changed");
    // The operator says now that the second day misses something.
    let operator = Client::new(world.channel.clone());
    let thing = "dev-1".parse().unwrap();
    let day = operator.day(&thing, "2026-01-03".parse().unwrap()).await.unwrap();
    let mut account = vitro_proof::Account::decode(&day.accounts[0].account.0).unwrap();
    account.missing = vec![(account.first, account.first)];
    let published = operator.publish(&vec![Item::account(&account)]).await.unwrap();
    assert_eq!(published.answer[0].code, "account_added");
    let (answer, metrics) = world.handle(&input("{}")).await;
    let Answer::Many { statements } = answer.unwrap() else { panic!("a scheduled run") };
    let [issued] = &statements[..] else { panic!("one statement: {statements:?}") };
    assert_eq!((issued.total, issued.corrections, issued.waiting, issued.lines), (-77, 1, 0, 0));
    assert_eq!(issued.key, format!("statements/a-1/corrections/{}.cbor", issued.statement));
    let statement = Statement::decode(&world.archive.newest()[&issued.key]).unwrap();
    assert!(statement.alone && statement.id() == issued.statement);
    assert!((metrics.total("StatementsIssued") - 1.0).abs() < f64::EPSILON);
    assert!(none(world.handle(&input("{}")).await.0), "each correction once");
}

#[test]
fn who_has_no_period_to_wait_for_is_settled_by_corrections_alone() {
    let day = |text: &str| text.parse::<LocalDay>().unwrap();
    let version = |n: u8, to: Option<&str>, settles: u8| HeldVersion {
        hash: Hash([n; 32]),
        period: vitro_contract::PeriodKind::Month,
        held: vitro_contract::Held { from: day(&format!("2026-0{n}-01")), to: to.map(day) },
        settles: Hash([settles; 32]),
    };
    let head = |from: &str, to: &str, waiting: u64| StatementHead { waiting, ..crate::periods::tests::head(from, to) };
    let told = |versions: &[HeldVersion], closed: &[StatementHead]| {
        unsettled(versions, closed, day("2026-06-30")).iter().map(|hash| hash.0[0]).collect::<Vec<_>>()
    };
    let closed = [head("2026-01-01", "2026-01-31", 0)];
    // Of another price, the same parties: the next period's statement settles it. Of another payer nobody would.
    let (cheap, dear) = (version(1, Some("2026-02-28"), 1), version(3, None, 1));
    assert_eq!(told(&[cheap.clone(), dear.clone()], &closed), [0u8; 0]);
    assert_eq!(told(&[cheap.clone(), version(3, None, 2)], &closed), [1]);
    assert_eq!(told(&[cheap.clone(), version(3, None, 2)], &[]), [0u8; 0], "nothing is closed");
    // What is over has no next period, and what had no room waits for none.
    assert_eq!(told(&[cheap.clone(), version(3, Some("2026-05-31"), 1)], &closed), [1, 3]);
    assert_eq!(told(&[cheap, dear], &[head("2026-03-01", "2026-03-31", 7)]), [3]);
}
