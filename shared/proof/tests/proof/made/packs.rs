//! Packs with each fault of content, and packs that are unusual and fine.

use serde_json::{Value, json};
use vitro_proof::senml::{self, Value as Reading};
use vitro_proof::{Reason, summary};

use super::envelopes::example_pack;
use super::{THING, array, bstr, fraction, int, map, table, thing, tstr, un};

type Entry = (Vec<u8>, Vec<u8>);

/// A good base time.
const TIME: i64 = 1_539_500_460;

fn at(label: i64, value: Vec<u8>) -> Entry {
    (int(label), value)
}

/// Base name and base time of the device.
fn base() -> Vec<Entry> {
    vec![at(-2, tstr("dev-1/")), at(-3, int(TIME))]
}

/// A pack of one record: base name and base time, then these.
fn one(entries: Vec<Entry>) -> Vec<u8> {
    array(&[map(&[base(), entries].concat())])
}

/// A pack of one value of `temp`.
fn value(item: Vec<u8>) -> Vec<u8> {
    one(vec![at(0, tstr("temp")), at(1, tstr("Cel")), at(2, item)])
}

/// A pack of one value of `temp` at this time alone.
fn time(item: Vec<u8>) -> Vec<u8> {
    array(&[map(&[at(0, tstr("dev-1/temp")), at(1, tstr("Cel")), at(2, int(1)), at(6, item)])])
}

fn double(value: f64) -> Vec<u8> {
    [vec![0xfb], value.to_be_bytes().to_vec()].concat()
}

fn numbers() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("integer", value(int(-3))),
        ("integer in nine bytes", value(un("1b0000000000000015"))),
        ("largest integer", value(int(i64::MAX))),
        ("smallest integer", value(int(-i64::MAX))),
        ("integer -2^63", value(int(i64::MIN))),
        ("integer 2^63", value(un("1b8000000000000000"))),
        ("integer -2^64", value(un("3bffffffffffffffff"))),
        ("bignum", value(un("c249010000000000000000"))),
        ("small bignum", value(un("c24101"))),
        ("negative bignum", value(un("c34101"))),
        ("decimal", value(fraction(-4, 30903))),
        ("decimal with zeros at its end", value(fraction(-6, 3_090_300))),
        ("decimal of a positive exponent", value(fraction(3, 5))),
        ("decimal zero", value(fraction(-3, 0))),
        ("finest decimal", value(fraction(-12, 1))),
        ("largest decimal", value(fraction(12, i64::MAX))),
        ("exponent 13", value(fraction(13, 1))),
        ("exponent -13", value(fraction(-13, 1))),
        ("exponent 2^64 - 1", value([un("c482 1bffffffffffffffff"), int(1)].concat())),
        ("mantissa -2^63", value(fraction(0, i64::MIN))),
        ("mantissa as bignum", value([un("c482 20"), un("c24105")].concat())),
        ("exponent as bignum", value([un("c482"), un("c24101"), int(1)].concat())),
        ("decimal of three parts", value([un("c483"), int(1), int(1), int(1)].concat())),
        ("bigfloat, tag 5", value([un("c582"), int(1), int(1)].concat())),
        ("half", value(un("f93e00"))),
        ("single", value(un("fa3dcccccd"))),
        ("double", value(double(0.1))),
        ("double with rounding noise", value(double(0.1 + 0.2))),
        ("double that is an integer", value(double(21.0))),
        ("minus zero", value(double(-0.0))),
        ("large double", value(double(9.999e30))),
        ("double 10^31", value(double(1e31))),
        ("fine double", value(double(1e-30))),
        ("double finer than 10^-30", value(double(1.5e-30))),
        ("smallest double", value(double(5e-324))),
        ("NaN", value(un("f97e00"))),
        ("infinity", value(un("f97c00"))),
        ("minus infinity", value(un("faff800000"))),
        ("value as text", value(tstr("21"))),
        ("value null", value(un("f6"))),
    ]
}

fn times() -> Vec<(&'static str, Vec<u8>)> {
    let without = |entries: &[Entry]| array(&[map(&[&[at(-2, tstr("dev-1/"))], entries].concat())]);
    let named = |rest: Vec<Entry>| [vec![at(0, tstr("temp")), at(1, tstr("Cel")), at(2, int(1))], rest].concat();
    vec![
        ("time in milliseconds", time(fraction(-3, 1_539_500_460_125))),
        ("time as double", time(double(1_539_500_460.25))),
        ("time finer than a millisecond", time(fraction(-4, 15_395_004_601_251))),
        ("zeros beyond a millisecond", time(fraction(-6, 1_539_500_460_125_000))),
        ("first absolute time", time(int(1 << 28))),
        ("last relative time", time(int((1 << 28) - 1))),
        ("time below zero", time(int(-5))),
        ("last millisecond", time(fraction(-3, 253_402_300_799_999))),
        ("after the year 9999", time(int(253_402_300_800))),
        ("time out of range", time(un("1bffffffffffffffff"))),
        ("time NaN", time(un("f97e00"))),
        ("time as text", time(tstr("2018"))),
        ("no time", without(&named(vec![]))),
        ("base time and time", one(named(vec![at(6, fraction(-1, -5))]))),
        (
            "base time out of range",
            array(&[map(&named(vec![at(-2, tstr("dev-1/")), at(-3, un("f97e00")), at(6, int(1))]))]),
        ),
        (
            "base time relative, sum absolute",
            array(&[map(&named(vec![at(-2, tstr("dev-1/")), at(-3, int(5)), at(6, int(TIME))]))]),
        ),
        (
            "fractions that sum up to milliseconds",
            array(&[map(&named(vec![
                at(-2, tstr("dev-1/")),
                at(-3, fraction(-4, 15_395_004_600_005)),
                at(6, fraction(-4, 5)),
            ]))]),
        ),
    ]
}

fn values() -> Vec<(&'static str, Vec<u8>)> {
    let temp = |rest: Vec<Entry>| one([vec![at(0, tstr("temp")), at(1, tstr("Cel"))], rest].concat());
    vec![
        ("missing", temp(vec![at(3, tstr("missing"))])),
        ("missing without unit", one(vec![at(0, tstr("temp")), at(3, tstr("missing"))])),
        ("missing with another unit", one(vec![at(0, tstr("temp")), at(1, tstr("K")), at(3, tstr("missing"))])),
        ("text", temp(vec![at(3, tstr("warm"))])),
        ("text and another unit", one(vec![at(0, tstr("temp")), at(1, tstr("K")), at(3, tstr("warm"))])),
        ("boolean", temp(vec![at(4, un("f5"))])),
        ("data", temp(vec![at(8, bstr(b"x"))])),
        ("no value", temp(vec![])),
        ("value and text", temp(vec![at(2, int(1)), at(3, tstr("missing"))])),
        ("boolean and data", temp(vec![at(4, un("f4")), at(8, bstr(b"x"))])),
        ("sum alone", temp(vec![at(5, int(3))])),
        ("sum beside a value", temp(vec![at(2, int(1)), at(5, int(3))])),
        ("sum alone beside a base value", temp(vec![at(-5, int(2)), at(5, int(3))])),
        ("base value added", temp(vec![at(-5, fraction(-1, 5)), at(2, fraction(-2, 25))])),
        ("base value alone", temp(vec![at(-5, fraction(-1, 5))])),
        ("base value out of range", temp(vec![at(-5, un("f97e00")), at(2, int(1))])),
        ("base value beside missing", temp(vec![at(-5, int(1)), at(3, tstr("missing"))])),
        ("no unit", one(vec![at(0, tstr("temp")), at(2, int(1))])),
        ("another unit", one(vec![at(0, tstr("temp")), at(1, tstr("K")), at(2, int(1))])),
        ("base unit", one(vec![at(-4, tstr("Cel")), at(0, tstr("temp")), at(2, int(1))])),
        (
            "unit beside another base unit",
            one(vec![at(-4, tstr("K")), at(0, tstr("temp")), at(1, tstr("Cel")), at(2, int(1))]),
        ),
        ("unknown sensor", one(vec![at(0, tstr("wind")), at(1, tstr("m/s")), at(2, int(1))])),
        (
            "another device's name",
            array(&[map(&[at(-2, tstr("dev-2/")), at(-3, int(TIME)), at(0, tstr("temp")), at(2, int(1))])]),
        ),
        (
            "a longer device's name",
            array(&[map(&[at(-2, tstr("dev-10/")), at(-3, int(TIME)), at(0, tstr("temp")), at(2, int(1))])]),
        ),
        ("the device's name alone", array(&[map(&[at(-2, tstr("dev-1/")), at(-3, int(TIME)), at(2, int(1))])])),
        ("no base name", array(&[map(&[at(-3, int(TIME)), at(0, tstr("temp")), at(2, int(1))])])),
        (
            "whole name in n",
            array(&[map(&[at(-3, int(TIME)), at(0, tstr("dev-1/temp")), at(1, tstr("Cel")), at(2, int(1))])]),
        ),
        ("update time ignored", temp(vec![at(2, int(1)), at(7, int(60))])),
        (
            "unknown labels ignored",
            temp(vec![at(2, int(1)), at(99, int(1)), (tstr("x-note"), tstr("y")), at(-99, un("80"))]),
        ),
    ]
}

fn packs_of_several() -> Vec<(&'static str, Vec<u8>)> {
    let temp = |item| map(&[at(0, tstr("temp")), at(1, tstr("Cel")), at(2, item)]);
    let first = map(&base());
    let later = |seconds, name: &str, unit: &str| {
        map(&[at(0, tstr(name)), at(1, tstr(unit)), at(2, int(1)), at(6, int(seconds))])
    };
    let wrong_unit = map(&[at(0, tstr("temp")), at(1, tstr("K")), at(2, int(1))]);
    let none = map(&[at(0, tstr("temp")), at(1, tstr("Cel"))]);
    vec![
        ("base values alone are no record", array(&[first.clone(), temp(int(1))])),
        (
            "base values are set again",
            array(&[first.clone(), temp(int(1)), map(&[at(-3, int(TIME + 60))]), temp(int(2))]),
        ),
        ("an empty element is no record", array(&[first.clone(), map(&[]), temp(int(1))])),
        ("only base values", array(std::slice::from_ref(&first))),
        ("same sensor and time", array(&[first.clone(), temp(int(1)), temp(int(2))])),
        ("again after another unit", array(&[first.clone(), wrong_unit, temp(int(2))])),
        ("again after no value", array(&[first.clone(), none, temp(int(2))])),
        (
            "several times",
            array(&[first.clone(), later(2, "temp", "Cel"), later(0, "temp", "Cel"), later(1, "energy", "kWh")]),
        ),
        (
            "every fault in its place",
            array(&[
                first,
                temp(int(1)),
                map(&[at(0, tstr("gas")), at(1, tstr("m3")), at(2, un("f97e00"))]),
                map(&[at(0, tstr("wind")), at(2, int(1))]),
                map(&[at(0, tstr("water")), at(1, tstr("m3")), at(2, fraction(-1, 5)), at(6, fraction(-3, 1))]),
            ]),
        ),
        ("256 elements", array(&vec![map(&base()); 256])),
        ("257 elements", array(&vec![map(&base()); 257])),
    ]
}

fn unreadable() -> Vec<(&'static str, Vec<u8>)> {
    let temp = |rest: Vec<Entry>| one([vec![at(0, tstr("temp")), at(1, tstr("Cel"))], rest].concat());
    vec![
        ("no bytes", vec![]),
        ("text", b"nonsense".to_vec()),
        ("no array", map(&base())),
        ("empty array", array(&[])),
        ("element that is no map", array(&[int(1)])),
        ("bytes after it", [value(int(1)), vec![0]].concat()),
        ("indefinite array", [un("9f"), map(&base()), un("ff")].concat()),
        ("duplicate label", temp(vec![at(2, int(1)), at(2, int(1))])),
        ("name as number", one(vec![at(0, int(1)), at(2, int(1))])),
        ("unit as number", one(vec![at(0, tstr("temp")), at(1, int(1)), at(2, int(1))])),
        ("base version 10", temp(vec![at(-1, int(10)), at(2, int(1))])),
        ("base version 11", temp(vec![at(-1, int(11)), at(2, int(1))])),
        ("base version below zero", temp(vec![at(-1, int(-1)), at(2, int(1))])),
        ("label that must be understood", temp(vec![at(2, int(1)), (tstr("new_"), int(1))])),
        ("label as bytes", temp(vec![at(2, int(1)), (bstr(b"x"), int(1))])),
        ("label 2^63", temp(vec![at(2, int(1)), (un("1b8000000000000000"), int(1))])),
        ("text value as number", temp(vec![at(3, int(1))])),
        ("boolean value as number", temp(vec![at(4, int(1))])),
        ("data value as text", temp(vec![at(8, tstr("x"))])),
        ("sum as text", temp(vec![at(2, int(1)), at(5, tstr("x"))])),
        ("update time as text", temp(vec![at(2, int(1)), at(7, tstr("x"))])),
        ("base sum as text", temp(vec![at(2, int(1)), at(-6, tstr("x"))])),
        ("text not UTF-8", temp(vec![at(3, un("61ff"))])),
    ]
}

pub(super) fn packs() -> Value {
    let cases =
        [vec![("example", example_pack())], numbers(), times(), values(), packs_of_several(), unreadable()].concat();
    let table = table();
    let vectors: Vec<Value> = cases
        .into_iter()
        .map(|(name, payload)| {
            let (times, codes) = summary::inspect(Ok(&payload), &thing(), &table);
            let codes: Vec<&str> = codes.iter().map(Reason::reason).collect();
            let mut vector = json!({
                "name": name,
                "payload": hex::encode(&payload),
                "codes": codes,
                "newest": times.map(|times| times.newest.0),
            });
            match senml::read_pack(&payload, &thing()) {
                Err(fault) => vector["fault"] = fault.reason().into(),
                Ok(pack) => vector["records"] = pack.into_iter().map(record).collect(),
            }
            vector
        })
        .collect();
    json!({
        "about": "Payloads of content type 112. Either the whole pack has a 'fault', or each record is what it resolves to or has its \
            'fault'. 'codes' are all faults as far as they can be told with the sensor table and without the rest of the day.",
        "thing": THING,
        "table": table,
        "vectors": vectors,
    })
}

/// How a record stands in the vectors.
pub(crate) fn record(record: Result<senml::Record, vitro_proof::ContentFault>) -> Value {
    match record {
        Err(fault) => json!({"fault": fault.reason()}),
        Ok(record) => {
            let value = match record.value {
                Reading::Number(number) => json!({"number": number}),
                Reading::Missing => "missing".into(),
                Reading::Other => "other".into(),
            };
            json!({"sensor": record.sensor, "unit": record.unit, "time": record.time.0, "value": value})
        }
    }
}
