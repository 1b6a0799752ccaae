//! The built program against a broker: order, acknowledgements, cuts, kills, the block, commands.
#![allow(clippy::unwrap_used, clippy::panic)] // a failure here is a failed test

mod support;

use std::collections::BTreeMap;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use support::{Authority, Broker, DAY, Device, Reaction, THING, command, recorded, verifier, wait};
use vitro_device::outbox::{MessageKind, Outbox};
use vitro_proof::command::{Action, Outcome, Reply, status};
use vitro_proof::confidential::NoKeys;
use vitro_proof::reconcile::{CloudDay, Comparison, DayFrame, Stored, compare};
use vitro_proof::{BlockMessage, BlockNumber, DayBounds, DeviceId, Envelope, Hash, Kind, SequenceNumber};

fn program(device: &Device, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitro-device"));
    command.arg("--folder").arg(device.path()).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn replay(device: &Device, arguments: &[&str]) -> Command {
    let mut command = program(device, &["replay", "--day", DAY, "--rate", "5000/s", "--deadline", "60"]);
    command.arg("--recording").arg(recorded("csv")).args(arguments);
    command
}

fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn thing() -> DeviceId {
    THING.parse().unwrap()
}

fn number(bytes: &[u8]) -> u64 {
    Envelope::parse(bytes).unwrap().header().number
}

fn stored(device: &Device, count: u64) -> Vec<Vec<u8>> {
    Outbox::inspect(&device.outbox()).unwrap().run(0, count).unwrap()
}

/// Every number came, all copies of one are the same bytes, and they are what is stored.
fn assert_all_came(broker: &Broker, stored: &[Vec<u8>]) {
    let mut came: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for payload in broker.of("telemetry") {
        Envelope::parse(&payload).unwrap().verify(&verifier()).unwrap();
        let before = came.insert(number(&payload), payload.clone());
        assert!(before.is_none_or(|before| before == payload), "another envelope under a number");
    }
    assert_eq!(came.keys().copied().collect::<Vec<_>>(), (0..stored.len() as u64).collect::<Vec<_>>());
    assert!(came.values().eq(stored), "what came is not what is stored");
}

/// What the cloud computes from the stored envelopes agrees with the device's block.
fn assert_block_agrees(device: &Device, message: &[u8], stored: &[Vec<u8>]) {
    let opened = BlockMessage::decode(message).unwrap().open(&thing(), &verifier()).unwrap();
    let (zone, day) = (device.config.zone.clone(), DAY.parse().unwrap());
    let frame = DayFrame {
        thing: &thing(),
        day,
        bounds: DayBounds::of(&zone, day).unwrap(),
        first: 0,
        count: stored.len() as u64,
        table: &device.open().sensor_table().unwrap(),
        openings: &BTreeMap::new(),
    };
    let envelopes = (0..).zip(stored).map(|(number, envelope)| Stored { number: SequenceNumber(number), envelope });
    let cloud = CloudDay::compute(&frame, envelopes, &NoKeys).unwrap();
    assert_eq!(compare(&opened, &cloud), Comparison::Agrees);
    let energy = opened.summaries.iter().find(|summary| summary.sensor.as_str() == "energy").unwrap();
    assert_eq!(energy.increase().unwrap().to_string(), "3.0903");
}

#[test]
fn a_day_is_sent_in_order_and_closed_by_a_block_that_the_cloud_agrees_with() {
    let authority = Authority::new();
    let broker = Broker::start(&authority, |_| Reaction::Acknowledge);
    let device = authority.device(broker.port);
    let report = report(&replay(&device, &[]).output().unwrap());
    let stored = stored(&device, 1440);
    let topics: Vec<String> = broker.received().into_iter().map(|message| message.topic).collect();
    let topic = |kind: &str| format!("$aws/rules/vitro_acme_{kind}/vitro/acme/{THING}/{kind}");
    assert_eq!(topics.len(), 1441);
    assert!(topics[..1440].iter().all(|t| *t == topic("telemetry")));
    assert_eq!(topics[1440], topic("block"), "the block follows all of its envelopes");
    let order: Vec<u64> = broker.of("telemetry").iter().map(|payload| number(payload)).collect();
    assert_eq!(order, (0..1440).collect::<Vec<_>>());
    assert_all_came(&broker, &stored);
    let blocks = broker.of("block");
    assert_block_agrees(&device, &blocks[0], &stored);

    let opened = BlockMessage::decode(&blocks[0]).unwrap().open(&thing(), &verifier()).unwrap();
    let facts = serde_json::json!({
        "thing": THING, "day": DAY, "first": 0, "count": 1440, "sent": 1440, "lost": [], "block_number": 0,
        "block_hash": opened.hash, "root": opened.block.root, "settled": false,
    });
    assert_eq!(report, facts);
    assert_eq!((broker.connections(), broker.goodbyes()), (1, 1));
    // Once more: nothing new is signed, nothing is sent again.
    assert_eq!(self::report(&replay(&device, &[]).output().unwrap()), facts);
    assert_eq!(broker.received().len(), 1441);

    let block = self::report(&program(&device, &["block", DAY]).output().unwrap());
    assert_eq!((block["hash"].clone(), block["root"].clone()), (facts["block_hash"].clone(), facts["root"].clone()));
    let energy = block["summaries"].as_array().unwrap().iter().find(|s| s["sensor"] == "energy").unwrap();
    assert_eq!(energy["figures"]["increase"], "3.0903");
    let status = self::report(&program(&device, &["status"]).output().unwrap());
    assert_eq!(status["next"], serde_json::json!({"telemetry": 1440, "block": 1, "reply": 0}));
    assert_eq!(status["outbox"]["unacknowledged"], 0);
    assert_eq!(status["head"]["hash"], facts["block_hash"]);
}

#[test]
fn what_was_not_acknowledged_is_sent_again() {
    let authority = Authority::new();
    // Ignored without an end to the connection, cut in the middle of the window, cut at once.
    let plan = |nth| match nth {
        100..130 => Reaction::Ignore,
        400 | 401 | 777 => Reaction::Cut,
        _ => Reaction::Acknowledge,
    };
    let broker = Broker::start(&authority, plan);
    let device = authority.device(broker.port);
    let report = report(&replay(&device, &[]).output().unwrap());
    assert_eq!((report["count"].as_u64(), report["sent"].as_u64()), (Some(1440), Some(1440)));
    assert!(broker.connections() >= 4, "{} connections", broker.connections());
    let stored = stored(&device, 1440);
    assert_all_came(&broker, &stored);
    // On each connection numbers ascend, and none is left out that was not acknowledged before.
    let received = broker.received();
    for connection in 1..=broker.connections() {
        let mut sent = Vec::new();
        for message in received.iter().filter(|m| m.connection == connection && m.topic.ends_with("telemetry")) {
            sent.push(number(&message.payload));
        }
        assert!(sent.windows(2).all(|pair| pair[0] < pair[1]), "connection {connection}");
    }
    assert_block_agrees(&device, broker.of("block").last().unwrap(), &stored);
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_replay_that_is_killed_goes_on_as_if_nothing_had_been() {
    let authority = Authority::new();
    let reference = Broker::start(&authority, |_| Reaction::Acknowledge);
    let undisturbed = authority.device(reference.port);
    report(&replay(&undisturbed, &[]).output().unwrap());
    let expected = stored(&undisturbed, 1440);

    let broker = Broker::start(&authority, |nth| if nth % 3 == 0 { Reaction::Ignore } else { Reaction::Acknowledge });
    let device = authority.device(broker.port);
    for messages in [1, 40, 130, 300] {
        let child = replay(&device, &["--rate", "500/s"]).spawn().unwrap();
        wait("messages", || broker.received().len() >= messages);
        kill(child);
        let outbox = Outbox::inspect(&device.outbox()).unwrap();
        let next = outbox.next_number(MessageKind::Telemetry).unwrap();
        assert!(outbox.run(0, next).unwrap().iter().eq(&expected[..usize::try_from(next).unwrap()]));
    }
    broker.plan(|_| Reaction::Acknowledge);
    let report = report(&replay(&device, &[]).output().unwrap());
    assert_eq!(
        (report["first"].as_u64(), report["count"].as_u64(), report["sent"].as_u64()),
        (Some(0), Some(1440), Some(1440))
    );
    let stored = stored(&device, 1440);
    assert!(stored == expected, "the stored bytes differ from an undisturbed replay's");
    assert_all_came(&broker, &stored);
    let blocks = broker.of("block");
    assert!(blocks.iter().all(|block| *block == blocks[0]), "one block, however often it was sent");
    assert_block_agrees(&device, &blocks[0], &stored);
}

#[test]
fn what_got_lost_is_backfilled_byte_for_byte_and_the_day_settles() {
    let authority = Authority::new();
    let broker = Broker::start(&authority, |_| Reaction::Acknowledge);
    let device = authority.device(broker.port);
    let child = replay(&device, &["--lose", "17,300-305", "--until-settled"]).spawn().unwrap();
    wait("the block", || !broker.of("block").is_empty());
    let lost = [17, 300, 301, 302, 303, 304, 305];
    let stored = stored(&device, 1440);
    assert!(broker.of("telemetry").iter().all(|payload| !lost.contains(&number(payload))));

    broker.command(command(3, Action::Backfill(vec![(17, 17), (300, 305)])));
    wait("the reply", || broker.of("reply").len() == 1);
    let again: Vec<Vec<u8>> = broker.of("telemetry").split_off(1433);
    assert_eq!(again, lost.map(|number| stored[number as usize].clone()));
    assert!(broker.received().last().unwrap().topic.ends_with("reply"), "the reply follows what it speaks of");

    // The same again, an older one, a foreign one: nothing is done, nothing is answered.
    broker.command(command(3, Action::Backfill(vec![(17, 17)])));
    broker.command(command(2, Action::Backfill(vec![(18, 18)])));
    let mut foreign = command(9, Action::Backfill(vec![(19, 19)]));
    *foreign.last_mut().unwrap() ^= 1;
    broker.command(foreign);
    // What is not there fails, and says how much was.
    broker.command(command(4, Action::Backfill(vec![(1439, 1441)])));
    broker.command(command(5, Action::Unknown("dance".into())));
    wait("the replies", || broker.of("reply").len() == 3);
    let replies: Vec<Reply> = broker
        .of("reply")
        .iter()
        .enumerate()
        .map(|(nth, reply)| {
            let envelope = Envelope::parse(reply).unwrap();
            envelope.verify(&verifier()).unwrap();
            let header = envelope.header();
            assert_eq!((header.kind, header.number, header.kid.as_str()), (Kind::Reply, nth as u64, THING));
            Reply::decode(envelope.payload()).unwrap()
        })
        .collect();
    let facts: Vec<_> = replies.iter().map(|reply| (reply.command[0], reply.status, reply.result.clone())).collect();
    assert_eq!(
        facts,
        [
            (3, status::DONE, Some(Outcome::Count(7))),
            (4, status::FAILED, Some(Outcome::Count(1))),
            (5, status::UNSUPPORTED, None)
        ]
    );
    assert_eq!(broker.of("telemetry").len(), 1441);

    let block = BlockMessage::decode(&broker.of("block")[0]).unwrap().open(&thing(), &verifier()).unwrap();
    let settled = |hash: Hash| Action::Settled { day: DAY.parse().unwrap(), block: BlockNumber(0), hash };
    broker.command(command(6, settled(Hash([1; 32]))));
    broker.command(command(7, settled(block.hash)));
    let report = report(&child.wait_with_output().unwrap());
    assert_eq!(report["settled"], true);
    assert_eq!(report["lost"], serde_json::json!(lost));
    assert_eq!(report["sent"], 1440);
    let last = Reply::decode(Envelope::parse(broker.of("reply").last().unwrap()).unwrap().payload()).unwrap();
    assert_eq!((last.command[0], last.status), (7, status::DONE));
    assert_eq!(broker.commands_acknowledged(), 8);
}

#[test]
fn a_device_that_died_closes_its_day_when_it_is_back() {
    let authority = Authority::new();
    let broker = Broker::start(&authority, |_| Reaction::Acknowledge);
    let device = authority.device(broker.port);
    let died = report(&replay(&device, &["--until", "14:00"]).output().unwrap());
    assert_eq!((died["count"].as_u64(), died["sent"].as_u64()), (Some(840), Some(840)));
    assert_eq!((died["block_number"].clone(), died["root"].clone()), (Value::Null, Value::Null));
    assert_eq!(broker.of("block").len(), 0);
    // Back two days later: the day is closed with what it has, the day between is empty.
    let mut later = program(&device, &["replay", "--day", "2026-11-24", "--rate", "5000"]);
    let later = report(&later.arg("--recording").arg(recorded("csv")).output().unwrap());
    assert_eq!((later["first"].as_u64(), later["count"].as_u64()), (Some(840), Some(1440)));
    assert_eq!(later["block_number"], 2);
    let runs: Vec<_> = broker
        .of("block")
        .iter()
        .map(|message| {
            let block = BlockMessage::decode(message).unwrap().open(&thing(), &verifier()).unwrap().block;
            (block.day.to_string(), block.first, block.count)
        })
        .collect();
    let expected = [(DAY, 0, 840), ("2026-11-23", 840, 0), ("2026-11-24", 840, 1440)];
    assert_eq!(runs, expected.map(|(day, first, count)| (day.to_owned(), first, count)));
    let late = replay(&device, &[]).output().unwrap();
    assert!(late.status.success(), "a closed day stays as it is");
    assert_eq!(broker.of("telemetry").len(), 2280);
}

#[test]
fn without_a_broker_everything_is_stored_and_the_deadline_is_kept() {
    let authority = Authority::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let device = authority.device(port);
    let mut command = program(&device, &["replay", "--day", DAY, "--deadline", "1"]);
    let output = command.arg("--recording").arg(recorded("csv")).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report["count"].as_u64(), report["sent"].as_u64()), (Some(1440), Some(0)));
    assert_eq!(stored(&device, 1440).len(), 1440);
}

#[test]
fn a_foreign_authority_is_not_talked_to() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let broker = Broker::start(&stranger, |_| Reaction::Acknowledge);
    let device = authority.device(broker.port);
    let output = replay(&device, &["--deadline", "1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((broker.connections(), broker.received().len()), (0, 0));
}

#[test]
fn a_certificate_of_another_key_is_told_before_anything_is_sent() {
    let authority = Authority::new();
    let broker = Broker::start(&authority, |_| Reaction::Acknowledge);
    let device = authority.device(broker.port);
    std::fs::write(device.path().join("cert.pem"), authority.pem()).unwrap();
    let output = replay(&device, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the certificate is not of the device's key"));
    assert_eq!(broker.connections(), 0);
}
