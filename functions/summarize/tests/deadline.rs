//! The deadline over a registry that is larger than one invocation takes, and days by time alone.

#![allow(clippy::unwrap_used, clippy::panic)] // a failure here is a failed test

use std::collections::{BTreeMap, BTreeSet};

use vitro_cloud::archive::Archive;
use vitro_cloud::clock::FixedClock;
use vitro_cloud::data_keys::KnownKeys;
use vitro_cloud::days::DayStore;
use vitro_cloud::devices::{Device, NewDevice, Status};
use vitro_cloud::memory::{Fuse, MemoryArchive, MemoryChains, MemoryDays, MemoryDevices, MemoryOutbox, MemoryReadings};
use vitro_cloud::queue::{DayTask, DeadlineTask, SummarizeTask};
use vitro_cloud::readings::{Reading, ReadingKey};
use vitro_cloud::summaries::SummaryDocument;
use vitro_proof::crypto::SoftwareSigner;
use vitro_proof::envelope::seal;
use vitro_proof::{
    ContentType, DayBounds, DeviceId, Envelope, Header, Kind, LocalDay, SequenceNumber, Signer, UnixMillis, senml,
};
use vitro_summarize::handler::{Answer, Event};
use vitro_summarize::ports::Ports;
use vitro_summarize::summarize::Summed;

const DEADLINE_HOURS: u32 = 6;

fn signer() -> SoftwareSigner {
    SoftwareSigner::from_scalar(&[5; 32]).unwrap()
}

fn device(index: u32) -> Device {
    NewDevice {
        id: format!("dev-{index:04}").parse().unwrap(),
        replaces: None,
        public_key: signer().public_key(),
        certificate: String::new(),
        certificate_id: "cert".into(),
        enrolled_at: None,
        metering_point: "mp".into(),
        zone: "Europe/Warsaw".parse().unwrap(),
        shard: "north".into(),
        confidential: false,
        sensor_tables: serde_json::from_str(r#"[{"version":1,"sensors":[{"name":"t","unit":"Cel","kind":"gauge"}]}]"#)
            .unwrap(),
    }
    .into()
}

struct World {
    fuse: Fuse,
    days: MemoryDays,
    devices: MemoryDevices,
    readings: MemoryReadings,
    archive: MemoryArchive,
    outbox: MemoryOutbox,
    ports: Ports,
}

fn world(count: u32) -> World {
    let fuse = Fuse::default();
    let all: Vec<Device> = (0..count).map(device).collect();
    let ids: Vec<DeviceId> = all.iter().map(|device| device.id.clone()).collect();
    let days = MemoryDays::new(fuse.clone());
    let devices = MemoryDevices::new(fuse.clone(), all);
    let readings = MemoryReadings::new(fuse.clone());
    let archive = MemoryArchive::new(fuse.clone());
    let outbox = MemoryOutbox::new(fuse.clone());
    let ports = Ports {
        devices: Box::new(devices.clone()),
        readings: Box::new(readings.clone()),
        days: Box::new(days.clone()),
        chains: Box::new(MemoryChains::new(fuse.clone(), &ids)),
        archive: Box::new(archive.clone()),
        data_keys: Box::new(KnownKeys::default()),
        outbox: Box::new(outbox.clone()),
        clock: Box::new(FixedClock::new(UnixMillis(0))),
        deadline_hours: DEADLINE_HOURS,
    };
    World { fuse, days, devices, readings, archive, outbox, ports }
}

fn day() -> LocalDay {
    "2026-03-29".parse().unwrap()
}

fn bounds() -> DayBounds {
    DayBounds::of(&device(0).zone, day()).unwrap()
}

fn due() -> UnixMillis {
    UnixMillis((bounds().to + i64::from(DEADLINE_HOURS) * 3600) * 1000)
}

async fn sweep(world: &World, task: DeadlineTask) -> vitro_summarize::deadline::Swept {
    match world.ports.handle(Event::Deadline(task)).await.unwrap() {
        Answer::Deadline(swept) => swept,
        Answer::Batch(_) => panic!("an answer to something else"),
    }
}

#[tokio::test]
async fn a_large_registry_is_worked_through_in_steps() {
    let world = world(1250);
    for index in 0..1250 {
        world.days.note_seen(&device(index).id, day(), 0, 9).await.unwrap();
    }
    world.devices.put(Device { status: Status::Suspended, ..device(7) });
    let mut task = DeadlineTask { deadline: true, now: Some(due()), after: None };
    let mut closed = BTreeSet::new();
    let mut sweeps = Vec::new();
    loop {
        let swept = sweep(&world, task).await;
        sweeps.push((swept.checked, swept.closed, swept.more));
        let mut next = None;
        for (sent, _) in world.outbox.take().summarize {
            match sent {
                SummarizeTask::Day(sent) => assert!(closed.insert((sent.thing, sent.day)), "a day is sent once"),
                SummarizeTask::Deadline(rest) => next = Some(rest),
            }
        }
        let Some(rest) = next else { break };
        assert_eq!(rest.now, Some(due()), "all devices are held against one instant");
        task = rest;
    }
    assert_eq!(sweeps, [(1000, 999, true), (250, 250, false)]);
    assert_eq!(closed.len(), 1249, "all but the suspended one");
}

#[tokio::test]
async fn a_failed_sweep_is_told_and_comes_again() {
    let world = world(3);
    for index in 0..3 {
        world.days.note_seen(&device(index).id, day(), 0, 9).await.unwrap();
    }
    let task = DeadlineTask { deadline: true, now: Some(due()), after: None };
    world.fuse.set(Some(9));
    assert!(world.ports.handle(Event::Deadline(task.clone())).await.is_err());
    world.fuse.set(None);
    assert_eq!(sweep(&world, task).await.closed, 3);
}

fn store(world: &World, number: u64, time: i64) {
    let thing = device(0).id;
    let value =
        senml::Reading { sensor: "t".parse().unwrap(), unit: "Cel".into(), value: Some("21.5".parse().unwrap()) };
    let header = Header { kind: Kind::Telemetry, content: ContentType::Senml, kid: thing.to_string(), number };
    let envelope = seal(&header, &senml::write_pack(&thing, UnixMillis(time * 1000), &[value]), &signer()).unwrap();
    let leaf = Envelope::parse(&envelope).unwrap().leaf();
    world.readings.put(Reading {
        device: thing,
        key: ReadingKey::new(SequenceNumber(number), &leaf),
        envelope,
        time: Some(UnixMillis(time * 1000)),
        received: UnixMillis(time * 1000),
        flags: BTreeSet::new(),
        expires: None,
    });
}

#[tokio::test]
async fn a_device_without_any_block_has_days_by_time() {
    let world = world(1);
    let DayBounds { from, to } = bounds();
    assert_eq!((to - from) / 3600, 23, "the clocks change that day");
    let numbers = 5000..10_000u64;
    for number in numbers.clone() {
        // From the evening before to the morning after; one number was lost, one envelope has a wrong clock.
        let time = from - 3600 + i64::try_from(number - numbers.start).unwrap() * 20;
        match number {
            6000 => {}
            7000 => store(&world, number, to + 90_000),
            _ => store(&world, number, time),
        }
    }
    let first = 5000 + 3600 / 20;
    let end = first + u64::try_from(to - from).unwrap() / 20;
    world.days.note_seen(&device(0).id, day(), first, end + 50).await.unwrap();
    let task = DayTask { thing: device(0).id, day: day(), attempt: 0 };
    assert_eq!(world.ports.summarize(&task).await.unwrap(), Summed::Sent);
    let sent = world.outbox.take().reconcile.remove(0);
    assert_eq!(sent.block, None);
    let document = SummaryDocument::read(&world.archive.get(&sent.summary).await.unwrap()).unwrap();
    assert_eq!((document.day.first, document.day.count), (first, end - first));
    assert_eq!((document.day.missing.as_slice(), document.day.held), ([(6000, 6000)].as_slice(), end - first - 1));
    assert_eq!(document.chosen, BTreeMap::new());
    assert_eq!(document.day.summaries[0].flagged, 1, "the wrong clock");
}

#[tokio::test]
async fn a_silent_day_is_empty() {
    let world = world(1);
    let task = DayTask { thing: device(0).id, day: day(), attempt: 0 };
    assert_eq!(world.ports.summarize(&task).await.unwrap(), Summed::Sent);
    let sent = world.outbox.take().reconcile.remove(0);
    let document = SummaryDocument::read(&world.archive.get(&sent.summary).await.unwrap()).unwrap();
    assert_eq!((document.day.count, document.gap_count()), (0, 1));
}

#[tokio::test]
async fn a_number_far_from_all_others_costs_nothing() {
    for far in [10u64.pow(15), u64::MAX] {
        let world = world(1);
        let DayBounds { from, to } = bounds();
        for number in 0..100u64 {
            store(&world, number, from + i64::try_from(number).unwrap() * 600);
        }
        store(&world, far, from + 30_000);
        world.days.note_seen(&device(0).id, day(), 0, far).await.unwrap();
        let summed = async |expected: (u64, u64)| {
            world.fuse.set(None);
            let task = DayTask { thing: device(0).id, day: day(), attempt: 0 };
            assert_eq!(world.ports.summarize(&task).await.unwrap(), Summed::Sent);
            assert!(world.fuse.passed() < 40, "the calls do not grow with the number: {}", world.fuse.passed());
            let sent = world.outbox.take().reconcile.remove(0);
            let document = SummaryDocument::read(&world.archive.get(&sent.summary).await.unwrap()).unwrap();
            assert_eq!(
                (document.day.first, document.day.count, document.day.held),
                (expected.0, expected.1, expected.1)
            );
        };
        summed((0, 100)).await;
        if far == u64::MAX {
            // Days later, with more behind the day than is read at once.
            for number in 100..4300u64 {
                store(&world, number, to + i64::try_from(number).unwrap() * 10);
            }
            summed((0, 100)).await;
        }
    }
}
