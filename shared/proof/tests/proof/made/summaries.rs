//! Days that are tricky to sum up, and how they come out.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vitro_proof::confidential::NoKeys;
use vitro_proof::envelope::seal;
use vitro_proof::reconcile::{CloudDay, DayFrame, Stored};
use vitro_proof::senml::{Reading, write_pack};
use vitro_proof::{DayBounds, Decimal, Envelope, SensorName, SensorTable, SequenceNumber, UnixMillis, summary};

use super::{array, fraction, int, map, seal_raw, signer, table, telemetry, thing, tstr, un};

/// 2018-10-14 in Etc/GMT+7.
const FROM: i64 = 1_539_500_400;

/// A day of the vectors.
pub(super) struct Day {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) day: &'static str,
    pub(super) zone: &'static str,
    pub(super) bounds: DayBounds,
    pub(super) openings: BTreeMap<SensorName, Decimal>,
    pub(super) envelopes: Vec<Vec<u8>>,
}

/// Signs readings at seconds of the day; every reading is (second, sensor, value or "missing"). One envelope an instant and sensor.
pub(super) fn readings(first: u64, from: i64, readings: &[(f64, &str, &str)]) -> Vec<Vec<u8>> {
    let table = table();
    readings
        .iter()
        .zip(first..)
        .map(|((second, sensor, value), number)| {
            let reading = Reading {
                sensor: sensor.parse().unwrap(),
                unit: table.sensors()[table.position(sensor).unwrap()].unit.clone(),
                value: (*value != "missing").then(|| value.parse().unwrap()),
            };
            #[allow(clippy::cast_possible_truncation)] // seconds of a day
            let time = UnixMillis(from * 1000 + (second * 1000.0) as i64);
            seal(&telemetry(number), &write_pack(&thing(), time, &[reading]), &signer("dev-1")).unwrap()
        })
        .collect()
}

fn openings(pairs: &[(&str, &str)]) -> BTreeMap<SensorName, Decimal> {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn day(name: &'static str, about: &'static str, opening: &[(&str, &str)], values: &[(f64, &str, &str)]) -> Day {
    Day {
        name,
        about,
        day: "2018-10-14",
        zone: "Etc/GMT+7",
        bounds: DayBounds { from: FROM, to: FROM + 86_400 },
        openings: openings(opening),
        envelopes: readings(100, FROM, values),
    }
}

fn in_warsaw(name: &'static str, day: &'static str, from: i64, hours: i64) -> Day {
    let bounds = DayBounds { from, to: from + hours * 3600 };
    let mut values = Vec::new();
    let texts: Vec<String> = (0..hours * 2).map(|half| format!("{}.5", 100 + half)).collect();
    for (half, text) in texts.iter().enumerate() {
        values.push((half as f64 * 1800.0, "energy", text.as_str()));
        values.push((half as f64 * 1800.0 + 899.999, "temp", "-7.25"));
    }
    values.push((hours as f64 * 3600.0 - 0.001, "energy", "200"));
    Day {
        name,
        about: "a day of another length: the grid has as many quarters as it has",
        day,
        zone: "Europe/Warsaw",
        bounds,
        openings: openings(&[("energy", "99.75")]),
        envelopes: readings(0, from, &values),
    }
}

/// A payload that a device errs in, signed.
fn odd(number: u64, second: i64, records: &[Vec<u8>]) -> Vec<u8> {
    let base = map(&[(int(-2), tstr("dev-1/")), (int(-3), int(FROM + second))]);
    let pack = array(&[vec![base], records.to_vec()].concat());
    seal(&telemetry(number), &pack, &signer("dev-1")).unwrap()
}

fn record(sensor: &str, unit: &str, value: Vec<u8>) -> Vec<u8> {
    map(&[(int(0), tstr(sensor)), (int(1), tstr(unit)), (int(2), value)])
}

fn faulty() -> Day {
    let mut day = day(
        "faults",
        "records that do not count: flagged where they name a sensor of the table, whatever is wrong",
        &[],
        &[
            (0.0, "energy", "1"),
            (60.0, "energy", "2"),
            (-1.0, "energy", "7"),
            (86_400.0, "temp", "7"),
            (60.0, "temp", "21"),
        ],
    );
    let first = Envelope::parse(&day.envelopes[0]).unwrap().header().number;
    let next = first + day.envelopes.len() as u64;
    day.envelopes.push(odd(
        next,
        120,
        &[record("temp", "K", int(1)), record("energy", "kWh", un("f97e00")), record("wind", "m/s", int(1))],
    ));
    day.envelopes.push(odd(next + 1, 180, &[record("temp", "Cel", int(1)), record("temp", "Cel", int(2))]));
    day.envelopes.push(odd(
        next + 2,
        240,
        &[
            map(&[(int(0), tstr("gas")), (int(5), int(3))]),
            map(&[(int(0), tstr("water")), (int(1), tstr("m3")), (int(4), un("f5"))]),
        ],
    ));
    day.envelopes.push(odd(
        next + 3,
        300,
        &[map(&[(int(0), tstr("gas")), (int(1), tstr("m3")), (int(2), int(1)), (int(6), fraction(-4, 1))])],
    ));
    day.envelopes.push(seal(&telemetry(next + 4), b"nonsense", &signer("dev-1")).unwrap());
    let encrypted = vitro_proof::Header { content: vitro_proof::ContentType::Encrypted, ..telemetry(next + 5) };
    day.envelopes.push(seal(&encrypted, &un("d8608340a04040"), &signer("dev-1")).unwrap());
    // Another device's name, under a protected header with longer heads than needed.
    let header = [
        un("b805 1801 26 190003 190070"),
        int(4),
        un("590005"),
        b"dev-1".to_vec(),
        int(16),
        tstr("vitro-telemetry"),
        int(-65537),
        super::head(0, next + 6),
    ]
    .concat();
    let foreign = map(&[
        (int(-2), tstr("dev-2/")),
        (int(-3), int(FROM + 360)),
        (int(0), tstr("temp")),
        (int(1), tstr("Cel")),
        (int(2), int(1)),
    ]);
    day.envelopes.push(seal_raw(&header, &array(&[foreign]), "dev-1"));
    day
}

fn tricky() -> Vec<Day> {
    vec![
        day("empty", "no envelopes: openings are carried", &[("energy", "4.25"), ("water", "99999.5")], &[]),
        day(
            "first-day",
            "no opening: the first reading adds nothing",
            &[],
            &[
                (0.0, "energy", "3.5"),
                (900.0, "energy", "3.75"),
                (901.5, "energy", "4"),
                (86_399.999, "energy", "4.0625"),
            ],
        ),
        day(
            "reset",
            "a yield that starts from zero after midnight; the first row still shows the day before",
            &[("energy", "4.61923")],
            &[
                (0.0, "energy", "4.61923"),
                (60.0, "energy", "0"),
                (120.0, "energy", "0.02"),
                (40_000.0, "energy", "3.0903"),
            ],
        ),
        day(
            "reset-above-zero",
            "a reset adds the value; two of them in one quarter",
            &[("energy", "10")],
            &[(0.0, "energy", "2.5"), (10.0, "energy", "3"), (20.0, "energy", "1")],
        ),
        day(
            "rollover",
            "a register of five digits passes its width; what is not from its last to its first tenth is a decrease",
            &[("water", "99998.5")],
            &[
                (100.0, "water", "99999.5"),
                (200.0, "water", "1.25"),
                (300.0, "water", "90000"),
                (400.0, "water", "9999.9"),
                (500.0, "water", "89999"),
                (600.0, "water", "1"),
            ],
        ),
        day(
            "decrease",
            "goes down for no declared reason: adds nothing, is counted and flagged, and is what the next value is compared with",
            &[("gas", "50")],
            &[
                (0.0, "gas", "50"),
                (60.0, "gas", "40"),
                (120.0, "gas", "41.5"),
                (180.0, "gas", "-1"),
                (240.0, "gas", "0.5"),
            ],
        ),
        day(
            "below-zero",
            "a counter that resets does not go below zero",
            &[("energy", "5")],
            &[(0.0, "energy", "-1"), (60.0, "energy", "2")],
        ),
        day(
            "missing",
            "values that a logger marked missing are counted, and are no values",
            &[("energy", "1")],
            &[
                (0.0, "energy", "missing"),
                (60.0, "energy", "1.5"),
                (120.0, "energy", "missing"),
                (0.0, "temp", "missing"),
                (0.0, "gas", "missing"),
            ],
        ),
        day(
            "duplicates",
            "at one time the first number counts, be it a value or missing; order of numbers is not order of time",
            &[],
            &[
                (120.0, "temp", "3"),
                (60.0, "temp", "2"),
                (120.0, "temp", "9"),
                (60.0, "temp", "missing"),
                (180.0, "temp", "missing"),
                (180.0, "temp", "5"),
                (0.0, "temp", "-1.5"),
                (300.0, "energy", "7"),
                (240.0, "energy", "6"),
                (300.0, "energy", "6.5"),
            ],
        ),
        day(
            "large-numbers",
            "sums and increases beyond 64 bits",
            &[("gas", "0.000000000001")],
            &[
                (0.0, "temp", "9223372036854775807"),
                (1.0, "temp", "9223372036854775807"),
                (2.0, "temp", "9223372036854775806"),
                (3.0, "temp", "0.000000000001"),
                (0.0, "gas", "9223372036854775807"),
                (1.0, "energy", "-0.5"),
            ],
        ),
        faulty(),
        in_warsaw("23-hours", "2026-03-29", 1_774_738_800, 23),
        in_warsaw("25-hours", "2026-10-25", 1_792_879_200, 25),
        {
            let mut odd = day(
                "uneven-bounds",
                "an interim interval off the quarters: the grid begins in the quarter of its begin",
                &[],
                &[(10.0, "energy", "1"), (600.0, "energy", "2"), (1700.0, "energy", "3")],
            );
            odd.bounds = DayBounds { from: FROM + 7, to: FROM + 1801 };
            odd
        },
    ]
}

/// What the day's envelopes come out as.
pub(super) fn cloud(day: &Day, table: &SensorTable) -> CloudDay {
    let numbers: Vec<u64> = day.envelopes.iter().map(|bytes| Envelope::parse(bytes).unwrap().header().number).collect();
    let thing = thing();
    let frame = DayFrame {
        thing: &thing,
        day: day.day.parse().unwrap(),
        bounds: day.bounds,
        first: numbers.first().copied().unwrap_or(0),
        count: numbers.len() as u64,
        table,
        openings: &day.openings,
    };
    let stored =
        numbers.iter().zip(&day.envelopes).map(|(n, bytes)| Stored { number: SequenceNumber(*n), envelope: bytes });
    CloudDay::compute(&frame, stored, &NoKeys).unwrap()
}

pub(super) fn days() -> Value {
    let table = table();
    let vectors: Vec<Value> = tricky()
        .iter()
        .map(|day| {
            let cloud = cloud(day, &table);
            let summaries = summary::encode(&cloud.summaries);
            assert_eq!(summary::decode(&summaries).unwrap(), cloud.summaries);
            let salt = [0xa5; 16];
            json!({
                "name": day.name, "about": day.about, "day": day.day, "zone": day.zone, "from": day.bounds.from, "to": day.bounds.to,
                "openings": day.openings, "first": cloud.first,
                "envelopes": day.envelopes.iter().map(hex::encode).collect::<Vec<_>>(),
                "root": cloud.root, "bytes": cloud.bytes, "units": cloud.units, "unreadable": cloud.unreadable,
                "summaries": hex::encode(&summaries), "salt": hex::encode(salt), "digest": summary::digest(&salt, &summaries),
                "figures": cloud.summaries,
            })
        })
        .collect();
    json!({
        "about": "Runs of envelopes and what they are summed up to. 'figures' is the content of 'summaries' for people.",
        "thing": super::THING,
        "table": table,
        "vectors": vectors,
    })
}
