//! Ingest end to end in batches of 25, from the bytes of the event to the bytes of the answer, against a stub of DynamoDB: time on a
//! processor a message, beside raw verification by aws-lc-rs.
//!
//! The stub is a process of its own. What is measured is what the scheduler booked for all threads of this process, so neither the
//! stub nor waiting for it counts. Lambda's own runtime (one request and one answer a batch) is not in it.
//!
//! Two streams: one device sends at once what it kept (25 messages, 40 ms apart), and 25 devices send one message a minute each, to an
//! instance that takes them all in (its registry entries are a minute old each time, so it reads them again for every batch).

// A benchmark that cannot start has nothing better to do than to say so.
#![allow(clippy::expect_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::Credentials;
use criterion::Criterion;
use serde_json::json;
use vitro_cloud::aws;
use vitro_cloud::clock::FixedClock;
use vitro_cloud::config::Environment;
use vitro_ingest::Ingest;
use vitro_ingest::config::Config;
use vitro_ingest::store::AwsStore;
use vitro_proof::UnixMillis;

use support::stub::{Stub, serve_if_child};
use support::{NOON, Raw, body, cpu, envelope, in_turns, is_test, micros};

const BATCH: u64 = 25;
/// Batches that are made ahead; then the stream starts again with an instance that remembers nothing.
const BATCHES: u64 = 200;

/// A stream of batches as Lambda hands them over, each with the time that it comes at.
struct Stream {
    name: &'static str,
    batches: Vec<(i64, Vec<u8>)>,
}

impl Stream {
    fn new(name: &'static str, message: impl Fn(u64, u64) -> (String, u64, i64)) -> Self {
        let batches = (0..BATCHES).map(|batch| {
            let mut latest = 0;
            let records: Vec<_> = (0..BATCH)
                .map(|i| {
                    let (device, number, received) = message(batch, i);
                    latest = latest.max(received);
                    let body = body(&device, &envelope(&device, number, received - 500), received);
                    json!({ "messageId": format!("{batch}-{i}"), "receiptHandle": "x".repeat(180), "body": body,
                        "attributes": { "ApproximateReceiveCount": "1" }, "eventSource": "aws:sqs" })
                })
                .collect();
            (latest, json!({ "Records": records }).to_string().into_bytes())
        });
        Self { name, batches: batches.collect() }
    }
}

/// A function instance that takes a stream in, batch after batch.
struct Instance<'a> {
    runtime: tokio::runtime::Runtime,
    sdk: SdkConfig,
    clock: Arc<FixedClock>,
    ingest: Ingest<AwsStore, Arc<FixedClock>>,
    stream: &'a Stream,
    next: usize,
}

impl<'a> Instance<'a> {
    fn new(stub: &Stub, stream: &'a Stream) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .endpoint_url(&stub.endpoint)
            .credentials_provider(Credentials::new("id", "secret", None, None, "benchmark"));
        let sdk = runtime.block_on(aws::bounded(loader).load());
        let clock = Arc::new(FixedClock::new(UnixMillis(0)));
        let ingest = Ingest::new(AwsStore::new(&sdk, &config()), Arc::clone(&clock), &config());
        Self { runtime, sdk, clock, ingest, stream, next: 0 }
    }

    /// Takes so many batches in.
    fn take_in(&mut self, batches: usize) {
        for _ in 0..batches {
            if self.next == self.stream.batches.len() {
                self.next = 0;
                // The connections are the configuration's, and stay.
                let store = AwsStore::new(&self.sdk, &config());
                self.ingest = Ingest::new(store, Arc::clone(&self.clock), &config());
            }
            let (now, bytes) = &self.stream.batches[self.next];
            self.next += 1;
            self.clock.set(UnixMillis(*now));
            let event = serde_json::from_slice(bytes).expect("an event");
            let (response, metrics) = self.runtime.block_on(self.ingest.handle(event));
            assert!(response.is_done() && !metrics.render(UnixMillis(0)).is_empty());
            assert!(serde_json::to_vec(&response).is_ok());
        }
    }
}

fn config() -> Config {
    Config::read(&Environment::of(&[
        ("VITRO_CUSTOMER", "acme"),
        ("VITRO_STAGE", "bench"),
        ("VITRO_READINGS_TABLE", "readings"),
        ("VITRO_DEVICES_TABLE", "devices"),
        ("VITRO_DAYS_TABLE", "days"),
        ("VITRO_PARKED_TABLE", "parked"),
        ("VITRO_QUARANTINE_BUCKET", "quarantine"),
        ("VITRO_ARCHIVE_BUCKET", "archive-bucket"),
        ("VITRO_STATUS_QUEUE_URL", "status-queue-url"),
        ("VITRO_DATA_KEYS_SECRET", "data-keys-secret"),
    ]))
    .expect("the settings")
}

fn main() {
    serve_if_child();
    let stub = Stub::start();
    let at = |batch: u64, millis: u64| NOON + i64::try_from(batch * millis).unwrap_or(i64::MAX);
    let streams = [
        Stream::new("one device, 25 messages at once", |batch, i| {
            let number = batch * BATCH + i;
            ("bench-1".into(), number, at(number, 40))
        }),
        Stream::new("25 devices, a message a minute each", |batch, i| {
            (format!("bench-{i}"), batch, at(batch, 60_000) + i64::try_from(i).unwrap_or(0))
        }),
    ];
    let envelopes: Vec<Vec<u8>> = (0..BATCH).map(|number| envelope("bench-1", number, NOON)).collect();
    let raw = Raw::new("bench-1", &envelopes);
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    criterion.bench_function("raw verification of 25 messages, processor time", |b| {
        b.iter_custom(|count| spent(|| (0..count).for_each(|_| raw.verify())));
    });
    for stream in &streams {
        let mut instance = Instance::new(&stub, stream);
        criterion.bench_function(&format!("batch of 25, {}, processor time", stream.name), |b| {
            b.iter_custom(|count| spent(|| instance.take_in(usize::try_from(count).unwrap_or(usize::MAX))));
        });
    }
    criterion.final_summary();
    if is_test() {
        return;
    }
    for stream in &streams {
        let mut instance = Instance::new(&stub, stream);
        let count = 40;
        let raw_count = || (0..count).for_each(|_| raw.verify());
        let (verification, ingest) = in_turns(20, cpu, raw_count, || instance.take_in(count));
        let messages = 25.0 * f64::from(u32::try_from(count).unwrap_or(1));
        println!(
            "{}: raw verification {:.1} us, ingest {:.1} us of processor time a message, ratio {:.3}",
            stream.name,
            micros(verification) / messages,
            micros(ingest) / messages,
            ingest.as_secs_f64() / verification.as_secs_f64()
        );
    }
}

fn spent(work: impl FnOnce()) -> Duration {
    let start = cpu();
    work();
    cpu().saturating_sub(start)
}
