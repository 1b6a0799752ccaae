//! A day by sensor: what the device signs, what the cloud computes for itself, what the parties pay on.
//!
//! [`Summarizer`] is a pure function of the day's payloads, the sensor table and the openings, so both sides get the same bytes.
//! Values are taken in order of time; at one time the first in order of sequence number counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::counter::{StepKind, step};
use crate::crypto::sha256;
use crate::day::DayBounds;
use crate::decimal::Decimal;
use crate::error::ContentFault;
use crate::ids::{DeviceId, Hash, SensorName, SequenceNumber, UnixMillis};
use crate::senml::{self, Quantity, Said};
use crate::sensors::{Sensor, SensorKind, SensorTable};

mod wire;

pub use wire::{decode, encode};

/// The width of the grid's slots in seconds.
pub const GRID_SECONDS: i64 = 900;

/// A value and when it was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    /// When.
    pub time: UnixMillis,
    /// What.
    pub value: Decimal,
}

/// The part of a summary that depends on what the sensor is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Figures {
    /// Of a gauge with at least one value.
    Gauge {
        /// The smallest value.
        min: Decimal,
        /// The largest value.
        max: Decimal,
        /// The exact sum of all values, not weighted by time.
        sum: Decimal,
    },
    /// Of a counter with at least one value.
    Counter {
        /// From the opening, or the first value where there is none, to the last.
        increase: Decimal,
        /// How often the register was reset, as declared normal.
        resets: u64,
        /// How often it rolled over.
        rollovers: u64,
        /// How often it went down for no declared reason.
        decreases: u64,
        /// The largest increase between two readings.
        largest_step: Decimal,
        /// Increases by the UTC grid of 15 minutes, from the slot in which the day begins.
        grid: Vec<Decimal>,
    },
}

/// One sensor's day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The sensor.
    pub sensor: SensorName,
    /// Its declared unit.
    pub unit: String,
    /// Whether it is a counter; else it is a gauge.
    pub counter: bool,
    /// Values that count.
    pub values: u64,
    /// Values that the logger marked missing.
    pub missing: u64,
    /// Records of this sensor that do not count, whatever is wrong with them, and decreases.
    pub flagged: u64,
    /// The first value that counts.
    pub first: Option<At>,
    /// The last value that counts.
    pub last: Option<At>,
    /// A counter's last value of the day before, carried over empty days; nothing if there never was one.
    pub opening: Option<Decimal>,
    /// Absent where there is no value.
    pub figures: Option<Figures>,
}

impl Summary {
    /// What a counter leaves for the next day's opening.
    #[must_use]
    pub fn closing(&self) -> Option<&Decimal> {
        self.last.as_ref().map(|at| &at.value).or(self.opening.as_ref())
    }

    /// A counter's increase, zero on a day without values; nothing for a gauge.
    #[must_use]
    pub fn increase(&self) -> Option<Decimal> {
        match (&self.figures, self.counter) {
            (Some(Figures::Counter { increase, .. }), true) => Some(increase.clone()),
            (None, true) => Some(Decimal::zero()),
            _ => None,
        }
    }
}

/// The openings that a day's summaries leave for the next day.
#[must_use]
pub fn closings(summaries: &[Summary]) -> BTreeMap<SensorName, Decimal> {
    summaries
        .iter()
        .filter(|summary| summary.counter)
        .filter_map(|summary| Some((summary.sensor.clone(), summary.closing()?.clone())))
        .collect()
}

/// How many slots of the UTC grid a day touches.
#[must_use]
pub fn grid_slots(bounds: DayBounds) -> usize {
    // Bounds may come from a foreign block: no step here overflows, whatever they are.
    let whole = bounds.to.div_euclid(GRID_SECONDS) - bounds.from.div_euclid(GRID_SECONDS);
    let begun = i64::from(bounds.to.rem_euclid(GRID_SECONDS) != 0);
    usize::try_from(whole + begun).unwrap_or(0)
}

/// Collects a day's envelopes and sums them up.
pub struct Summarizer<'a> {
    thing: &'a DeviceId,
    table: &'a SensorTable,
    bounds: DayBounds,
    openings: &'a BTreeMap<SensorName, Decimal>,
    sensors: Vec<Collected>,
    unreadable: u64,
}

#[derive(Default)]
struct Collected {
    values: Vec<(UnixMillis, SequenceNumber, usize, Option<Decimal>)>,
    flagged: u64,
}

impl<'a> Summarizer<'a> {
    /// Starts a day. `openings` are what the previous signed daily block left ([`closings`]).
    #[must_use]
    pub fn new(
        thing: &'a DeviceId,
        table: &'a SensorTable,
        bounds: DayBounds,
        openings: &'a BTreeMap<SensorName, Decimal>,
    ) -> Self {
        let sensors = table.sensors().iter().map(|_| Collected::default()).collect();
        Self { thing, table, bounds, openings, sensors, unreadable: 0 }
    }

    /// Adds an envelope's pack ([`crate::confidential::pack`]), or why it cannot be read. The order of calls does not matter.
    pub fn add(&mut self, number: SequenceNumber, pack: Result<&[u8], &ContentFault>) {
        let Ok(pack) = lines(pack, self.thing) else {
            self.unreadable += 1;
            return;
        };
        for (index, line) in pack.into_iter().enumerate() {
            let sensor = match &line {
                Ok(line) => Some(&line.sensor),
                Err(refused) => refused.sensor.as_ref(),
            };
            let Some(position) = sensor.and_then(|name| self.table.position(name)) else { continue };
            let collected = &mut self.sensors[position];
            let Ok(line) = line else {
                collected.flagged += 1;
                continue;
            };
            match check_line(&line, &self.table.sensors()[position]) {
                Ok(value) if self.bounds.contains(line.time) => {
                    let value = value.cloned().map(Decimal::from);
                    collected.values.push((line.time, number, index, value));
                }
                _ => collected.flagged += 1,
            }
        }
    }

    /// How many envelopes could not be read at all.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The instants at which each sensor said something (a value or "missing") within the day, in order: what recorded gaps are
    /// computed from.
    #[must_use]
    pub fn heard(&self) -> BTreeMap<SensorName, Vec<UnixMillis>> {
        let names = self.table.sensors().iter().map(|sensor| sensor.name.clone());
        names
            .zip(&self.sensors)
            .map(|(name, collected)| {
                let mut times: Vec<UnixMillis> = collected.values.iter().map(|value| value.0).collect();
                times.sort_unstable();
                (name, times)
            })
            .collect()
    }

    /// The day's summaries, one a sensor of the table, sorted by name.
    #[must_use]
    pub fn finish(self) -> Vec<Summary> {
        let bounds = self.bounds;
        let openings = self.openings;
        self.table
            .sensors()
            .iter()
            .zip(self.sensors)
            .map(|(sensor, collected)| summarize(sensor, collected, bounds, openings.get(&sensor.name)))
            .collect()
    }
}

fn lines<'a>(pack: Result<&'a [u8], &ContentFault>, thing: &DeviceId) -> Result<senml::Lines<'a>, ContentFault> {
    senml::read_lines(pack.map_err(|fault| *fault)?, thing)
}

/// The value of a record as its sensor's declaration allows it: a number, or nothing where it is marked missing.
fn check_line<'l>(line: &'l senml::Line<'_>, sensor: &Sensor) -> Result<Option<&'l Quantity>, ContentFault> {
    match (&line.said, line.unit) {
        (Said::Missing, None) => Ok(None),
        (_, unit) if unit != Some(sensor.unit.as_str()) => Err(ContentFault::UnitMismatch),
        (Said::Missing, _) => Ok(None),
        (Said::Number(number), _) => Ok(Some(number)),
        (Said::Other, _) => Err(ContentFault::NotANumber),
    }
}

/// The times of a pack: of its oldest and of its newest record that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The oldest.
    pub oldest: UnixMillis,
    /// The newest.
    pub newest: UnixMillis,
}

impl Times {
    /// The times of so far, if any, and one more.
    fn with(this: Option<Self>, time: UnixMillis) -> Self {
        this.map_or(Self { oldest: time, newest: time }, |this| Self {
            oldest: this.oldest.min(time),
            newest: this.newest.max(time),
        })
    }
}

/// Everything that is wrong with one envelope's content as far as it can be told without the rest of its day: the codes that
/// ingest stores beside it. The readable times are given with them. `pack` is the envelope's ([`crate::confidential::pack`]), or
/// why it cannot be read.
#[must_use]
pub fn inspect(
    pack: Result<&[u8], &ContentFault>,
    thing: &DeviceId,
    table: &SensorTable,
) -> (Option<Times>, std::collections::BTreeSet<ContentFault>) {
    let mut faults = std::collections::BTreeSet::new();
    let mut times = None;
    let mut next = 0;
    match lines(pack, thing) {
        Err(fault) => _ = faults.insert(fault),
        Ok(pack) => {
            for line in &pack {
                let checked = line.as_ref().map_err(|refused| refused.fault).and_then(|line| {
                    times = Some(Times::with(times, line.time));
                    let position = table.position_near(&line.sensor, next).ok_or(ContentFault::UnknownSensor)?;
                    next = position + 1;
                    check_line(line, &table.sensors()[position])
                });
                if let Err(fault) = checked {
                    faults.insert(fault);
                }
            }
        }
    }
    (times, faults)
}

fn summarize(sensor: &Sensor, mut collected: Collected, bounds: DayBounds, opening: Option<&Decimal>) -> Summary {
    collected.values.sort_by_key(|value| (value.0, value.1, value.2));
    let all = collected.values.len();
    collected.values.dedup_by_key(|value| value.0);
    let mut flagged = collected.flagged + (all - collected.values.len()) as u64;
    let missing = collected.values.iter().filter(|value| value.3.is_none()).count() as u64;
    let values: Vec<At> =
        collected.values.into_iter().filter_map(|(time, _, _, value)| Some(At { time, value: value? })).collect();
    let (counter, figures, opening) = match &sensor.kind {
        SensorKind::Gauge => (false, gauge(&values), None),
        SensorKind::Counter { width, resets_normal } => {
            let figures = register(&values, opening, width.as_ref(), *resets_normal, bounds);
            if let Some(Figures::Counter { decreases, .. }) = &figures {
                flagged += decreases;
            }
            (true, figures, opening.cloned())
        }
    };
    Summary {
        sensor: sensor.name.clone(),
        unit: sensor.unit.clone(),
        counter,
        values: values.len() as u64,
        missing,
        flagged,
        first: values.first().cloned(),
        last: values.last().cloned(),
        opening,
        figures,
    }
}

fn gauge(values: &[At]) -> Option<Figures> {
    let numbers = || values.iter().map(|at| &at.value);
    Some(Figures::Gauge {
        min: numbers().min()?.clone(),
        max: numbers().max()?.clone(),
        sum: numbers().fold(Decimal::zero(), |sum, value| &sum + value),
    })
}

fn register(
    values: &[At],
    opening: Option<&Decimal>,
    width: Option<&Decimal>,
    resets_normal: bool,
    bounds: DayBounds,
) -> Option<Figures> {
    let mut previous = opening.or(values.first().map(|at| &at.value))?;
    if values.is_empty() {
        return None;
    }
    let (mut increase, mut largest_step) = (Decimal::zero(), Decimal::zero());
    let (mut resets, mut rollovers, mut decreases) = (0, 0, 0);
    let mut grid = vec![Decimal::zero(); grid_slots(bounds)];
    let first_slot = bounds.from.div_euclid(GRID_SECONDS);
    for at in values {
        let (kind, amount) = step(previous, &at.value, width, resets_normal);
        match kind {
            StepKind::Advance => {}
            StepKind::Rollover => rollovers += 1,
            StepKind::Reset => resets += 1,
            StepKind::Decrease => decreases += 1,
        }
        increase = &increase + &amount;
        let slot = usize::try_from(at.time.seconds().div_euclid(GRID_SECONDS) - first_slot).ok();
        if let Some(slot) = slot.and_then(|slot| grid.get_mut(slot)) {
            *slot = &*slot + &amount;
        }
        largest_step = largest_step.max(amount);
        previous = &at.value;
    }
    Some(Figures::Counter { increase, resets, rollovers, decreases, largest_step, grid })
}

/// The digest that a block carries instead of the summaries: SHA-256(0x02 || salt || summaries).
#[must_use]
pub fn digest(salt: &[u8; 16], summaries: &[u8]) -> Hash {
    sha256(&[&[0x02], salt, summaries])
}

#[cfg(test)]
mod tests;
