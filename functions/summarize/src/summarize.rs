//! Summing up one day.

use std::collections::{BTreeMap, BTreeSet};

use vitro_cloud::CloudError;
use vitro_cloud::archive::{JSON, block_key, summary_key};
use vitro_cloud::days::{DayBlock, DayRow, Standing, edit};
use vitro_cloud::devices::{Device, MARK_NUMBERS, Registered};
use vitro_cloud::queue::{DayTask, MAX_DELAY_SECONDS, ReconcileTask, SummarizeTask};
use vitro_cloud::readings::Reading;
use vitro_cloud::sources::{around_day, run};
use vitro_cloud::summaries::SummaryDocument;
use vitro_proof::block::OpenedBlock;
use vitro_proof::confidential;
use vitro_proof::reconcile::DayFrame;
use vitro_proof::summary::closings;
use vitro_proof::{BlockMessage, BlockNumber, DayBounds, Decimal, DeviceId, Hash, SensorName, SensorTable, UnixMillis};

use crate::choose::sum_up;
use crate::ports::Ports;
use crate::span::{Timed, of_day};

/// What became of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summed {
    /// The summary is on its way to reconcile.
    Sent,
    /// The day has an outcome, or a later message has taken it over.
    NothingToDo,
    /// There is a block of a day that is not over: the message was sent again to come later.
    NotOver,
}

/// How long after the end of a day, in seconds, one is summed up whose block came before it.
const AFTER_END_SECONDS: i64 = 120;

/// How long a message about a day that ends at `to` has to wait, in seconds: a queue delays by [`MAX_DELAY_SECONDS`] at most. Nothing
/// if the day is over.
fn wait_for_end(now: UnixMillis, to: i64) -> Option<u32> {
    let left = to.saturating_sub(now.seconds());
    let wait = u32::try_from(left.saturating_add(AFTER_END_SECONDS)).unwrap_or(MAX_DELAY_SECONDS);
    (left > 0).then(|| wait.min(MAX_DELAY_SECONDS))
}

/// Where a day lies and what it is read by.
struct Scope {
    bounds: DayBounds,
    first: u64,
    count: u64,
    table: SensorTable,
    openings: BTreeMap<SensorName, Decimal>,
    root: Option<Hash>,
    readings: Vec<Reading>,
}

impl Ports {
    /// Sums up a day, archives the result and hands it to reconcile.
    ///
    /// # Errors
    /// [`CloudError`] if the message has to come again.
    pub async fn summarize(&self, task: &DayTask) -> Result<Summed, CloudError> {
        let row = self.days.get(&task.thing, task.day).await?;
        let row = row.unwrap_or_else(|| DayRow::new(task.thing.clone(), task.day));
        let block = row.block_number();
        if row.standing(block, task.attempt)? != Standing::Due {
            tracing::info!(thing = %task.thing, day = %task.day, attempt = task.attempt, "nothing to sum up");
            return Ok(Summed::NothingToDo);
        }
        let device = self.devices.device(&task.thing).await?;
        let device =
            Registered::new(device.ok_or_else(|| CloudError::NotFound(format!("the device {}", task.thing)))?)?;
        let end = DayBounds::of(&device.device.zone, task.day)
            .map_err(|fault| CloudError::damaged(format!("the zone of {}", task.thing), fault))?
            .to;
        if let Some(wait) = wait_for_end(self.clock.now(), end).filter(|_| block.is_some()) {
            tracing::warn!(thing = %task.thing, day = %task.day, wait, "a block came before its day is over");
            self.outbox.summarize(&SummarizeTask::Day(task.clone()), wait).await?;
            return Ok(Summed::NotOver);
        }
        let scope = match &row.block {
            Some(block) => self.scope_of_block(&device, block).await?,
            None => self.scope_by_time(&device, &row).await?,
        };
        let frame = DayFrame {
            thing: &task.thing,
            day: task.day,
            bounds: scope.bounds,
            first: scope.first,
            count: scope.count,
            table: &scope.table,
            openings: &scope.openings,
        };
        let keys = self.data_keys.keys(&recipients(&scope.readings)?).await?;
        let chosen = sum_up(&frame, &scope.readings, scope.root, &keys)?;
        let document = SummaryDocument::new(block, chosen.day, chosen.leaves);
        let summary = self.archive.put(&summary_key(&task.thing, task.day), document.write()?, JSON).await?;
        let note = |row: &mut DayRow| row.summarized(block, task.attempt, &summary);
        edit::<CloudError>(self.days.as_ref(), &task.thing, task.day, note).await?;
        tracing::info!(thing = %task.thing, day = %task.day, attempt = task.attempt, block = block.map(|b| b.0),
            first = document.day.first, count = document.day.count, held = document.day.held,
            equivocal = document.day.equivocal.len(), gaps = document.gap_count(), key = %summary.key,
            version = %summary.version, "day summed up");
        let thing = task.thing.clone();
        let next = ReconcileTask { thing, day: task.day, attempt: task.attempt, block, summary };
        self.outbox.reconcile(&next).await?;
        Ok(Summed::Sent)
    }

    /// The run that the block names. A sensor table that the registry lacks cannot agree; the newest then stands in for it.
    async fn scope_of_block(&self, device: &Registered, block: &DayBlock) -> Result<Scope, CloudError> {
        let thing = &device.device.id;
        let opened = open(thing, device, &block.object.key, &self.archive.get(&block.object).await?)?.block;
        let table = match device.device.sensor_table_version(opened.table_version) {
            Some(table) => table.clone(),
            None => newest_table(&device.device)?,
        };
        let openings = match block.previous_daily {
            Some(previous) => closings(&self.daily_block(device, previous).await?.summaries),
            None => BTreeMap::new(),
        };
        let readings = run(self.readings.as_ref(), thing, block.first, block.count).await?;
        let root = Some(opened.root);
        Ok(Scope { bounds: opened.bounds, first: block.first, count: block.count, table, openings, root, readings })
    }

    /// The run of the day by time ([`of_day`]). It starts after the previous daily block's, where that is known.
    async fn scope_by_time(&self, device: &Registered, row: &DayRow) -> Result<Scope, CloudError> {
        let thing = &device.device.id;
        let bounds = DayBounds::of(&device.device.zone, row.day)?;
        let previous = match self.chains.head(thing).await?.daily {
            Some(number) => Some(self.daily_block(device, number).await?).filter(|p| p.block.bounds.to <= bounds.from),
            None => None,
        };
        let start = match &previous {
            Some(previous) => previous.block.end(),
            None => row.low.unwrap_or_default().saturating_sub(MARK_NUMBERS),
        };
        let mut readings = around_day(self.readings.as_ref(), thing, start, bounds).await?;
        let timed: Vec<Timed> = readings.iter().map(|reading| (reading.number().0, reading.time)).collect();
        let run = of_day(&timed, bounds);
        let known = previous.as_ref().filter(|p| p.block.bounds.to == bounds.from).map(|p| p.block.end());
        let first = known.or(run.map(|run| run.0)).unwrap_or(start);
        let end = run.map_or(first, |run| run.1.max(first));
        readings.retain(|reading| (first..end).contains(&reading.number().0));
        Ok(Scope {
            bounds,
            first,
            count: end.saturating_sub(first),
            table: newest_table(&device.device)?,
            openings: previous.map(|previous| closings(&previous.summaries)).unwrap_or_default(),
            root: None,
            readings,
        })
    }

    async fn daily_block(&self, device: &Registered, number: BlockNumber) -> Result<OpenedBlock, CloudError> {
        let key = block_key(&device.device.id, number);
        let (_, bytes) = self.archive.get_newest(&key).await?;
        open(&device.device.id, device, &key, &bytes)
    }
}

/// Whose keys the day's confidential envelopes are encrypted for.
fn recipients(readings: &[Reading]) -> Result<BTreeSet<String>, CloudError> {
    let mut ids = BTreeSet::new();
    for reading in readings {
        if let Some(id) = confidential::recipient(&reading.parse()?) {
            ids.insert(id.to_owned());
        }
    }
    Ok(ids)
}

fn newest_table(device: &Device) -> Result<SensorTable, CloudError> {
    Ok(device.sensor_table()?.clone())
}

fn open(thing: &DeviceId, device: &Registered, key: &str, bytes: &[u8]) -> Result<OpenedBlock, CloudError> {
    let message = BlockMessage::decode(bytes).map_err(|fault| CloudError::damaged(key, fault))?;
    message.open(thing, &device.key).map_err(|fault| CloudError::damaged(key, fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_waited_for_in_steps_that_a_queue_can_delay() {
        let wait = |seconds: i64| wait_for_end(UnixMillis(seconds * 1000), 10_000);
        assert_eq!([wait(10_000), wait(10_001), wait(i64::MAX / 1000)], [None; 3]);
        assert_eq!((wait(9_999), wait(9_220), wait(9_219)), (Some(121), Some(900), Some(900)));
        assert_eq!((wait(0), wait_for_end(UnixMillis(0), i64::MAX)), (Some(900), Some(900)));
    }
}
