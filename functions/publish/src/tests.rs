//! The function over stores in memory and the contract itself.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use vitro_cloud::CloudError;
use vitro_cloud::batch::{BatchResponse, SqsEvent};
use vitro_cloud::clock::FixedClock;
use vitro_cloud::days::{DayBlock, DayRow, DayState, ObjectRef, Settlement};
use vitro_cloud::memory::{Fuse, MemoryArchive, MemoryDays};
use vitro_cloud::parked::Parked;
use vitro_contract::testing::{MemoryLedger, TestDay, TestDevice, client};
use vitro_contract::{DayOutcome, DayView, Item, Role, calls};
use vitro_ledger::{Failures, LedgerError};
use vitro_proof::reconcile::Outcome;
use vitro_proof::{DeviceId, LocalDay, UnixMillis};

use crate::{LedgerPort, ParkedPort, PublishError, Published, Publisher};

/// The contract in memory, which can be away, and can lose the answer after the commit.
#[derive(Clone, Default)]
struct TestLedger(Arc<Mutex<TestLedgerState>>);

#[derive(Default)]
struct TestLedgerState {
    ledger: Option<MemoryLedger>,
    away: bool,
    loses_answer: bool,
    transactions: usize,
}

fn away() -> PublishError {
    PublishError::Ledger(LedgerError::Unavailable { what: "a peer", failures: Failures::default() })
}

#[async_trait]
impl LedgerPort for TestLedger {
    async fn publish(&self, items: &[Item]) -> Result<Published, PublishError> {
        let mut state = self.0.lock().unwrap();
        if state.away {
            return Err(away());
        }
        let call = calls::publish(items);
        let ledger = state.ledger.as_mut().unwrap();
        let simulation = ledger.simulate(&client(Role::Operator), call.function, &call.args)?;
        let tx = simulation.tx_id.clone();
        assert!(ledger.commit(&simulation));
        state.transactions += 1;
        if std::mem::take(&mut state.loses_answer) {
            return Err(away());
        }
        Ok(Published { tx, verdicts: call.read(&simulation.response.payload)? })
    }

    async fn day(&self, thing: &DeviceId, day: LocalDay) -> Result<DayView, PublishError> {
        let call = calls::day(thing, day);
        let state = self.0.lock().unwrap();
        Ok(state.ledger.as_ref().unwrap().ask(&client(Role::Operator), call.function, &call.args)?)
    }
}

#[derive(Clone, Default)]
struct TestParked(Arc<Mutex<Vec<Parked>>>);

#[async_trait]
impl ParkedPort for TestParked {
    async fn park(&self, parked: &Parked) -> Result<(), CloudError> {
        let mut rows = self.0.lock().unwrap();
        if !rows.iter().any(|row| row.id == parked.id) {
            rows.push(parked.clone());
        }
        Ok(())
    }
}

struct Fixture {
    publisher: Publisher,
    ledger: TestLedger,
    parked: TestParked,
    device: TestDevice,
}

impl Fixture {
    fn new() -> Self {
        let mut chain = MemoryLedger::configured(1_790_000_000).unwrap();
        let device = TestDevice::new("dev-1", 1, "2026-03-01".parse().unwrap()).unwrap();
        let call = calls::register_devices(&[device.entry.clone()]);
        chain.submit(&client(Role::Operator), call.function, &call.args).unwrap();
        let ledger = TestLedger::default();
        ledger.0.lock().unwrap().ledger = Some(chain);
        let parked = TestParked::default();
        let fuse = Fuse::default();
        let publisher = Publisher {
            days: Box::new(MemoryDays::new(fuse.clone())),
            archive: Box::new(MemoryArchive::new(fuse)),
            ledger: Box::new(ledger.clone()),
            parked: Box::new(parked.clone()),
            clock: Box::new(FixedClock::new(UnixMillis(1_790_000_000_000))),
            stack: "vitro-acme-test".into(),
        };
        Self { publisher, ledger, parked, device }
    }

    /// A settled day as the night leaves it.
    async fn settled(&mut self) -> (LocalDay, TestDay) {
        let day = self.device.day();
        let sealed = self.device.seal_day(Some(&"1.5".parse().unwrap())).unwrap();
        self.write(day, &sealed).await;
        (day, sealed)
    }

    async fn write(&self, day: LocalDay, sealed: &TestDay) {
        let mut row = DayRow::new(self.device.thing().clone(), day);
        let account = &sealed.account;
        let object = self.publisher.archive.put(&format!("blocks/{day}"), sealed.message.clone(), "").await.unwrap();
        row.block = Some(DayBlock {
            number: account.block.unwrap(),
            hash: sealed.hash,
            object,
            first: account.first,
            count: account.count,
            previous_daily: None,
        });
        let nowhere = ObjectRef { key: "k".into(), version: "v".into() };
        assert!(row.settle(&Settlement {
            outcome: Outcome::Matched,
            account: sealed.account.clone(),
            detail: String::new(),
            summary: nowhere.clone(),
            raw: nowhere,
            gaps: 0,
        }));
        assert!(self.publisher.days.write(&row).await.unwrap());
    }

    async fn publish(&self, days: &[LocalDay]) -> BatchResponse {
        let records: Vec<_> = days
            .iter()
            .map(|day| {
                let body = serde_json::json!({"thing": self.device.thing(), "day": day}).to_string();
                serde_json::json!({"messageId": day, "body": body})
            })
            .collect();
        let event: SqsEvent = serde_json::from_value(serde_json::json!({ "Records": records })).unwrap();
        self.publisher.handle(event).await.0
    }

    async fn row(&self, day: LocalDay) -> DayRow {
        self.publisher.days.get(self.device.thing(), day).await.unwrap().unwrap()
    }

    fn transactions(&self) -> usize {
        self.ledger.0.lock().unwrap().transactions
    }
}

#[tokio::test]
async fn many_days_share_a_transaction_and_agree() {
    let mut f = Fixture::new();
    let mut days = Vec::new();
    for _ in 0..5 {
        days.push(f.settled().await.0);
    }
    days.reverse();
    assert!(f.publish(&days).await.is_done());
    assert_eq!(f.transactions(), 1);
    for day in days {
        let row = f.row(day).await;
        let view = f.ledger.day(f.device.thing(), day).await.unwrap();
        assert_eq!((row.state, view.outcome), (DayState::Published, DayOutcome::Agrees));
        assert_eq!(row.tx.as_deref(), Some(view.accounts[0].tx.as_str()));
    }
}

#[tokio::test]
async fn a_day_published_once_is_not_published_again() {
    let mut f = Fixture::new();
    let (day, _) = f.settled().await;
    assert!(f.publish(&[day, day]).await.is_done());
    assert!(f.publish(&[day]).await.is_done());
    assert_eq!(f.transactions(), 1);
}

#[tokio::test]
async fn a_ledger_that_is_away_loses_nothing() {
    let mut f = Fixture::new();
    let (day, _) = f.settled().await;
    f.ledger.0.lock().unwrap().away = true;
    assert_eq!(f.publish(&[day]).await.batch_item_failures.len(), 1);
    assert_eq!(f.row(day).await.state, DayState::Reconciled);
    f.ledger.0.lock().unwrap().away = false;
    assert!(f.publish(&[day]).await.is_done());
    assert_eq!(f.row(day).await.state, DayState::Published);
}

#[tokio::test]
async fn an_answer_lost_after_the_commit_keeps_the_first_transaction() {
    let mut f = Fixture::new();
    let (day, _) = f.settled().await;
    f.ledger.0.lock().unwrap().loses_answer = true;
    assert!(!f.publish(&[day]).await.is_done());
    assert!(f.publish(&[day]).await.is_done());
    let view = f.ledger.day(f.device.thing(), day).await.unwrap();
    assert_eq!((view.accounts.len(), f.transactions()), (1, 2));
    assert_eq!(f.row(day).await.tx.as_deref(), Some(view.accounts[0].tx.as_str()));
}

#[tokio::test]
async fn a_refused_day_is_parked_and_holds_nobody_up() {
    let mut f = Fixture::new();
    let (bad, sealed) = f.settled().await;
    let (good, _) = f.settled().await;
    let mut broken = sealed;
    *broken.message.last_mut().unwrap() ^= 1;
    let mut row = f.row(bad).await;
    row.block.as_mut().unwrap().object =
        f.publisher.archive.put("blocks/broken", broken.message.clone(), "").await.unwrap();
    assert!(f.publisher.days.write(&row).await.unwrap());

    assert!(f.publish(&[bad, good]).await.is_done());
    let row = f.row(bad).await;
    assert_eq!((row.state, row.parked.as_deref()), (DayState::Parked, Some("digest_mismatch")));
    assert_eq!(f.row(good).await.state, DayState::Published);
    // Again: parked once, and whatever an operator made of it stays.
    assert!(f.publish(&[bad]).await.is_done());
    let parked = f.parked.0.lock().unwrap();
    assert_eq!(parked.iter().map(|row| row.reason.as_str()).collect::<Vec<_>>(), ["digest_mismatch"]);
}

#[tokio::test]
async fn what_is_not_settled_is_left_alone() {
    let f = Fixture::new();
    assert!(f.publish(&["2026-03-01".parse().unwrap()]).await.is_done());
    let event = serde_json::from_str::<SqsEvent>(r#"{"Records":[{"messageId":"m","body":"{}"}]}"#).unwrap();
    assert_eq!(f.publisher.handle(event).await.0.batch_item_failures.len(), 1);
    assert_eq!(f.transactions(), 0);
}

#[test]
fn a_profile_that_cannot_be_read_shows_no_secret() {
    let error = crate::connect(r#"{"identity":{"key_pem":"-----BEGIN SECRET"#).err().unwrap();
    assert!(!error.contains("BEGIN SECRET"), "{error}");
}
