//! `tests/vectors/ledger.json`: records of the ledger in bytes. `tests/outsider/` writes the same from what they say.

use std::path::PathBuf;

use serde_json::{Value, json};
use vitro_proof::{Account, Decimal};

use super::{agreement, day, decimal, device, differing, first_day, ledger_with, publish};
use crate::calls;
use crate::testing::{MemoryLedger, admin};
use crate::{
    Agreement, Alive, Amendment, Bytes, DeviceApproval, Exchange, Field, Halt, Hour, Item, LastValue, MeteringPoint,
    Path, PeriodKind, Record, Role, SignOfLife, Statement, StatusReason, Termination,
};

const ABOUT: &str =
    "Records of the ledger: what each says, its deterministic CBOR, and the SHA-256 by which it is approved or cited.";
const HINT: &str = "`cargo test -p vitro-contract --lib write_the_vectors -- --ignored`";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

fn vector(name: &str, record: &str, value: &(impl Record + serde::Serialize)) -> Value {
    let bytes = value.encode();
    let hash = vitro_proof::crypto::sha256(&[&bytes]);
    json!({"name": name, "record": record, "value": value, "cbor": hex::encode(bytes), "sha256": hash})
}

/// The authorities of the vectors of chains: certificates of another origin.
fn authorities() -> Vec<Bytes> {
    let text = std::fs::read_to_string(folder().join("chains.json")).unwrap();
    let chains: Value = serde_json::from_str(&text).unwrap();
    let good = chains["chains"].as_array().unwrap().iter().find(|chain| chain["name"] == "good").unwrap();
    let mut all: Vec<Bytes> = ["roots", "issuers"]
        .iter()
        .flat_map(|key| good[*key].as_array().unwrap())
        .map(|der| Bytes(hex::decode(der.as_str().unwrap()).unwrap()))
        .collect();
    all.sort();
    all
}

fn full() -> Agreement {
    let mut terms = agreement();
    let points = ["mp-1", "mp-2"].map(|point| point.parse::<MeteringPoint>().unwrap());
    terms.points = Some(points.to_vec());
    terms.fields.insert(0, Field { sensor: "temp".parse().unwrap(), unit: "Cel".into() });
    terms.term.period = PeriodKind::Month;
    terms.term.to = Some(day("2027-02-28"));
    terms.authorities = authorities();
    terms.check().unwrap();
    terms
}

fn signs() -> Vec<SignOfLife> {
    let value = |sensor: &str, unit: &str, value: Option<&str>| LastValue {
        sensor: sensor.parse().unwrap(),
        unit: unit.into(),
        value: value.map(decimal),
    };
    let (one, two) = ("dev-1".parse().unwrap(), "dev-2".parse().unwrap());
    vec![
        SignOfLife {
            thing: one,
            alive: true,
            number: Some(4711),
            heard: Some(1_772_366_399_999),
            values: vec![value("temp", "Cel", None), value("yield", "kWh", Some("103.0903"))],
        },
        SignOfLife { thing: two, alive: false, number: None, heard: None, values: vec![] },
    ]
}

/// A period's statement, one that corrects it, and one of corrections alone.
fn statements() -> [Statement; 3] {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    super::activate(&mut ledger, &agreement());
    let days: Vec<_> = ["100", "3.0903", "0.01", "7"].map(|more| dev.seal_day(Some(&decimal(more))).unwrap()).into();
    let item = |n: usize| Item::day(days[n].message.clone(), &days[n].account);
    publish(&mut ledger, &[item(0), item(1)]);
    fn run<T: Record>(ledger: &mut MemoryLedger, call: &calls::Call<T>) -> T {
        ledger.call(&admin(Role::Operator), call.function, &call.args).unwrap()
    }
    let id = agreement().id;
    let first = run(&mut ledger, &calls::close(&id, first_day(), day("2026-03-03"))).statement;
    publish(&mut ledger, &[item(2), item(3), Item::account(&differing(&days[1].account))]);
    let second = run(&mut ledger, &calls::close(&id, day("2026-03-04"), day("2026-03-04"))).statement;
    let again = Account { healed: vec![(1, 1)], ..days[1].account.clone() };
    publish(&mut ledger, &[Item::account(&again)]);
    let third = run(&mut ledger, &calls::correct(&id, agreement().hash())).statement.unwrap().statement;
    [first, second, third]
}

fn made() -> Value {
    let terms = full();
    let mut later = agreement();
    later.term.from = day("2026-04-01");
    later.authorities = authorities();
    let entry = device("dev-1", 1).entry;
    let signs = signs();
    let alive = Alive::of("north".parse().unwrap(), Hour::beginning(1_772_362_800).unwrap(), &signs).unwrap();
    let [first, second, third] = statements();
    let halt = Halt { at: 1_772_366_400_000, last_good: Some(4711), reason: StatusReason::CertificateRevoked };
    let exchange = Exchange {
        old: "dev-1".parse().unwrap(),
        new: "dev-2".parse().unwrap(),
        day: day("2026-03-05"),
        at: 1_772_712_000_000,
        last_good: None,
        first: 12,
    };
    let approvals = vec![DeviceApproval { thing: entry.thing.clone(), entry: entry.hash() }];
    let path = Path { siblings: vec![vitro_proof::Hash([1; 32]), vitro_proof::Hash([0xfe; 32])] };
    json!({
        "about": ABOUT,
        "vectors": [
            vector("four parties", "roles", &crate::testing::roles().unwrap()),
            vector("a device", "device-entry", &entry),
            vector("a list of approvals", "device-approvals", &approvals),
            vector("an agreement that pins nothing: version 1", "agreement", &agreement()),
            vector("an agreement that pins two authorities: version 2", "agreement", &terms),
            vector("an amendment", "amendment", &Amendment { replaces: agreement().hash(), terms: later }),
            vector("a termination", "termination",
                &Termination { agreement: agreement().id, ends: agreement().hash(), last: day("2026-12-31") }),
            vector("a suspension", "halt", &halt),
            vector("a retirement of which nothing is good", "halt",
                &Halt { at: 0, last_good: None, reason: StatusReason::Operator }),
            vector("an exchange", "exchange", &exchange),
            vector("a device that was heard", "sign-of-life", &signs[0]),
            vector("a device that never was", "sign-of-life", &signs[1]),
            vector("the hour of these two", "alive", &alive),
            vector("a path", "path", &path),
            vector("a statement: version 1", "statement", &first),
            vector("a statement with corrections: version 2", "statement", &second),
            vector("a statement of corrections alone", "statement", &third),
        ],
    })
}

#[test]
fn the_committed_vectors_are_current() {
    let text = std::fs::read_to_string(folder().join("ledger.json")).unwrap();
    let committed: Value = serde_json::from_str(&text).unwrap();
    assert!(committed == made(), "ledger.json has changed: a schema that needs another version, or {HINT}");
    // And what stands there is read as what it says.
    for vector in committed["vectors"].as_array().unwrap() {
        let bytes = hex::decode(vector["cbor"].as_str().unwrap()).unwrap();
        let value = vector["value"].clone();
        match vector["record"].as_str().unwrap() {
            "agreement" => assert_eq!(Agreement::decode(&bytes).unwrap(), serde_json::from_value(value).unwrap()),
            "statement" => assert_eq!(Statement::decode(&bytes).unwrap(), serde_json::from_value(value).unwrap()),
            "alive" => assert_eq!(Alive::decode(&bytes).unwrap(), serde_json::from_value(value).unwrap()),
            "amendment" => assert_eq!(Amendment::decode(&bytes).unwrap(), serde_json::from_value(value).unwrap()),
            _ => {}
        }
    }
    let corrected = &committed["vectors"][15]["value"];
    assert_eq!(corrected["corrections"][0]["amount"], "-0.772575");
    assert_ne!(corrected["exact"], json!(Decimal::zero()));
}

#[test]
#[ignore = "writes tests/vectors/ledger.json"]
fn write_the_vectors() {
    let text = serde_json::to_string_pretty(&made()).unwrap() + "\n";
    std::fs::write(folder().join("ledger.json"), text).unwrap();
}
