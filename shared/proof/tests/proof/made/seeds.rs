//! One deep valid input, or some, for each way into each fuzz target.

use std::collections::BTreeMap;

use p256::pkcs8::EncodePublicKey;
use serde_json::Value;
use vitro_proof::block::{Block, BlockMessage, OpenedBlock, Span};
use vitro_proof::confidential::{Inside, NoKeys};
use vitro_proof::reconcile::{CloudDay, DayFrame, Stored};
use vitro_proof::summary::{self, Figures, Summary, closings};
use vitro_proof::{BlockNumber, DayBounds, Decimal, Envelope, Hash, SequenceNumber, Signer, envelope};

use super::{array, bstr, fraction, int, map, signer, table, telemetry, thing, tstr, un};
use crate::bodies::{self, der, joined};

/// An input of a fuzz target.
pub(crate) struct Input {
    pub(crate) target: &'static str,
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn input(target: &'static str, name: &str, way: u8, bytes: &[u8]) -> Input {
    Input { target, name: name.replace(' ', "-"), bytes: [&[way], bytes].concat() }
}

/// All the seeds.
pub(crate) fn seeds() -> Vec<Input> {
    [envelopes(), packs(), blocks(), commands(), encrypted(), chains()].into_iter().flatten().collect()
}

pub(crate) fn of<'v>(file: &'v Value, set: &str) -> &'v Vec<Value> {
    file[set].as_array().unwrap()
}

fn envelopes() -> Vec<Input> {
    use bodies::envelope::{HEADER, ITEM, KEY, SEQUENCE, SIGNATURE, WHOLE};
    let seal = |number| envelope::seal(&telemetry(number), &many(number, 60), &signer("dev-1")).unwrap();
    let one = seal(7);
    let parsed = Envelope::parse(&one).unwrap();
    let structure = parsed.sig_structure();
    let mut d = minicbor::Decoder::new(&structure[1..]);
    d.str().unwrap();
    let header = joined(&[d.bytes().unwrap()]);
    let signature = p256::ecdsa::Signature::from_slice(parsed.signature()).unwrap().to_der();
    let key = p256::ecdsa::SigningKey::from_slice(&super::scalar("dev-1")).unwrap();
    let key = key.verifying_key().to_public_key_der().unwrap();
    vec![
        input("envelope", "telemetry", WHOLE, &one),
        input("envelope", "sequence", SEQUENCE, &[one.clone(), seal(8), seal(9)].concat()),
        input("envelope", "header", HEADER, &[header, kinds()].concat()),
        input("envelope", "signature", SIGNATURE, signature.as_bytes()),
        input("envelope", "key", KEY, key.as_bytes()),
        input("envelope", "item", ITEM, &chain()[2].0.encode()),
    ]
}

/// A pack with every kind of value and every way to write a name, a time and a unit, all of which count.
fn kinds() -> Vec<u8> {
    let temp = |value: Vec<u8>, time: Vec<u8>| {
        map(&[(int(0), tstr("temp")), (int(1), tstr("Cel")), (int(2), value), (int(6), time)])
    };
    let base = map(&[
        (int(-1), int(10)),
        (int(-2), tstr("dev-1/")),
        (int(-3), fraction(-3, (bodies::pack::FROM + 60) * 1000 + 125)),
        (int(-4), tstr("kWh")),
        (int(-6), int(3)),
    ]);
    let mut records = vec![
        base,
        map(&[(int(0), tstr("energy")), (int(2), fraction(-5, 461_923)), (int(5), int(8)), (int(7), int(60))]),
        map(&[(int(0), tstr("energy")), (int(2), int(0)), (int(6), int(60))]),
        map(&[(int(0), tstr("energy")), (int(2), fraction(-2, 2)), (int(6), int(120))]),
        map(&[(int(0), tstr("energy")), (int(3), tstr("missing")), (int(6), int(180)), (tstr("x-note"), un("80"))]),
        map(&[(int(0), tstr("gas")), (int(1), tstr("m3")), (int(2), int(50)), (int(99), un("f6"))]),
        map(&[(int(0), tstr("gas")), (int(1), tstr("m3")), (int(2), fraction(-1, 499)), (int(6), int(1))]),
        map(&[(int(0), tstr("gas")), (int(1), tstr("m3")), (int(2), int(i64::MAX)), (int(6), int(2))]),
    ];
    let forms = [
        "f93e00",
        "fa3dcccccd",
        "fb3fd3333333333334",
        "1b0000000000000015",
        "3863",
        "c4820c1b7fffffffffffffff",
        "c4822b01",
    ];
    records.extend(forms.into_iter().zip(1..).map(|(form, after)| temp(un(form), fraction(-1, after))));
    records.extend([
        map(&[
            (int(-2), tstr("dev-1/wat")),
            (int(-4), tstr("m3")),
            (int(-5), int(90_000)),
            (int(0), tstr("er")),
            (int(2), int(9_999)),
        ]),
        // The base value alone, the name in full, the time in full.
        map(&[
            (int(-2), tstr("")),
            (int(-3), int(1 << 28)),
            (int(-5), int(1)),
            (int(0), tstr("dev-1/water")),
            (int(6), int(bodies::pack::FROM + 400 - (1 << 28))),
        ]),
    ]);
    array(&records)
}

/// Every minute from an hour on, of three sensors, as a device that was offline sends it.
fn many(hour: u64, minutes: i64) -> Vec<u8> {
    let hour = i64::try_from(hour).unwrap();
    let mut records = vec![map(&[(int(-2), tstr("dev-1/")), (int(-3), int(bodies::pack::FROM + 3600 * hour))])];
    for minute in 0..minutes {
        let at = (int(6), int(minute * 60));
        let record = |name: &str, unit: &str, value| {
            map(&[(int(0), tstr(name)), (int(1), tstr(unit)), (int(2), value), at.clone()])
        };
        records.push(record("energy", "kWh", fraction(-3, hour * 6000 + minute * 97)));
        records.push(record("temp", "Cel", fraction(-2, (minute * 37) % 900 - 450)));
        records.push(record("water", "m3", fraction(-1, (999_000 + hour * 600 + minute * 10) % 1_000_000)));
    }
    array(&records)
}

/// Records that do not count, beside some that do.
fn faulty(second: i64) -> Vec<u8> {
    let record = |name: &str, unit: &str, value| map(&[(int(0), tstr(name)), (int(1), tstr(unit)), (int(2), value)]);
    let base = map(&[(int(-2), tstr("dev-1/")), (int(-3), int(bodies::pack::FROM + second))]);
    let text = map(&[(int(0), tstr("temp")), (int(1), tstr("Cel")), (int(3), tstr("warm"))]);
    array(&[
        base,
        record("energy", "kWh", int(1)),
        record("energy", "kWh", int(2)),
        record("gas", "m3", un("f97e00")),
        record("water", "l", int(1)),
        record("wind", "m/s", int(1)),
        text,
    ])
}

fn packs() -> Vec<Input> {
    use bodies::pack::{FIRST_DAY, LATER_DAY, PACK};
    let day: Vec<Vec<u8>> =
        vec![kinds(), many(1, 20), faulty(4000), many(2, 5), many(2, 5), vec![], many(12, 3), faulty(90_000)];
    let day: Vec<&[u8]> = day.iter().map(Vec::as_slice).collect();
    vec![
        input("pack", "kinds", PACK, &kinds()),
        input("pack", "many", PACK, &many(3, 85)),
        input("pack", "first day", FIRST_DAY, &joined(&day)),
        input("pack", "later day", LATER_DAY, &joined(&day)),
    ]
}

/// Three days of a device, the second one empty, the third with an interim block before: counters with resets and a rollover, a gauge,
/// missing values and flagged ones.
fn chain() -> Vec<(BlockMessage, OpenedBlock)> {
    let mut links: Vec<(BlockMessage, OpenedBlock)> = Vec::new();
    let all = [kinds(), faulty(4000), many(5, 60)];
    let later = |packs: &[Vec<u8>]| packs.to_vec();
    for (day, packs, interim) in
        [(0, later(&all), false), (1, vec![], false), (2, vec![], true), (2, later(&all[1..2]), false)]
    {
        let before = links.iter().map(|link| &link.1).rfind(|block| block.block.is_daily());
        let (first, from) = before.map_or((0, bodies::pack::FROM), |block| (block.block.end(), block.block.bounds.to));
        let openings: BTreeMap<_, _> = before.map(|block| closings(&block.summaries)).unwrap_or_default();
        let bounds = DayBounds { from, to: from + if interim { 5000 } else { 86_400 } };
        let envelopes: Vec<Vec<u8>> = (first..)
            .zip(&packs)
            .map(|(number, pack)| envelope::seal(&telemetry(number), pack, &signer("dev-1")).unwrap())
            .collect();
        let stored = (first..).zip(&envelopes).map(|(n, envelope)| Stored { number: SequenceNumber(n), envelope });
        let (thing, table) = (thing(), table());
        let day = vitro_proof::LocalDay::new(2018, 10, 14 + day).unwrap();
        let count = envelopes.len() as u64;
        let frame = DayFrame { thing: &thing, day, bounds, first, count, table: &table, openings: &openings };
        let cloud = CloudDay::compute(&frame, stored, &NoKeys).unwrap();
        let summaries = summary::encode(&cloud.summaries);
        let daily = Span::Daily { previous_daily: before.map(|block| block.hash) };
        let block = Block {
            thing: thing.clone(),
            previous: links.last().map_or(Hash([0; 32]), |link| link.1.hash),
            span: if interim { Span::Interim } else { daily },
            day,
            zone: "Etc/GMT+7".parse().unwrap(),
            bounds,
            first,
            count,
            root: cloud.root,
            bytes: cloud.bytes,
            units: cloud.units,
            table_version: 1,
            summaries_digest: summary::digest(&[4; 16], &summaries),
        };
        let number = BlockNumber(links.len() as u64);
        let message = BlockMessage::seal(number, &block, [4; 16], summaries, &signer("dev-1")).unwrap();
        let opened = message.open(&thing, &vitro_proof::crypto::P256Key::new(&signer("dev-1").public_key()).unwrap());
        links.push((message, opened.unwrap()));
    }
    links
}

fn blocks() -> Vec<Input> {
    use bodies::block::{ACCOUNT, CHAIN, PAYLOAD, SUMMARIES, WHOLE};
    let chain = chain();
    let messages: Vec<Vec<u8>> = chain.iter().map(|(message, _)| message.encode()).collect();
    let all: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    // 24 hours from FROM on, daily, number 3.
    let around = |summaries: &[u8]| [&[0, 0xa8, 0xc0, 6], summaries].concat();
    let mut seeds = vec![
        input("block", "message", WHOLE, all[0]),
        input("block", "interim", WHOLE, all[2]),
        input("block", "payload", PAYLOAD, &chain[3].1.block.encode()),
        input("block", "summaries", SUMMARIES, &around(&chain[0].0.summaries)),
        input("block", "summaries of large numbers", SUMMARIES, &around(&large(chain[0].1.summaries.clone()))),
        input("block", "chain", CHAIN, &joined(&all)),
    ];
    for account in of(&super::messages::messages(), "accounts") {
        let name = format!("account {}", account["name"].as_str().unwrap());
        seeds.push(input("block", &name, ACCOUNT, &un(account["account"].as_str().unwrap())));
    }
    seeds
}

/// The same with numbers at the edge of what is read: 64 bytes, in either direction.
fn large(mut summaries: Vec<Summary>) -> Vec<u8> {
    let read = |bytes: &[u8]| Decimal::decode(&mut minicbor::Decoder::new(bytes)).unwrap();
    let bignum = |tag: &str| [un(tag), bstr(&[0xff; 64])].concat();
    let (high, low) = (read(&bignum("c2")), read(&bignum("c3")));
    let fine = read(&[un("c482383f"), bignum("c2")].concat());
    for summary in &mut summaries {
        summary.opening = summary.opening.as_ref().map(|_| low.clone()).or(summary.counter.then(|| fine.clone()));
        match &mut summary.figures {
            Some(Figures::Gauge { min, max, sum }) => {
                (*min, *max, *sum) = (low.clone(), high.clone(), fine.clone());
            }
            Some(Figures::Counter { increase, largest_step, grid, .. }) => {
                grid.fill(Decimal::zero());
                grid[3] = high.clone();
                (*increase, *largest_step) = (high.clone(), fine.clone());
            }
            None => {}
        }
    }
    summary::encode(&summaries)
}

fn commands() -> Vec<Input> {
    use bodies::command::{COMMAND, REPLY, SIGNED_COMMAND, SIGNED_REPLY, WHOLE};
    let messages = super::messages::messages();
    let mut seeds = Vec::new();
    for (set, part, signed) in [("commands", COMMAND, SIGNED_COMMAND), ("replies", REPLY, SIGNED_REPLY)] {
        for (at, message) in of(&messages, set).iter().enumerate() {
            let (name, payload) = (message["name"].as_str().unwrap(), un(message["payload"].as_str().unwrap()));
            let name = format!("{set} {name}");
            seeds.push(input("command", &name, part, &payload));
            if at == 0 {
                seeds.push(input(
                    "command",
                    &format!("{name} whole"),
                    WHOLE,
                    &un(message["envelope"].as_str().unwrap()),
                ));
                seeds.push(input("command", &format!("{name} signed"), signed, &payload));
            }
        }
    }
    seeds
}

fn encrypted() -> Vec<Input> {
    use bodies::encrypted::{BLOCK, HEADERS, NUMBER, OPENING, PACK, SEALED, TELEMETRY, parts_of, seal};
    let sealed = seal(Inside::Pack, NUMBER, &kinds());
    let [protected, recipient, ciphertext] = parts_of(&sealed);
    let (message, _) = chain().swap_remove(0);
    let opening = array(&[bstr(&message.salt), bstr(&message.summaries)]);
    let block = array(&[bstr(&message.envelope), bstr(&seal(Inside::Opening, 0, &opening))]);
    let header = vitro_proof::Header { content: vitro_proof::ContentType::Encrypted, ..telemetry(NUMBER) };
    vec![
        input("encrypted", "sealed", SEALED, &sealed),
        input("encrypted", "headers", HEADERS, &[joined(&[&protected, &recipient]), ciphertext].concat()),
        input("encrypted", "pack", PACK, &kinds()),
        input("encrypted", "opening", OPENING, &opening),
        input("encrypted", "block", BLOCK, &block),
        input("encrypted", "telemetry", TELEMETRY, &envelope::seal(&header, &sealed, &signer("dev-1")).unwrap()),
    ]
}

fn chains() -> Vec<Input> {
    let between = der::signer(der::BETWEEN);
    // Names that sort out, and a scope: an issuing distribution point for the certificates of devices at one place.
    let place = der::tlv(0xa0, &der::tlv(0xa0, &der::tlv(0x86, der::PLACE.as_bytes())));
    let scope = der::extension(28, true, &der::sequence(&[place, der::tlv(0x81, &[0xff])]));
    let serials: [(&[u8], u8); 4] = [(&[5], 1), (&[0x80, 0], 6), (&[0xff; 20], 9), (&[6], 0)];
    let list = |more: &[Vec<u8>]| der::list(der::BETWEEN, &[1, 0], &serials, more);
    vec![
        input("chain", "certificate", der::ways::CERTIFICATE, &der::signed(&der::device(&[3]), &between)),
        input("chain", "list", der::ways::LIST, &der::signed(&list(&[]), &between)),
        input("chain", "list to be signed", der::ways::SIGNED_LIST, &list(&[])),
        input("chain", "list with a scope", der::ways::SIGNED_LIST, &list(&[scope])),
        input("chain", "device", der::ways::SIGNED_DEVICE, &der::device(&[0x90, 1])),
        input("chain", "authority", der::ways::SIGNED_AUTHORITY, &der::authority()),
    ]
}
