//! Commands to a device and its replies.

use vitro_proof::command::{Action, Command, Outcome, Reply, key_id};
use vitro_proof::{CommandNumber, ContentType, Envelope, Header, Kind, LocalDay, ReplyNumber, Signer, envelope};

use super::{Anybody, COMMAND_KEYS, DEVICE, DEVICE_KEYS, Keys, THING, UNSIGNED, flipped};

/// The ways in.
pub(crate) const WHOLE: u8 = 0;
pub(crate) const COMMAND: u8 = 1;
pub(crate) const REPLY: u8 = 2;
pub(crate) const SIGNED_COMMAND: u8 = 3;
pub(crate) const SIGNED_REPLY: u8 = 4;

pub(crate) fn run(data: &[u8]) -> bool {
    let Some((way, data)) = data.split_first() else { return false };
    match way % 5 {
        WHOLE => whole(data),
        COMMAND => command(data).is_some(),
        REPLY => reply(data).is_some_and(|reply| reply.status > 3 || !reply.describe().starts_with("status")),
        SIGNED_COMMAND => signed(Kind::Command, data),
        _ => signed(Kind::Reply, data),
    }
}

/// As the device takes a command, and the cloud a reply: kind, signature, then the payload.
fn whole(bytes: &[u8]) -> bool {
    let Ok(envelope) = Envelope::parse(bytes) else { return false };
    super::envelope::check(&envelope, bytes);
    let keys: &Keys = match envelope.header().kind {
        Kind::Command => &COMMAND_KEYS,
        Kind::Reply => &DEVICE_KEYS,
        Kind::Telemetry | Kind::Block => return false,
    };
    let read = match envelope.header().kind {
        Kind::Command => command(envelope.payload()).is_some(),
        _ => reply(envelope.payload()).is_some(),
    };
    envelope.verify(keys).is_ok() && read
}

fn command(payload: &[u8]) -> Option<Command> {
    let command = Command::decode(payload).ok()?;
    match &command.action {
        Action::Backfill(ranges) => {
            assert!(ranges.iter().all(|(from, to)| from <= to));
            assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "ascending, apart from each other");
        }
        Action::Settled { day, .. } => assert_eq!(day.to_string().parse::<LocalDay>().unwrap(), *day),
        Action::Subtree { level, .. } => assert!(*level < 64),
        Action::Unknown(name) => {
            assert!(!["backfill", "settled", "subtree", "seal"].contains(&name.as_str()));
        }
        Action::Seal => {}
    }
    // Written anew it says the same, in no more bytes.
    let unsigned = command.unsigned(CommandNumber(7), "key").sign(&UNSIGNED);
    let envelope = Envelope::parse(&unsigned).unwrap();
    assert_eq!((envelope.header().kind, envelope.header().number), (Kind::Command, 7));
    assert_eq!(Command::decode(envelope.payload()).unwrap(), command);
    assert!(envelope.payload().len() <= payload.len());
    Some(command)
}

fn reply(payload: &[u8]) -> Option<Reply> {
    let reply = Reply::decode(payload).ok()?;
    if let Some(Outcome::Nodes(nodes)) = &reply.result {
        assert!(nodes.len() * 34 <= payload.len(), "no node comes from nowhere");
    }
    assert!(!reply.describe().is_empty());
    let sealed = reply.seal(ReplyNumber(9), &DEVICE, &Anybody).unwrap();
    let envelope = Envelope::parse(&sealed).unwrap();
    assert_eq!((envelope.header().kind, envelope.header().kid.as_str()), (Kind::Reply, THING));
    assert_eq!(Reply::decode(envelope.payload()).unwrap(), reply);
    assert!(envelope.payload().len() <= payload.len());
    Some(reply)
}

/// A payload that whoever holds the key has signed.
fn signed(kind: Kind, payload: &[u8]) -> bool {
    let (read, content, keys) = match kind {
        Kind::Command => (command(payload).is_some(), ContentType::Command, &COMMAND_KEYS),
        _ => (reply(payload).is_some(), ContentType::Reply, &DEVICE_KEYS),
    };
    let kid = if kind == Kind::Command { key_id(&keys.signer.public_key()) } else { THING.to_owned() };
    if !read {
        return false;
    }
    let bytes = envelope::seal(&Header { kind, content, kid, number: 3 }, payload, &keys.signer).unwrap();
    let envelope = Envelope::parse(&bytes).unwrap();
    assert_eq!(envelope.payload(), payload);
    assert!(envelope.verify(&**keys).is_ok());
    assert!(!Envelope::parse(&flipped(&bytes)).is_ok_and(|other| other.verify(&**keys).is_ok()));
    true
}
