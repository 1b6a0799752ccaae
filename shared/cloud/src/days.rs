//! A device's day in the table `days`: its state machine, free of I/O, and the store it is kept in.
//!
//! Every change goes the same way ([`edit`]): read the row, apply a pure transition, write on the condition that nobody changed the
//! row meanwhile. So each step can be delivered twice, late or in parallel, and changes nothing the second time. Only `low` and
//! `high`, the numbers seen, are written past this: by ingest, with conditions of their own.

mod dynamo;

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use vitro_proof::account::{Account, Range};
use vitro_proof::reconcile::Outcome;
use vitro_proof::{BlockNumber, DeviceId, Hash, LocalDay};

use crate::error::CloudError;

pub use dynamo::DynamoDays;

/// How often [`edit`] starts again when others change the row.
const EDIT_ATTEMPTS: usize = 16;

/// Where a day stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DayState {
    /// Readings or a block came; nothing was compared since.
    #[default]
    Open,
    /// The cloud's own summary is in the archive.
    Summarized,
    /// There is an outcome and an account of it.
    Reconciled,
    /// The newest account is on the ledger.
    Published,
    /// The ledger refused the day for good; an operator decides.
    Parked,
}

impl DayState {
    /// The word as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Summarized => "summarized",
            Self::Reconciled => "reconciled",
            Self::Published => "published",
            Self::Parked => "parked",
        }
    }
}

impl fmt::Display for DayState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DayState {
    type Err = CloudError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Open, Self::Summarized, Self::Reconciled, Self::Published, Self::Parked]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| CloudError::damaged("a day's state", text))
    }
}

/// An object of the archive, in the version that is meant.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ObjectRef {
    /// The key.
    pub key: String,
    /// The version; empty in a bucket without versions.
    pub version: String,
}

/// The daily block that was accepted for a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayBlock {
    /// Its number in the device's chain.
    pub number: BlockNumber,
    /// Its hash.
    pub hash: Hash,
    /// The message as it came, in the archive.
    pub object: ObjectRef,
    /// The first sequence number of its run.
    pub first: u64,
    /// How many numbers its run has.
    pub count: u64,
    /// The daily block before it, which its counters open from; nothing in the device's first.
    pub previous_daily: Option<BlockNumber>,
}

/// What a finished comparison leaves on the day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// How block and cloud compare.
    pub outcome: Outcome,
    /// The operator's account.
    pub account: Account,
    /// What differs, for people; empty if nothing does.
    pub detail: String,
    /// The summary that was compared.
    pub summary: ObjectRef,
    /// The day's envelopes in the archive.
    pub raw: ObjectRef,
    /// How many recorded gaps the day has, over all sensors.
    pub gaps: u64,
}

/// What a message about a day means, given where the day stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The work is still to be done.
    Due,
    /// The outcome is there already; what follows from it may have been cut short.
    Settled,
    /// A later message has taken the work over; nothing is to be done.
    Stale,
}

/// A row of the table `days`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayRow {
    /// The device.
    pub thing: DeviceId,
    /// The local day.
    pub day: LocalDay,
    /// Where it stands.
    pub state: DayState,
    /// The lowest number seen with a time of this day; coarse, written by ingest.
    pub low: Option<u64>,
    /// The highest number seen with a time of this day; coarse, written by ingest.
    pub high: Option<u64>,
    /// The accepted daily block.
    pub block: Option<DayBlock>,
    /// A daily block of this day that waits for its predecessor.
    pub pending_block: Option<BlockNumber>,
    /// How many times the device was asked for what is missing.
    pub attempt: u32,
    /// The numbers that it was asked for, over all attempts.
    pub asked: Vec<Range>,
    /// The id of the newest backfill command.
    pub command: Option<[u8; 16]>,
    /// What the device replied to it: status, and how many envelopes it sent again.
    pub reply: Option<String>,
    /// The cloud's newest summary; of a settled day, the one that was compared.
    pub summary: Option<ObjectRef>,
    /// The day's envelopes in the archive.
    pub raw: Option<ObjectRef>,
    /// The newest outcome.
    pub outcome: Option<Outcome>,
    /// What differs.
    pub detail: String,
    /// Recorded gaps of the newest account.
    pub gaps: u64,
    /// The newest account as deterministic CBOR.
    pub account: Option<Vec<u8>>,
    /// How many accounts the day has had.
    pub accounts: u64,
    /// The ledger transaction of the newest published account.
    pub tx: Option<String>,
    /// Why the ledger refused the day for good.
    pub parked: Option<String>,
    /// Counts the writes; 0 if the row was never written by [`edit`].
    pub revision: u64,
}

/// A transition that the day does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DayFault {
    /// Another block was accepted for this day before.
    #[error("block {0} was accepted for this day before")]
    OtherBlock(BlockNumber),
}

impl DayRow {
    /// A day of which nothing is known.
    #[must_use]
    pub fn new(thing: DeviceId, day: LocalDay) -> Self {
        Self {
            thing,
            day,
            state: DayState::Open,
            low: None,
            high: None,
            block: None,
            pending_block: None,
            attempt: 0,
            asked: Vec::new(),
            command: None,
            reply: None,
            summary: None,
            raw: None,
            outcome: None,
            detail: String::new(),
            gaps: 0,
            account: None,
            accounts: 0,
            tx: None,
            parked: None,
            revision: 0,
        }
    }

    /// The number of the accepted block.
    #[must_use]
    pub fn block_number(&self) -> Option<BlockNumber> {
        self.block.as_ref().map(|block| block.number)
    }

    /// The newest account.
    ///
    /// # Errors
    /// [`CloudError::Damaged`] if the stored bytes are no account.
    pub fn decoded_account(&self) -> Result<Option<Account>, CloudError> {
        let what = || format!("the account of {} {}", self.thing, self.day);
        self.account.as_deref().map(Account::decode).transpose().map_err(|e| CloudError::damaged(what(), e))
    }

    /// Whether there is an outcome for what is known now: with the block if there is one, without if not.
    ///
    /// # Errors
    /// [`CloudError::Damaged`] if the stored bytes are no account.
    pub fn is_settled(&self) -> Result<bool, CloudError> {
        let account = self.decoded_account()?;
        Ok(account.is_some_and(|account| account.block == self.block_number()))
    }

    /// What a message of this attempt means. `block` is the block that it was about; nothing if the day was closed without one.
    ///
    /// # Errors
    /// [`CloudError::Damaged`] if the stored bytes are no account.
    pub fn standing(&self, block: Option<BlockNumber>, attempt: u32) -> Result<Standing, CloudError> {
        if block != self.block_number() || attempt < self.attempt {
            return Ok(Standing::Stale);
        }
        Ok(if self.is_settled()? { Standing::Settled } else { Standing::Due })
    }

    /// Takes an accepted daily block. Says whether that changed anything.
    ///
    /// # Errors
    /// [`DayFault::OtherBlock`]: the first accepted block stays.
    pub fn accept_block(&mut self, block: DayBlock) -> Result<bool, DayFault> {
        if let Some(known) = &self.block {
            return if known.hash == block.hash { Ok(false) } else { Err(DayFault::OtherBlock(known.number)) };
        }
        self.block = Some(block);
        self.pending_block = None;
        self.attempt = 0;
        self.asked.clear();
        self.command = None;
        self.reply = None;
        self.state = DayState::Open;
        Ok(true)
    }

    /// Notes a block that waits for its predecessor.
    pub fn note_pending(&mut self, number: BlockNumber) -> bool {
        if self.block.is_some() || self.pending_block == Some(number) {
            return false;
        }
        self.pending_block = Some(number);
        true
    }

    /// Notes that a block waits no more: it was refused when its turn came.
    pub fn forget_pending(&mut self, number: BlockNumber) -> bool {
        let known = self.pending_block == Some(number);
        if known {
            self.pending_block = None;
        }
        known
    }

    /// Notes the cloud's summary, unless the day has moved on.
    ///
    /// # Errors
    /// [`CloudError::Damaged`] if the stored bytes are no account.
    pub fn summarized(
        &mut self,
        block: Option<BlockNumber>,
        attempt: u32,
        summary: &ObjectRef,
    ) -> Result<bool, CloudError> {
        if self.standing(block, attempt)? != Standing::Due || self.summary.as_ref() == Some(summary) {
            return Ok(false);
        }
        self.summary = Some(summary.clone());
        self.state = DayState::Summarized;
        Ok(true)
    }

    /// Notes which numbers the device is about to be asked for, and by which command.
    pub fn ask(&mut self, ranges: &[Range], command: [u8; 16]) -> bool {
        let asked = union(&self.asked, ranges);
        if asked == self.asked && self.command == Some(command) {
            return false;
        }
        self.asked = asked;
        self.command = Some(command);
        self.reply = None;
        true
    }

    /// Hands the day over to the next attempt.
    pub fn hand_over(&mut self, attempt: u32) -> bool {
        let newer = attempt > self.attempt;
        self.attempt = self.attempt.max(attempt);
        newer
    }

    /// Notes the device's reply to the newest command; replies to others are ignored.
    pub fn replied(&mut self, command: [u8; 16], reply: &str) -> bool {
        if self.command != Some(command) || self.reply.as_deref() == Some(reply) {
            return false;
        }
        self.reply = Some(reply.to_owned());
        true
    }

    /// The numbers asked for that are not `missing` any more.
    #[must_use]
    pub fn healed(&self, missing: &[Range]) -> Vec<Range> {
        difference(&self.asked, missing)
    }

    /// Takes an outcome: a new account is appended, the same account again changes nothing.
    pub fn settle(&mut self, settlement: &Settlement) -> bool {
        let account = settlement.account.encode();
        if self.outcome == Some(settlement.outcome) && self.account.as_ref() == Some(&account) {
            return false;
        }
        self.outcome = Some(settlement.outcome);
        self.account = Some(account);
        self.accounts += 1;
        self.detail.clone_from(&settlement.detail);
        self.summary = Some(settlement.summary.clone());
        self.raw = Some(settlement.raw.clone());
        self.gaps = settlement.gaps;
        self.state = DayState::Reconciled;
        self.parked = None;
        true
    }

    /// Notes that the account with this count ([`DayRow::accounts`]) is on the ledger. An older one does not hide that a newer one
    /// is still to be published.
    pub fn published(&mut self, accounts: u64, tx: &str) -> bool {
        if accounts != self.accounts || (self.state == DayState::Published && self.tx.as_deref() == Some(tx)) {
            return false;
        }
        self.tx = Some(tx.to_owned());
        self.parked = None;
        self.state = DayState::Published;
        true
    }

    /// Notes that the ledger refused the account with this count for good.
    pub fn park(&mut self, accounts: u64, reason: &str) -> bool {
        if accounts != self.accounts || self.parked.as_deref() == Some(reason) {
            return false;
        }
        self.parked = Some(reason.to_owned());
        self.state = DayState::Parked;
        true
    }
}

/// All numbers of both, as ascending ranges apart from each other.
fn union(a: &[Range], b: &[Range]) -> Vec<Range> {
    let mut all: Vec<Range> = a.iter().chain(b).copied().collect();
    all.sort_unstable();
    let mut merged: Vec<Range> = Vec::with_capacity(all.len());
    for (from, to) in all {
        match merged.last_mut() {
            Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// The numbers of `a` that are not in `b`. Both are ascending ranges apart from each other.
fn difference(a: &[Range], b: &[Range]) -> Vec<Range> {
    let mut left = Vec::new();
    for &(from, to) in a {
        let mut next = Some(from);
        for &(cut_from, cut_to) in b.iter().filter(|cut| cut.1 >= from && cut.0 <= to) {
            let Some(start) = next else { break };
            if start < cut_from {
                left.push((start, cut_from - 1));
            }
            next = cut_to.checked_add(1);
        }
        if let Some(start) = next.filter(|start| *start <= to) {
            left.push((start, to));
        }
    }
    left
}

/// Where days are kept.
#[async_trait]
pub trait DayStore: Send + Sync {
    /// Reads a row as it is now (strongly consistent).
    ///
    /// # Errors
    /// [`CloudError`].
    async fn get(&self, thing: &DeviceId, day: LocalDay) -> Result<Option<DayRow>, CloudError>;

    /// Writes the row but for `low` and `high`, if its revision is still the stored one; says whether it was. The stored revision
    /// becomes one more.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn write(&self, row: &DayRow) -> Result<bool, CloudError>;

    /// The device's rows from this day on, in ascending order, at most `limit`.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn list_from(&self, thing: &DeviceId, day: LocalDay, limit: u32) -> Result<Vec<DayRow>, CloudError>;

    /// The device's newest row before this day.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn before_day(&self, thing: &DeviceId, day: LocalDay) -> Result<Option<DayRow>, CloudError>;

    /// Widens the numbers seen of a day. Callers keep what they wrote last, so that this is called coarsely and not for every message.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn note_seen(&self, thing: &DeviceId, day: LocalDay, low: u64, high: u64) -> Result<(), CloudError>;
}

/// Changes a row by a pure transition and returns it as it then is. The transition may run several times; it returns whether it
/// changed the row, and nothing is written if not.
///
/// # Errors
/// What the transition or the store returns; [`CloudError::Contended`] if the row keeps changing.
pub async fn edit<E: From<CloudError>>(
    days: &dyn DayStore,
    thing: &DeviceId,
    day: LocalDay,
    mut transition: impl FnMut(&mut DayRow) -> Result<bool, E> + Send,
) -> Result<(DayRow, bool), E> {
    for _ in 0..EDIT_ATTEMPTS {
        let mut row = days.get(thing, day).await?.unwrap_or_else(|| DayRow::new(thing.clone(), day));
        if !transition(&mut row)? {
            return Ok((row, false));
        }
        if days.write(&row).await? {
            row.revision += 1;
            return Ok((row, true));
        }
    }
    Err(CloudError::Contended(format!("the day {day} of {thing}")).into())
}

#[cfg(test)]
#[path = "days/tests.rs"]
mod tests;
