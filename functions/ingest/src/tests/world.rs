//! Devices that sign, and the batches that their messages come in.

use futures_util::FutureExt;
use vitro_cloud::batch::{BatchResponse, SqsAttributes, SqsEvent, SqsRecord};
use vitro_cloud::clock::FixedClock;
use vitro_cloud::config::Environment;
use vitro_cloud::devices::{Device, NewDevice};
use vitro_cloud::metrics::Metrics;
use vitro_cloud::rule_event::NewRuleEvent;
use vitro_proof::crypto::SoftwareSigner;
use vitro_proof::envelope::seal;
use vitro_proof::senml::{Reading, write_pack};
use vitro_proof::{ContentType, Decimal, DeviceId, Header, Kind, Signer, UnixMillis};

use super::memory::Memory;
use crate::Ingest;
use crate::config::Config;

/// 2026-11-20T12:00:00Z
pub(super) const NOON: i64 = 1_795_176_000_000;
pub(super) const MINUTE: i64 = 60_000;

pub(super) fn signer(name: &str) -> SoftwareSigner {
    SoftwareSigner::from_scalar(&vitro_proof::crypto::sha256(&[name.as_bytes()]).0).unwrap()
}

pub(super) fn device(name: &str) -> Device {
    let table = r#"[{"version":1,"sensors":[{"name":"energy","unit":"kWh","kind":"counter"},{"name":"p","unit":"W","kind":"gauge"}]}]"#;
    NewDevice {
        id: name.parse().unwrap(),
        replaces: None,
        public_key: signer(name).public_key(),
        certificate: String::new(),
        certificate_id: format!("cert-{name}"),
        enrolled_at: None,
        metering_point: format!("mp-{name}"),
        zone: "Etc/GMT+7".parse().unwrap(),
        shard: "north".into(),
        confidential: false,
        sensor_tables: serde_json::from_str(table).unwrap(),
    }
    .into()
}

/// A signed telemetry envelope of one value, measured one minute a number after noon.
pub(crate) fn envelope(name: &str, number: u64, value: i64) -> Vec<u8> {
    envelope_by(name, name, number, value)
}

/// The same in the name of one device by the key of another.
pub(super) fn envelope_by(signed_by: &str, kid: &str, number: u64, value: i64) -> Vec<u8> {
    let thing: DeviceId = kid.parse().unwrap();
    let time = UnixMillis(NOON + i64::try_from(number % 600).unwrap() * MINUTE);
    let value = Some(Decimal::new(value, -2));
    let pack = write_pack(&thing, time, &[Reading { sensor: "energy".parse().unwrap(), unit: "kWh".into(), value }]);
    sealed(signed_by, kid, number, &pack)
}

pub(super) fn sealed(signed_by: &str, kid: &str, number: u64, payload: &[u8]) -> Vec<u8> {
    let header = Header { kind: Kind::Telemetry, content: ContentType::Senml, kid: kid.into(), number };
    seal(&header, payload, &signer(signed_by)).unwrap()
}

/// One message as the rule puts it into the queue.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) envelope: Vec<u8>,
    pub(super) thing: String,
    pub(super) client: String,
    pub(super) principal: String,
    pub(super) received: i64,
}

impl Sent {
    pub(super) fn of(name: &str, envelope: Vec<u8>, received: i64) -> Self {
        let principal = format!("cert-{name}");
        Self { envelope, thing: name.into(), client: name.into(), principal, received }
    }

    pub(super) fn body(&self) -> String {
        let topic = format!("vitro/acme/{}/telemetry", self.thing);
        NewRuleEvent {
            envelope: &self.envelope,
            thing: &self.thing,
            topic: &topic,
            client: Some(&self.client),
            principal: Some(&self.principal),
            received: self.received,
        }
        .to_body()
    }
}

/// A telemetry message of a device, received when it was measured.
pub(super) fn sent(name: &str, number: u64) -> Sent {
    let received = NOON + i64::try_from(number).unwrap() * MINUTE + 500;
    Sent::of(name, envelope(name, number, i64::try_from(number).unwrap()), received)
}

pub(super) fn batch(messages: &[Sent]) -> SqsEvent {
    let records = messages.iter().enumerate();
    let records = records.map(|(i, message)| SqsRecord {
        source: String::new(),
        message_id: i.to_string(),
        body: message.body(),
        attributes: SqsAttributes::default(),
    });
    SqsEvent { records: records.collect() }
}

pub(super) fn config() -> Config {
    Config::read(&Environment::of(&[
        ("VITRO_CUSTOMER", "acme"),
        ("VITRO_STAGE", "dev"),
        ("VITRO_READINGS_TABLE", "r"),
        ("VITRO_DEVICES_TABLE", "d"),
        ("VITRO_DAYS_TABLE", "y"),
        ("VITRO_PARKED_TABLE", "p"),
        ("VITRO_QUARANTINE_BUCKET", "q"),
        ("VITRO_STATUS_QUEUE_URL", "u"),
        ("VITRO_ARCHIVE_BUCKET", "a"),
        ("VITRO_DATA_KEYS_SECRET", "k"),
    ]))
    .unwrap()
}

/// A store with these devices registered.
pub(super) fn store(names: &[&str]) -> Memory {
    let memory = Memory::default();
    for name in names {
        let device = device(name);
        memory.devices.borrow_mut().insert(device.id.clone(), device);
    }
    memory
}

pub(super) type TestIngest<'a> = Ingest<&'a Memory, &'a FixedClock>;

pub(super) fn clock() -> FixedClock {
    FixedClock::new(UnixMillis(NOON))
}

pub(super) fn instance<'a>(memory: &'a Memory, clock: &'a FixedClock) -> TestIngest<'a> {
    Ingest::new(memory, clock, &config())
}

/// Hands a batch over; nothing if the process died meanwhile.
pub(super) fn deliver(ingest: &TestIngest<'_>, messages: &[Sent]) -> Option<(BatchResponse, Metrics)> {
    ingest.handle(batch(messages)).now_or_never()
}

/// Hands a batch over that must be done with entirely.
pub(super) fn accept(ingest: &TestIngest<'_>, messages: &[Sent]) -> Metrics {
    let (response, metrics) = deliver(ingest, messages).unwrap();
    assert!(response.is_done(), "{response:?}");
    metrics
}

/// What the metrics say was refused, by reason.
pub(super) fn refused(metrics: &Metrics, reason: &str) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small counts
    let count = metrics.of_reason("Refused", reason).round() as u64;
    count
}

pub(super) fn total(metrics: &Metrics, name: &str) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small counts
    let count = metrics.total(name).round() as u64;
    count
}
