use std::sync::Mutex;

use vitro_cloud::clock::FixedClock;
use vitro_cloud::devices::{Cause, NewDevice, Status};
use vitro_cloud::memory::{Fuse, MemoryArchive, MemoryDevices, MemoryHours, MemoryOutbox};
use vitro_cloud::readings::ReadingKey;
use vitro_contract::LastValue;
use vitro_proof::crypto::SoftwareSigner;
use vitro_proof::envelope::seal;
use vitro_proof::senml::{Reading as Measured, write_pack};
use vitro_proof::{ContentType, Envelope, Header, Kind, SequenceNumber, Signer};

use super::*;

/// An hour that is over, by its first second.
const HOUR: i64 = 1_768_000_000 / 3600 * 3600;
/// Five minutes after its end.
const NOW: UnixMillis = UnixMillis((HOUR + 3600 + 300) * 1000);
const LATER: UnixMillis = UnixMillis(NOW.0 + 600_000);

#[derive(Default)]
struct Series {
    fuse: Fuse,
    readings: Mutex<Vec<Reading>>,
    /// Of these devices something cannot be read.
    damaged: Mutex<Vec<DeviceId>>,
}

#[async_trait]
impl Heard for std::sync::Arc<Series> {
    async fn up_to(&self, device: &DeviceId, at: UnixMillis, limit: usize) -> Result<Vec<Reading>, CloudError> {
        self.fuse.point()?;
        if self.damaged.lock().unwrap().contains(device) {
            return Err(CloudError::damaged("a reading", "its envelope cannot be read"));
        }
        let mut found = self.readings.lock().unwrap().clone();
        found.retain(|reading| reading.device == *device && reading.received <= at);
        found.sort_by_key(|reading| std::cmp::Reverse(reading.key));
        found.truncate(limit);
        Ok(found)
    }
}

fn signer() -> SoftwareSigner {
    SoftwareSigner::from_scalar(&[5; 32]).unwrap()
}

fn device(name: &str, shard: &str) -> Device {
    let tables = r#"[{"version":1,"sensors":[{"name":"energy","unit":"kWh","kind":"counter"},
        {"name":"temp","unit":"Cel","kind":"gauge"}]}]"#;
    NewDevice {
        id: name.parse().unwrap(),
        replaces: None,
        public_key: signer().public_key(),
        certificate: "PEM".into(),
        certificate_id: "cert".into(),
        enrolled_at: Some(UnixMillis((HOUR - 30 * 86_400) * 1000)),
        metering_point: format!("mp-{name}"),
        zone: "Etc/UTC".parse().unwrap(),
        shard: shard.into(),
        confidential: false,
        sensor_tables: serde_json::from_str(tables).unwrap(),
    }
    .into()
}

/// A stored reading, received so many seconds after the beginning of the hour.
fn reading(name: &str, number: u64, received: i64, values: &[(&str, &str, Option<&str>)]) -> Reading {
    let thing: DeviceId = name.parse().unwrap();
    let measured: Vec<Measured> = values
        .iter()
        .map(|(sensor, unit, value)| Measured {
            sensor: sensor.parse().unwrap(),
            unit: (*unit).into(),
            value: value.map(|value| value.parse().unwrap()),
        })
        .collect();
    let pack = write_pack(&thing, UnixMillis((HOUR + received) * 1000), &measured);
    let header = Header { kind: Kind::Telemetry, content: ContentType::Senml, kid: name.into(), number };
    let envelope = seal(&header, &pack, &signer()).unwrap();
    Reading {
        device: thing,
        key: ReadingKey::new(SequenceNumber(number), &Envelope::parse(&envelope).unwrap().leaf()),
        envelope,
        time: None,
        received: UnixMillis((HOUR + received) * 1000),
        flags: std::collections::BTreeSet::new(),
        expires: None,
    }
}

struct World {
    fuse: Fuse,
    series: std::sync::Arc<Series>,
    devices: MemoryDevices,
    rows: MemoryHours,
    archive: MemoryArchive,
    outbox: MemoryOutbox,
    clock: std::sync::Arc<FixedClock>,
    hours: Hours,
}

fn world(devices: &[Device]) -> World {
    let fuse = Fuse::default();
    let series = std::sync::Arc::new(Series { fuse: fuse.clone(), ..Series::default() });
    let devices = MemoryDevices::new(fuse.clone(), devices.iter().cloned());
    let rows = MemoryHours::new(fuse.clone());
    let archive = MemoryArchive::new(fuse.clone());
    let outbox = MemoryOutbox::new(fuse.clone());
    let clock = std::sync::Arc::new(FixedClock::new(NOW));
    let hours = Hours {
        devices: Box::new(devices.clone()),
        readings: Box::new(series.clone()),
        hours: Box::new(rows.clone()),
        archive: Box::new(archive.clone()),
        outbox: Box::new(outbox.clone()),
        clock: Box::new(clock.clone()),
    };
    World { fuse, series, devices, rows, archive, outbox, clock, hours }
}

impl World {
    fn heard(&self, readings: impl IntoIterator<Item = Reading>) {
        self.series.readings.lock().unwrap().extend(readings);
    }

    async fn look(&self, back: u32) -> Looked {
        self.hours.look(NOW, back, UnixMillis(NOW.0 + 300_000)).await.unwrap()
    }

    fn signs(&self, shard: &str, hour: i64) -> Vec<SignOfLife> {
        Vec::decode(&self.archive.newest()[&alive_key(shard, hour)]).unwrap()
    }

    fn handed_on(&self) -> Vec<(String, i64)> {
        let sent = self.outbox.take().publish;
        sent.into_iter()
            .map(|task| match task {
                PublishTask::Hour(hour) => (hour.shard, hour.hour),
                other => panic!("{other:?}"),
            })
            .collect()
    }
}

const BOTH: &[(&str, &str, Option<&str>)] = &[("energy", "kWh", Some("12.5")), ("temp", "Cel", Some("0"))];

#[tokio::test]
async fn an_hour_says_who_showed_life() {
    let world = world(&["dev-3", "dev-1", "dev-2"].map(|name| device(name, "west")));
    world.heard([
        reading("dev-1", 7, 100, BOTH),
        // In the last minute of the hour, exactly at its end, and after it.
        reading("dev-1", 8, 3599, &[("energy", "kWh", Some("13")), ("temp", "Cel", None)]),
        reading("dev-1", 9, 3601, BOTH),
        // Exactly sixty minutes are fine, one second more is not.
        reading("dev-2", 3, 0, BOTH),
        reading("dev-3", 5, -1, BOTH),
    ]);
    let looked = world.look(1).await;
    let found = Found { shard: "west".into(), hour: HOUR, alive: 2, silent: 1 };
    assert_eq!((&looked.found, looked.again, looked.unsaid), (&vec![found], 0, 0));
    let signs = world.signs("west", HOUR);
    let told: Vec<_> = signs.iter().map(|sign| (sign.thing.as_str(), sign.alive, sign.number)).collect();
    assert_eq!(told, [("dev-1", true, Some(8)), ("dev-2", true, Some(3)), ("dev-3", false, Some(5))]);
    assert_eq!(signs[0].heard, Some((HOUR + 3599) * 1000));
    let value = |sensor: &str, unit: &str, value: Option<&str>| LastValue {
        sensor: sensor.parse().unwrap(),
        unit: unit.into(),
        value: value.map(|value| value.parse().unwrap()),
    };
    // Marked missing is said, and 0 is a value.
    assert_eq!(signs[0].values, [value("energy", "kWh", Some("13")), value("temp", "Cel", None)]);
    assert_eq!(signs[1].values, [value("energy", "kWh", Some("12.5")), value("temp", "Cel", Some("0"))]);
    let row = &world.rows.rows()[0];
    let alive = Alive::of("west".parse().unwrap(), Hour::beginning(HOUR).unwrap(), &signs).unwrap();
    assert_eq!((row.root, row.alive, row.silent, row.is_open()), (alive.root, 2, 1, true));
    assert_eq!(world.handed_on(), [("west".to_owned(), HOUR)]);
}

#[tokio::test]
async fn a_second_look_changes_nothing() {
    let world = world(&[device("dev-1", "west")]);
    world.heard([reading("dev-1", 7, 100, BOTH)]);
    world.look(1).await;
    let (rows, objects) = (world.rows.rows(), world.archive.newest());
    let _ = world.outbox.take();
    // What came in since, with an older number as well, is not part of what was said.
    world.heard([reading("dev-1", 6, 50, BOTH)]);
    assert_eq!(world.look(1).await, Looked { now: NOW.0, ..Looked::default() });
    assert_eq!((world.rows.rows(), world.archive.newest()), (rows, objects));
    assert!(world.handed_on().is_empty());
}

#[tokio::test]
async fn an_hour_that_stays_unsaid_is_handed_on_again_and_told() {
    let world = world(&[device("dev-1", "west")]);
    world.look(1).await;
    let _ = world.outbox.take();
    let later = UnixMillis(NOW.0 + 3_600_000);
    world.clock.set(later);
    let look = || async { world.hours.look(later, 2, UnixMillis(i64::MAX)).await.unwrap() };
    let looked = look().await;
    assert_eq!((looked.found.len(), looked.again, looked.unsaid), (1, 1, 1));
    assert_eq!(world.handed_on(), [("west".to_owned(), HOUR + 3600), ("west".to_owned(), HOUR)]);
    // Of one that the ledger refuses an operator decides.
    world.rows.park("west", HOUR, "hour_taken").await.unwrap();
    let looked = look().await;
    assert_eq!((looked.again, looked.unsaid), (0, 1));
    world.rows.said("west", HOUR, "tx").await.unwrap();
    assert_eq!(look().await.unsaid, 0);
}

#[tokio::test]
async fn hours_that_were_missed_are_found_by_what_was_received_then() {
    let world = world(&[device("dev-1", "west"), device("dev-2", "east")]);
    world.heard((0..200).map(|n| reading("dev-1", n, i64::try_from(n).unwrap() * 60 - 7200, BOTH)));
    let looked = world.look(3).await;
    let told: Vec<_> = looked.found.iter().map(|found| (found.shard.as_str(), found.hour, found.alive)).collect();
    let expected = [0, 1, 2].map(|back| HOUR - back * 3600).into_iter();
    assert_eq!(told, expected.flat_map(|hour| [("east", hour, 0), ("west", hour, 1)]).collect::<Vec<_>>());
    // Each by the readings of its own time.
    let last = |hour: i64| world.signs("west", hour)[0].number;
    assert_eq!([0, 1, 2].map(|back| last(HOUR - back * 3600)), [Some(180), Some(120), Some(60)]);
    // Nothing is said of an hour that is not over for long.
    let early = UnixMillis((HOUR + 3600 + 60) * 1000);
    assert!(world.hours.look(early, 1, LATER).await.unwrap().found.is_empty());
}

#[tokio::test]
async fn only_devices_that_were_there_and_active_count() {
    let at = |seconds: i64| Some(UnixMillis((HOUR + seconds) * 1000));
    let halted = |name: &str, shard: &str, status: Status, from: i64| {
        let cause = Some(Cause::Operator);
        Device { status, suspended_at: at(from), cause, ..device(name, shard) }
    };
    let new = |name: &str, shard: &str, seconds: i64| Device { enrolled_at: at(seconds), ..device(name, shard) };
    let world = world(&[
        device("active", "west"),
        halted("suspended", "west", Status::Suspended, 3600),
        halted("suspended-later", "west", Status::Suspended, 3700),
        halted("retired", "west", Status::Retired, 100),
        halted("retired-later", "west", Status::Retired, 3601),
        new("new", "west", 3600),
        new("newer", "west", 3601),
        // Whose devices are all suspended still has an hour; whose are all gone, or not there yet, has none.
        halted("s", "halted", Status::Suspended, 0),
        halted("r", "gone", Status::Retired, 0),
        new("n", "to-come", 3601),
    ]);
    let looked = world.look(1).await;
    let shards: Vec<_> = looked.found.iter().map(|found| (found.shard.as_str(), found.alive, found.silent)).collect();
    assert_eq!(shards, [("halted", 0, 0), ("west", 0, 4)]);
    let names: Vec<_> = world.signs("west", HOUR).into_iter().map(|sign| sign.thing.to_string()).collect();
    assert_eq!(names, ["active", "new", "retired-later", "suspended-later"]);
    assert!(world.signs("halted", HOUR).is_empty());
    // A device that was never heard of is silent, and said to be so.
    let silent = &world.signs("west", HOUR)[0];
    assert_eq!((silent.alive, silent.number, silent.heard, silent.values.len()), (false, None, None, 0));
}

#[tokio::test]
async fn values_that_are_not_to_be_read_are_not_said() {
    let world = world(&[Device { confidential: true, ..device("dev-1", "west") }, device("dev-2", "west")]);
    world.heard([
        reading("dev-1", 1, 10, BOTH),
        // A sensor that is not in the table, and a unit that is another.
        reading("dev-2", 1, 10, &[("energy", "MWh", Some("1")), ("other", "V", Some("1")), ("temp", "Cel", Some("3"))]),
    ]);
    world.look(1).await;
    let signs = world.signs("west", HOUR);
    assert!(signs[0].alive && signs[0].values.is_empty());
    assert_eq!(signs[1].values.iter().map(|last| last.sensor.as_str()).collect::<Vec<_>>(), ["temp"]);
}

#[tokio::test]
async fn a_sensor_that_is_sent_rarely_is_looked_for_further_back() {
    let world = world(&[device("dev-1", "west")]);
    world.heard([reading("dev-1", 0, 60, BOTH)]);
    world.heard(
        (1..40).map(|n| reading("dev-1", n, 60 + i64::try_from(n).unwrap() * 60, &[("temp", "Cel", Some("20"))])),
    );
    world.look(1).await;
    let values = world.signs("west", HOUR)[0].values.clone();
    assert_eq!(values.iter().map(|last| last.sensor.as_str()).collect::<Vec<_>>(), ["energy", "temp"]);
}

#[tokio::test]
async fn no_hour_is_begun_when_the_time_is_over() {
    let world = world(&[device("dev-1", "west")]);
    let looked = world.hours.look(NOW, 3, UnixMillis(NOW.0 + 30_000)).await.unwrap();
    assert_eq!((looked.found.len(), looked.unsaid), (0, 3));
    assert!(world.archive.newest().is_empty());
    assert_eq!(world.look(3).await.found.len(), 3);
}

#[tokio::test]
async fn what_is_damaged_holds_up_no_other_hour_or_shard() {
    let world = world(&[device("dev-1", "east"), device("dev-2", "north"), device("dev-3", "west")]);
    world.heard([reading("dev-2", 1, 10, BOTH), reading("dev-3", 1, 10, BOTH)]);
    // A reading of the first shard's device, and what is archived of an hour of the second one.
    world.series.damaged.lock().unwrap().push("dev-1".parse().unwrap());
    world.archive.put_once(&alive_key("north", HOUR), b"nonsense".to_vec(), CBOR).await.unwrap();
    let looked = world.look(2).await;
    let found: Vec<_> = looked.found.iter().map(|found| (found.shard.as_str(), found.hour)).collect();
    assert_eq!(found, [("west", HOUR), ("north", HOUR - 3600), ("west", HOUR - 3600)]);
    let failed: Vec<_> = looked.failed.iter().map(|failed| (failed.shard.as_str(), failed.hour)).collect();
    assert_eq!(failed, [("east", Some(HOUR)), ("north", Some(HOUR)), ("east", Some(HOUR - 3600))]);
    assert_eq!((looked.unsaid, looked.is_to_come_again()), (3, false), "told, and nothing that helps itself");
    assert!(looked.failed[0].error.contains("its envelope cannot be read"), "{:?}", looked.failed[0]);
    assert_eq!(world.handed_on().len(), 3);
    // Mended, it is said with the next look.
    world.series.damaged.lock().unwrap().clear();
    let looked = world.look(2).await;
    assert_eq!((looked.found.len(), looked.failed.len(), looked.unsaid), (2, 1, 1));
}

#[tokio::test]
async fn what_fails_and_may_go_better_is_told_and_comes_again() {
    for limit in 2.. {
        let world = world(&[device("dev-1", "east"), device("dev-2", "west")]);
        world.fuse.set(Some(limit));
        let looked = world.look(2).await;
        world.fuse.set(None);
        if looked.failed.is_empty() {
            assert_eq!((looked.found.len(), looked.unsaid, looked.is_to_come_again()), (4, 0, false));
            return;
        }
        assert!(looked.is_to_come_again());
        // Whatever is not handed on is counted.
        assert_eq!(looked.found.len() as u64 + looked.unsaid, 4, "{limit}: {looked:?}");
        assert_eq!(world.look(2).await.failed, []);
    }
}

#[tokio::test]
async fn a_kill_at_any_point_ends_with_one_word() {
    for limit in 0.. {
        let world = world(&[device("dev-1", "west"), device("dev-2", "west")]);
        world.heard([reading("dev-1", 7, 100, BOTH)]);
        world.fuse.set(Some(limit));
        let survived = world.hours.look(NOW, 1, LATER).await.is_ok_and(|looked| looked.failed.is_empty());
        world.fuse.set(None);
        let archived = world.archive.newest();
        // What comes meanwhile, and whoever leaves, changes nothing of what was archived.
        world.heard([reading("dev-2", 1, 200, BOTH)]);
        world.devices.put(Device {
            status: Status::Retired,
            suspended_at: Some(UnixMillis(0)),
            ..device("dev-1", "west")
        });
        let later = UnixMillis(NOW.0 + 3_600_000);
        let handed_on = world.handed_on();
        world.hours.look(later, 2, UnixMillis(i64::MAX)).await.unwrap();
        if !archived.is_empty() {
            assert_eq!(world.archive.newest()[&alive_key("west", HOUR)], archived[&alive_key("west", HOUR)]);
        }
        let rows = world.rows.rows();
        let signs = world.signs("west", HOUR);
        assert_eq!(
            rows[0].root,
            Alive::of("west".parse().unwrap(), Hour::beginning(HOUR).unwrap(), &signs).unwrap().root
        );
        let told = handed_on.into_iter().chain(world.handed_on()).filter(|(_, hour)| *hour == HOUR).count();
        assert!(told >= 1, "{limit}: it is handed on at last");
        if survived {
            assert!(limit > 8);
            return;
        }
    }
}

#[tokio::test]
async fn a_shard_of_ten_thousand_devices_is_found_in_one_look() {
    let devices: Vec<Device> = (0..10_000).map(|n| device(&format!("dev-{n:05}"), "west")).collect();
    let world = world(&devices);
    let looked = world.look(1).await;
    assert_eq!((looked.found[0].alive, looked.found[0].silent), (0, 10_000));
    assert_eq!(world.signs("west", HOUR).len(), 10_000);
}
