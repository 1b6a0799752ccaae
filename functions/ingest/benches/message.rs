//! A whole message (rule event in JSON, base64, envelope, signature, leaf, records) beside raw verification by aws-lc-rs.

// A benchmark that cannot start has nothing better to do than to say so.
#![allow(clippy::expect_used)]

mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion};
use vitro_cloud::admission;
use vitro_cloud::rule_event::RuleEvent;
use vitro_proof::confidential::{self, DataKeys, NoKeys};
use vitro_proof::crypto::AwsLcKey;
use vitro_proof::{DeviceId, Kind, SensorTable, Signer, summary};

use support::{NOON, Raw, body, data_keys, encrypted, envelope, in_turns, is_test, micros, signer, table};

const DEVICE: &str = "bench-1";
/// Turns that a ratio is taken from.
const ROUNDS: usize = 400;

struct Whole {
    thing: DeviceId,
    table: SensorTable,
    key: AwsLcKey,
}

impl Whole {
    fn take_in(&self, body: String, keys: &dyn DataKeys) {
        let event = RuleEvent::parse(body).expect("a rule event");
        let envelope = admission::open(&event.envelope, Kind::Telemetry).expect("an envelope");
        let leaf = admission::verify(&envelope, &self.key).expect("a good signature");
        let pack = confidential::pack(&envelope, keys);
        let (time, faults) = summary::inspect(pack.as_deref(), &self.thing, &self.table);
        assert!(time.is_some() && faults.is_empty());
        black_box(leaf);
    }
}

fn main() {
    let envelopes: Vec<Vec<u8>> = (0..25).map(|number| envelope(DEVICE, number, NOON)).collect();
    let bodies: Vec<String> = envelopes.iter().map(|bytes| body(DEVICE, bytes, NOON)).collect();
    let raw = Raw::new(DEVICE, &envelopes);
    let whole = Whole {
        thing: DEVICE.parse().expect("a device id"),
        table: table(),
        key: AwsLcKey::new(&signer(DEVICE).public_key()).expect("a key"),
    };
    let take_in_all = |bodies: Vec<String>| bodies.into_iter().for_each(|body| whole.take_in(black_box(body), &NoKeys));
    let ciphertexts: Vec<Vec<u8>> = (0..25).map(|number| encrypted(DEVICE, number, NOON)).collect();
    let secret: Vec<String> = ciphertexts.iter().map(|bytes| body(DEVICE, bytes, NOON)).collect();
    let keys = data_keys();
    let take_in_secret =
        |bodies: Vec<String>| bodies.into_iter().for_each(|body| whole.take_in(black_box(body), &keys));
    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("raw verification of 25 messages", |b| b.iter(|| raw.verify()));
    criterion.bench_function("25 whole messages", |b| {
        b.iter_batched(|| bodies.clone(), take_in_all, BatchSize::SmallInput);
    });
    criterion.bench_function("25 whole encrypted messages", |b| {
        b.iter_batched(|| secret.clone(), take_in_secret, BatchSize::SmallInput);
    });
    criterion.final_summary();
    if is_test() {
        return;
    }
    let events: Vec<RuleEvent> =
        bodies.iter().map(|body| RuleEvent::parse(body.clone()).expect("a rule event")).collect();
    let open_all = |with_records: bool| {
        for event in &events {
            let envelope = admission::open(black_box(&event.envelope), Kind::Telemetry).expect("an envelope");
            if with_records {
                let pack = confidential::pack(&envelope, &NoKeys);
                black_box(summary::inspect(pack.as_deref(), &whole.thing, &whole.table));
            }
            black_box(&envelope);
        }
    };
    let start = Instant::now();
    let parse_all = || bodies.iter().for_each(|body| _ = black_box(RuleEvent::parse(body.clone())));
    let (event, form) = in_turns(ROUNDS, || start.elapsed(), parse_all, || open_all(false));
    let (_, records) = in_turns(ROUNDS, || start.elapsed(), || open_all(false), || open_all(true));
    println!(
        "event {:.1} us, envelope {:.1} us, records {:.1} us a message",
        micros(event) / 25.0,
        micros(form) / 25.0,
        micros(records.saturating_sub(form)) / 25.0
    );
    let compare = |what: &str, envelope: &[u8], event: &str, (verification, message): (Duration, Duration)| {
        println!(
            "{what} of {} bytes in an event of {}: raw verification {:.1} us, whole message {:.1} us, ratio {:.3}",
            envelope.len(),
            event.len(),
            micros(verification) / 25.0,
            micros(message) / 25.0,
            message.as_secs_f64() / verification.as_secs_f64()
        );
    };
    // The runtime hands the bodies over: ingest owns them, and copies none.
    let rounds = |bodies: &[String]| vec![bodies.to_vec(); ROUNDS].into_iter();
    let mut handed = rounds(&bodies);
    let next = || take_in_all(handed.next().expect("a round's bodies"));
    let clear = in_turns(ROUNDS, || start.elapsed(), || raw.verify(), next);
    compare("an envelope", &envelopes[0], &bodies[0], clear);
    let raw_secret = Raw::new(DEVICE, &ciphertexts);
    let mut handed = rounds(&secret);
    let next = || take_in_secret(handed.next().expect("a round's bodies"));
    let hidden = in_turns(ROUNDS, || start.elapsed(), || raw_secret.verify(), next);
    compare("an encrypted envelope", &ciphertexts[0], &secret[0], hidden);
}
