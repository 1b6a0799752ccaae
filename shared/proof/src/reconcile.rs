//! Comparing a device's day with the cloud's.
//!
//! [`CloudDay`] is what the cloud makes of the envelopes it holds; [`compare`] holds it against the device's block. Neither side is
//! believed: the result says what agrees.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::account::{Account, Range};
use crate::block::OpenedBlock;
use crate::confidential::{self, DataKeys};
use crate::day::{DayBounds, LocalDay};
use crate::decimal::Decimal;
use crate::envelope::Envelope;
use crate::error::EnvelopeFault;
use crate::ids::{BlockNumber, DeviceId, Hash, Leaf, SensorName, SequenceNumber};
use crate::liveness::{Gap, recorded_gaps};
use crate::merkle;
use crate::sensors::SensorTable;
use crate::summary::{self, Summarizer, Summary};

/// How a day ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Block and cloud agree.
    Matched,
    /// They agree after the device sent again what had been lost.
    Backfilled,
    /// Envelopes are missing in the cloud and could not be had.
    Incomplete,
    /// The cloud holds all numbers, but other envelopes or summaries than the device signed for.
    Mismatched,
    /// No block came.
    Missing,
}

impl Outcome {
    /// The word as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::Backfilled => "backfilled",
            Self::Incomplete => "incomplete",
            Self::Mismatched => "mismatched",
            Self::Missing => "missing",
        }
    }

    /// Whether block and cloud agree, so that the day can be billed.
    #[must_use]
    pub fn agrees(self) -> bool {
        matches!(self, Self::Matched | Self::Backfilled)
    }
}

/// One stored envelope of a day.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its number.
    pub number: SequenceNumber,
    /// Its bytes as they came.
    pub envelope: &'a [u8],
}

/// The day that the cloud has to account for.
#[derive(Clone, Copy, Debug)]
pub struct DayFrame<'a> {
    /// The device.
    pub thing: &'a DeviceId,
    /// The local day.
    pub day: LocalDay,
    /// Its interval.
    pub bounds: DayBounds,
    /// The first number of the run.
    pub first: u64,
    /// How many numbers the run has.
    pub count: u64,
    /// The sensor table that the run is read by.
    pub table: &'a SensorTable,
    /// What the previous signed daily block left.
    pub openings: &'a BTreeMap<SensorName, Decimal>,
}

/// What the cloud holds of a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudDay {
    /// The device.
    pub thing: DeviceId,
    /// The local day.
    pub day: LocalDay,
    /// Its interval.
    pub bounds: DayBounds,
    /// The first number of the run.
    pub first: u64,
    /// How many numbers the run has.
    pub count: u64,
    /// How many of them the cloud holds.
    pub held: u64,
    /// Numbers of the run that it does not hold.
    pub missing: Vec<Range>,
    /// Numbers under which it holds more than one envelope: evidence of a cloned key.
    pub equivocal: Vec<u64>,
    /// The Merkle root over the leaves held.
    pub root: Hash,
    /// The bytes of the envelopes held.
    pub bytes: u64,
    /// Their metered units.
    pub units: u64,
    /// The version of the sensor table.
    pub table_version: u64,
    /// Envelopes whose payload could not be read.
    pub unreadable: u64,
    /// The cloud's own summaries.
    pub summaries: Vec<Summary>,
    /// Silences of more than 60 minutes by device time, by sensor; only sensors that have one.
    pub gaps: BTreeMap<SensorName, Vec<Gap>>,
}

impl CloudDay {
    /// Sums up the envelopes of a run. `stored` is in ascending order of number; where several envelopes have one number, the first
    /// is taken and the number is listed as equivocal. `keys` open what is confidential.
    ///
    /// # Errors
    /// [`EnvelopeFault`] if bytes in the store are no envelope: they were verified before they were stored, so the store is damaged.
    pub fn compute<'a>(
        frame: &DayFrame<'_>,
        stored: impl IntoIterator<Item = Stored<'a>>,
        keys: &dyn DataKeys,
    ) -> Result<Self, EnvelopeFault> {
        let mut summarizer = Summarizer::new(frame.thing, frame.table, frame.bounds, frame.openings);
        let mut leaves: Vec<Leaf> = Vec::new();
        let mut numbers: Vec<u64> = Vec::new();
        let mut equivocal = Vec::new();
        let (mut bytes, mut units) = (0, 0);
        let end = frame.first.saturating_add(frame.count);
        for item in stored {
            if !(frame.first..end).contains(&item.number.0) {
                continue;
            }
            if numbers.last() == Some(&item.number.0) {
                if equivocal.last() != Some(&item.number.0) {
                    equivocal.push(item.number.0);
                }
                continue;
            }
            let envelope = Envelope::parse(item.envelope)?;
            leaves.push(envelope.leaf());
            numbers.push(item.number.0);
            bytes += item.envelope.len() as u64;
            units += envelope.metered_units();
            let pack = confidential::pack(&envelope, keys);
            summarizer.add(item.number, pack.as_deref());
        }
        let missing = holes(frame.first, end, &numbers);
        let gaps = summarizer
            .heard()
            .into_iter()
            .map(|(sensor, times)| (sensor, recorded_gaps(&times, frame.bounds)))
            .filter(|(_, gaps)| !gaps.is_empty())
            .collect();
        Ok(Self {
            thing: frame.thing.clone(),
            day: frame.day,
            bounds: frame.bounds,
            first: frame.first,
            count: frame.count,
            held: leaves.len() as u64,
            missing,
            equivocal,
            root: merkle::root(&leaves),
            bytes,
            units,
            table_version: frame.table.version(),
            unreadable: summarizer.unreadable(),
            summaries: summarizer.finish(),
            gaps,
        })
    }

    /// The operator's account of this day. `salt` is the block's, or zeros if none came; `healed` are the numbers that came only
    /// after they were asked for.
    #[must_use]
    pub fn account(&self, block: Option<BlockNumber>, salt: &[u8; 16], healed: Vec<Range>) -> Account {
        Account {
            thing: self.thing.clone(),
            day: self.day,
            block,
            first: self.first,
            count: self.count,
            root: self.root,
            summaries_digest: summary::digest(salt, &summary::encode(&self.summaries)),
            healed,
            missing: self.missing.clone(),
        }
    }
}

/// What is missing of the numbers from `first` to just below `end`. Works on the holes, not on the numbers: how long a run is, is
/// the device's word.
fn holes(first: u64, end: u64, held: &[u64]) -> Vec<Range> {
    let mut missing = Vec::new();
    let mut next = first;
    for number in held.iter().copied().chain([end]) {
        if next < number {
            missing.push((next, number - 1));
        }
        next = number.saturating_add(1);
    }
    missing
}

/// How a block and the cloud's day compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Run, root and summaries are the same.
    Agrees,
    /// The cloud lacks these numbers of the device's run.
    Lacks(Vec<Range>),
    /// The cloud holds the whole run, but something differs: what.
    Differs(&'static str),
}

/// Holds the cloud's day against the device's block.
#[must_use]
pub fn compare(block: &OpenedBlock, cloud: &CloudDay) -> Comparison {
    let b = &block.block;
    if (b.first, b.count) != (cloud.first, cloud.count) || b.bounds != cloud.bounds || b.day != cloud.day {
        return Comparison::Differs("the run or the day");
    }
    if !cloud.missing.is_empty() {
        return Comparison::Lacks(cloud.missing.clone());
    }
    if b.root != cloud.root {
        return Comparison::Differs("the Merkle root");
    }
    if b.table_version != cloud.table_version {
        return Comparison::Differs("the version of the sensor table");
    }
    if (b.bytes, b.units) != (cloud.bytes, cloud.units) {
        return Comparison::Differs("the bytes or metered units");
    }
    if block.summaries != cloud.summaries {
        return Comparison::Differs("the summaries");
    }
    Comparison::Agrees
}

/// A day's leaves, for an inclusion proof of one of its envelopes.
///
/// # Errors
/// [`EnvelopeFault`] if bytes in the store are no envelope.
pub fn leaves<'a>(stored: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Leaf>, EnvelopeFault> {
    stored.into_iter().map(|bytes| Envelope::parse(bytes).map(|envelope| envelope.leaf())).collect()
}

#[cfg(test)]
#[cfg(feature = "p256")]
mod tests;
