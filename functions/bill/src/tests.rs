//! The function over an archive in memory and the contract itself.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use vitro_cloud::clock::FixedClock;
use vitro_cloud::memory::{Fuse, MemoryArchive};
use vitro_contract::testing::{MemoryLedger, TestDevice, admin, client};
use vitro_contract::{
    Agreement, AgreementId, AgreementView, DeviceApproval, Item, Record, Role, Statement, StatementHead, StatementView,
    calls,
};
use vitro_proof::{Hash, LocalDay, UnixMillis};

use crate::{BillError, Biller, LedgerPort, Request};

#[derive(Clone)]
struct TestLedger(Arc<Mutex<MemoryLedger>>);

impl TestLedger {
    fn run<T: Record>(&self, call: &calls::Call<T>) -> Result<T, BillError> {
        Ok(self.0.lock().unwrap().call(&client(Role::Operator), call.function, &call.args)?)
    }
}

#[async_trait]
impl LedgerPort for TestLedger {
    async fn agreements(&self) -> Result<Vec<AgreementView>, BillError> {
        self.run(&calls::agreements(None))
    }

    async fn statements(&self, agreement: &AgreementId) -> Result<Vec<StatementHead>, BillError> {
        self.run(&calls::statements(agreement))
    }

    async fn statement(&self, id: Hash) -> Result<StatementView, BillError> {
        self.run(&calls::statement(id))
    }

    async fn close(&self, agreement: &AgreementId, from: LocalDay, to: LocalDay) -> Result<StatementView, BillError> {
        self.run(&calls::close(agreement, from, to))
    }
}

struct Fixture {
    biller: Biller,
    archive: MemoryArchive,
    fuse: Fuse,
    ledger: TestLedger,
}

/// A ledger with one active agreement, and one device that counted 1.5 on each of the first days of March 2026 but the very first,
/// which has no opening to count from.
fn fixture(days: usize, period: &str) -> Fixture {
    let mut ledger = MemoryLedger::configured(1_790_000_000).unwrap();
    let mut device = TestDevice::new("dev-1", 1, "2026-03-01".parse().unwrap()).unwrap();
    let json = serde_json::json!({
        "id": "a-1", "shard": "north", "points": null, "fields": [{"sensor": "yield", "unit": "kWh"}],
        "tariff": {"kind": "per_unit", "sensor": "yield", "unit": "kWh", "price": "0.25"},
        "currency": {"code": "EUR", "digits": 2}, "term": {"period": period, "from": "2026-03-01", "to": null},
        "payer": "dv", "payees": [{"role": "rc", "share": 3}, {"role": "sp", "share": 1}],
    });
    let agreement: Agreement = serde_json::from_value(json).unwrap();
    let mut run = |creator, function: &'static str, args: &[Vec<u8>]| ledger.submit(&creator, function, args).unwrap();
    let register = calls::register_devices(&[device.entry.clone()]);
    run(client(Role::Operator), register.function, &register.args);
    let approval = DeviceApproval { thing: device.thing().clone(), entry: device.entry.hash() };
    let approve = calls::approve_devices(&[approval]);
    run(admin(Role::Rc), approve.function, &approve.args);
    run(admin(Role::Dv), approve.function, &approve.args);
    let propose = calls::propose(&agreement);
    run(admin(Role::Sp), propose.function, &propose.args);
    for role in [Role::Operator, Role::Rc, Role::Dv, Role::Sp] {
        let approve = calls::approve(&agreement.id, agreement.hash());
        run(admin(role), approve.function, &approve.args);
    }
    for _ in 0..days {
        let sealed = device.seal_day(Some(&"1.5".parse().unwrap())).unwrap();
        let publish = calls::publish(&[Item::day(sealed.message, &sealed.account)]);
        run(client(Role::Operator), publish.function, &publish.args);
    }
    let ledger = TestLedger(Arc::new(Mutex::new(ledger)));
    let fuse = Fuse::default();
    let archive = MemoryArchive::new(fuse.clone());
    let biller = Biller {
        ledger: Box::new(ledger.clone()),
        archive: Box::new(archive.clone()),
        clock: Box::new(FixedClock::new(UnixMillis(1_775_000_000_000))), // 2026-03-31
        stack: "vitro-acme-test".into(),
    };
    Fixture { biller, archive, fuse, ledger }
}

fn period(from: &str, to: &str) -> Request {
    let day = |text: &str| Some(text.parse().unwrap());
    Request { agreement: Some("a-1".parse().unwrap()), from: day(from), to: day(to) }
}

#[tokio::test]
async fn a_period_is_closed_once_and_archived_as_it_is_on_the_ledger() {
    let f = fixture(3, "days");
    let (answer, metrics) = f.biller.handle(period("2026-03-01", "2026-03-03")).await;
    let shown = answer.unwrap().statements.remove(0);
    assert_eq!((shown.total.as_str(), shown.total_minor, shown.lines), ("0.75 EUR", 75, 3));
    assert!((metrics.total("StatementsIssued") - 1.0).abs() < f64::EPSILON);
    let stored = f.archive.newest();
    let statement = Statement::decode(&stored[&shown.key]).unwrap();
    assert_eq!((statement.id(), statement.shares.len()), (shown.statement, 2));
    assert!(stored.contains_key("statements/a-1/2026-03-01_2026-03-03.json"));

    let (again, metrics) = f.biller.handle(period("2026-03-01", "2026-03-03")).await;
    assert_eq!(again.unwrap().statements, [shown]);
    assert!(metrics.total("StatementsIssued").abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_run_cut_short_after_the_close_is_finished_by_the_next() {
    let f = fixture(2, "days");
    f.fuse.set(Some(0));
    let (answer, _) = f.biller.handle(period("2026-03-01", "2026-03-02")).await;
    assert!(answer.unwrap_err().retryable());
    assert_eq!(f.ledger.statements(&"a-1".parse().unwrap()).await.unwrap().len(), 1);
    f.fuse.set(None);
    let (answer, metrics) = f.biller.handle(period("2026-03-01", "2026-03-02")).await;
    assert_eq!(answer.unwrap().statements[0].total_minor, 38, "0.375 is rounded once, half away from zero");
    assert!((metrics.total("StatementsIssued") - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn the_schedule_closes_what_is_over_and_goes_on_from_there() {
    let f = fixture(3, "day");
    let (answer, _) = f.biller.handle(Request::default()).await;
    let closed = answer.unwrap().statements;
    assert_eq!(closed.len(), 27, "the first to the 27th: three days of grace before the 31st");
    assert_eq!(closed.iter().map(|shown| shown.lines).sum::<usize>(), 3);
    let (answer, _) = f.biller.handle(Request::default()).await;
    assert_eq!(answer.unwrap().statements, []);
}

#[tokio::test]
async fn half_a_request_is_told() {
    let f = fixture(0, "days");
    let half = Request { agreement: Some("a-1".parse().unwrap()), ..Request::default() };
    assert!(matches!(f.biller.handle(half).await.0, Err(BillError::Request(_))));
    assert!(serde_json::from_str::<Request>(r#"{"agrement":"a-1"}"#).is_err());
    assert_eq!(serde_json::from_str::<Request>("{}").unwrap(), Request::default());
}
