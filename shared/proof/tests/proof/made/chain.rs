//! A device's chain of blocks: three daily blocks, the second of an empty day, with an interim one before the third; and blocks that
//! are refused.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vitro_proof::block::{Block, BlockMessage, ChainLink, DailyLink, OpenedBlock, Span, check_follows, check_openings};
use vitro_proof::crypto::{P256Key, sha256};
use vitro_proof::summary::{Figures, Summary, closings};
use vitro_proof::{
    BlockNumber, ContentType, DayBounds, Decimal, Hash, Header, Kind, Reason, Signer, envelope, summary,
};

use super::summaries::{Day, cloud, readings};
use super::{array, bstr, head, int, map, seal_raw, signer, table, telemetry, thing, tstr, un};

const FROM: i64 = 1_539_500_400;
const DAY: i64 = 86_400;

/// A block of the chain with what it was made of.
struct Link {
    name: &'static str,
    envelopes: Vec<Vec<u8>>,
    block: Block,
    message: BlockMessage,
    opened: OpenedBlock,
}

fn key() -> P256Key {
    P256Key::new(&signer("dev-1").public_key()).unwrap()
}

fn salt(number: u64) -> [u8; 16] {
    sha256(&[b"vitro test salt", &number.to_be_bytes()]).0[..16].try_into().unwrap()
}

fn seal(number: u64, block: &Block, summaries: &[Summary]) -> BlockMessage {
    let summaries = summary::encode(summaries);
    let mut block = block.clone();
    block.summaries_digest = summary::digest(&salt(number), &summaries);
    BlockMessage::seal(BlockNumber(number), &block, salt(number), summaries, &signer("dev-1")).unwrap()
}

/// Seals a day after the links before it. `first` is where its run starts.
fn link(
    name: &'static str,
    before: &[Link],
    first: u64,
    day: (&'static str, i64, i64),
    envelopes: Vec<Vec<u8>>,
    interim: bool,
) -> Link {
    let daily = before.iter().rev().find(|link| link.block.is_daily());
    let openings: BTreeMap<_, _> = daily.map(|link| closings(&link.opened.summaries)).unwrap_or_default();
    let (label, from, to) = day;
    let day =
        Day { name, about: "", day: label, zone: "Etc/GMT+7", bounds: DayBounds { from, to }, openings, envelopes };
    let cloud = cloud(&day, &table());
    let block = Block {
        thing: thing(),
        previous: before.last().map_or(Hash([0; 32]), |link| link.opened.hash),
        span: if interim { Span::Interim } else { Span::Daily { previous_daily: daily.map(|link| link.opened.hash) } },
        day: label.parse().unwrap(),
        zone: "Etc/GMT+7".parse().unwrap(),
        bounds: day.bounds,
        first,
        count: cloud.count,
        root: cloud.root,
        bytes: cloud.bytes,
        units: cloud.units,
        table_version: cloud.table_version,
        summaries_digest: Hash([0; 32]),
    };
    let message = seal(before.len() as u64, &block, &cloud.summaries);
    let opened = message.open(&thing(), &key()).unwrap();
    let previous: Vec<Summary> = daily.map(|link| link.opened.summaries.clone()).unwrap_or_default();
    check_openings(&opened.summaries, &previous).unwrap();
    check_follows(&opened, chain_link(before.last()), daily.map(daily_link)).unwrap();
    Link { name, envelopes: day.envelopes, block: opened.block.clone(), message, opened }
}

fn chain_link(link: Option<&Link>) -> Option<ChainLink> {
    link.map(|link| ChainLink { number: link.opened.number, hash: link.opened.hash })
}

fn daily_link(link: &Link) -> DailyLink {
    DailyLink { hash: link.opened.hash, to: link.block.bounds.to, end: link.block.end() }
}

fn links() -> Vec<Link> {
    let mut links = Vec::new();
    let one = readings(
        0,
        FROM,
        &[(0.0, "energy", "3.5"), (60.0, "temp", "20.5"), (120.0, "energy", "4.61923"), (180.0, "water", "99999")],
    );
    links.push(link("block 0, the first day", &links, 0, ("2018-10-14", FROM, FROM + DAY), one, false));
    links.push(link("block 1, an empty day", &links, 4, ("2018-10-15", FROM + DAY, FROM + 2 * DAY), vec![], false));
    let third = FROM + 2 * DAY;
    let values = [
        (0.0, "energy", "4.61923"),
        (60.0, "energy", "0.02"),
        (7200.0, "water", "3"),
        (40_000.0, "energy", "3.0903"),
        (40_060.0, "temp", "missing"),
    ];
    let run = readings(4, third, &values);
    links.push(link(
        "block 2, interim: two hours of the third day",
        &links,
        4,
        ("2018-10-16", third, third + 7201),
        run[..3].to_vec(),
        true,
    ));
    links.push(link("block 3, the whole third day", &links, 4, ("2018-10-16", third, third + DAY), run, false));
    links
}

fn describe(link: &Link) -> Value {
    let b = &link.block;
    let daily = match b.span {
        Span::Daily { previous_daily } => json!({"previous_daily": previous_daily}),
        Span::Interim => Value::Null,
    };
    json!({
        "name": link.name, "number": link.opened.number, "hash": link.opened.hash, "message": hex::encode(link.message.encode()),
        "envelope": hex::encode(&link.message.envelope), "payload": hex::encode(b.encode()),
        "salt": hex::encode(link.message.salt), "summaries": hex::encode(&link.message.summaries),
        "envelopes": link.envelopes.iter().map(hex::encode).collect::<Vec<_>>(),
        "block": {
            "thing": b.thing, "previous": b.previous, "daily": daily, "day": b.day, "zone": b.zone, "from": b.bounds.from, "to": b.bounds.to,
            "first": b.first, "count": b.count, "root": b.root, "bytes": b.bytes, "units": b.units, "table_version": b.table_version,
            "summaries_digest": b.summaries_digest,
        },
    })
}

pub(super) fn chain() -> Value {
    let links = links();
    json!({
        "about": "A device's chain from its first block on: each message opens under the key of dev-1 and follows the ones before it.",
        "thing": super::THING,
        "table": table(),
        "vectors": links.iter().map(describe).collect::<Vec<_>>(),
    })
}

/// A payload like `block`'s, with further bytes of map entries.
fn extended(block: &Block, entries: u8, more: &[u8]) -> Vec<u8> {
    let mut payload = block.encode();
    payload[0] += entries;
    payload.extend_from_slice(more);
    payload
}

/// The message around any payload, signed by the device.
fn around(number: u64, payload: &[u8], summaries: &[u8]) -> Vec<u8> {
    let header = Header { kind: Kind::Block, content: ContentType::Block, kid: super::THING.into(), number };
    let envelope = envelope::seal(&header, payload, &signer("dev-1")).unwrap();
    BlockMessage { envelope, salt: salt(number), summaries: summaries.to_vec() }.encode()
}

/// The summaries of one gauge that said this number once, at this second.
fn gauge(second: i64, number: &[u8]) -> Vec<u8> {
    let at = || array(&[int(second * 1000), number.to_vec()]);
    let counts = [(2, 0), (3, 1), (4, 0), (5, 0)].map(|(key, count)| (int(key), int(count)));
    let names = [(int(0), tstr("temp")), (int(1), tstr("Cel"))];
    let figures = [8, 9, 10].map(|key| (int(key), number.to_vec()));
    array(&[map(&[&names[..], &counts, &[(int(6), at()), (int(7), at())], &figures].concat())])
}

type Change = Box<dyn Fn(&mut Block, &mut Vec<Summary>)>;

/// Changes of the third daily block and its summaries that a careless device could sign.
fn changes() -> Vec<(&'static str, Change)> {
    fn change(f: impl Fn(&mut Block, &mut Vec<Summary>) + 'static) -> Change {
        Box::new(f)
    }
    let counter = |f: fn(&mut Decimal, &mut Decimal, &mut Vec<Decimal>)| {
        change(move |_, summaries| {
            if let Some(Figures::Counter { increase, largest_step, grid, .. }) = &mut summaries[0].figures {
                f(increase, largest_step, grid);
            }
        })
    };
    vec![
        (
            "21 hours long",
            change(|b, s| {
                b.bounds.to -= 3 * 3600;
                *s = vec![];
            }),
        ),
        (
            "27 hours long",
            change(|b, s| {
                b.bounds.to += 3 * 3600;
                *s = vec![];
            }),
        ),
        (
            "backwards",
            change(|b, s| {
                b.bounds.to = b.bounds.from - 1;
                *s = vec![];
            }),
        ),
        ("as long as can be", change(|b, _| b.bounds = DayBounds { from: i64::MIN, to: i64::MAX })),
        (
            "interim of no length",
            change(|b, s| {
                b.span = Span::Interim;
                b.bounds.to = b.bounds.from;
                *s = vec![];
            }),
        ),
        (
            "interim longer than 26 hours",
            change(|b, _| {
                b.span = Span::Interim;
                b.bounds.to = i64::MAX;
            }),
        ),
        ("sensors not sorted", change(|_, s| s.reverse())),
        (
            "a sensor twice",
            change(|_, s| {
                let first = s[0].clone();
                s.insert(0, first);
            }),
        ),
        ("first outside of the day", change(|b, s| s[0].first.as_mut().unwrap().time.0 = b.bounds.from * 1000 - 1)),
        ("last outside of the day", change(|b, s| s[0].last.as_mut().unwrap().time.0 = b.bounds.to * 1000)),
        (
            "first after last",
            change(|_, s| {
                let summary = &mut s[0];
                std::mem::swap(&mut summary.first, &mut summary.last);
            }),
        ),
        ("one value at two times", change(|_, s| s[0].values = 1)),
        ("a quarter too few", counter(|_, _, grid| _ = grid.pop())),
        (
            "a quarter below zero",
            counter(|_, _, grid| {
                grid[1] = Decimal::from(-1);
                grid[2] = Decimal::from(1);
            }),
        ),
        ("quarters that do not sum up", counter(|increase, _, _| *increase = &*increase + &Decimal::from(1))),
        ("a step above the increase", counter(|increase, step, _| *step = &*increase + &Decimal::from(1))),
        (
            "an increase that is not from opening to last, and no reset",
            change(|_, s| {
                if let Some(Figures::Counter { resets, .. }) = &mut s[0].figures {
                    *resets = 0;
                }
            }),
        ),
        ("another opening", change(|_, s| s[0].opening = Some(Decimal::from(4)))),
        ("no opening", change(|_, s| s[0].opening = None)),
        ("another predecessor", change(|b, _| b.previous = Hash([1; 32]))),
        ("another previous day", change(|b, _| b.span = Span::Daily { previous_daily: Some(Hash([1; 32])) })),
        ("no previous day", change(|b, _| b.span = Span::Daily { previous_daily: None })),
        ("a run that leaves one out", change(|b, _| b.first += 1)),
        ("a run that takes one again", change(|b, _| b.first -= 1)),
        (
            "a day that leaves an hour out",
            change(|b, s| {
                b.bounds.from += 3600;
                s.retain(|summary| summary.figures.is_none());
            }),
        ),
    ]
}

pub(super) fn refused() -> Value {
    let links = links();
    let last = &links[3];
    let sealed = |number: u64, block: &Block, summaries: &[Summary]| seal(number, block, summaries).encode();
    let good = last.message.encode();
    let (block, summaries) = (&last.block, &last.opened.summaries);
    let mut cases: Vec<(&str, Vec<u8>)> = changes()
        .into_iter()
        .map(|(name, change)| {
            let (mut block, mut summaries) = (block.clone(), summaries.clone());
            change(&mut block, &mut summaries);
            (name, sealed(3, &block, &summaries))
        })
        .collect();
    let plain = &last.message.summaries;
    let with = |f: fn(&mut BlockMessage)| {
        let mut message = last.message.clone();
        f(&mut message);
        message.encode()
    };
    let other = Block { thing: "dev-2".parse().unwrap(), ..block.clone() };
    let stranger = BlockMessage::seal(BlockNumber(3), block, salt(3), plain.clone(), &signer("dev-2")).unwrap();
    let named = Header { kind: Kind::Block, content: ContentType::Block, kid: "dev-2".into(), number: 3 };
    let named = BlockMessage {
        envelope: envelope::seal(&named, &other.encode(), &signer("dev-2")).unwrap(),
        ..last.message.clone()
    };
    let reading = BlockMessage {
        envelope: envelope::seal(&telemetry(3), &[0xa0], &signer("dev-1")).unwrap(),
        ..last.message.clone()
    };
    let mut flipped = last.message.envelope.clone();
    flipped[70] ^= 1;
    let digest_of = |bytes: &[u8]| Block { summaries_digest: summary::digest(&salt(3), bytes), ..block.clone() };
    let of_summaries = |bytes: &[u8]| around(3, &digest_of(bytes).encode(), bytes);
    let bignum = [un("c2"), bstr(&[0xff; 64])].concat();
    let endless = Block { first: u64::MAX, count: 1, ..block.clone() };
    cases.extend([
        ("no message", b"nonsense".to_vec()),
        ("an array of two", [head(4, 2), bstr(&last.message.envelope), bstr(&last.message.salt)].concat()),
        ("a salt of 15 bytes", [head(4, 3), bstr(&last.message.envelope), bstr(&[0; 15]), bstr(plain)].concat()),
        ("bytes after it", [good.clone(), vec![0]].concat()),
        ("a broken envelope", with(|m| _ = m.envelope.pop())),
        ("bytes after the envelope", with(|m| m.envelope.push(0))),
        ("another salt", with(|m| m.salt[0] ^= 1)),
        ("other summaries", with(|m| *m.summaries.last_mut().unwrap() ^= 1)),
        ("signed with another key", stranger.encode()),
        ("another device's block", named.encode()),
        ("another device in the payload", around(3, &other.encode(), plain)),
        ("a telemetry envelope", reading.encode()),
        ("a flipped byte", BlockMessage { envelope: flipped, ..last.message.clone() }.encode()),
        ("an unknown key below 64", around(3, &extended(block, 1, &[0x10, 0x00]), plain)),
        ("version 2", {
            let mut p = block.encode();
            p[2] = 2;
            around(3, &p, plain)
        }),
        ("a run beyond the last number", around(3, &endless.encode(), plain)),
        ("a payload that is no map", around(3, &[0x80], plain)),
        ("an empty payload", around(3, &[], plain)),
        ("summaries that are no array", of_summaries(&[0xa0])),
        ("a summary with an unknown key", of_summaries(&un("81a7006161016157020003000400050018400 0"))),
        ("a gauge with an opening", of_summaries(&un("81a70061610161570200030004000500 0b00"))),
        ("a counter without an opening", of_summaries(&un("81a6006161016157020103000400 0500"))),
        (
            "a number of more than 64 bytes of digits",
            of_summaries(&gauge(last.block.bounds.from, &[un("c48201"), bignum.clone()].concat())),
        ),
        ("summaries encrypted", of_summaries(&un("d8608340a04040"))),
        ("not a number of the chain", sealed(5, block, summaries)),
        (
            "a broken protected header",
            BlockMessage { envelope: seal_raw(&[0xa0], &block.encode(), "dev-1"), ..last.message.clone() }.encode(),
        ),
    ]);
    let vectors: Vec<Value> = cases
        .into_iter()
        .map(|(name, message)| json!({"name": name, "message": hex::encode(&message), "reason": verdict(&links, &message)}))
        .collect();
    let free = around(3, &extended(&digest_of(plain), 1, &[0x18, 0x40, 0x61, 0x78]), plain);
    assert_eq!(verdict(&links, &free), Value::Null);
    let largest = of_summaries(&gauge(last.block.bounds.from, &bignum));
    assert_eq!(verdict(&links, &largest), Value::Null);
    json!({
        "about": "Block messages that come as number 3 of the chain in chain.json, each refused with its code; 'accepted' are fine.",
        "vectors": vectors,
        "accepted": [
            {"name": "an unknown key from 64 on", "message": hex::encode(free)},
            {"name": "a number of 64 bytes of digits", "message": hex::encode(largest)},
        ],
    })
}

/// What is wrong with a message that comes after the chain's first three blocks; null if nothing.
fn verdict(links: &[Link], message: &[u8]) -> Value {
    let judge = || -> Result<(), &'static str> {
        let message = BlockMessage::decode(message).map_err(|fault| fault.reason())?;
        let opened = message.open(&thing(), &key()).map_err(|fault| fault.reason())?;
        check_follows(&opened, chain_link(links.get(2)), Some(daily_link(&links[1])))
            .map_err(|fault| fault.reason())?;
        check_openings(&opened.summaries, &links[1].opened.summaries).map_err(|fault| fault.reason())
    };
    judge().err().into()
}
