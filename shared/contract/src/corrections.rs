//! Corrections: what was billed and would be billed otherwise today. Nothing billed is touched; the difference goes on a later statement.
//!
//! A correction bills a day by the terms that held on it, and goes on a statement with the same payer, payees, currency and unit, or on
//! one of corrections alone. What a day came to with all its corrections is kept, so that each difference is taken once.

use std::collections::{BTreeMap, BTreeSet};

use vitro_proof::crypto::sha256;
use vitro_proof::{Decimal, DeviceId, Hash, LocalDay};

use crate::agreement::InForce;
use crate::billing;
use crate::calendar;
use crate::data::{by_number, following};
use crate::error::ContractError;
use crate::ids::{AgreementId, MeteringPoint, Shard};
use crate::keys;
use crate::late::{self, Changed, Mark};
use crate::model::{
    Agreement, Corrected, Correction, DayRecord, DeviceEntry, Examined, Owed, Place, Service, StatementHead, Tariff,
};
use crate::registry;
use crate::status;
use crate::tx::Tx;
use crate::wire::to_bytes;

/// What a statement has room for, in tenths of a line: a thousand lines take some 840 KB of a transaction with the longest names, what was
/// read for them included.
pub(crate) const ROOM: usize = 10 * billing::MAX_LINES;
/// What a line takes of it.
pub(crate) const LINE: usize = 10;
/// What a day takes that is looked at, corrected or not.
const LOOK: usize = 6;
/// What a correction takes besides: it is written with what the day came to.
const CORRECTION: usize = 14;
/// What a day takes that is only found to be there.
const FOUND: usize = 2;
/// The most marks that are read for a statement that closes a period, but for those of one part. They have room beside its lines.
const MARKS_OF_A_PERIOD: usize = 400;
/// The same of a statement of corrections alone.
const MARKS_ALONE: usize = 1_500;
/// The most earlier statements that are read for one.
const MAX_STATEMENTS: usize = 50;

/// Versions of an agreement whose days can stand on one statement: they have the same payer, payees and shares, currency and unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group(Hash);

impl Group {
    /// The hash that stands for it.
    pub(crate) fn hash(self) -> Hash {
        self.0
    }

    pub(crate) fn of(terms: &Agreement) -> Self {
        let Tariff::PerUnit(tariff) = &terms.tariff;
        Self(sha256(&[
            &to_bytes(&terms.payer),
            &to_bytes(&terms.payees),
            &to_bytes(&terms.currency),
            &to_bytes(&tariff.sensor),
            &to_bytes(&tariff.unit),
        ]))
    }
}

/// What was found for a statement.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) corrections: Vec<Correction>,
    /// Marks that were not looked at, or not to their end; parts that were not even read count as one.
    pub(crate) waiting: u64,
    /// Marks that were.
    pub(crate) examined: u64,
}

/// Looks for corrections of an agreement's closed periods.
pub(crate) struct Search<'a> {
    id: &'a AgreementId,
    group: Group,
    versions: &'a [InForce],
    heads: &'a [StatementHead],
    room: usize,
    marks: usize,
    /// What earlier statements billed, by their ids.
    billed: BTreeMap<Hash, BTreeMap<(DeviceId, LocalDay), Owed>>,
    services: BTreeMap<MeteringPoint, Vec<Service>>,
    seen: BTreeSet<(DeviceId, LocalDay)>,
    found: Found,
}

/// Days of a mark, and whether they are all of them.
struct Days {
    days: BTreeSet<LocalDay>,
    /// Where it stopped; nothing if it did not have to.
    stopped: Option<LocalDay>,
}

impl<'a> Search<'a> {
    /// Of the versions of one group, for a statement that has so much room left.
    pub(crate) fn new(
        id: &'a AgreementId,
        group: Group,
        versions: &'a [InForce],
        heads: &'a [StatementHead],
        room: usize,
    ) -> Self {
        Self {
            id,
            group,
            versions,
            heads,
            room,
            marks: MARKS_ALONE,
            billed: BTreeMap::new(),
            services: BTreeMap::new(),
            seen: BTreeSet::new(),
            found: Found::default(),
        }
    }

    /// Looks at what changed since the agreement's last statement of this group, and begins another epoch. `through` is the last day that
    /// the statement closes, and where.
    pub(crate) fn run(mut self, tx: &mut Tx<'_>, through: Option<(&Shard, LocalDay)>) -> Result<Found, ContractError> {
        if through.is_some() {
            self.marks = MARKS_OF_A_PERIOD;
        }
        let mut shards: BTreeSet<&Shard> = through.iter().map(|(shard, _)| *shard).collect();
        shards.extend(self.of_group().map(|version| &version.agreement.shard));
        for shard in shards {
            let key = keys::examined(self.id, &self.group.0, shard);
            let is_closed = |version: &InForce| {
                version.agreement.shard == *shard
                    && self.heads.iter().any(|head| version.held.covers(head.from, head.to))
            };
            let before = tx.load::<Examined>(&key)?;
            // Nothing of it is closed, so nothing of it can have come late.
            let is_needed = self.of_group().any(is_closed);
            let begin = Place { next: String::new(), day: None };
            let before = before.unwrap_or_else(|| Examined { turn: 0, places: vec![begin; late::PARTS] });
            let stopped = if is_needed { self.examine_all(tx, shard, &before)? } else { BTreeMap::new() };
            let day = through.and_then(|(of, day)| (of == shard).then_some(day));
            let next = Place { next: late::begin_epoch(tx, shard, day)?, day: None };
            // The first part that has to wait is the first that has its turn.
            let turns = (0..late::PARTS).map(|n| in_turn(&before, n));
            let turn = turns.clone().find(|part| stopped.contains_key(part)).unwrap_or_default() as u64;
            let place = |part: usize| stopped.get(&part).cloned().unwrap_or_else(|| next.clone());
            tx.store(&key, &Examined { turn, places: (0..late::PARTS).map(place).collect() });
        }
        Ok(self.found)
    }

    fn of_group(&self) -> impl Iterator<Item = &'a InForce> + use<'a> {
        let group = self.group;
        self.versions.iter().filter(move |version| Group::of(&version.agreement) == group)
    }

    /// Looks at a shard's marks from where the last statement stopped. The parts that it does not get through, with where it stopped in
    /// each.
    fn examine_all(
        &mut self,
        tx: &mut Tx<'_>,
        shard: &Shard,
        before: &Examined,
    ) -> Result<BTreeMap<usize, Place>, ContractError> {
        let mut stopped = BTreeMap::new();
        for part in (0..late::PARTS).map(|n| in_turn(before, n)) {
            let place = before.places.get(part).ok_or_else(|| ContractError::Damaged("places among marks".into()))?;
            if self.marks == 0 {
                self.found.waiting += 1;
                stopped.insert(part, place.clone());
            } else if let Some(at) = self.examine_part(tx, shard, part, place)? {
                stopped.insert(part, at);
            }
        }
        Ok(stopped)
    }

    /// Looks at a part's marks from a place on. Where it had to stop, if it had to.
    fn examine_part(
        &mut self,
        tx: &mut Tx<'_>,
        shard: &Shard,
        part: usize,
        from: &Place,
    ) -> Result<Option<Place>, ContractError> {
        let marks = late::marks(tx, shard, part, from)?;
        self.marks = self.marks.saturating_sub(marks.len());
        for (n, mark) in marks.iter().enumerate() {
            let done = from.day.filter(|_| mark.at == from.next);
            let stopped = self.examine_mark(tx, mark, done)?;
            if let Some(day) = stopped {
                self.found.waiting += (marks.len() - n) as u64;
                return Ok(Some(Place { next: mark.at.clone(), day }));
            }
            self.found.examined += 1;
        }
        Ok(None)
    }

    /// Looks at a mark's days after `done`. If there is no room for all of them, the last day that it got through.
    #[expect(clippy::option_option, reason = "it may have to stop before the first day")]
    fn examine_mark(
        &mut self,
        tx: &mut Tx<'_>,
        mark: &Mark,
        done: Option<LocalDay>,
    ) -> Result<Option<Option<LocalDay>>, ContractError> {
        let (_, entry) = registry::load(tx, &mark.thing)?;
        if !self.of_group().any(|version| version.agreement.is_about(&entry.shard, &entry.metering_point)) {
            return Ok(None);
        }
        let Days { days, stopped } = self.days_of(tx, mark, done)?;
        let mut last = done;
        for day in days {
            if !self.examine(tx, &mark.thing, &entry, day)? {
                return Ok(Some(last));
            }
            last = Some(day);
        }
        Ok(stopped.map(Some))
    }

    /// The days after `done` that a mark may have changed, in order: the day itself, and the one whose block names its block as the one
    /// before; or those of a device that something was published of, as many as there is room for.
    fn days_of(&mut self, tx: &mut Tx<'_>, mark: &Mark, done: Option<LocalDay>) -> Result<Days, ContractError> {
        let mut days = BTreeSet::new();
        let since = match mark.days {
            Changed::Day(day) => {
                days.insert(day);
                let record = tx.load::<DayRecord>(&keys::day(&mark.thing, day))?;
                if let Some(block) = record.and_then(|record| record.block)
                    && let Some(number) = following(tx, &mark.thing, block.hash)?
                    && let Some(next) = by_number(tx, &mark.thing, number)?
                {
                    days.insert(next.opened.block.day);
                }
                days.retain(|day| done.is_none_or(|done| *day > done));
                return Ok(Days { days, stopped: None });
            }
            Changed::Since(second) => second,
            Changed::All => i64::MIN,
        };
        let heads = || self.heads.iter().filter(|head| calendar::may_end_after(head.to, since));
        let first = heads().map(|head| head.from).min();
        let first = first.max(done.and_then(LocalDay::next));
        let Some((first, last)) = first.zip(heads().map(|head| head.to).max()) else {
            return Ok(Days { days, stopped: None });
        };
        // As many days of the calendar as there is room for; one at least, so that it goes on.
        let most = (self.room / FOUND).max(1);
        let until = std::iter::successors(Some(first), |day| day.next()).take(most).last().unwrap_or(first).min(last);
        // A day of which nothing was published is not billed, and never was.
        if first <= until {
            for (key, _) in tx.range(&keys::day(&mark.thing, first), &keys::after_day(&mark.thing, until))? {
                days.insert(key.rsplit('/').next().unwrap_or_default().parse::<LocalDay>()?);
                self.room = self.room.saturating_sub(FOUND);
            }
        }
        days.retain(|day| calendar::may_end_after(*day, since));
        Ok(Days { days, stopped: (until < last).then_some(until) })
    }

    /// Looks at a day. Whether there was room for it.
    fn examine(
        &mut self,
        tx: &mut Tx<'_>,
        thing: &DeviceId,
        entry: &DeviceEntry,
        day: LocalDay,
    ) -> Result<bool, ContractError> {
        let Some(head) = self.heads.iter().find(|head| head.from <= day && day <= head.to) else { return Ok(true) };
        let Some(version) = self.of_group().find(|version| version.held.covers(day, day)) else { return Ok(true) };
        if !version.agreement.is_about(&entry.shard, &entry.metering_point) || self.seen.contains(&(thing.clone(), day))
        {
            return Ok(true);
        }
        if self.room < LOOK + CORRECTION {
            return Ok(false);
        }
        let kept = tx.load::<Corrected>(&keys::corrected(self.id, thing, day))?;
        let (statement, before) = match kept {
            Some(kept) => (kept.newest().unwrap_or(head.id), kept.billed),
            None => match self.billed(tx, head.id, thing, day)? {
                Some(before) => (head.id, before),
                None => return Ok(false),
            },
        };
        self.room -= LOOK;
        self.seen.insert((thing.clone(), day));
        if !self.services.contains_key(&entry.metering_point) {
            let services = status::services(tx, &entry.metering_point)?;
            self.services.insert(entry.metering_point.clone(), services);
        }
        let services = self.services.get(&entry.metering_point).map(Vec::as_slice).unwrap_or_default();
        let today = billing::today(tx, &version.agreement, services, thing, day)?;
        let (line, reason) = match today {
            Some(Ok(line)) => (Some(line), None),
            Some(Err(reason)) => (None, Some(reason)),
            None => (None, None),
        };
        let after = line.as_ref().map(Owed::of);
        if before != after {
            let figures = |of: &Option<Owed>| of.clone().unwrap_or_else(Owed::nothing);
            let (old, new) = (figures(&before), figures(&after));
            self.room -= CORRECTION;
            self.found.corrections.push(Correction {
                point: entry.metering_point.clone(),
                thing: thing.clone(),
                day,
                corrects: statement,
                terms: version.hash,
                before,
                line,
                reason,
                quantity: minus(&new.quantity, &old.quantity),
                amount: minus(&new.amount, &old.amount),
            });
        }
        Ok(true)
    }

    /// What the statement of a period billed of a device's day. Nothing at all if no further statement may be read.
    #[expect(clippy::option_option, reason = "no figure is an answer, too")]
    fn billed(
        &mut self,
        tx: &mut Tx<'_>,
        statement: Hash,
        thing: &DeviceId,
        day: LocalDay,
    ) -> Result<Option<Option<Owed>>, ContractError> {
        if !self.billed.contains_key(&statement) {
            if self.billed.len() == MAX_STATEMENTS {
                return Ok(None);
            }
            let lines = billing::load(tx, statement)?.statement.lines;
            let figures = lines.iter().map(|line| ((line.thing.clone(), line.day), Owed::of(line))).collect();
            self.billed.insert(statement, figures);
        }
        let figures = self.billed.get(&statement);
        Ok(Some(figures.and_then(|figures| figures.get(&(thing.clone(), day)).cloned())))
    }
}

/// The part whose turn is the n-th.
fn in_turn(before: &Examined, n: usize) -> usize {
    (usize::try_from(before.turn).unwrap_or_default() + n) % late::PARTS
}

/// Keeps what each day came to with its corrections, and which statements say so.
pub(crate) fn keep(
    tx: &mut Tx<'_>,
    id: &AgreementId,
    statement: Hash,
    corrections: &[Correction],
) -> Result<(), ContractError> {
    for correction in corrections {
        let key = keys::corrected(id, &correction.thing, correction.day);
        let mut statements = tx.load::<Corrected>(&key)?.map(|kept| kept.statements).unwrap_or_default();
        statements.push(statement);
        tx.store(&key, &Corrected { statements, billed: correction.line.as_ref().map(Owed::of) });
    }
    Ok(())
}

fn minus(new: &Decimal, old: &Decimal) -> Decimal {
    Decimal::from(new.as_big() - old.as_big())
}
