//! Settling a day: compare block and cloud, heal what is missing, write down the outcome.
//!
//! The outcome is one conditional write to the day. What it rests on (the day's envelopes in the archive) is written before it, what
//! follows from it after it; both can be repeated without effect, so a message that comes again only finishes what a kill cut short.

use vitro_cloud::CloudError;
use vitro_cloud::archive::{CBOR_SEQUENCE, equivocal_key, raw_key};
use vitro_cloud::days::{DayBlock, DayRow, ObjectRef, Settlement, Standing, edit};
use vitro_cloud::devices::Registered;
use vitro_cloud::queue::{DayTask, ReconcileTask, SummarizeTask};
use vitro_cloud::readings::Reading;
use vitro_cloud::sources::run;
use vitro_cloud::summaries::SummaryDocument;
use vitro_proof::account::Range;
use vitro_proof::block::OpenedBlock;
use vitro_proof::command::Action;
use vitro_proof::reconcile::Outcome;
use vitro_proof::{BlockMessage, BlockNumber, DeviceId, Leaf, merkle};

use crate::command_id;
use crate::ports::Ports;
use crate::verdict::{RANGES_PER_COMMAND, Step, decide, wait_seconds};

/// How long a backfill command may be carried out, in seconds.
const BACKFILL_SECONDS: i64 = 3600;

/// What became of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The day has an outcome.
    Done(Outcome),
    /// The device was asked for what is missing; the day will be compared again.
    Asked,
    /// The cloud's envelopes changed since they were summed up; the day will be summed up again.
    Changed,
    /// A later message has taken the day over.
    Stale,
}

/// The envelopes of a run as they go to the archive.
#[derive(Debug, Default, PartialEq, Eq)]
struct Raw {
    /// One after another, in order of number.
    envelopes: Vec<u8>,
    /// Others under the same numbers.
    equivocal: Vec<u8>,
    leaves: Vec<Leaf>,
}

impl Ports {
    /// Compares a day with the summary of it and does what follows.
    ///
    /// # Errors
    /// [`CloudError`] if the message has to come again.
    pub async fn settle(&self, task: &ReconcileTask) -> Result<Settled, CloudError> {
        let Some(row) = self.days.get(&task.thing, task.day).await? else { return Ok(Settled::Stale) };
        let settled = match row.standing(task.block, task.attempt)? {
            Standing::Stale => Settled::Stale,
            Standing::Settled => self.follow_up(&row).await?,
            Standing::Due => self.compare(task, &row).await?,
        };
        tracing::info!(thing = %task.thing, day = %task.day, attempt = task.attempt, settled = ?settled, "reconcile");
        Ok(settled)
    }

    async fn compare(&self, task: &ReconcileTask, row: &DayRow) -> Result<Settled, CloudError> {
        let document = SummaryDocument::read(&self.archive.get(&task.summary).await?)?;
        if (&document.day.thing, document.day.day, document.block) != (&task.thing, task.day, task.block) {
            return Err(CloudError::damaged(&task.summary.key, "it is about another day or block"));
        }
        let block = match &row.block {
            Some(block) => Some(self.open(&task.thing, block).await?),
            None => None,
        };
        let opened = block.as_ref().map(|(_, opened)| opened);
        match decide(opened, &document, row, self.settings.backfill_attempts) {
            Step::Ask(ranges) => self.ask(task, &ranges).await,
            Step::Settle(outcome, detail) => {
                let salt = block.as_ref().map_or([0; 16], |(message, _)| message.salt);
                let detail = match row.pending_block.filter(|_| block.is_none()) {
                    Some(waiting) => self.held_up(row, waiting).await?,
                    None => detail.to_owned(),
                };
                self.conclude(task, &document, &salt, outcome, &detail).await
            }
        }
    }

    /// Tells operators why a day ends without its block although it came: which block it waits for.
    async fn held_up(&self, row: &DayRow, waiting: BlockNumber) -> Result<String, CloudError> {
        let head = self.chains.head(&row.thing).await?.block;
        let lost = head.map_or(Some(BlockNumber(0)), |link| link.number.next());
        let lost = lost.map(|lost| lost.to_string()).unwrap_or_default();
        tracing::warn!(thing = %row.thing, day = %row.day, block = %waiting, lost, "the day's block waits for a lost one");
        Ok(format!("block {waiting} is there and waits for block {lost}"))
    }

    async fn open(&self, thing: &DeviceId, block: &DayBlock) -> Result<(BlockMessage, OpenedBlock), CloudError> {
        let message = self.archived_block(&block.object).await?;
        let device = self.devices.device(thing).await?;
        let device = Registered::new(device.ok_or_else(|| CloudError::NotFound(format!("the device {thing}")))?)?;
        let opened = message.open(thing, &device.key).map_err(|fault| CloudError::damaged(&block.object.key, fault))?;
        Ok((message, opened))
    }

    /// Asks for what is missing. What is asked for is remembered before it is asked for, and the attempt is handed over after the
    /// message for the next one is on its way: a kill in between asks once more and loses nothing.
    async fn ask(&self, task: &ReconcileTask, ranges: &[Range]) -> Result<Settled, CloudError> {
        let commands: Vec<([u8; 16], Vec<Range>)> = ranges
            .chunks(RANGES_PER_COMMAND)
            .map(|part| {
                let asks = format!("backfill {} {part:?}", task.attempt);
                (command_id::of_day(&task.thing, task.day, &asks), part.to_vec())
            })
            .collect();
        let Some((last, _)) = commands.last() else { return Ok(Settled::Stale) };
        let due = |row: &DayRow| Ok::<_, CloudError>(row.standing(task.block, task.attempt)? == Standing::Due);
        let note = |row: &mut DayRow| Ok::<_, CloudError>(due(row)? && row.ask(ranges, *last));
        let (row, _) = edit(self.days.as_ref(), &task.thing, task.day, note).await?;
        if !due(&row)? {
            return Ok(Settled::Stale);
        }
        let expires = self.clock.now().seconds().saturating_add(BACKFILL_SECONDS);
        for (id, part) in commands {
            let number = self.commands.send(&task.thing, id, expires, Action::Backfill(part)).await?;
            self.count("BackfillsAsked");
            tracing::info!(thing = %task.thing, day = %task.day, attempt = task.attempt, command = %number, "backfill asked for");
        }
        let next = DayTask { thing: task.thing.clone(), day: task.day, attempt: task.attempt + 1 };
        let wait = wait_seconds(self.settings.settle_seconds, task.attempt);
        self.outbox.summarize(&SummarizeTask::Day(next), wait).await?;
        let hand_over = |row: &mut DayRow| Ok::<_, CloudError>(due(row)? && row.hand_over(task.attempt + 1));
        edit(self.days.as_ref(), &task.thing, task.day, hand_over).await?;
        Ok(Settled::Asked)
    }

    /// Archives the day's envelopes and writes the outcome down.
    async fn conclude(
        &self,
        task: &ReconcileTask,
        document: &SummaryDocument,
        salt: &[u8; 16],
        outcome: Outcome,
        detail: &str,
    ) -> Result<Settled, CloudError> {
        let cloud = &document.day;
        let readings = run(self.readings.as_ref(), &task.thing, cloud.first, cloud.count).await?;
        let raw = gather(&readings, document)?;
        if merkle::root(&raw.leaves) != cloud.root || raw.leaves.len() as u64 != cloud.held {
            let again = DayTask { thing: task.thing.clone(), day: task.day, attempt: task.attempt };
            self.outbox.summarize(&SummarizeTask::Day(again), 0).await?;
            return Ok(Settled::Changed);
        }
        if !raw.equivocal.is_empty() {
            self.archive.put(&equivocal_key(&task.thing, task.day), raw.equivocal, CBOR_SEQUENCE).await?;
            self.charge_equivocal(&task.thing, &readings).await?;
        }
        let raw: ObjectRef = self.archive.put(&raw_key(&task.thing, task.day), raw.envelopes, CBOR_SEQUENCE).await?;

        let write = |row: &mut DayRow| {
            if row.standing(task.block, task.attempt)? != Standing::Due {
                return Ok(false);
            }
            Ok::<_, CloudError>(row.settle(&Settlement {
                outcome,
                account: cloud.account(task.block, salt, row.healed(&cloud.missing)),
                detail: detail.to_owned(),
                summary: task.summary.clone(),
                raw: raw.clone(),
                gaps: document.gap_count(),
            }))
        };
        let (row, written) = edit(self.days.as_ref(), &task.thing, task.day, write).await?;
        if written {
            self.count(metric(outcome));
            tracing::info!(thing = %task.thing, day = %task.day, outcome = outcome.as_str(), detail, first = cloud.first,
                count = cloud.count, held = cloud.held, account = row.accounts, "day settled");
        }
        match row.standing(task.block, task.attempt)? {
            Standing::Settled => self.follow_up(&row).await,
            _ => Ok(Settled::Stale),
        }
    }
}

/// The metric that counts an outcome.
fn metric(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Matched => "DaysMatched",
        Outcome::Backfilled => "DaysBackfilled",
        Outcome::Incomplete => "DaysIncomplete",
        Outcome::Mismatched => "DaysMismatched",
        Outcome::Missing => "DaysMissing",
    }
}

/// Takes one envelope a number: the one that the summary names where there are several, else the first.
fn gather(readings: &[Reading], document: &SummaryDocument) -> Result<Raw, CloudError> {
    let mut raw = Raw::default();
    for of_number in readings.chunk_by(|a, b| a.number() == b.number()) {
        let mut leaves = Vec::with_capacity(of_number.len());
        for reading in of_number {
            leaves.push(reading.parse()?.leaf());
        }
        let chosen = document.chosen.get(&of_number[0].number().0);
        let taken = chosen.and_then(|chosen| leaves.iter().position(|leaf| leaf == chosen)).unwrap_or_default();
        for (index, reading) in of_number.iter().enumerate() {
            let into = if index == taken { &mut raw.envelopes } else { &mut raw.equivocal };
            into.extend_from_slice(&reading.envelope);
        }
        raw.leaves.push(leaves[taken]);
    }
    Ok(raw)
}
