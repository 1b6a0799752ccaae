//! Sums up runs of envelopes, for comparison with other implementations.
//!
//! One JSON object a line on standard input: `thing`, `table`, `day`, `from`, `to`, `openings` (sensor to decimal as text), and `envelopes`
//! (hexadecimal, in ascending order of number). One a line comes back: `root` and `summaries`, hexadecimal.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use serde::Deserialize;
use serde_json::json;
use vitro_proof::confidential::NoKeys;
use vitro_proof::reconcile::{CloudDay, DayFrame, Stored};
use vitro_proof::{DayBounds, Decimal, DeviceId, Envelope, LocalDay, SensorName, SensorTable, SequenceNumber, summary};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    thing: DeviceId,
    table: SensorTable,
    day: LocalDay,
    from: i64,
    to: i64,
    openings: BTreeMap<SensorName, Decimal>,
    envelopes: Vec<String>,
}

fn main() {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let run: Run = serde_json::from_str(&line.unwrap()).unwrap();
        let envelopes: Vec<Vec<u8>> = run.envelopes.iter().map(|text| hex::decode(text).unwrap()).collect();
        let number = |bytes: &Vec<u8>| Envelope::parse(bytes).unwrap().header().number;
        let frame = DayFrame {
            thing: &run.thing,
            day: run.day,
            bounds: DayBounds { from: run.from, to: run.to },
            first: envelopes.first().map_or(0, number),
            count: envelopes.len() as u64,
            table: &run.table,
            openings: &run.openings,
        };
        let stored = envelopes.iter().map(|bytes| Stored { number: SequenceNumber(number(bytes)), envelope: bytes });
        let cloud = CloudDay::compute(&frame, stored, &NoKeys).unwrap();
        let summaries = hex::encode(summary::encode(&cloud.summaries));
        writeln!(out, "{}", json!({"root": cloud.root, "summaries": summaries})).unwrap();
    }
}
