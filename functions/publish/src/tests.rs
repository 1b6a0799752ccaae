use vitro_client::memory::{MemoryChannel, Trouble};
use vitro_cloud::clock::FixedClock;
use vitro_cloud::config::Environment;
use vitro_cloud::days::{self, DayBlock, DayRow, DayState};
use vitro_cloud::hours::{HourRow, HourStore};
use vitro_cloud::memory::{Fuse, MemoryArchive, MemoryDays, MemoryHours, MemoryParked};
use vitro_contract::Role;
use vitro_contract::testing::{MemoryLedger, TestDay, TestDevice, client};
use vitro_ledger::TxValidationCode;
use vitro_proof::reconcile::Outcome;
use vitro_proof::summary::{self, Figures};
use vitro_proof::{Block, BlockMessage, Envelope, Hash, Span};

use super::*;

mod hours;
mod interim;

/// After the end of every day of the tests.
const NOW: i64 = 1_768_000_000;

struct World {
    channel: MemoryChannel,
    days: MemoryDays,
    archive: MemoryArchive,
    parked: MemoryParked,
    hours: MemoryHours,
    fuse: Fuse,
    publish: Publish<MemoryChannel, MemoryDays, MemoryArchive, MemoryParked, FixedClock>,
}

fn world() -> World {
    let channel = MemoryChannel::new(MemoryLedger::configured(NOW).unwrap(), client(Role::Operator));
    let fuse = Fuse::default();
    let (days, archive) = (MemoryDays::new(fuse.clone()), MemoryArchive::new(fuse.clone()));
    let parked = MemoryParked::default();
    let env = Environment::of(&[
        ("VITRO_CUSTOMER", "acme"),
        ("VITRO_STAGE", "dev"),
        ("VITRO_DAYS_TABLE", "d"),
        ("VITRO_HOURS_TABLE", "h"),
        ("VITRO_PARKED_TABLE", "p"),
        ("VITRO_ARCHIVE_BUCKET", "archive"),
        ("VITRO_FABRIC_SECRET", "f"),
    ]);
    let hours = MemoryHours::new(fuse.clone());
    let stores =
        Stores { days: days.clone(), archive: archive.clone(), parked: parked.clone(), hours: Box::new(hours.clone()) };
    let clock = FixedClock::new(UnixMillis(NOW * 1000));
    let publish = Publish::new(channel.clone(), stores, clock, &Config::read(&env).unwrap());
    World { channel, days, archive, parked, hours, fuse, publish }
}

impl World {
    async fn device(&self, name: &str, seed: u8) -> TestDevice {
        let device = TestDevice::new(name, seed, "2026-01-02".parse().unwrap()).unwrap();
        Client::new(self.channel.clone()).register_devices(std::slice::from_ref(&device.entry)).await.unwrap();
        device
    }

    /// What the night leaves of a day that was settled.
    async fn settled(&self, day: &TestDay, number: u64) {
        let (thing, local) = (day.account.thing.clone(), day.account.day);
        let key = format!("blocks/{thing}/{number:010}.cbor");
        let object = self.archive.put(&key, day.message.clone(), "application/cbor").await.unwrap();
        let account = day.account.clone();
        days::edit::<CloudError>(&self.days, &thing, local, |row| {
            row.block = Some(DayBlock {
                number: BlockNumber(number),
                hash: day.hash,
                object: object.clone(),
                first: account.first,
                count: account.count,
                previous_daily: None,
            });
            row.account = Some(account.encode());
            row.accounts += 1;
            row.outcome = Some(Outcome::Matched);
            row.state = DayState::Reconciled;
            Ok(true)
        })
        .await
        .unwrap();
    }

    async fn handle(&self, tasks: &[(&str, &str)]) -> (Vec<String>, Metrics) {
        let bodies: Vec<String> =
            tasks.iter().map(|(thing, day)| serde_json::json!({ "thing": thing, "day": day }).to_string()).collect();
        self.handle_bodies(&bodies).await
    }

    async fn handle_bodies(&self, bodies: &[String]) -> (Vec<String>, Metrics) {
        let records: Vec<_> = bodies
            .iter()
            .enumerate()
            .map(|(index, body)| serde_json::json!({ "messageId": format!("m{index}"), "body": body }))
            .collect();
        let event = serde_json::from_value(serde_json::json!({ "Records": records })).unwrap();
        let (response, metrics) = self.publish.handle(event, UnixMillis((NOW + 120) * 1000)).await;
        (response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect(), metrics)
    }

    fn row(&self, thing: &str, day: &str) -> DayRow {
        self.days.row(&thing.parse().unwrap(), day.parse().unwrap()).unwrap()
    }
}

/// Days that come again for a reason, and for any.
fn retried(metrics: &Metrics, reason: &str) -> (f64, f64) {
    (metrics.of_reason("DaysRetried", reason), metrics.total("DaysRetried"))
}

fn kwh(text: &str) -> vitro_proof::Decimal {
    text.parse().unwrap()
}

#[tokio::test]
async fn many_days_go_in_one_transaction() {
    let world = world();
    let mut tasks = Vec::new();
    for name in ["dev-1", "dev-2", "dev-3"] {
        let mut device = world.device(name, name.as_bytes()[4]).await;
        for number in 0..2 {
            let day = device.seal_day(Some(&kwh("3.0903"))).unwrap();
            world.settled(&day, number).await;
        }
        // The newest first: the order of messages does not matter.
        tasks.extend([(name, "2026-01-03"), (name, "2026-01-02")]);
    }
    let before = world.channel.submitted().len();
    let (failed, metrics) = world.handle(&tasks).await;
    assert!(failed.is_empty());
    assert_eq!(world.channel.submitted().len() - before, 1);
    assert!((metrics.total("DaysPublished") - 6.0).abs() < f64::EPSILON);
    for (thing, day) in tasks {
        let row = world.row(thing, day);
        assert_eq!((row.state, row.parked.clone()), (DayState::Published, None));
        let view = Client::new(world.channel.clone()).day(&row.thing, row.day).await.unwrap();
        assert_eq!(Some(view.accounts[0].tx.clone()), row.tx);
        assert_eq!(view.continuity, Some(vitro_contract::Continuity::Continues));
    }
}

#[tokio::test]
async fn the_same_message_again_changes_nothing() {
    let world = world();
    let day = world.device("dev-1", 1).await.seal_day(Some(&kwh("1"))).unwrap();
    world.settled(&day, 0).await;
    world.handle(&[("dev-1", "2026-01-02")]).await;
    let row = world.row("dev-1", "2026-01-02");
    let (failed, metrics) = world.handle(&[("dev-1", "2026-01-02"), ("dev-1", "2026-01-02")]).await;
    assert!(failed.is_empty());
    assert!(metrics.total("DaysPublished").abs() < f64::EPSILON);
    assert_eq!(world.row("dev-1", "2026-01-02"), row);
}

#[tokio::test]
async fn a_lost_answer_keeps_the_first_transaction() {
    let world = world();
    let day = world.device("dev-1", 1).await.seal_day(Some(&kwh("1"))).unwrap();
    world.settled(&day, 0).await;
    world.channel.trouble([Trouble::After(LedgerError::OutcomeUnknown { tx_id: "t".into() })]);
    let (failed, _) = world.handle(&[("dev-1", "2026-01-02")]).await;
    assert_eq!(failed, ["m0"]);
    assert_eq!(world.row("dev-1", "2026-01-02").tx, None);
    let first = Client::new(world.channel.clone()).day(&day.account.thing, day.account.day).await.unwrap();
    let (failed, metrics) = world.handle(&[("dev-1", "2026-01-02")]).await;
    assert!(failed.is_empty());
    assert!((metrics.total("DaysPublished") - 1.0).abs() < f64::EPSILON);
    assert_eq!(world.row("dev-1", "2026-01-02").tx, Some(first.accounts[0].tx.clone()));
}

#[tokio::test]
async fn a_refused_day_is_parked_and_holds_nobody_up() {
    let world = world();
    let good = world.device("dev-1", 1).await.seal_day(Some(&kwh("1"))).unwrap();
    // Nobody registered this one on the ledger.
    let mut stranger = TestDevice::new("dev-2", 2, "2026-01-02".parse().unwrap()).unwrap();
    let bad = stranger.seal_day(Some(&kwh("1"))).unwrap();
    world.settled(&good, 0).await;
    world.settled(&bad, 0).await;
    for round in 0..2 {
        let (failed, metrics) = world.handle(&[("dev-2", "2026-01-02"), ("dev-1", "2026-01-02")]).await;
        assert!(failed.is_empty());
        let once = if round == 0 { 1.0 } else { 0.0 };
        assert!((metrics.of_reason("DaysParked", "unknown_device") - once).abs() < f64::EPSILON);
    }
    assert_eq!(world.row("dev-1", "2026-01-02").state, DayState::Published);
    let row = world.row("dev-2", "2026-01-02");
    assert_eq!((row.state, row.parked.as_deref()), (DayState::Parked, Some("unknown_device")));
    let parked = world.parked.rows();
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].object, Some(("archive".into(), "blocks/dev-2/0000000000.cbor".into())));
    // The operator registers it and sends the message again.
    Client::new(world.channel.clone()).register_devices(std::slice::from_ref(&stranger.entry)).await.unwrap();
    world.handle(&[("dev-2", "2026-01-02")]).await;
    assert_eq!(world.row("dev-2", "2026-01-02").state, DayState::Published);
    assert_eq!(world.row("dev-2", "2026-01-02").parked, None);
}

#[tokio::test]
async fn what_may_go_better_later_comes_again() {
    let world = world();
    let day = world.device("dev-1", 1).await.seal_day(Some(&kwh("1"))).unwrap();
    world.settled(&day, 0).await;
    let conflict = TxValidationCode::of(11);
    let refused = |message: &str| LedgerError::Refused { status: 500, message: message.into() };
    for (error, reason) in [
        (LedgerError::Unavailable { what: "no peer answers", failures: Default::default() }, "ledger"),
        (LedgerError::Invalid { tx_id: "t".into(), block_number: 1, code: conflict }, "ledger"),
        (LedgerError::NotOrdered { orderer: "o".into(), status: 503, info: "busy".into() }, "ledger"),
        (refused("forbidden: rc may not call this"), "forbidden"),
        (refused("access denied"), "ledger"),
    ] {
        world.channel.trouble([Trouble::Before(error)]);
        let (failed, metrics) = world.handle(&[("dev-1", "2026-01-02")]).await;
        assert_eq!(failed, ["m0"]);
        assert_eq!(retried(&metrics, reason), (1.0, 1.0), "{reason}");
        assert_eq!(world.row("dev-1", "2026-01-02").state, DayState::Reconciled);
    }
    // Before the day is over by the ledger's rules, the verdict is one that may change.
    world.channel.set_now(NOW - 30 * 86_400);
    let (failed, metrics) = world.handle(&[("dev-1", "2026-01-02")]).await;
    assert_eq!(failed, ["m0"]);
    assert_eq!(retried(&metrics, "day_not_over"), (1.0, 1.0));
    world.channel.set_now(NOW);
    let (failed, metrics) = world.handle(&[("dev-1", "2026-01-02")]).await;
    assert!(failed.is_empty());
    assert_eq!(retried(&metrics, "ledger"), (0.0, 0.0));
}

#[tokio::test]
async fn days_that_come_again_are_counted_once_each() {
    let world = world();
    let mut tasks = Vec::new();
    for (name, seed) in [("dev-1", 1), ("dev-2", 2)] {
        let day = world.device(name, seed).await.seal_day(Some(&kwh("1"))).unwrap();
        world.settled(&day, 0).await;
        // The queue may hand a message out twice.
        tasks.extend([(name, "2026-01-02"), (name, "2026-01-02")]);
    }
    let away = LedgerError::Unavailable { what: "no peer answers", failures: Default::default() };
    world.channel.trouble([Trouble::Before(away)]);
    let (failed, metrics) = world.handle(&tasks).await;
    assert_eq!(failed.len(), 4);
    assert_eq!(retried(&metrics, "ledger"), (2.0, 2.0));
}

#[tokio::test]
async fn a_poisonous_day_is_found_by_halves() {
    let world = world();
    let mut tasks = Vec::new();
    for (name, seed) in [("dev-1", 1), ("dev-2", 2), ("dev-3", 3), ("dev-4", 4)] {
        let day = world.device(name, seed).await.seal_day(Some(&kwh("1"))).unwrap();
        world.settled(&day, 0).await;
        tasks.push((name, "2026-01-02"));
    }
    let poison = || Trouble::Before(LedgerError::Refused { status: 500, message: "malformed: a list of items".into() });
    // All four, then dev-1 with dev-2, then dev-1 alone.
    world.channel.trouble([poison(), poison(), poison()]);
    let (failed, metrics) = world.handle(&tasks).await;
    assert!(failed.is_empty());
    assert!((metrics.total("DaysPublished") - 3.0).abs() < f64::EPSILON);
    assert_eq!(world.row("dev-1", "2026-01-02").parked.as_deref(), Some("malformed"));
}

#[tokio::test]
async fn a_missing_block_and_its_later_coming_are_two_accounts() {
    let world = world();
    let mut device = world.device("dev-1", 1).await;
    let day = device.seal_day(Some(&kwh("1"))).unwrap();
    let thing = day.account.thing.clone();
    let missing = vitro_proof::Account { block: None, ..day.account.clone() };
    days::edit::<CloudError>(&world.days, &thing, day.account.day, |row| {
        row.account = Some(missing.encode());
        row.accounts = 1;
        row.outcome = Some(Outcome::Missing);
        row.state = DayState::Reconciled;
        Ok(true)
    })
    .await
    .unwrap();
    assert!(world.handle(&[("dev-1", "2026-01-02")]).await.0.is_empty());
    let first = world.row("dev-1", "2026-01-02");
    assert_eq!(first.state, DayState::Published);
    world.settled(&day, 0).await;
    assert!(world.handle(&[("dev-1", "2026-01-02")]).await.0.is_empty());
    let view = Client::new(world.channel.clone()).day(&thing, day.account.day).await.unwrap();
    assert_eq!(view.accounts.len(), 2);
    assert_eq!(view.outcome, vitro_contract::DayOutcome::Agrees);
    assert_ne!(world.row("dev-1", "2026-01-02").tx, first.tx);
}

#[tokio::test]
async fn an_older_account_that_was_overtaken_is_not_parked() {
    let world = world();
    let mut device = world.device("dev-1", 1).await;
    let day = device.seal_day(Some(&kwh("1"))).unwrap();
    let thing = day.account.thing.clone();
    let mut first = day.clone();
    first.account.root = Hash([9; 32]);
    world.settled(&first, 0).await;
    // One invocation reads the first account; until it gets to the ledger, the second is settled, and another one publishes it.
    let (subject, item) = world.publish.load_day(&thing, day.account.day).await.ok().flatten().unwrap();
    world.settled(&day, 0).await;
    assert!(world.handle(&[("dev-1", "2026-01-02")]).await.0.is_empty());
    let published = world.row("dev-1", "2026-01-02");
    assert_eq!((published.state, published.accounts), (DayState::Published, 2));
    let deadline = UnixMillis((NOW + 120) * 1000);
    let late = || Due { messages: vec!["m".into()], subject: subject.clone(), item: item.clone() };
    let mut run = Run { response: BatchResponse::done(), metrics: Metrics::new("s"), deadline };
    assert!(world.publish.transact(vec![late()], &mut run).await.is_none());
    assert!(run.response.is_done() && run.metrics.total("DaysParked").abs() < f64::EPSILON);
    assert!(world.parked.rows().is_empty(), "nobody has anything to do");
    assert_eq!(world.row("dev-1", "2026-01-02"), published);
    // A ledger that holds more than the row knows of is another matter: that is parked.
    days::edit::<CloudError>(&world.days, &thing, day.account.day, |row| {
        row.account = Some(first.account.encode());
        row.accounts = 1;
        row.state = DayState::Reconciled;
        Ok(true)
    })
    .await
    .unwrap();
    assert!(world.handle(&[("dev-1", "2026-01-02")]).await.0.is_empty());
    assert_eq!(world.row("dev-1", "2026-01-02").parked.as_deref(), Some("account_superseded"));
    assert_eq!(world.parked.rows().len(), 1);
}

#[tokio::test]
async fn what_was_right_in_the_first_place_is_said_again() {
    let world = world();
    let day = world.device("dev-1", 1).await.seal_day(Some(&kwh("1"))).unwrap();
    let mut wrong = day.clone();
    wrong.account.root = Hash([9; 32]);
    for (said, outcome) in [
        (&day, vitro_contract::DayOutcome::Agrees),
        (&wrong, vitro_contract::DayOutcome::Differs),
        (&day, vitro_contract::DayOutcome::Agrees),
    ] {
        world.settled(said, 0).await;
        world.channel.trouble([Trouble::After(LedgerError::OutcomeUnknown { tx_id: "t".into() })]);
        assert_eq!(world.handle(&[("dev-1", "2026-01-02")]).await.0, ["m0"]);
        assert!(world.handle(&[("dev-1", "2026-01-02")]).await.0.is_empty(), "its answer was lost");
        let row = world.row("dev-1", "2026-01-02");
        let view = Client::new(world.channel.clone()).day(&row.thing, row.day).await.unwrap();
        assert_eq!((view.outcome, row.state), (outcome, DayState::Published));
        assert_eq!(view.accounts.last().map(|newest| newest.tx.clone()), row.tx, "the transaction of this one");
    }
}

#[tokio::test]
async fn what_is_no_task_or_has_no_account_comes_again() {
    let world = world();
    let bodies = ["{}".to_owned(), r#"{"thing":"dev-9","day":"2026-01-02"}"#.to_owned()];
    let (mut failed, metrics) = world.handle_bodies(&bodies).await;
    failed.sort();
    assert_eq!(failed, ["m0", "m1"]);
    assert_eq!(retried(&metrics, "not_a_task"), (1.0, 2.0));
    assert_eq!(retried(&metrics, "no_account"), (1.0, 2.0));
}

#[tokio::test]
async fn a_kill_at_any_point_loses_nothing() {
    for limit in 0.. {
        let world = world();
        let day = world.device("dev-1", 1).await.seal_day(Some(&kwh("1"))).unwrap();
        world.settled(&day, 0).await;
        world.fuse.set(Some(limit));
        let (failed, _) = world.handle(&[("dev-1", "2026-01-02")]).await;
        let survived = failed.is_empty();
        world.fuse.set(None);
        assert!(world.handle(&[("dev-1", "2026-01-02")]).await.0.is_empty());
        let view = Client::new(world.channel.clone()).day(&day.account.thing, day.account.day).await.unwrap();
        assert_eq!(view.accounts.len(), 1);
        let row = world.row("dev-1", "2026-01-02");
        assert_eq!((row.state, row.tx), (DayState::Published, Some(view.accounts[0].tx.clone())));
        if survived {
            assert!(limit > 4, "the fuse was passed at least at reading and writing");
            return;
        }
    }
}

#[tokio::test]
async fn no_transaction_begins_when_the_time_is_over() {
    let world = world();
    let day = world.device("dev-1", 1).await.seal_day(Some(&kwh("1"))).unwrap();
    world.settled(&day, 0).await;
    let body = serde_json::json!({ "thing": "dev-1", "day": "2026-01-02" }).to_string();
    let event = serde_json::from_value(serde_json::json!({ "Records": [{ "messageId": "m", "body": body }] })).unwrap();
    let before = world.channel.submitted().len();
    let (response, metrics) = world.publish.handle(event, UnixMillis((NOW + 30) * 1000)).await;
    assert_eq!(response.batch_item_failures.len(), 1);
    assert_eq!(retried(&metrics, "time"), (1.0, 1.0));
    assert_eq!(world.channel.submitted().len(), before);
}
