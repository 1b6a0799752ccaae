use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;
use vitro_proof::crypto::{SoftwareSigner, sha256};
use vitro_proof::envelope::seal;
use vitro_proof::senml::Reading;
use vitro_proof::{
    BlockNumber, CommandNumber, ContentType, Hash, Header, LocalDay, Sensor, SensorKind, SensorTable, Signer,
};

use super::*;
use crate::config::{CommandKey, CommandKeys, DeviceConfig, DeviceFolder};

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

fn signer(scalar: u8) -> SoftwareSigner {
    SoftwareSigner::from_scalar(&[scalar; 32]).unwrap()
}

/// A device with a current and a next command key, and ten envelopes of one closed day.
fn device() -> (TempDir, Agent) {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let config = DeviceConfig::new(
        "dev-1".parse().unwrap(),
        "acme".parse().unwrap(),
        "Europe/Warsaw".parse().unwrap(),
        "127.0.0.1",
        8883,
    );
    fs::write(path.join("device.toml"), config.to_toml().unwrap()).unwrap();
    fs::write(path.join("key.pem"), signer(1).to_pkcs8_pem().unwrap().as_ref()).unwrap();
    fs::set_permissions(path.join("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let sensor = Sensor { name: "air".parse().unwrap(), unit: "Cel".into(), kind: SensorKind::Gauge };
    let table = SensorTable::new(1, vec![sensor]).unwrap();
    fs::write(path.join("sensors.json"), serde_json::to_string(&table).unwrap()).unwrap();
    let key = |id: &str, scalar| CommandKey { id: id.into(), public_key: signer(scalar).public_key() };
    let keys = CommandKeys { current: key("now", 2), next: Some(key("then", 3)) };
    fs::write(path.join("command-keys.json"), serde_json::to_string(&keys).unwrap()).unwrap();
    let mut agent = Agent::open(&DeviceFolder::open(path).unwrap()).unwrap();
    let reading = Reading { sensor: "air".parse().unwrap(), unit: "Cel".into(), value: None };
    for minute in 0..10 {
        agent.record(UnixMillis(NOW.0 + minute * 60_000), std::slice::from_ref(&reading)).unwrap();
    }
    agent.close(day()).unwrap();
    (folder, agent)
}

fn day() -> LocalDay {
    "2023-11-14".parse().unwrap()
}

fn command(thing: &str, expires: i64, action: Action) -> Command {
    Command { thing: thing.parse().unwrap(), id: [9; 16], expires, action }
}

fn signed(number: u64, kid: &str, scalar: u8) -> Vec<u8> {
    let command = command("dev-1", NOW.seconds() + 60, Action::Backfill(vec![(2, 3)]));
    command.seal(CommandNumber(number), kid, &signer(scalar)).unwrap()
}

fn replies(agent: &Agent) -> u64 {
    agent.outbox().next_number(MessageKind::Reply).unwrap()
}

fn done(result: Option<u64>) -> Verdict {
    Verdict::Answered { action: "backfill".into(), status: status::DONE, result: result.map(Outcome::Count) }
}

#[test]
fn both_command_keys_are_obeyed_and_each_number_once() {
    let (_folder, mut agent) = device();
    assert_eq!(agent.command(&signed(7, "now", 2), NOW).unwrap(), done(Some(2)));
    assert_eq!(agent.command(&signed(7, "now", 2), NOW).unwrap(), Verdict::Ignored(Refusal::Repeated(7)));
    assert_eq!(agent.command(&signed(6, "then", 3), NOW).unwrap(), Verdict::Ignored(Refusal::Repeated(6)));
    assert_eq!(agent.command(&signed(8, "then", 3), NOW).unwrap(), done(Some(2)));
    assert_eq!((replies(&agent), agent.outbox().command_number().unwrap()), (2, Some(8)));
}

#[test]
fn a_number_stays_taken_after_a_restart() {
    let (folder, mut agent) = device();
    agent.command(&signed(7, "now", 2), NOW).unwrap();
    drop(agent);
    let mut agent = Agent::open(&DeviceFolder::open(folder.path()).unwrap()).unwrap();
    assert_eq!(agent.command(&signed(7, "now", 2), NOW).unwrap(), Verdict::Ignored(Refusal::Repeated(7)));
}

#[test]
fn what_cannot_be_trusted_does_nothing_and_gets_no_answer() {
    let (_folder, mut agent) = device();
    let good = signed(7, "now", 2);
    let mut flipped = good.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    let foreign = command("dev-2", NOW.seconds() + 60, Action::Unknown("x".into()));
    let header = |kind, content| Header { kind, content, kid: "now".into(), number: 7 };
    let other_kind = seal(&header(Kind::Block, ContentType::Block), &[0xa0], &signer(2)).unwrap();
    let unreadable = seal(&header(Kind::Command, ContentType::Command), &[0xa0], &signer(2)).unwrap();
    let waiting = agent.outbox().unacknowledged().unwrap();
    for (bytes, refusal) in [
        (b"do it".to_vec(), Refusal::NotACommand("not_an_envelope")),
        ([good.clone(), vec![0]].concat(), Refusal::NotACommand("trailing_bytes")),
        (other_kind, Refusal::NotACommand("wrong_kind")),
        (signed(7, "later", 2), Refusal::UnknownKey("later".into())),
        (signed(7, "now", 3), Refusal::BadSignature),
        (flipped, Refusal::BadSignature),
        (foreign.seal(CommandNumber(7), "now", &signer(2)).unwrap(), Refusal::OtherDevice("dev-2".into())),
    ] {
        assert_eq!(agent.command(&bytes, NOW).unwrap(), Verdict::Ignored(refusal));
    }
    assert!(matches!(agent.command(&unreadable, NOW).unwrap(), Verdict::Ignored(Refusal::Unreadable(_))));
    assert_eq!((replies(&agent), agent.outbox().unacknowledged().unwrap()), (0, waiting));
    assert_eq!(agent.command(&good, NOW).unwrap(), done(Some(2)), "the number is still free");
}

#[test]
fn an_expired_command_is_answered_and_not_carried_out() {
    let (_folder, mut agent) = device();
    let late = UnixMillis((NOW.seconds() + 60) * 1000);
    let expired = Verdict::Answered { action: "backfill".into(), status: status::EXPIRED, result: None };
    assert_eq!(agent.command(&signed(7, "now", 2), late).unwrap(), expired);
    assert_eq!(agent.command(&signed(7, "now", 2), NOW).unwrap(), Verdict::Ignored(Refusal::Repeated(7)));
}

#[test]
fn settled_prunes_when_the_days_are_over_and_a_backfill_of_them_fails() {
    let (_folder, mut agent) = device();
    let block = agent.outbox().daily(day()).unwrap().unwrap();
    agent.keep_days = 1;
    let places: Vec<i64> = agent.outbox().waiting(0, 99).unwrap().iter().map(|message| message.place).collect();
    agent.acknowledge(&places).unwrap();
    let mut settled = |number, block, hash| {
        let action = Action::Settled { day: day(), block: BlockNumber(block), hash };
        let bytes =
            command("dev-1", NOW.seconds() + 60, action).seal(CommandNumber(number), "now", &signer(2)).unwrap();
        match agent.command(&bytes, NOW).unwrap() {
            Verdict::Answered { status, .. } => (status, agent.outbox().run(0, 10).is_ok()),
            ignored @ Verdict::Ignored(_) => panic!("{ignored:?}"),
        }
    };
    assert_eq!(settled(1, 1, block.hash), (status::FAILED, true), "another block");
    assert_eq!(settled(2, 0, Hash([0; 32])), (status::FAILED, true), "another hash");
    assert_eq!(settled(3, 0, block.hash), (status::DONE, true), "the next day is not closed yet");
    agent.close(day().next().unwrap()).unwrap();
    let report = crate::report::ReplayReport::of(&agent, day()).unwrap();
    assert!(report.settled);
    let action = Action::Settled { day: day(), block: BlockNumber(0), hash: block.hash };
    let again = command("dev-1", NOW.seconds() + 60, action).seal(CommandNumber(4), "now", &signer(2)).unwrap();
    agent.command(&again, NOW).unwrap();
    assert!(agent.outbox().run(0, 10).is_err(), "pruned");
    let failed =
        Verdict::Answered { action: "backfill".into(), status: status::FAILED, result: Some(Outcome::Count(0)) };
    assert_eq!(agent.command(&signed(5, "now", 2), NOW).unwrap(), failed);
}

#[test]
fn a_reply_is_signed_by_the_device_and_names_the_command() {
    let (_folder, mut agent) = device();
    agent.command(&signed(7, "now", 2), NOW).unwrap();
    let bytes = agent.outbox().message(MessageKind::Reply, 0).unwrap().unwrap();
    let envelope = Envelope::parse(&bytes).unwrap();
    envelope.verify(&P256Key::new(&signer(1).public_key()).unwrap()).unwrap();
    let reply = Reply::decode(envelope.payload()).unwrap();
    assert_eq!(reply, Reply { command: [9; 16], status: status::DONE, result: Some(Outcome::Count(2)) });
    assert_ne!(sha256(&[&bytes]), sha256(&[]));
}

#[test]
fn a_closed_day_takes_nothing_more_and_a_changed_zone_seals_nothing() {
    let (folder, mut agent) = device();
    let reading = Reading { sensor: "air".parse().unwrap(), unit: "Cel".into(), value: None };
    let late = UnixMillis(NOW.0 + 11 * 60_000);
    assert!(matches!(agent.record(late, std::slice::from_ref(&reading)), Err(DeviceError::DayClosed(_))));
    let sealed = agent.close(day()).unwrap();
    assert_eq!(sealed, agent.close(day()).unwrap(), "closing again changes nothing");
    assert!(matches!(agent.close(day().previous().unwrap()), Err(DeviceError::DayClosed(_))));
    drop(agent);
    let mut moved = DeviceFolder::open(folder.path()).unwrap();
    moved.config.zone = "Asia/Tokyo".parse().unwrap();
    let mut agent = Agent::open(&moved).unwrap();
    assert!(matches!(agent.close(day().next().unwrap()), Err(DeviceError::Block(_))));
    assert_eq!(agent.outbox().next_number(MessageKind::Block).unwrap(), 1, "no block number is left out");
}

fn answer(agent: &mut Agent, number: u64, action: Action, now: UnixMillis) -> (u64, Option<Outcome>) {
    let bytes = command("dev-1", i64::MAX, action).seal(CommandNumber(number), "now", &signer(2)).unwrap();
    match agent.command(&bytes, now).unwrap() {
        Verdict::Answered { status, result, .. } => (status, result),
        ignored @ Verdict::Ignored(_) => panic!("{ignored:?}"),
    }
}

#[test]
fn a_subtree_is_told_level_by_level_down_to_the_leaves() {
    let (_folder, mut agent) = device();
    let leaves: Vec<_> =
        agent.outbox().run(0, 10).unwrap().iter().map(|bytes| Envelope::parse(bytes).unwrap().leaf()).collect();
    let root = agent.outbox().daily(day()).unwrap().map(|sealed| agent.block(&sealed).unwrap().block.root).unwrap();
    let ask = |agent: &mut Agent, number, first, count, level| {
        answer(agent, number, Action::Subtree { first, count, level }, NOW)
    };
    let nodes = |nodes: Vec<Hash>| (status::DONE, Some(Outcome::Nodes(nodes)));
    assert_eq!(ask(&mut agent, 1, 0, 10, 63), nodes(vec![root]));
    assert_eq!(ask(&mut agent, 2, 0, 10, 0), nodes(leaves.iter().map(|leaf| Hash(leaf.0)).collect()));
    assert_eq!(ask(&mut agent, 3, 8, 2, 1), nodes(vec![merkle::root(&leaves[8..])]));
    let failed = (status::FAILED, None);
    assert_eq!(ask(&mut agent, 4, 0, 11, 0), failed, "one is not there");
    assert_eq!(ask(&mut agent, 5, 0, 0, 0), failed, "an empty run");
    assert_eq!(ask(&mut agent, 6, u64::MAX, 2, 0), failed);
    assert_eq!(ask(&mut agent, 7, 0, u64::MAX, 63), failed);
    assert_eq!(replies(&agent), 7);
}

#[test]
fn an_interim_block_is_sealed_at_once_and_goes_before_its_reply() {
    let (_folder, mut agent) = device();
    let daily = agent.outbox().daily(day()).unwrap().unwrap();
    let reading = Reading { sensor: "air".parse().unwrap(), unit: "Cel".into(), value: Some(7.into()) };
    let now = UnixMillis(NOW.0 + 86_400_000);
    for minute in 0..3 {
        agent.record(UnixMillis(now.0 + minute * 60_000), std::slice::from_ref(&reading)).unwrap();
    }
    let (done, result) = answer(&mut agent, 1, Action::Seal, UnixMillis(now.0 + 120_000));
    let Some(Outcome::Sealed { block, hash }) = result else { panic!("{result:?}") };
    assert_eq!((done, block), (status::DONE, BlockNumber(1)));
    let head = agent.outbox().head().unwrap().unwrap();
    assert_eq!((head.hash, head.daily, head.first, head.count), (hash, false, 10, 3));
    let opened = agent.block(&head).unwrap();
    assert_eq!((opened.block.previous, opened.block.span), (daily.hash, vitro_proof::Span::Interim));
    assert_eq!((opened.block.bounds.from, opened.block.bounds.to), (daily.to, now.seconds() + 121));
    assert_eq!((opened.summaries[0].values, opened.summaries[0].flagged), (3, 0), "the newest reading is in it");
    let waiting: Vec<_> = agent.outbox().waiting(0, 99).unwrap().iter().map(|message| message.kind).collect();
    assert_eq!(waiting[waiting.len() - 2..], [MessageKind::Block, MessageKind::Reply]);

    // The same command again seals nothing; the day is closed over all of it, and continues the chain.
    let again = command("dev-1", i64::MAX, Action::Seal).seal(CommandNumber(1), "now", &signer(2)).unwrap();
    assert_eq!(agent.command(&again, now).unwrap(), Verdict::Ignored(Refusal::Repeated(1)));
    agent.record(UnixMillis(now.0 + 180_000), std::slice::from_ref(&reading)).unwrap();
    let closed = agent.close(day().next().unwrap()).unwrap();
    assert_eq!((closed.number, closed.first, closed.count), (BlockNumber(2), 10, 4));
    assert_eq!(agent.block(&closed).unwrap().block.previous, hash);
    // A clock that stands in a closed day seals nothing; days that passed are closed first.
    assert_eq!(answer(&mut agent, 2, Action::Seal, now), (status::FAILED, None));
    let (_, result) = answer(&mut agent, 3, Action::Seal, UnixMillis(now.0 + 3 * 86_400_000));
    assert!(matches!(result, Some(Outcome::Sealed { block: BlockNumber(5), .. })), "{result:?}");
    assert_eq!(agent.outbox().days().unwrap().len(), 4);
    let late = UnixMillis((NOW.seconds() + 60) * 1000);
    let expired = command("dev-1", NOW.seconds() + 60, Action::Seal).seal(CommandNumber(9), "now", &signer(2)).unwrap();
    assert!(matches!(agent.command(&expired, late).unwrap(), Verdict::Answered { status: status::EXPIRED, .. }));
}
