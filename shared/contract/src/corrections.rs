//! Corrections: what was billed and would be billed otherwise today. Nothing billed is touched; the difference goes on a later statement.
//!
//! A correction bills a day by the terms that held on it, and goes on a statement with the same payer, payees, currency and unit, or on
//! one of corrections alone. What a day came to with all its corrections is kept, so that each difference is taken once.

use std::collections::{BTreeMap, BTreeSet};

use vitro_proof::crypto::sha256;
use vitro_proof::{Decimal, DeviceId, Hash, LocalDay};

use crate::agreement::InForce;
use crate::billing;
use crate::data::{by_number, following};
use crate::error::ContractError;
use crate::ids::{AgreementId, Shard};
use crate::keys;
use crate::late::{self, Mark};
use crate::model::{Agreement, Corrected, Correction, DayRecord, Examined, Owed, StatementHead, Tariff};
use crate::registry;
use crate::status;
use crate::tx::Tx;
use crate::wire::to_bytes;

/// A correction takes the place of so many lines: it is written with what the day came to.
pub(crate) const WEIGHT: usize = 2;
/// The most days that are looked at for one statement.
const MAX_DAYS: usize = 2_000;
/// The most earlier statements that are read for one.
const MAX_STATEMENTS: usize = 50;

/// Versions of an agreement whose days can stand on one statement: they have the same payer, payees and shares, currency and unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group(Hash);

impl Group {
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
    /// Marks that were not looked at, or not to their end.
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
    days: usize,
    /// What earlier statements billed, by their ids.
    billed: BTreeMap<Hash, BTreeMap<(DeviceId, LocalDay), Owed>>,
    seen: BTreeSet<(DeviceId, LocalDay)>,
    found: Found,
}

impl<'a> Search<'a> {
    /// Of the versions of one group, for a statement that has room for so many more lines.
    pub(crate) fn new(
        id: &'a AgreementId,
        group: Group,
        versions: &'a [InForce],
        heads: &'a [StatementHead],
        room: usize,
    ) -> Self {
        let (billed, seen, found) = (BTreeMap::new(), BTreeSet::new(), Found::default());
        Self { id, group, versions, heads, room, days: MAX_DAYS, billed, seen, found }
    }

    /// Looks at what changed since the agreement's last statement of this group, and begins another epoch. `through` is the last day that
    /// the statement closes, and where.
    pub(crate) fn run(mut self, tx: &mut Tx<'_>, through: Option<(&Shard, LocalDay)>) -> Result<Found, ContractError> {
        let mut shards: BTreeSet<&Shard> = through.iter().map(|(shard, _)| *shard).collect();
        shards.extend(self.of_group().map(|version| &version.agreement.shard));
        for shard in shards {
            let key = keys::examined(self.id, &self.group.0, shard);
            let is_closed = |version: &&InForce| {
                version.agreement.shard == *shard
                    && self.heads.iter().any(|head| version.held.covers(head.from, head.to))
            };
            let stopped = match self.of_group().any(|version| is_closed(&version)) {
                true => {
                    let before = tx.load::<Examined>(&key)?.unwrap_or(Examined { next: String::new(), day: None });
                    self.examine_all(tx, shard, &before)?
                }
                // Nothing of it is closed, so nothing of it can have come late.
                false => None,
            };
            let day = through.and_then(|(of, day)| (of == shard).then_some(day));
            let next = late::begin_epoch(tx, shard, day)?;
            tx.store(&key, &stopped.unwrap_or(Examined { next, day: None }));
        }
        Ok(self.found)
    }

    fn of_group(&self) -> impl Iterator<Item = &'a InForce> + use<'a> {
        let group = self.group;
        self.versions.iter().filter(move |version| Group::of(&version.agreement) == group)
    }

    /// Looks at a shard's marks from a place on. Where it had to stop, if it had to.
    fn examine_all(
        &mut self,
        tx: &mut Tx<'_>,
        shard: &Shard,
        from: &Examined,
    ) -> Result<Option<Examined>, ContractError> {
        let marks = late::marks(tx, shard, &from.next)?;
        for (n, mark) in marks.iter().enumerate() {
            let done = from.day.filter(|_| mark.at == from.next);
            for day in self.days_of(tx, mark)?.into_iter().filter(|day| done.is_none_or(|done| *day > done)) {
                if !self.examine(tx, &mark.thing, day)? {
                    self.found.waiting += (marks.len() - n) as u64;
                    // The day before it: what it was is of no interest, all up to there is done.
                    return Ok(Some(Examined { next: mark.at.clone(), day: day.previous() }));
                }
            }
            self.found.examined += 1;
        }
        Ok(None)
    }

    /// The days that a mark may have changed, in order: the day itself, and the one whose block names its block as the one before.
    fn days_of(&self, tx: &mut Tx<'_>, mark: &Mark) -> Result<BTreeSet<LocalDay>, ContractError> {
        let mut days = BTreeSet::new();
        match mark.day {
            Some(day) => {
                days.insert(day);
                let record = tx.load::<DayRecord>(&keys::day(&mark.thing, day))?;
                if let Some(block) = record.and_then(|record| record.block)
                    && let Some(number) = following(tx, &mark.thing, block.hash)?
                    && let Some(next) = by_number(tx, &mark.thing, number)?
                {
                    days.insert(next.opened.block.day);
                }
            }
            None => {
                let first = self.heads.iter().map(|head| head.from).min();
                let last = self.heads.iter().map(|head| head.to).max();
                let Some((first, last)) = first.zip(last) else { return Ok(days) };
                // A day of which nothing was published is not billed, and never was.
                for (key, _) in tx.range(&keys::day(&mark.thing, first), &keys::after_day(&mark.thing, last))? {
                    days.insert(key.rsplit('/').next().unwrap_or_default().parse::<LocalDay>()?);
                }
            }
        }
        Ok(days)
    }

    /// Looks at a day. Whether there was room for it.
    fn examine(&mut self, tx: &mut Tx<'_>, thing: &DeviceId, day: LocalDay) -> Result<bool, ContractError> {
        let Some(head) = self.heads.iter().find(|head| head.from <= day && day <= head.to) else { return Ok(true) };
        let Some(version) = self.of_group().find(|version| version.held.covers(day, day)) else { return Ok(true) };
        let (_, entry) = registry::load(tx, thing)?;
        if !version.agreement.is_about(&entry.shard, &entry.metering_point) || self.seen.contains(&(thing.clone(), day))
        {
            return Ok(true);
        }
        if self.days == 0 || self.room < WEIGHT {
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
        self.days -= 1;
        self.seen.insert((thing.clone(), day));
        let services = status::services(tx, &entry.metering_point)?;
        let today = billing::today(tx, &version.agreement, &services, thing, day)?;
        let (line, reason) = match today {
            Some(Ok(line)) => (Some(line), None),
            Some(Err(reason)) => (None, Some(reason)),
            None => (None, None),
        };
        let after = line.as_ref().map(Owed::of);
        if before != after {
            let figures = |of: &Option<Owed>| of.clone().unwrap_or_else(Owed::nothing);
            let (old, new) = (figures(&before), figures(&after));
            self.room -= WEIGHT;
            self.found.corrections.push(Correction {
                point: entry.metering_point,
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
