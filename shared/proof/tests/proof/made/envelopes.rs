//! Envelopes that are well formed, whoever signed them, and envelopes that break each rule of the form.

use serde_json::{Value, json};
use vitro_proof::crypto::P256Key;
use vitro_proof::envelope::{MAX_BYTES, seal};
use vitro_proof::senml::{Reading, write_pack};
use vitro_proof::{ContentType, Envelope, Header, Kind, Signer, UnixMillis};

use super::{array, bstr, head, int, map, seal_raw, sign1, signer, telemetry, thing, tstr, un};

/// The two readings of the worked example in `docs/formats.md`.
pub(super) fn example_pack() -> Vec<u8> {
    let reading = |sensor: &str, unit: &str, value: Option<&str>| Reading {
        sensor: sensor.parse().unwrap(),
        unit: unit.to_owned(),
        value: value.map(|v| v.parse().unwrap()),
    };
    let readings = [reading("energy", "kWh", Some("3.0903")), reading("temp", "Cel", None)];
    write_pack(&thing(), UnixMillis(1_539_500_460_000), &readings)
}

/// The other form of the last 64 bytes' signature: n - s for s.
fn twin(envelope: &[u8]) -> Vec<u8> {
    let mut out = envelope.to_vec();
    let at = out.len() - 64;
    let parsed = p256::ecdsa::Signature::from_slice(&envelope[at..]).unwrap();
    let (r, s) = parsed.split_scalars();
    out[at..].copy_from_slice(&p256::ecdsa::Signature::from_scalars(r, -*s).unwrap().to_bytes());
    out
}

fn protected(number: u64) -> Vec<u8> {
    map(&[
        (int(1), int(-7)),
        (int(3), int(112)),
        (int(4), bstr(b"dev-1")),
        (int(16), tstr("vitro-telemetry")),
        (int(-65537), head(0, number)),
    ])
}

pub(super) fn valid() -> Value {
    let device = signer("dev-1");
    let pack = example_pack();
    let example = seal(&telemetry(42), &pack, &device).unwrap();
    let of = |kind, content, kid: &str, key: &str, payload: &[u8]| {
        let header = Header { kind, content, kid: kid.to_owned(), number: 7 };
        seal(&header, payload, &signer(key)).unwrap()
    };
    // The largest envelope that is still one: its payload fills it up.
    let room = MAX_BYTES - (seal(&telemetry(1), &[0; 70_000], &device).unwrap().len() - 70_000);
    let largest = seal(&telemetry(1), &vec![0; room], &device).unwrap();
    let steps = |bytes: usize| {
        let overhead = seal(&telemetry(1), &[0; 1000], &device).unwrap().len() - 1000;
        seal(&telemetry(1), &vec![0; bytes - overhead], &device).unwrap()
    };
    let mut flipped = example.clone();
    flipped[60] ^= 1;
    let [long_heads, shuffled] = other_encodings(&pack);
    let cases: Vec<(&str, &str, Vec<u8>)> = vec![
        ("telemetry", "the example of docs/formats.md", example.clone()),
        ("high-s-twin", "the same with n - s for s: valid, same leaf", twin(&example)),
        ("last-number", "the last sequence number", seal(&telemetry(u64::MAX), &pack, &device).unwrap()),
        ("number-0", "the first sequence number", seal(&telemetry(0), &pack, &device).unwrap()),
        (
            "empty-payload",
            "a payload of no bytes: stored, a leaf, unreadable",
            seal(&telemetry(1), &[], &device).unwrap(),
        ),
        ("nonsense", "well-signed nonsense: stored, a leaf", seal(&telemetry(1), b"nonsense", &device).unwrap()),
        ("long-heads", "longer CBOR heads than needed, outside and in the protected header", long_heads),
        ("shuffled-header", "the protected header's keys in another order", shuffled),
        (
            "encrypted",
            "content type 96",
            of(Kind::Telemetry, ContentType::Encrypted, "dev-1", "dev-1", &un("d8608340a04040")),
        ),
        ("block", "a block's header", of(Kind::Block, ContentType::Block, "dev-1", "dev-1", &[0xa0])),
        ("reply", "a reply's header", of(Kind::Reply, ContentType::Reply, "dev-1", "dev-1", &[0xa0])),
        ("command", "a command's header", of(Kind::Command, ContentType::Command, "command-1", "command-1", &[0xa0])),
        ("5120-bytes", "one metered unit", steps(5120)),
        ("5121-bytes", "two metered units", steps(5121)),
        ("largest", "131072 bytes", largest),
        ("forged", "signed with another key", seal(&telemetry(42), &pack, &signer("dev-2")).unwrap()),
        ("flipped-byte", "one bit of the payload flipped", flipped),
        (
            "other-device",
            "another device's name, signed with its own key",
            of(Kind::Telemetry, ContentType::Senml, "dev-2", "dev-1", &pack),
        ),
    ];
    let vectors: Vec<Value> = cases.into_iter().map(|(name, about, bytes)| describe(name, about, &bytes)).collect();
    json!({
        "about": "Envelopes of a good form. 'verifies': whether the signature verifies under 'key', the key of the kid in keys.json.",
        "vectors": vectors,
    })
}

/// Two envelopes that no deterministic writer makes, and that are fine all the same.
fn other_encodings(pack: &[u8]) -> [Vec<u8>; 2] {
    let protected = [
        un("b805 1801 26 190003 190070"),
        [int(4), un("590005"), b"dev-1".to_vec()].concat(),
        [int(16), tstr("vitro-telemetry"), un("3b0000000000010000"), un("1b000000000000002a")].concat(),
    ]
    .concat();
    let sealed = seal_raw(&protected, pack, "dev-1");
    let signature = sealed[sealed.len() - 64..].to_vec();
    let wide = |bytes: &[u8]| {
        [vec![0x5a], u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec(), bytes.to_vec()].concat()
    };
    let long = [un("d2 9804"), wide(&protected), un("b800"), wide(pack), wide(&signature)].concat();
    let shuffled = map(&[
        (int(-65537), int(42)),
        (int(16), tstr("vitro-telemetry")),
        (int(4), bstr(b"dev-1")),
        (int(3), int(112)),
        (int(1), int(-7)),
    ]);
    [long, seal_raw(&shuffled, pack, "dev-1")]
}

fn describe(name: &str, about: &str, bytes: &[u8]) -> Value {
    let envelope = Envelope::parse(bytes).unwrap();
    let header = envelope.header();
    let key = P256Key::new(&signer(&header.kid).public_key()).unwrap();
    let (typ, content) = (header.kind.typ(), content(header.content));
    let mut vector = json!({
        "name": name,
        "about": about,
        "key": header.kid,
        "header": {"typ": typ, "content": content, "kid": header.kid, "number": header.number},
        "leaf": envelope.leaf().to_string(),
        "hash": envelope.hash().to_string(),
        "signature": hex::encode(envelope.signature()),
        "bytes": bytes.len(),
        "units": envelope.metered_units(),
        "verifies": envelope.verify(&key).is_ok(),
    });
    if bytes.len() < 1000 {
        vector["envelope"] = hex::encode(bytes).into();
        vector["payload"] = hex::encode(envelope.payload()).into();
        vector["sig_structure"] = hex::encode(envelope.sig_structure()).into();
    } else {
        vector["envelope"] = padded(bytes);
    }
    vector
}

fn content(content: ContentType) -> Value {
    match content {
        ContentType::Senml => 112.into(),
        ContentType::Encrypted => 96.into(),
        ContentType::Block => "application/vitro-block+cbor".into(),
        ContentType::Command => "application/vitro-command+cbor".into(),
        ContentType::Reply => "application/vitro-reply+cbor".into(),
    }
}

/// Long bytes with one long run of zeros: what stands before it, how many zeros, what stands after it.
fn padded(bytes: &[u8]) -> Value {
    let start = bytes.windows(64).position(|window| window.iter().all(|b| *b == 0)).unwrap();
    let zeros = bytes[start..].iter().take_while(|b| **b == 0).count();
    json!({"head": hex::encode(&bytes[..start]), "zeros": zeros, "tail": hex::encode(&bytes[start + zeros..])})
}

pub(super) fn invalid() -> Value {
    let good = seal(&telemetry(42), &example_pack(), &signer("dev-1")).unwrap();
    let pack = example_pack();
    let raw = |protected: &[u8]| seal_raw(protected, &pack, "dev-1");
    let fields = |changed: i64, value: Option<Vec<u8>>| {
        let entries =
            [(1, int(-7)), (3, int(112)), (4, bstr(b"dev-1")), (16, tstr("vitro-telemetry")), (-65537, int(42))];
        let mut out: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for (key, old) in entries {
            match &value {
                Some(new) if key == changed => out.push((int(key), new.clone())),
                None if key == changed => {}
                _ => out.push((int(key), old)),
            }
        }
        raw(&map(&out))
    };
    let extra = |entry: Vec<u8>| {
        let mut bytes = protected(42);
        bytes[0] = 0xa6;
        bytes.extend(entry);
        raw(&bytes)
    };
    let signature = good[good.len() - 64..].to_vec();
    let p = protected(42);
    let deep = [un("d2 84"), bstr(&p), vec![0x81; 16], un("00"), bstr(&pack), bstr(&signature)].concat();
    let der = p256::ecdsa::Signature::from_slice(&signature).unwrap().to_der().as_bytes().to_vec();
    let oversized = seal(&telemetry(1), &vec![0; MAX_BYTES - good.len() + pack.len()], &signer("dev-1")).unwrap();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no bytes", vec![]),
        ("JSON", br#"{"temp": 21}"#.to_vec()),
        ("cut off", good[..good.len() - 1].to_vec()),
        ("no tag", good[1..].to_vec()),
        ("tag 17", [vec![0xd1], good[1..].to_vec()].concat()),
        ("tag 18 in two bytes", [un("d812"), good[1..].to_vec()].concat()),
        ("tagged map", un("d2a0")),
        ("array of three", [un("d283"), good[2..good.len() - 66].to_vec()].concat()),
        ("array of indefinite length", [un("d29f"), good[2..].to_vec(), un("ff")].concat()),
        ("protected header not wrapped", [un("d284"), p.clone(), un("a0"), bstr(&pack), bstr(&signature)].concat()),
        ("unprotected is an array", sign1(&p, &[0x80], &pack, &signature)),
        ("nested too deeply", deep),
        ("detached payload", [un("d284"), bstr(&p), un("a0f6"), bstr(&signature)].concat()),
        ("signature of 63 bytes", sign1(&p, &[0xa0], &pack, &signature[1..])),
        ("signature in DER", sign1(&p, &[0xa0], &pack, &der)),
        ("empty protected header", raw(&[])),
        ("protected header is an array", raw(&array(&[int(1), int(-7)]))),
        ("two items in the protected header", raw(&[p.clone(), int(0)].concat())),
        ("duplicate label", extra([int(4), bstr(b"dev-1")].concat())),
        ("duplicate label in a longer form", extra([un("1804"), bstr(b"dev-1")].concat())),
        ("larger than 131072 bytes", oversized),
        ("one byte after it", [good.clone(), vec![0]].concat()),
        ("twice", [good.clone(), good.clone()].concat()),
        ("ES384", fields(1, Some(int(-35)))),
        ("algorithm as text", fields(1, Some(tstr("ES256")))),
        ("no algorithm", fields(1, None)),
        ("unprotected kid", sign1(&p, &map(&[(int(4), bstr(b"dev-1"))]), &pack, &signature)),
        ("crit", extra([int(2), array(&[int(1)])].concat())),
        ("a further label", extra([int(5), bstr(b"iv")].concat())),
        ("a text label", extra([tstr("alg"), int(-7)].concat())),
        ("no kid", fields(4, None)),
        ("kid as text", fields(4, Some(tstr("dev-1")))),
        ("kid not UTF-8", fields(4, Some(bstr(&[0xff])))),
        ("no number", fields(-65537, None)),
        ("number below zero", fields(-65537, Some(int(-1)))),
        ("number as bignum", fields(-65537, Some(un("c2412a")))),
        ("no typ", fields(16, None)),
        ("unknown typ", fields(16, Some(tstr("vitro-gossip")))),
        ("typ as number", fields(16, Some(int(1)))),
        ("no content type", fields(3, None)),
        ("JSON content type", fields(3, Some(int(50)))),
        ("content type of a block", fields(3, Some(tstr("application/vitro-block+cbor")))),
        ("unknown content type", fields(3, Some(tstr("text/plain")))),
        ("content type below zero", fields(3, Some(int(-1)))),
    ];
    let vectors: Vec<Value> = cases
        .into_iter()
        .map(|(name, bytes)| {
            use vitro_proof::Reason;
            let reason = Envelope::parse(&bytes).unwrap_err().reason();
            let envelope = if bytes.len() < 1000 { hex::encode(&bytes).into() } else { padded(&bytes) };
            json!({"name": name, "reason": reason, "envelope": envelope})
        })
        .collect();
    json!({"about": "Bytes that are refused for their form, before any signature is checked, each with its code.", "vectors": vectors})
}

/// The public key of a test key, for other modules.
pub(super) fn public(name: &str) -> String {
    signer(name).public_key().to_string()
}
