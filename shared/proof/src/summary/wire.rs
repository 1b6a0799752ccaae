//! Summaries as deterministic CBOR: the bytes that digests are over.

use std::collections::BTreeMap;

use minicbor::Decoder;
use minicbor::data::Type;

use super::{At, Figures, GRID_SECONDS, Summary};
use crate::cbor;
use crate::decimal::Decimal;
use crate::error::ProofError;
use crate::ids::{SensorName, UnixMillis};

/// Writes summaries as deterministic CBOR.
#[must_use]
pub fn encode(summaries: &[Summary]) -> Vec<u8> {
    cbor::encode(|e| {
        e.array(summaries.len() as u64)?;
        for s in summaries {
            let figures = match &s.figures {
                None => 0,
                Some(Figures::Gauge { .. }) => 3,
                Some(Figures::Counter { .. }) => 6,
            };
            let ends = u64::from(s.first.is_some()) + u64::from(s.last.is_some());
            e.map(6 + ends + u64::from(s.counter) + figures)?;
            e.u8(0)?.str(s.sensor.as_str())?.u8(1)?.str(&s.unit)?.u8(2)?.u8(u8::from(s.counter))?;
            e.u8(3)?.u64(s.values)?.u8(4)?.u64(s.missing)?.u8(5)?.u64(s.flagged)?;
            for (key, at) in [(6, &s.first), (7, &s.last)] {
                if let Some(at) = at {
                    e.u8(key)?.array(2)?.i64(at.time.0)?;
                    at.value.encode(e)?;
                }
            }
            if let Some(Figures::Gauge { min, max, sum }) = &s.figures {
                for (key, number) in [(8, min), (9, max), (10, sum)] {
                    number.encode(e.u8(key)?)?;
                }
            }
            if s.counter {
                e.u8(11)?;
                match &s.opening {
                    Some(opening) => opening.encode(e)?,
                    None => _ = e.null()?,
                }
            }
            if let Some(Figures::Counter { increase, resets, rollovers, decreases, largest_step, grid }) = &s.figures {
                increase.encode(e.u8(12)?)?;
                e.u8(13)?.u64(*resets)?.u8(14)?.u64(*rollovers)?.u8(15)?.u64(*decreases)?;
                largest_step.encode(e.u8(16)?)?;
                e.u8(17)?.array(2)?.i64(GRID_SECONDS)?.array(grid.len() as u64)?;
                for slot in grid {
                    slot.encode(e)?;
                }
            }
        }
        Ok(())
    })
}

/// Reads summaries.
///
/// # Errors
/// [`ProofError::Cbor`] says what is wrong with which summary.
pub fn decode(bytes: &[u8]) -> Result<Vec<Summary>, ProofError> {
    let bad = |detail: String| ProofError::cbor("summaries", detail);
    cbor::check(bytes).map_err(|fault| bad(format!("{fault:?}")))?;
    let mut d = Decoder::new(bytes);
    let count = d.array().map_err(|e| bad(e.to_string()))?.unwrap_or(0);
    (0..count).map(|index| decode_one(&mut d).map_err(|e| bad(format!("summary {index}: {e}")))).collect()
}

fn decode_one(d: &mut Decoder<'_>) -> Result<Summary, ProofError> {
    let bad = |detail: &str| ProofError::cbor("summary", detail);
    let wire = |e: minicbor::decode::Error| ProofError::cbor("summary", e);
    let fields = d.map().map_err(wire)?.unwrap_or(0);
    let (mut sensor, mut unit, mut counter) = (None, None, None);
    let mut counts: [Option<u64>; 16] = [None; 16];
    let (mut first, mut last, mut opening, mut grid) = (None, None, None, None);
    let mut numbers: BTreeMap<u8, Decimal> = BTreeMap::new();
    for _ in 0..fields {
        match d.u8().map_err(wire)? {
            0 => sensor = Some(d.str().map_err(wire)?.parse::<SensorName>()?),
            1 => unit = Some(d.str().map_err(wire)?.to_owned()),
            2 => counter = Some(d.u8().map_err(wire)?),
            key @ (3..=5 | 13..=15) => counts[usize::from(key)] = Some(d.u64().map_err(wire)?),
            6 => first = Some(decode_at(d)?),
            7 => last = Some(decode_at(d)?),
            key @ (8..=10 | 12 | 16) => _ = numbers.insert(key, Decimal::decode(d)?),
            11 => {
                opening = if d.datatype().map_err(wire)? == Type::Null {
                    d.null().map_err(wire)?;
                    Some(None)
                } else {
                    Some(Some(Decimal::decode(d)?))
                }
            }
            17 => {
                if d.array().map_err(wire)? != Some(2) || d.i64().map_err(wire)? != GRID_SECONDS {
                    return Err(bad("a grid that is not of 900 seconds"));
                }
                let slots = d.array().map_err(wire)?.unwrap_or(0);
                grid = Some((0..slots).map(|_| Decimal::decode(d)).collect::<Result<Vec<_>, _>>()?);
            }
            key => return Err(bad(&format!("unknown key {key}"))),
        }
    }
    let counter = match counter {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(bad("neither a gauge nor a counter")),
    };
    let count = |key: usize| counts[key].ok_or_else(|| bad(&format!("key {key} is missing")));
    let values = count(3)?;
    let mut number = |key: u8| numbers.remove(&key).ok_or_else(|| bad(&format!("key {key} is missing")));
    let figures = match (values, counter) {
        (0, _) => None,
        (_, false) => Some(Figures::Gauge { min: number(8)?, max: number(9)?, sum: number(10)? }),
        (_, true) => Some(Figures::Counter {
            increase: number(12)?,
            resets: count(13)?,
            rollovers: count(14)?,
            decreases: count(15)?,
            largest_step: number(16)?,
            grid: grid.take().ok_or_else(|| bad("key 17 is missing"))?,
        }),
    };
    let stray = !numbers.is_empty()
        || grid.is_some()
        || (figures.is_none() || !counter) && counts[13..].iter().any(Option::is_some)
        || (values > 0) != first.is_some()
        || (values > 0) != last.is_some()
        || counter != opening.is_some();
    if stray {
        return Err(bad("keys that do not belong to its kind or its count of values"));
    }
    Ok(Summary {
        sensor: sensor.ok_or_else(|| bad("key 0 is missing"))?,
        unit: unit.ok_or_else(|| bad("key 1 is missing"))?,
        counter,
        values,
        missing: count(4)?,
        flagged: count(5)?,
        first,
        last,
        opening: opening.flatten(),
        figures,
    })
}

fn decode_at(d: &mut Decoder<'_>) -> Result<At, ProofError> {
    let wire = |e: minicbor::decode::Error| ProofError::cbor("a value with its time", e);
    if d.array().map_err(wire)? != Some(2) {
        return Err(ProofError::cbor("a value with its time", "not a pair"));
    }
    let time = UnixMillis(d.i64().map_err(wire)?);
    Ok(At { time, value: Decimal::decode(d)? })
}
