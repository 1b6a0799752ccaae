//! The agent in real time, on a clock of its own: midnight, restarts, a clock that is not set.
#![allow(clippy::unwrap_used, clippy::panic)] // a failure here is a failed test

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::{Authority, Device, recorded};
use tokio::sync::watch;
use tokio::time::Instant;
use vitro_device::clock::Clock;
use vitro_device::config::SendMode;
use vitro_device::input::Input;
use vitro_device::outbox::{MessageKind, Outbox};
use vitro_device::recording::Recording;
use vitro_proof::{Envelope, LocalDay, UnixMillis, senml};

/// 2026-11-22, 00:00 at the site.
const MIDNIGHT: i64 = 1_795_330_800_000;
const MINUTE: i64 = 60_000;

/// Follows tokio's clock, which a test can stop and which then jumps from timer to timer.
struct TestClock {
    base: UnixMillis,
    since: Instant,
}

impl Clock for TestClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.base.0 + i64::try_from(self.since.elapsed().as_millis()).unwrap())
    }
}

/// Lets the agent be the device from a time on, for so many minutes and a half; the broker is away.
async fn live(device: &Device, from: i64, minutes: u64) {
    let clock = Arc::new(TestClock { base: UnixMillis(from), since: Instant::now() });
    let recording = Recording::read(&recorded("csv"), &recorded("toml")).unwrap().day(None).unwrap();
    let (say, stop) = watch::channel(false);
    let agent = vitro_device::run::run(device.open(), Input::Recording(recording), clock, stop);
    let end = async {
        tokio::time::sleep(Duration::from_secs(60 * minutes + 30)).await;
        say.send_replace(true);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = agent => assert_eq!(ended.unwrap(), None),
        () = end => {}
    }
}

fn device() -> Device {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Authority::new().device(port)
}

/// The minutes after midnight at which something was measured, and the records of each.
fn measured(device: &Device) -> Vec<(i64, usize)> {
    let outbox = Outbox::inspect(&device.outbox()).unwrap();
    let count = outbox.next_number(MessageKind::Telemetry).unwrap();
    let minute = |bytes: &Vec<u8>| {
        let envelope = Envelope::parse(bytes).unwrap();
        let pack = senml::read_pack(envelope.payload(), &device.config.thing).unwrap();
        ((pack[0].clone().unwrap().time.0 - MIDNIGHT) / MINUTE, pack.len())
    };
    outbox.run(0, count).unwrap().iter().map(minute).collect()
}

fn minutes(range: std::ops::RangeInclusive<i64>) -> Vec<(i64, usize)> {
    range.map(|minute| (minute, 5)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_day_is_closed_at_midnight_and_the_next_begins() {
    let device = device();
    live(&device, MIDNIGHT + 1430 * MINUTE - 20_000, 19).await;
    assert_eq!(measured(&device), minutes(1430..=1449));
    let outbox = Outbox::inspect(&device.outbox()).unwrap();
    let days: Vec<_> = outbox.days().unwrap().into_iter().map(|b| (b.day.to_string(), b.first, b.count)).collect();
    assert_eq!(days, [("2026-11-22".to_owned(), 0, 10)]);
    let waiting: Vec<_> = outbox.waiting(0, 99).unwrap().iter().map(|m| m.kind).collect();
    assert_eq!(waiting[10], MessageKind::Block, "the block follows its envelopes and goes before the next day's");
}

#[tokio::test(start_paused = true)]
async fn what_was_not_measured_while_the_agent_was_away_is_not_made_up() {
    let device = device();
    live(&device, MIDNIGHT + 600 * MINUTE, 2).await;
    live(&device, MIDNIGHT + 610 * MINUTE + 1, 2).await;
    assert_eq!(measured(&device), [minutes(600..=602), minutes(611..=612)].concat());
}

#[tokio::test(start_paused = true)]
async fn days_that_passed_are_closed_after_a_restart() {
    let device = device();
    live(&device, MIDNIGHT + 600 * MINUTE, 1).await;
    live(&device, MIDNIGHT + 3 * 1440 * MINUTE, 1).await;
    let outbox = Outbox::inspect(&device.outbox()).unwrap();
    let days: Vec<(LocalDay, u64)> = outbox.days().unwrap().into_iter().map(|block| (block.day, block.count)).collect();
    let expected = [("2026-11-22", 2), ("2026-11-23", 0), ("2026-11-24", 0)];
    assert_eq!(days, expected.map(|(day, count)| (day.parse().unwrap(), count)));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_signed_by_a_clock_that_is_not_set() {
    let device = device();
    live(&device, MIDNIGHT + 600 * MINUTE, 1).await;
    live(&device, MIDNIGHT + 590 * MINUTE, 5).await;
    assert_eq!(measured(&device), minutes(600..=601));
    // Once the clock has caught up the agent goes on.
    live(&device, MIDNIGHT + 590 * MINUTE, 13).await;
    assert_eq!(measured(&device), minutes(600..=603));
}

#[tokio::test(start_paused = true)]
async fn on_change_says_less_and_is_never_silent_for_an_hour() {
    let mut device = device();
    device.config.sampling.send = SendMode::OnChange;
    device.save();
    live(&device, MIDNIGHT, 180).await;
    let outbox = Outbox::inspect(&device.outbox()).unwrap();
    let count = outbox.next_number(MessageKind::Telemetry).unwrap();
    let mut energy = Vec::new();
    for bytes in outbox.run(0, count).unwrap() {
        let envelope = Envelope::parse(&bytes).unwrap();
        for record in senml::read_pack(envelope.payload(), &device.config.thing).unwrap() {
            let record = record.unwrap();
            if record.sensor == "energy" {
                energy.push((record.time.0 - MIDNIGHT) / MINUTE);
            }
        }
    }
    // The register stands still at night: its reset, and then a sign of life within the hour.
    assert_eq!(energy, [0, 1, 60, 119, 178]);
}
