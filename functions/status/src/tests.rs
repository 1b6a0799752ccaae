use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use vitro_client::memory::{MemoryChannel, Trouble};
use vitro_client::{device_entry, registered};
use vitro_cloud::clock::FixedClock;
use vitro_cloud::config::Environment;
use vitro_cloud::devices::{Cause, Exchanged, NewDevice};
use vitro_cloud::memory::{Fuse, MemoryDevices, MemoryParked};
use vitro_contract::testing::{MemoryLedger, client};
use vitro_contract::{Record, Role, Standing};
use vitro_ledger::LedgerError;
use vitro_proof::crypto::SoftwareSigner;
use vitro_proof::{SequenceNumber, Signer, UnixMillis};

use super::*;

/// What happens once, beside a change.
type Once = Box<dyn FnOnce() + Send>;

/// Certificates that keep to AWS IoT's rules.
#[derive(Clone, Default)]
struct MemoryCertificates {
    fuse: Fuse,
    states: Arc<Mutex<BTreeMap<String, State>>>,
    stuck: Arc<Mutex<bool>>,
    /// Called once, before the next change.
    meanwhile: Arc<Mutex<Option<Once>>>,
}

impl MemoryCertificates {
    fn set(&self, id: &str, state: Option<State>) {
        let mut states = self.states.lock().unwrap();
        match state {
            Some(state) => _ = states.insert(id.into(), state),
            None => _ = states.remove(id),
        }
    }

    fn get(&self, id: &str) -> Option<State> {
        self.states.lock().unwrap().get(id).cloned()
    }
}

#[async_trait]
impl Certificates for MemoryCertificates {
    async fn state(&self, id: &str) -> Result<Option<State>, CloudError> {
        self.fuse.point()?;
        Ok(self.get(id))
    }

    async fn change(&self, id: &str, state: &State) -> Result<Changed, CloudError> {
        self.fuse.point()?;
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        if *self.stuck.lock().unwrap() {
            return Ok(Changed::Stuck("the certificate is being transferred".into()));
        }
        if self.get(id).is_none() {
            return Ok(Changed::Missing);
        }
        self.set(id, Some(state.clone()));
        self.fuse.point()?;
        Ok(Changed::Done)
    }
}

struct World {
    fuse: Fuse,
    devices: MemoryDevices,
    certificates: MemoryCertificates,
    parked: MemoryParked,
    channel: MemoryChannel,
    ledger: Client<MemoryChannel>,
    function: StatusFunction<MemoryChannel, MemoryDevices, MemoryCertificates, MemoryParked, FixedClock>,
}

fn id() -> DeviceId {
    "dev-1".parse().unwrap()
}

/// AWS IoT's id of a certificate: a hash.
fn cert(digits: &str) -> String {
    digits.repeat(32)
}

fn device() -> Device {
    let table = r#"[{"version":1,"sensors":[{"name":"energy","unit":"kWh","kind":"counter","resets_normal":true}]}]"#;
    NewDevice {
        id: id(),
        replaces: None,
        public_key: SoftwareSigner::from_scalar(&[7; 32]).unwrap().public_key(),
        certificate: "PEM".into(),
        certificate_id: cert("ab"),
        enrolled_at: None,
        metering_point: "mp-1".into(),
        zone: "Etc/UTC".parse().unwrap(),
        shard: "north".into(),
        confidential: false,
        sensor_tables: serde_json::from_str(table).unwrap(),
    }
    .into()
}

fn world() -> World {
    let fuse = Fuse::default();
    let devices = MemoryDevices::new(fuse.clone(), [device()]);
    let certificates = MemoryCertificates { fuse: fuse.clone(), ..MemoryCertificates::default() };
    certificates.set(&cert("ab"), Some(State::Active));
    let parked = MemoryParked::new(fuse.clone());
    let config = [
        ("VITRO_CUSTOMER", "acme"),
        ("VITRO_STAGE", "dev"),
        ("VITRO_DEVICES_TABLE", "d"),
        ("VITRO_PARKED_TABLE", "p"),
        ("VITRO_FABRIC_SECRET", "f"),
    ];
    let config = Config::read(&Environment::of(&config)).unwrap();
    let stores = Stores { registry: devices.clone(), certificates: certificates.clone(), parked: parked.clone() };
    let mut ledger = MemoryLedger::configured(1_800_000_000).unwrap();
    let entries = [device_entry(&device()).unwrap()];
    ledger.submit(&client(Role::Operator), "registry:register_device", &[entries[0].encode()]).unwrap();
    let channel = MemoryChannel::new(ledger, client(Role::Operator));
    let ledger = Client::new(channel.clone());
    let function = StatusFunction::new(channel.clone(), stores, FixedClock::new(UnixMillis(9_000)), &config);
    World { fuse, devices, certificates, parked, channel, ledger, function }
}

impl World {
    async fn suspend(&self, cause: Cause) {
        self.devices.suspend(&id(), UnixMillis(1_000), Some(SequenceNumber(70)), cause).await.unwrap();
    }

    /// Hands a task over, and says whether it was done.
    async fn handle(&self, thing: &str) -> (bool, Metrics) {
        let body = serde_json::json!({ "thing": thing }).to_string();
        let event = serde_json::json!({ "Records": [{ "messageId": "m", "body": body }] });
        let (response, metrics) = self.function.handle(serde_json::from_value(event).unwrap()).await;
        (response.is_done(), metrics)
    }

    /// What the ledger says of the device.
    async fn standing(&self) -> (Standing, Option<u64>) {
        let status = self.ledger.device(&id()).await.unwrap().status;
        (status.standing, status.halt.and_then(|halt| halt.last_good))
    }

    /// Whether all three agree.
    async fn agree(&self) -> bool {
        let (device, view) = (self.device().await, self.ledger.device(&id()).await.unwrap());
        device.is_status_applied() && registered::agrees(&device, &view.status)
    }

    async fn device(&self) -> Device {
        self.devices.device(&id()).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn certificates_follow_the_registry() {
    let world = world();
    world.suspend(Cause::Operator).await;
    let (done, metrics) = world.handle("dev-1").await;
    assert!(done && (metrics.total("StatusApplied") - 1.0).abs() < f64::EPSILON);
    assert_eq!(world.certificates.get(&cert("ab")), Some(State::Inactive));
    assert!(world.device().await.is_status_applied());
    // Once more changes nothing, and repairs what somebody else changed.
    world.certificates.set(&cert("ab"), Some(State::Active));
    let (done, metrics) = world.handle("dev-1").await;
    assert!(done && metrics.total("StatusApplied").abs() < f64::EPSILON);
    assert_eq!(world.certificates.get(&cert("ab")), Some(State::Inactive));

    world.devices.activate(&id(), None).await.unwrap();
    assert!(world.handle("dev-1").await.0);
    assert_eq!(world.certificates.get(&cert("ab")), Some(State::Active));

    world.devices.retire(&id(), UnixMillis(2_000), None, Cause::Exchanged).await.unwrap();
    assert!(world.handle("dev-1").await.0);
    assert_eq!(world.certificates.get(&cert("ab")), Some(State::Active), "it still delivers its last day");
    world.devices.retire(&id(), UnixMillis(2_000), None, Cause::Operator).await.unwrap();
    assert!(world.handle("dev-1").await.0);
    assert_eq!(world.certificates.get(&cert("ab")), Some(State::Revoked));
    assert!(world.device().await.is_status_applied() && world.parked.rows().is_empty());
}

#[tokio::test]
async fn a_renewed_certificate_connects_and_the_revoked_one_never_does() {
    let world = world();
    world.suspend(Cause::CertificateRevoked).await;
    assert!(world.handle("dev-1").await.0);
    assert_eq!(world.certificates.get(&cert("ab")), Some(State::Revoked));
    let certificate_ids = [cert("ab"), cert("cd")].into();
    world.devices.put(Device { certificate_id: cert("cd"), certificate_ids, ..world.device().await });
    world.certificates.set(&cert("cd"), Some(State::Active));
    assert!(world.handle("dev-1").await.0);
    assert_eq!(world.certificates.get(&cert("cd")), Some(State::Inactive), "it is suspended still");
    world.devices.activate(&id(), Some(&cert("cd"))).await.unwrap();
    assert!(world.handle("dev-1").await.0);
    assert_eq!(
        (world.certificates.get(&cert("ab")), world.certificates.get(&cert("cd"))),
        (Some(State::Revoked), Some(State::Active))
    );
}

#[tokio::test]
async fn what_no_attempt_mends_is_parked_once() {
    let world = world();
    for (state, reason) in [(None, "status_certificate_missing"), (Some(State::Revoked), "status_certificate_revoked")]
    {
        world.certificates.set(&cert("ab"), state);
        for _ in 0..2 {
            let (done, metrics) = world.handle("dev-1").await;
            assert!(done && (metrics.of_reason("StatusParked", reason) - 1.0).abs() < f64::EPSILON);
        }
    }
    world.certificates.set(&cert("ab"), Some(State::Active));
    *world.certificates.stuck.lock().unwrap() = true;
    world.suspend(Cause::Operator).await;
    assert!(world.handle("dev-1").await.0 && world.handle("dev-9").await.0);
    let parked: Vec<(String, String)> = world.parked.rows().into_iter().map(|row| (row.reason, row.id)).collect();
    let expected = [
        ("status_certificate_missing", "dev-1-000000"),
        ("status_certificate_revoked", "dev-1-000000"),
        ("status_certificate_stuck", "dev-1-000001"),
        ("status_unknown_device", "dev-9-000000"),
    ];
    assert_eq!(parked, expected.map(|(reason, id)| (reason.to_owned(), id.to_owned())));
    assert!(!world.device().await.is_status_applied(), "who asks is told that the two differ");
    // The operator repairs it and sends the task again.
    *world.certificates.stuck.lock().unwrap() = false;
    assert!(world.handle("dev-1").await.0 && world.device().await.is_status_applied());
}

#[tokio::test]
async fn a_halted_device_needs_no_certificate() {
    let world = world();
    world.certificates.set(&cert("ab"), None);
    world.suspend(Cause::Operator).await;
    assert!(world.handle("dev-1").await.0);
    assert!(world.device().await.is_status_applied() && world.parked.rows().is_empty());
}

#[tokio::test]
async fn a_change_meanwhile_is_applied_in_the_end() {
    let world = world();
    world.suspend(Cause::Operator).await;
    let devices = world.devices.clone();
    // While the suspension is written, somebody reinstates the device and another instance applies that: nothing to do there.
    *world.certificates.meanwhile.lock().unwrap() = Some(Box::new(move || {
        let now = devices.clone();
        let mut device = futures_now(async move { now.device(&id()).await.unwrap().unwrap() });
        device = device.activated(None).unwrap().unwrap();
        device.status_applied = device.status_revision;
        devices.put(device);
    }));
    assert!(world.handle("dev-1").await.0);
    assert_eq!(world.certificates.get(&cert("ab")), Some(State::Active));
}

/// Runs a future that never waits.
fn futures_now<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

#[tokio::test]
async fn the_ledger_follows_the_registry() {
    let world = world();
    world.suspend(Cause::SignatureFailures).await;
    assert!(world.handle("dev-1").await.0 && world.agree().await);
    assert_eq!(world.standing().await, (Standing::Suspended, Some(70)));
    let submitted = world.channel.submitted().len();
    assert!(world.handle("dev-1").await.0);
    assert_eq!(world.channel.submitted().len(), submitted, "what agrees is not submitted again");

    // Reinstated and suspended anew before anybody looked: a milder suspension than the ledger's.
    world.devices.activate(&id(), None).await.unwrap();
    world.devices.suspend(&id(), UnixMillis(5_000), Some(SequenceNumber(90)), Cause::Operator).await.unwrap();
    assert!(world.handle("dev-1").await.0 && world.agree().await);
    let changes = world.ledger.device_history(&id()).await.unwrap().changes;
    let standings: Vec<Standing> = changes.iter().map(|change| change.standing).collect();
    assert_eq!(standings, [Standing::Suspended, Standing::Active, Standing::Suspended]);

    world.devices.activate(&id(), None).await.unwrap();
    assert!(world.handle("dev-1").await.0 && world.agree().await);
    world.devices.retire(&id(), UnixMillis(6_000), None, Cause::Operator).await.unwrap();
    assert!(world.handle("dev-1").await.0 && world.agree().await);
    assert_eq!(world.standing().await, (Standing::Retired, None));
}

#[tokio::test]
async fn a_ledger_that_is_away_keeps_no_connection_open() {
    let world = world();
    world.suspend(Cause::Operator).await;
    let away = || LedgerError::Unavailable { what: "no peer answers", failures: Default::default() };
    // The second time the transaction commits, and nobody hears of it.
    world.channel.trouble([Trouble::Before(away()), Trouble::After(away())]);
    for _ in 0..2 {
        assert!(!world.handle("dev-1").await.0, "the message comes again");
        assert_eq!(world.certificates.get(&cert("ab")), Some(State::Inactive));
        assert!(!world.device().await.is_status_applied());
    }
    assert!(world.handle("dev-1").await.0 && world.agree().await);
    assert_eq!(world.ledger.device_history(&id()).await.unwrap().changes.len(), 1);
    // A refusal that somebody repairs comes again as well; one that nobody can is parked.
    world.devices.activate(&id(), None).await.unwrap();
    world.channel.refuse("dev-1", "forbidden: rc may not call this");
    assert!(!world.handle("dev-1").await.0 && world.parked.rows().is_empty());
    world.channel.refuse("dev-1", "device_retired: dev-1: that is for good");
    assert!(world.handle("dev-1").await.0 && !world.device().await.is_status_applied());
    let parked = world.parked.rows();
    assert_eq!((parked.len(), parked[0].reason.as_str()), (1, "status_ledger_refuses"));
    assert!(parked[0].detail.contains("that is for good"), "{}", parked[0].detail);
}

#[tokio::test]
async fn the_ledger_is_told_although_a_certificate_is_stuck() {
    let world = world();
    *world.certificates.stuck.lock().unwrap() = true;
    world.suspend(Cause::Operator).await;
    assert!(world.handle("dev-1").await.0);
    assert_eq!(world.standing().await, (Standing::Suspended, Some(70)));
    assert_eq!(world.parked.rows()[0].reason, "status_certificate_stuck");
}

#[tokio::test]
async fn what_the_ledger_does_not_know_has_no_status_there() {
    let world = world();
    let stranger = Device { id: "dev-2".parse().unwrap(), metering_point: "mp-2".into(), ..device() };
    world.devices.put(stranger.suspended(&suspension()).unwrap());
    assert!(world.handle("dev-2").await.0 && world.parked.rows().is_empty());
}

fn suspension() -> vitro_cloud::devices::Suspension {
    vitro_cloud::devices::Suspension { at: UnixMillis(1_000), last_good: None, cause: Cause::Operator }
}

/// The registry's word that `dev-2` took the point over.
fn exchanged() -> Exchanged {
    Exchanged {
        by: "dev-2".parse().unwrap(),
        day: "2026-03-03".parse().unwrap(),
        at: UnixMillis(1_772_532_000_000),
        last_good: Some(SequenceNumber(70)),
        first: SequenceNumber(0),
    }
}

fn successor() -> Device {
    let signer = SoftwareSigner::from_scalar(&[8; 32]).unwrap();
    let public_key = signer.public_key();
    Device {
        id: "dev-2".parse().unwrap(),
        public_key,
        replaces: Some(id()),
        certificate_id: cert("ef"),
        certificate_ids: [cert("ef")].into(),
        ..device()
    }
}

#[tokio::test]
async fn an_exchange_is_recorded_once_whatever_is_killed() {
    for limit in 0.. {
        let world = world();
        world.devices.put(successor());
        world.devices.exchange(&id(), &exchanged()).await.unwrap();
        world.fuse.set(Some(limit));
        let (survived, _) = world.handle("dev-1").await;
        world.fuse.set(None);
        assert!(world.handle("dev-1").await.0 && world.agree().await);
        let history = world.ledger.point_history(&"mp-1".parse().unwrap()).await.unwrap();
        let served: Vec<&str> = history.services.iter().map(|service| service.thing.as_str()).collect();
        assert_eq!(served, ["dev-1", "dev-2"]);
        assert_eq!(history.changes.len(), 1);
        assert_eq!(world.certificates.get(&cert("ab")), Some(State::Active), "it still delivers its last day");
        if survived {
            break;
        }
    }
}

#[tokio::test]
async fn an_exchange_and_what_was_before_and_after_it_agree() {
    let world = world();
    world.devices.put(successor());
    world.suspend(Cause::Equivocation).await;
    world.devices.exchange(&id(), &exchanged()).await.unwrap();
    assert!(world.handle("dev-1").await.0 && world.agree().await, "the suspension before it counts");
    assert_eq!(world.certificates.get(&cert("ab")), Some(State::Revoked));
    let stricter = world.devices.suspend(&id(), UnixMillis(500), None, Cause::CertificateRevoked).await.unwrap();
    assert!(stricter.changed);
    assert!(world.handle("dev-1").await.0 && world.agree().await);
    assert_eq!(world.standing().await, (Standing::Retired, None));
    assert!(world.parked.rows().is_empty());
}

#[tokio::test]
async fn a_kill_at_any_point_loses_nothing() {
    for cause in [Cause::Operator, Cause::CertificateRevoked] {
        for limit in 0.. {
            let world = world();
            world.suspend(cause).await;
            world.fuse.set(Some(limit));
            let (survived, _) = world.handle("dev-1").await;
            world.fuse.set(None);
            let expected = if cause.is_revocation() { State::Revoked } else { State::Inactive };
            if survived || world.device().await.is_status_applied() {
                assert_eq!(world.certificates.get(&cert("ab")).as_ref(), Some(&expected), "noted last");
            }
            assert!(world.handle("dev-1").await.0);
            assert_eq!(world.certificates.get(&cert("ab")), Some(expected));
            assert!(world.agree().await);
            assert_eq!(world.ledger.device_history(&id()).await.unwrap().changes.len(), 1);
            if survived {
                assert!(limit > 6, "every step was cut once");
                break;
            }
        }
    }
}
