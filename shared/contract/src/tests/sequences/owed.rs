//! What is owed for a day, by what was called alone; and what the statements so far bill it at.

use std::collections::BTreeSet;

use vitro_proof::{Decimal, DeviceId, Hash, LocalDay};

use super::Caller;
use super::pool::{DAYS, DEVICES, at, pool};
use super::world::{World, id, index};
use crate::calls;
use crate::{Agreement, AgreementId, Correction, DayHistory, OuRole, Owed, Role, Statement, Tariff};

/// What can stand on one statement.
pub(super) fn settles(terms: &Agreement) -> (Role, Vec<(Role, u64)>) {
    (terms.payer, terms.payees.iter().map(|payee| (payee.role, payee.share)).collect())
}

const OPERATOR: Caller = Caller { party: Some(Role::Operator), ou: OuRole::Client };

impl World {
    /// What a device's day comes to by an agreement's terms.
    pub(super) fn owed(&self, terms: &Agreement, thing: &DeviceId, day: LocalDay) -> Option<Owed> {
        let member = &pool()[index(thing)];
        let entry = &member.entry;
        let covered = entry.shard == terms.shard
            && terms.points.as_ref().is_none_or(|points| points.contains(&entry.metering_point));
        if !self.entries.contains_key(thing) || !covered || !self.counts(terms, thing, day) {
            return None;
        }
        let sealed = self.daily(thing, day)?;
        let (start, end) = (sealed.day.account.first, sealed.day.account.first + sealed.day.account.count);
        let serves = match &self.exchange {
            Some(exchange) if exchange.old == *thing => day <= exchange.day,
            Some(exchange) if exchange.new == *thing => exchange.day <= day && exchange.first <= start,
            None if matches!(index(thing), 0 | 2) => self.serves_first(thing),
            _ => true,
        };
        let good = self.halts.get(thing).is_none_or(|last_good| last_good.is_some_and(|good| end <= good + 1));
        let continues = sealed.previous.is_none_or(|previous| {
            let before = member.by_hash(previous).unwrap();
            let there = self.blocks.get(&(thing.clone(), before.number));
            there.is_some_and(|there| there.day.hash == before.day.hash)
        });
        if !serves || !good || !continues || !self.agreed(thing, sealed) {
            return None;
        }
        let Tariff::PerUnit(tariff) = &terms.tariff;
        Some(Owed { quantity: sealed.counted.clone(), amount: &sealed.counted * &tariff.price })
    }

    /// The version of an agreement that holds on a day, of which it is known that one does.
    pub(super) fn version_on(&self, id: &AgreementId, day: LocalDay) -> (Hash, &Agreement) {
        self.versions(id).into_iter().rev().find(|(_, terms)| terms.term.from <= day).unwrap()
    }

    /// What the statements so far bill a day at.
    pub(super) fn net(&self, id: &AgreementId, thing: &DeviceId, day: LocalDay) -> Option<Owed> {
        self.net.get(&(id.clone(), thing.clone(), day)).and_then(|(_, owed)| owed.clone())
    }

    /// The closed days of an agreement.
    pub(super) fn closed_days(&self, id: &AgreementId) -> BTreeSet<LocalDay> {
        let periods = self.statements.iter().filter(|(_, statement)| statement.agreement == *id && !statement.alone);
        periods
            .flat_map(|(_, statement)| (0..=DAYS).map(at).filter(|day| statement.from <= *day && *day <= statement.to))
            .collect()
    }

    /// Every correction is of an earlier period, under the day's own terms, and takes the difference to what was billed so far.
    pub(super) fn check_corrections(&mut self, id: &AgreementId, hash: Hash, statement: &Statement) {
        let closed = self.closed_days(id);
        let group = settles(self.versions(id).iter().find(|(hash, _)| *hash == statement.agreement_hash).unwrap().1);
        for correction in &statement.corrections {
            let Correction { thing, day, .. } = correction;
            assert!(closed.contains(day), "{thing} {day} is corrected, and was never closed");
            let (version, terms) = self.version_on(id, *day);
            assert_eq!((correction.terms, settles(terms)), (version, group.clone()), "by other terms than the day's");
            assert_eq!(correction.point, pool()[index(thing)].entry.metering_point);
            let before = self.net(id, thing, *day);
            assert_eq!(correction.before, before, "{thing} {day}: what was billed so far");
            let after = self.owed(terms, thing, *day);
            let line = correction.line.as_ref();
            assert_eq!(line.map(|line| Owed { quantity: line.quantity.clone(), amount: line.amount.clone() }), after);
            assert_ne!(before, after, "{thing} {day}: nothing to correct");
            assert!(correction.reason.is_none() || after.is_none());
            if let Some(line) = line {
                self.check_line(line);
            }
            let figures = |owed: &Option<Owed>| owed.clone().unwrap_or_else(Owed::nothing);
            let (old, new) = (figures(&before), figures(&after));
            assert_eq!(&correction.quantity + &old.quantity, new.quantity);
            assert_eq!(&correction.amount + &old.amount, new.amount);
            let spoke = self.net.get(&(id.clone(), thing.clone(), *day)).map(|(spoke, _)| *spoke);
            let of_period =
                |(_, of): &&(Hash, Statement)| of.agreement == *id && !of.alone && of.from <= *day && *day <= of.to;
            let spoke = spoke.unwrap_or_else(|| self.statements.iter().find(of_period).unwrap().0);
            assert_eq!(correction.corrects, spoke, "{thing} {day}: it names who spoke last");
            self.seen.corrections += 1;
            self.seen.credits += usize::from(correction.amount.is_negative());
            self.net.insert((id.clone(), thing.clone(), *day), (hash, after));
        }
        if statement.waiting == 0 {
            self.check_settled(id, &closed, &group);
        }
    }

    /// Nothing of the closed days of a group is billed otherwise than it would be today.
    fn check_settled(&self, id: &AgreementId, closed: &BTreeSet<LocalDay>, group: &(Role, Vec<(Role, u64)>)) {
        for day in closed {
            let (_, terms) = self.version_on(id, *day);
            if settles(terms) != *group {
                continue;
            }
            for member in pool() {
                let thing = &member.entry.thing;
                let billed = self.net(id, thing, *day);
                let owed = self.owed(terms, thing, *day);
                assert_eq!(billed, owed, "{id}: {thing} {day} is billed otherwise than it is owed");
            }
        }
    }

    /// Asks for corrections alone.
    pub(super) fn correct(&mut self, by: Option<Caller>, n: usize, version: usize) -> bool {
        let id = id(n);
        let versions: Vec<Hash> = self.versions(&id).iter().map(|(hash, _)| *hash).collect();
        let hash = versions.get(version % versions.len().max(1)).copied().unwrap_or(Hash([5; 32]));
        let (by, call) = (by.unwrap_or(OPERATOR), calls::correct(&id, hash));
        let refused = self.ledger.simulate(&super::world::who(by), call.function, &call.args).err();
        let answer = self.call(by, &call);
        let group = versions.contains(&hash).then(|| {
            let versions = self.versions(&id);
            settles(versions.iter().find(|(there, _)| *there == hash).unwrap().1)
        });
        match answer {
            Some(settlement) => {
                match &settlement.statement {
                    Some(view) => self.check_alone(&id, hash, view),
                    None if settlement.waiting == 0 => {
                        self.check_settled(&id, &self.closed_days(&id), &group.unwrap());
                    }
                    None => {}
                }
                settlement.waiting > 0 || settlement.statement.is_some()
            }
            None => {
                if refused.is_some_and(|error| error.code() == "nothing_to_correct") {
                    self.check_settled(&id, &self.closed_days(&id), &group.unwrap());
                }
                false
            }
        }
    }

    fn check_alone(&mut self, id: &AgreementId, version: Hash, view: &crate::StatementView) {
        let statement = &view.statement;
        assert!(statement.alone && statement.lines.is_empty() && statement.unbilled.is_empty());
        assert!(!statement.corrections.is_empty(), "a statement of nothing");
        assert_eq!((&statement.agreement, statement.agreement_hash), (id, version));
        let days = || statement.corrections.iter().map(|correction| correction.day);
        assert_eq!((Some(statement.from), Some(statement.to)), (days().min(), days().max()));
        self.check_sums(statement);
        self.check_corrections(id, view.id, statement);
        self.statements.push((view.id, statement.clone()));
        self.seen.alone += 1;
    }

    /// The total is what lines and corrections come to, and the shares are the total.
    pub(super) fn check_sums(&self, statement: &Statement) {
        let (_, terms) =
            self.versions(&statement.agreement).into_iter().find(|v| v.0 == statement.agreement_hash).unwrap();
        assert_eq!((statement.payer, statement.shares.len()), (terms.payer, terms.payees.len()));
        assert_eq!(statement.shares.iter().map(|share| share.amount).sum::<i64>(), statement.total);
        let lines = statement.lines.iter().map(|line| (&line.quantity, &line.amount));
        let corrections = statement.corrections.iter().map(|one| (&one.quantity, &one.amount));
        let (mut quantity, mut exact) = (Decimal::zero(), Decimal::zero());
        for (more, costs) in lines.chain(corrections) {
            (quantity, exact) = (&quantity + more, &exact + costs);
        }
        assert_eq!((&statement.quantity, &statement.exact), (&quantity, &exact));
        assert_eq!(i128::from(statement.total), exact.to_scaled(2).unwrap(), "quarters are whole cents");
        assert!(statement.lines.len() + 2 * statement.corrections.len() <= crate::MAX_LINES);
    }

    /// What all statements come to in the end is what closing all of these days today would: first as each day's history says, then
    /// after all corrections are drawn.
    pub(super) fn settle_all(&mut self) {
        for n in 0..3 {
            let id = id(n);
            self.check_histories(&id);
            for version in 0..self.versions(&id).len() {
                while self.correct(None, n, version) {}
            }
            let closed = self.closed_days(&id);
            for day in &closed {
                let group = settles(self.version_on(&id, *day).1);
                self.check_settled(&id, &closed, &group);
            }
            self.check_histories(&id);
        }
    }

    /// Each day's history says whether it stands, and by which corrections.
    fn check_histories(&self, id: &AgreementId) {
        let closed = self.closed_days(id);
        for member in &pool()[..DEVICES] {
            let thing = &member.entry.thing;
            let Some(page) = self.told(&calls::day_history(thing, at(0), at(DAYS))) else { continue };
            for DayHistory { day, statements, .. } in page.days {
                let Some(cited) = statements.iter().find(|cited| cited.agreement == *id) else { continue };
                assert!(closed.contains(&day));
                let billed = self.net(id, thing, day);
                let owed = self.owed(self.version_on(id, day).1, thing, day);
                assert_eq!(cited.stands, billed == owed, "{id}: {thing} {day}");
                let mine = |(_, statement): &&(Hash, Statement)| {
                    statement.agreement == *id
                        && statement.corrections.iter().any(|one| one.thing == *thing && one.day == day)
                };
                let told: Vec<Hash> = cited.corrections.iter().map(|one| one.statement).collect();
                let known: Vec<Hash> = self.statements.iter().filter(mine).map(|(hash, _)| *hash).collect();
                assert_eq!(told, known, "{id}: {thing} {day}");
            }
        }
    }
}
