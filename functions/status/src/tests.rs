use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use vitro_cloud::clock::FixedClock;
use vitro_cloud::config::Environment;
use vitro_cloud::devices::{Cause, Status};
use vitro_cloud::memory::{Fuse, MemoryDevices, MemoryParked};
use vitro_proof::crypto::SoftwareSigner;
use vitro_proof::{SequenceNumber, Signer, UnixMillis};

use super::*;

/// Certificates that keep to AWS IoT's rules.
#[derive(Clone, Default)]
struct MemoryCertificates {
    fuse: Fuse,
    states: Arc<Mutex<BTreeMap<String, State>>>,
    stuck: Arc<Mutex<bool>>,
    /// Called once, before the next change.
    meanwhile: Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>,
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
    function: StatusFunction<MemoryDevices, MemoryCertificates, MemoryParked, FixedClock>,
}

fn id() -> DeviceId {
    "dev-1".parse().unwrap()
}

fn device() -> Device {
    let table = r#"[{"version":1,"sensors":[{"name":"energy","unit":"kWh","kind":"counter","resets_normal":true}]}]"#;
    Device {
        id: id(),
        status: Status::Active,
        suspended_at: None,
        last_good: None,
        cause: None,
        status_revision: 0,
        status_applied: 0,
        revoked_certificates: std::collections::BTreeSet::new(),
        public_key: SoftwareSigner::from_scalar(&[7; 32]).unwrap().public_key(),
        certificate: "PEM".into(),
        certificate_id: "ab12".into(),
        certificate_ids: ["ab12".into()].into(),
        enrolled_at: None,
        metering_point: "mp-1".into(),
        zone: "Etc/UTC".parse().unwrap(),
        shard: "north".into(),
        sensor_tables: serde_json::from_str(table).unwrap(),
        mark: None,
        head: None,
        closed_through: None,
        gap_since: None,
    }
}

fn world() -> World {
    let fuse = Fuse::default();
    let devices = MemoryDevices::new(fuse.clone(), [device()]);
    let certificates = MemoryCertificates { fuse: fuse.clone(), ..MemoryCertificates::default() };
    certificates.set("ab12", Some(State::Active));
    let parked = MemoryParked::new(fuse.clone());
    let config =
        [("VITRO_CUSTOMER", "acme"), ("VITRO_STAGE", "dev"), ("VITRO_DEVICES_TABLE", "d"), ("VITRO_PARKED_TABLE", "p")];
    let config = Config::read(&Environment::of(&config)).unwrap();
    let stores = Stores { registry: devices.clone(), certificates: certificates.clone(), parked: parked.clone() };
    let function = StatusFunction::new(stores, FixedClock::new(UnixMillis(9_000)), &config);
    World { fuse, devices, certificates, parked, function }
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
    assert_eq!(world.certificates.get("ab12"), Some(State::Inactive));
    assert!(world.device().await.is_status_applied());
    // Once more changes nothing, and repairs what somebody else changed.
    world.certificates.set("ab12", Some(State::Active));
    let (done, metrics) = world.handle("dev-1").await;
    assert!(done && metrics.total("StatusApplied").abs() < f64::EPSILON);
    assert_eq!(world.certificates.get("ab12"), Some(State::Inactive));

    world.devices.activate(&id(), None).await.unwrap();
    assert!(world.handle("dev-1").await.0);
    assert_eq!(world.certificates.get("ab12"), Some(State::Active));

    world.devices.retire(&id(), UnixMillis(2_000), None, Cause::Exchanged).await.unwrap();
    assert!(world.handle("dev-1").await.0);
    assert_eq!(world.certificates.get("ab12"), Some(State::Active), "it still delivers its last day");
    world.devices.retire(&id(), UnixMillis(2_000), None, Cause::Operator).await.unwrap();
    assert!(world.handle("dev-1").await.0);
    assert_eq!(world.certificates.get("ab12"), Some(State::Revoked));
    assert!(world.device().await.is_status_applied() && world.parked.rows().is_empty());
}

#[tokio::test]
async fn a_renewed_certificate_connects_and_the_revoked_one_never_does() {
    let world = world();
    world.suspend(Cause::CertificateRevoked).await;
    assert!(world.handle("dev-1").await.0);
    assert_eq!(world.certificates.get("ab12"), Some(State::Revoked));
    let certificate_ids = ["ab12".into(), "cd34".into()].into();
    world.devices.put(Device { certificate_id: "cd34".into(), certificate_ids, ..world.device().await });
    world.certificates.set("cd34", Some(State::Active));
    assert!(world.handle("dev-1").await.0);
    assert_eq!(world.certificates.get("cd34"), Some(State::Inactive), "it is suspended still");
    world.devices.activate(&id(), Some("cd34")).await.unwrap();
    assert!(world.handle("dev-1").await.0);
    assert_eq!(
        (world.certificates.get("ab12"), world.certificates.get("cd34")),
        (Some(State::Revoked), Some(State::Active))
    );
}

#[tokio::test]
async fn what_no_attempt_mends_is_parked_once() {
    let world = world();
    for (state, reason) in [(None, "status_certificate_missing"), (Some(State::Revoked), "status_certificate_revoked")]
    {
        world.certificates.set("ab12", state);
        for _ in 0..2 {
            let (done, metrics) = world.handle("dev-1").await;
            assert!(done && (metrics.of_reason("StatusParked", reason) - 1.0).abs() < f64::EPSILON);
        }
    }
    world.certificates.set("ab12", Some(State::Active));
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
    world.certificates.set("ab12", None);
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
    assert_eq!(world.certificates.get("ab12"), Some(State::Active));
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
                assert_eq!(world.certificates.get("ab12").as_ref(), Some(&expected), "noted last");
            }
            assert!(world.handle("dev-1").await.0);
            assert_eq!(world.certificates.get("ab12"), Some(expected));
            assert!(world.device().await.is_status_applied());
            if survived {
                assert!(limit > 6, "every step was cut once");
                break;
            }
        }
    }
}
