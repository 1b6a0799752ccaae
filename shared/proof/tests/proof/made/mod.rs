//! Makes the test vectors of `tests/vectors/`, and the seeds of the fuzz targets. Everything is deterministic: keys from seeds, signatures by RFC 6979.

mod chain;
pub(crate) mod confidential;
mod envelopes;
mod merkle;
mod messages;
pub(crate) mod packs;
pub(crate) mod seeds;
mod signatures;
mod summaries;

use serde_json::{Value, json};
use vitro_proof::crypto::{SoftwareSigner, sha256};
use vitro_proof::{ContentType, DeviceId, Header, Kind, Sensor, SensorKind, SensorTable, Signer};

/// The device of most vectors.
pub(crate) const THING: &str = "dev-1";
/// The seeds of the test keys; a private key is the SHA-256 of `vitro test key <name>`.
const KEYS: [&str; 3] = ["dev-1", "dev-2", "command-1"];

/// Every vector file and what belongs into it.
pub(crate) fn files() -> Vec<(&'static str, Value)> {
    vec![
        ("keys.json", keys()),
        ("envelopes.json", envelopes::valid()),
        ("invalid-envelopes.json", envelopes::invalid()),
        ("packs.json", packs::packs()),
        ("signatures.json", signatures::signatures()),
        ("merkle.json", merkle::trees()),
        ("summaries.json", summaries::days()),
        ("chain.json", chain::chain()),
        ("refused-blocks.json", chain::refused()),
        ("messages.json", messages::messages()),
        ("confidential.json", confidential::confidential()),
    ]
}

/// The same as bare bytes, to try tools on: the worked example of `docs/formats.md`, and the first block of the chain.
pub(crate) fn raw() -> Vec<(&'static str, Vec<u8>)> {
    let field = |file: &Value, name: &str| un(file["vectors"][0][name].as_str().unwrap());
    vec![
        ("telemetry.cbor", field(&envelopes::valid(), "envelope")),
        ("block-message.cbor", field(&chain::chain(), "message")),
    ]
}

fn scalar(name: &str) -> [u8; 32] {
    sha256(&[b"vitro test key ", name.as_bytes()]).0
}

/// The test key of this name.
pub(crate) fn signer(name: &str) -> SoftwareSigner {
    SoftwareSigner::from_scalar(&scalar(name)).unwrap()
}

pub(crate) fn thing() -> DeviceId {
    THING.parse().unwrap()
}

fn keys() -> Value {
    let keys: Vec<Value> = KEYS
        .iter()
        .map(|name| {
            json!({"name": name, "private": hex::encode(scalar(name)), "public": signer(name).public_key().to_string()})
        })
        .collect();
    json!({
        "about": "Test keys of P-256: the private key is SHA-256 of 'vitro test key <name>'. Everybody has them: never use them.",
        "keys": keys,
    })
}

fn telemetry(number: u64) -> Header {
    Header { kind: Kind::Telemetry, content: ContentType::Senml, kid: THING.to_owned(), number }
}

/// A CBOR head of the shortest form.
fn head(major: u8, argument: u64) -> Vec<u8> {
    let m = major << 5;
    match argument {
        0..=23 => vec![m | u8::try_from(argument).unwrap()],
        24..=0xff => vec![m | 24, u8::try_from(argument).unwrap()],
        0x100..=0xffff => [vec![m | 25], u16::try_from(argument).unwrap().to_be_bytes().to_vec()].concat(),
        0x1_0000..=0xffff_ffff => [vec![m | 26], u32::try_from(argument).unwrap().to_be_bytes().to_vec()].concat(),
        _ => [vec![m | 27], argument.to_be_bytes().to_vec()].concat(),
    }
}

fn bstr(bytes: &[u8]) -> Vec<u8> {
    [head(2, bytes.len() as u64), bytes.to_vec()].concat()
}

fn tstr(text: &str) -> Vec<u8> {
    [head(3, text.len() as u64), text.as_bytes().to_vec()].concat()
}

fn int(value: i64) -> Vec<u8> {
    if value < 0 { head(1, u64::try_from(-(value + 1)).unwrap()) } else { head(0, u64::try_from(value).unwrap()) }
}

fn map(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = head(5, entries.len() as u64);
    for (key, value) in entries {
        out.extend_from_slice(key);
        out.extend_from_slice(value);
    }
    out
}

fn array(items: &[Vec<u8>]) -> Vec<u8> {
    [head(4, items.len() as u64), items.concat()].concat()
}

/// A decimal fraction, tag 4.
fn fraction(exponent: i64, mantissa: i64) -> Vec<u8> {
    [vec![0xc4], array(&[int(exponent), int(mantissa)])].concat()
}

fn un(hex_text: &str) -> Vec<u8> {
    hex::decode(hex_text.replace(' ', "")).unwrap()
}

/// Signs arbitrary protected bytes, as a device that errs would.
fn seal_raw(protected: &[u8], payload: &[u8], key: &str) -> Vec<u8> {
    let structure = array(&[tstr("Signature1"), bstr(protected), bstr(&[]), bstr(payload)]);
    let signature = signer(key).sign_digest(&sha256(&[&structure]).0).unwrap();
    sign1(protected, &[0xa0], payload, &signature)
}

fn sign1(protected: &[u8], unprotected: &[u8], payload: &[u8], signature: &[u8]) -> Vec<u8> {
    [vec![0xd2], array(&[bstr(protected), unprotected.to_vec(), bstr(payload), bstr(signature)])].concat()
}

/// The table of most vectors: a register that resets daily, one of five digits, one that must only rise, and a gauge.
pub(crate) fn table() -> SensorTable {
    let sensor = |name: &str, unit: &str, kind| Sensor { name: name.parse().unwrap(), unit: unit.to_owned(), kind };
    let counter = |width: Option<&str>, resets_normal| SensorKind::Counter {
        width: width.map(|w| w.parse().unwrap()),
        resets_normal,
    };
    let sensors = vec![
        sensor("energy", "kWh", counter(None, true)),
        sensor("gas", "m3", counter(None, false)),
        sensor("temp", "Cel", SensorKind::Gauge),
        sensor("water", "m3", counter(Some("100000"), false)),
    ];
    SensorTable::new(1, sensors).unwrap()
}
