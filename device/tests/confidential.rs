//! The built program with confidential telemetry: what it sends hides the readings, and says the same day to who has the key.
#![allow(clippy::unwrap_used, clippy::panic)] // a failure here is a failed test

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use support::{Authority, Broker, DAY, Device, Reaction, THING, recorded, verifier, wait};
use vitro_device::DeviceFolder;
use vitro_device::agent::Agent;
use vitro_device::config::{Confidential, DataProxyKey, DataProxyKeys};
use vitro_device::outbox::{MessageKind, Outbox};
use vitro_proof::block::ReceivedBlock;
use vitro_proof::confidential::{PureDataKey, recipient};
use vitro_proof::reconcile::{CloudDay, Comparison, DayFrame, Stored, compare};
use vitro_proof::senml::Reading;
use vitro_proof::{ContentType, DataKeyId, DayBounds, DeviceId, Envelope, SequenceNumber, UnixMillis};
use zeroize::Zeroizing;

/// A poll every quarter of an hour from midnight to midnight: the one that ends the day takes its last sample.
const COUNT: u64 = 97;

fn key(of: u8) -> PureDataKey {
    PureDataKey::from_scalar(&Zeroizing::new([of; 32])).unwrap()
}

fn keys() -> BTreeMap<DataKeyId, PureDataKey> {
    [7, 8].into_iter().map(|of| (format!("key-{of}").parse().unwrap(), key(of))).collect()
}

/// Puts a data-proxy key into the device's folder, as `vitro device keys` does.
fn give(device: &Device, of: u8) {
    let current = DataProxyKey { id: format!("key-{of}").parse().unwrap(), public_key: key(of).public_key() };
    let (file, staged) = (device.path().join("data-proxy-keys.json"), device.path().join("data-proxy-keys.tmp"));
    std::fs::write(&staged, serde_json::to_string(&DataProxyKeys { current }).unwrap()).unwrap();
    std::fs::rename(staged, file).unwrap();
}

fn confidential(authority: &Authority, broker: &Broker) -> Device {
    let mut device = authority.device(broker.port);
    device.config.confidential = Some(Confidential::default());
    device.config.sampling.poll_interval_seconds = 900;
    device.save();
    give(&device, 7);
    device
}

fn program(device: &Device, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitro-device"));
    command.arg("--folder").arg(device.path()).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn replay(device: &Device, rate: &str) -> Command {
    let mut command = program(device, &["replay", "--day", DAY, "--rate", rate, "--deadline", "60"]);
    command.arg("--recording").arg(recorded("csv"));
    command
}

fn done(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// What came hides the readings, is what is stored, and gives the cloud the day that the device signed.
fn assert_day(device: &Device, broker: &Broker) {
    let thing: DeviceId = THING.parse().unwrap();
    let stored = Outbox::inspect(&device.outbox()).unwrap().run(0, COUNT).unwrap();
    let mut came: Vec<Vec<u8>> = broker.of("telemetry").into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    came.sort_by_key(|bytes| Envelope::parse(bytes).unwrap().header().number);
    assert!(came == stored, "what came is not what is stored");
    for bytes in &stored {
        let envelope = Envelope::parse(bytes).unwrap();
        envelope.verify(&verifier()).unwrap();
        assert_eq!(envelope.header().content, ContentType::Encrypted);
        assert!(!holds(bytes, b"energy") && !holds(bytes, b"kWh"));
    }
    let block = broker.of("block").pop().unwrap();
    assert!(!holds(&block, b"energy"));
    let message = ReceivedBlock::decode(&block).unwrap().reveal(&thing, &verifier(), &keys()).unwrap();
    let opened = message.open(&thing, &verifier()).unwrap();
    let (zone, day) = (device.config.zone.clone(), DAY.parse().unwrap());
    let frame = DayFrame {
        thing: &thing,
        day,
        bounds: DayBounds::of(&zone, day).unwrap(),
        first: 0,
        count: COUNT,
        table: &device.open().sensor_table().unwrap(),
        openings: &BTreeMap::new(),
    };
    let envelopes = (0..).zip(&stored).map(|(number, envelope)| Stored { number: SequenceNumber(number), envelope });
    assert_eq!(compare(&opened, &CloudDay::compute(&frame, envelopes, &keys()).unwrap()), Comparison::Agrees);
    // The device's own word for it, from what it keeps in clear.
    let output = program(device, &["block", DAY]).output().unwrap();
    done(&output);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["summaries"], serde_json::to_value(&opened.summaries).unwrap());
}

#[test]
fn a_confidential_day_says_the_same_to_who_has_the_key() {
    let authority = Authority::new();
    let broker = Broker::start(&authority, |_| Reaction::Acknowledge);
    let device = confidential(&authority, &broker);
    done(&replay(&device, "5000/s").output().unwrap());
    assert_day(&device, &broker);
}

#[test]
fn a_kill_in_mid_day_changes_nothing_of_it() {
    let authority = Authority::new();
    let broker = Broker::start(&authority, |_| Reaction::Acknowledge);
    let device = confidential(&authority, &broker);
    let mut running = replay(&device, "5000/s").spawn().unwrap();
    wait("messages", || broker.of("telemetry").len() > 30);
    running.kill().unwrap();
    running.wait().unwrap();
    done(&replay(&device, "5000/s").output().unwrap());
    assert_day(&device, &broker);
    let outbox = Outbox::inspect(&device.outbox()).unwrap();
    assert!(outbox.clear(MessageKind::Block, 0).unwrap().is_some());
}

#[test]
fn a_running_agent_goes_on_with_the_key_of_a_changed_file() {
    let authority = Authority::new();
    let broker = Broker::start(&authority, |_| Reaction::Acknowledge);
    let device = confidential(&authority, &broker);
    let file = device.path().join("data-proxy-keys.json");
    let mut agent = Agent::open(&DeviceFolder::open(device.path()).unwrap()).unwrap();
    // Files that are written within one tick of the file system's clock would look alike.
    let mut time = std::fs::metadata(&file).unwrap().modified().unwrap();
    let mut at = |content: Option<u8>| {
        match content {
            Some(of) => give(&device, of),
            None => std::fs::write(&file, "{").unwrap(),
        }
        time += Duration::from_secs(1);
        std::fs::File::options().append(true).open(&file).unwrap().set_modified(time).unwrap();
    };
    let mut record = |minute: i64| {
        let reading = Reading { sensor: "energy".parse().unwrap(), unit: "kWh".into(), value: None };
        let number = agent.record(UnixMillis(1_795_350_000_000 + minute * 60_000), &[reading]).unwrap();
        let bytes = agent.outbox().message(MessageKind::Telemetry, number).unwrap().unwrap();
        recipient(&Envelope::parse(&bytes).unwrap()).unwrap().to_owned()
    };
    assert_eq!(record(0), "key-7");
    // A file that is no key leaves a running device with the key that it has.
    at(None);
    assert_eq!(record(1), "key-7");
    at(Some(8));
    assert_eq!([record(2), record(3)], ["key-8", "key-8"]);
}

#[test]
fn without_its_key_file_a_confidential_device_does_not_start() {
    let authority = Authority::new();
    let broker = Broker::start(&authority, |_| Reaction::Acknowledge);
    let device = confidential(&authority, &broker);
    std::fs::remove_file(device.path().join("data-proxy-keys.json")).unwrap();
    let output = replay(&device, "5000/s").output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("data-proxy-keys.json"));
    assert!(broker.received().is_empty(), "nothing goes out in clear instead");
}
