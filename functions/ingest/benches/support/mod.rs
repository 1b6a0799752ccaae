//! What the benchmarks share: a device with its signed messages, the time that this process spends on a processor, and ratios.

// Each benchmark is a crate of its own and uses a part of this.
#![allow(dead_code, unreachable_pub)]

pub mod stub;

use std::hint::black_box;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use vitro_cloud::data_keys::{self, KeyRing, KeyState, KnownKeys, StoredKey};
use vitro_cloud::rule_event::NewRuleEvent;
use vitro_proof::confidential::{self, Bound, Inside, OneTime, PureDataKey, Recipient};
use vitro_proof::crypto::SoftwareSigner;
use vitro_proof::envelope::seal;
use vitro_proof::senml::{Reading, write_pack};
use vitro_proof::{
    ContentType, Decimal, DeviceId, Envelope, Header, Kind, SensorTable, Signer, UnixMillis, crypto::sha256,
};
use zeroize::Zeroizing;

/// 2026-11-20T12:00:00Z
pub const NOON: i64 = 1_795_176_000_000;
/// Records of a message.
pub const RECORDS: usize = 10;

/// The signer of a device.
pub fn signer(name: &str) -> SoftwareSigner {
    SoftwareSigner::from_scalar(&sha256(&[name.as_bytes()]).0).expect("a digest below the order of the curve")
}

/// A table of ten sensors.
pub fn table() -> SensorTable {
    let sensors: Vec<String> =
        (0..RECORDS).map(|i| format!(r#"{{"name":"sensor-{i}","unit":"kWh","kind":"gauge"}}"#)).collect();
    serde_json::from_str(&format!(r#"{{"version":1,"sensors":[{}]}}"#, sensors.join(","))).expect("a sensor table")
}

/// A pack of ten records.
fn pack(name: &str, number: u64, time: i64) -> Vec<u8> {
    let thing: DeviceId = name.parse().expect("a device id");
    let readings: Vec<Reading> = (0..RECORDS)
        .map(|i| Reading {
            sensor: format!("sensor-{i}").parse().expect("a sensor name"),
            unit: "kWh".into(),
            value: Some(Decimal::new(30_903 + i64::try_from(number % 1000).unwrap_or(0) * 7, -4)),
        })
        .collect();
    write_pack(&thing, UnixMillis(time), &readings)
}

fn signed(name: &str, number: u64, content: ContentType, payload: &[u8]) -> Vec<u8> {
    let header = Header { kind: Kind::Telemetry, content, kid: name.into(), number };
    seal(&header, payload, &signer(name)).expect("a signature")
}

/// A signed envelope of ten records.
pub fn envelope(name: &str, number: u64, time: i64) -> Vec<u8> {
    signed(name, number, ContentType::Senml, &pack(name, number, time))
}

/// The name of the data-proxy key that [`encrypted`] encrypts for.
pub const DATA_KEY: &str = "bench-key";

fn scalar(name: &str) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(sha256(&[name.as_bytes()]).0)
}

/// The same, encrypted for the data-proxy key.
pub fn encrypted(name: &str, number: u64, time: i64) -> Vec<u8> {
    let thing: DeviceId = name.parse().expect("a device id");
    let public = PureDataKey::from_scalar(&scalar(DATA_KEY)).expect("a key").public_key();
    let recipient = Recipient::new(DATA_KEY.parse().expect("a key id"), public).expect("a point of the curve");
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&number.to_be_bytes());
    let once = OneTime::new(&scalar(&format!("{name} {number}")), nonce).expect("a key");
    let bound = Bound { thing: &thing, number };
    let payload = confidential::seal(Inside::Pack, &bound, &pack(name, number, time), &recipient, once);
    signed(name, number, ContentType::Encrypted, &payload.expect("ciphertext"))
}

/// The data-proxy key as ingest has it, from the text of its secret.
pub fn data_keys() -> KnownKeys {
    let key = StoredKey { id: DATA_KEY.parse().expect("a key id"), state: KeyState::Current, scalar: scalar(DATA_KEY) };
    let text = KeyRing { keys: vec![key] }.write().expect("a secret");
    data_keys::fixed(&text).expect("keys")
}

/// The rule event of an envelope.
pub fn body(name: &str, envelope: &[u8], received: i64) -> String {
    let topic = format!("vitro/acme/{name}/telemetry");
    let principal = sha256(&[name.as_bytes()]).to_string();
    NewRuleEvent { envelope, thing: name, topic: &topic, client: Some(name), principal: Some(&principal), received }
        .to_body()
}

/// Raw verification: aws-lc-rs alone, on a parsed key, over bytes that lie ready.
pub struct Raw {
    key: ParsedPublicKey,
    messages: Vec<(Vec<u8>, [u8; 64])>,
}

impl Raw {
    /// Takes the envelopes of one device.
    pub fn new(name: &str, envelopes: &[Vec<u8>]) -> Self {
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, signer(name).public_key().as_bytes()).expect("a key");
        let messages = envelopes.iter().map(|bytes| {
            let envelope = Envelope::parse(bytes).expect("an envelope");
            (envelope.sig_structure(), *envelope.signature())
        });
        Self { key, messages: messages.collect() }
    }

    /// Verifies all of them.
    pub fn verify(&self) {
        for (message, signature) in &self.messages {
            self.key.verify_sig(black_box(message), black_box(signature)).expect("a good signature");
        }
    }
}

/// What all threads of this process have spent on a processor, from the kernel's scheduler statistics.
pub fn cpu() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("this benchmark needs Linux's /proc");
    let spent = threads.filter_map(|thread| {
        let statistics = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        statistics.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}

/// Runs both in turns, so that whatever else the machine does meets both, and gives the medians of what `clock` measures.
pub fn in_turns(
    rounds: usize,
    clock: impl Fn() -> Duration,
    mut a: impl FnMut(),
    mut b: impl FnMut(),
) -> (Duration, Duration) {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = clock();
        a();
        let middle = clock();
        b();
        first.push(middle.saturating_sub(start));
        second.push(clock().saturating_sub(middle));
    }
    (median(first), median(second))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Whether the benchmark is only tried out.
pub fn is_test() -> bool {
    !std::env::args().any(|arg| arg == "--bench")
}

/// Microseconds.
pub fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
