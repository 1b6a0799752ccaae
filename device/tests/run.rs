//! The agent in real time, on a clock of its own: midnight, restarts, a clock that is not set.
#![allow(clippy::unwrap_used, clippy::panic)] // a failure here is a failed test

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use support::{Authority, Broker, Device, Reaction, recorded};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use vitro_device::clock::Clock;
use vitro_device::config::SendMode;
use vitro_device::input::Input;
use vitro_device::input::lines::{Counts, GRACE};
use vitro_device::outbox::{MessageKind, Outbox};
use vitro_device::recording::Recording;
use vitro_proof::{Envelope, LocalDay, UnixMillis, senml};

/// 2026-11-22, 00:00 at the site.
const MIDNIGHT: i64 = 1_795_330_800_000;
const MINUTE: i64 = 60_000;

/// Follows tokio's clock, which a test can stop and which then jumps from timer to timer.
struct TestClock {
    base: AtomicI64,
    since: Instant,
}

impl Clock for TestClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.base.load(Ordering::Relaxed) + i64::try_from(self.since.elapsed().as_millis()).unwrap())
    }
}

/// Lets the agent be the device from a time on, for so many minutes and a half; the broker is away.
async fn live(device: &Device, from: i64, minutes: u64) {
    live_by(device, &clock(from), minutes).await;
}

fn clock(from: i64) -> Arc<TestClock> {
    Arc::new(TestClock { base: from.into(), since: Instant::now() })
}

async fn live_by(device: &Device, clock: &Arc<TestClock>, minutes: u64) {
    let recording = Recording::read(&recorded("csv"), &recorded("toml")).unwrap().day(None).unwrap();
    let (say, stop) = watch::channel(false);
    let agent = vitro_device::run::run(device.open(), Input::Recording(recording), clock.clone(), stop);
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

/// One that was never set stands at 1970; the test's certificates begin in 1975.
#[tokio::test(start_paused = true)]
async fn a_clock_that_was_never_set_signs_nothing_and_a_leap_is_held() {
    let device = device();
    live(&device, 5 * MINUTE, 30).await;
    assert!(Outbox::inspect(&device.outbox()).unwrap().ends().unwrap().is_none());

    // Three years ahead for eight minutes: nothing is said, no day is closed, and then it goes on as if nothing had been.
    let clock = clock(MIDNIGHT + 600 * MINUTE);
    let leap = 3 * 365 * 1440 * MINUTE;
    let wrong = async {
        tokio::time::sleep(Duration::from_secs(150)).await;
        clock.base.fetch_add(leap, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(480)).await;
        clock.base.fetch_sub(leap, Ordering::Relaxed);
    };
    tokio::join!(live_by(&device, &clock, 15), wrong);
    assert_eq!(measured(&device), [minutes(600..=602), minutes(610..=615)].concat());
    assert_eq!(Outbox::inspect(&device.outbox()).unwrap().days().unwrap(), []);
}

/// Runs on lines that come as the test says; gives what became of them, which is told when the lines end and all is sent.
async fn lines(device: &Device, from: i64, text: &[String]) -> Counts {
    let (sender, pieces) = mpsc::channel(1);
    let text = text.concat();
    tokio::spawn(async move {
        for piece in text.as_bytes().chunks(100) {
            if sender.send(Ok(piece.to_vec())).await.is_err() {
                return;
            }
        }
    });
    let (_say, stop) = watch::channel(false);
    let end = vitro_device::run::run(device.open(), Input::Lines(pieces), clock(from), stop);
    end.await.unwrap().unwrap()
}

fn line(minute: i64, energy: &str) -> String {
    let time = jiff::Timestamp::from_millisecond(MIDNIGHT + minute * MINUTE).unwrap();
    format!("{{\"time\": \"{time}\", \"values\": {{\"energy\": {energy}, \"temperature-2m\": null}}}}\n")
}

#[tokio::test]
async fn lines_are_signed_in_their_order_and_bad_ones_are_counted() {
    let authority = Authority::new();
    let broker = Broker::start(&authority, |_| Reaction::Acknowledge);
    let device = authority.device(broker.port);
    let text = [
        line(-10, "1"),
        line(0, "2.000000000001"),
        "nonsense\n".to_owned(),
        line(1, "3"),
        line(1, "4"),
        line(0, "5"),
        "\n".to_owned(),
        line(9999, "6"),
        line(2, "\"n/a\""),
        line(3, "7").trim_end().to_owned(),
    ];
    let counts = lines(&device, MIDNIGHT + 5 * MINUTE, &text).await;
    assert_eq!(counts, Counts { lines: 9, stored: 4, unchanged: 0, refused: 5 });
    // The day before was closed by the first line of this one; this one is still open.
    assert_eq!(measured(&device), [(-10, 2), (0, 2), (1, 2), (3, 2)]);
    let outbox = Outbox::inspect(&device.outbox()).unwrap();
    let days: Vec<_> = outbox.days().unwrap().into_iter().map(|block| (block.first, block.count)).collect();
    assert_eq!((days, outbox.unacknowledged().unwrap()), (vec![(0, 1)], 0));
    assert_eq!((broker.of("telemetry").len(), broker.of("block").len()), (4, 1));
    let envelope = outbox.message(MessageKind::Telemetry, 1).unwrap().unwrap();
    let pack = senml::read_pack(Envelope::parse(&envelope).unwrap().payload(), &device.config.thing).unwrap();
    let shown = format!("{pack:?}");
    assert!(shown.contains("2.000000000001"), "{shown}");
    // After a restart old lines are refused, and days that are over are closed at the end of the input.
    let counts = lines(&device, MIDNIGHT + 1450 * MINUTE, &[line(2, "8"), line(1439, "9")]).await;
    assert_eq!(counts, Counts { lines: 2, stored: 1, unchanged: 0, refused: 1 });
    assert_eq!(broker.of("block").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_day_of_lines_is_closed_a_little_after_its_end() {
    let device = device();
    let (sender, pieces) = mpsc::channel(1);
    let (say, stop) = watch::channel(false);
    let start = MIDNIGHT + 1438 * MINUTE;
    let agent = vitro_device::run::run(device.open(), Input::Lines(pieces), clock(start), stop);
    let closed = || Outbox::inspect(&device.outbox()).unwrap().days().unwrap().len();
    let test = async {
        sender.send(Ok(line(1438, "1").into_bytes())).await.unwrap();
        tokio::time::sleep(Duration::from_secs(125)).await;
        // Late, and still of the day.
        sender.send(Ok(line(1439, "2").into_bytes())).await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!((closed(), measured(&device).len()), (0, 2));
        tokio::time::sleep(GRACE).await;
        assert_eq!(closed(), 1);
        sender.send(Ok(line(1439, "3").into_bytes())).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        say.send_replace(true);
    };
    let (ended, ()) = tokio::join!(agent, test);
    assert_eq!(ended.unwrap(), None, "it was stopped");
    assert_eq!(measured(&device).len(), 2);
}
