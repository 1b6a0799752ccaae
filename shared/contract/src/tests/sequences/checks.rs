//! What must hold after every call, whatever was called before.

use std::collections::BTreeSet;

use vitro_proof::{DeviceId, Hash, LocalDay};

use super::Caller;
use super::pool::{DAYS, DEVICES, Sealed, at, pool};
use super::world::{Deed, Seen, World, id, index, who};
use crate::calls::{self, Call};
use crate::{Agreement, AgreementId, Hour, Line, OuRole, Owed, Path, Record, Role, Statement, StatementView};

impl World {
    /// The versions of an agreement that all four approved, each naming the one before it.
    pub(super) fn versions(&self, id: &AgreementId) -> Vec<(Hash, &Agreement)> {
        let mut versions: Vec<(Hash, &Agreement)> = Vec::new();
        loop {
            let before = versions.last().map(|last| last.0);
            let next = self.deeds.iter().find_map(|(hash, deed)| match deed {
                Deed::Terms { terms, replaces }
                    if terms.id == *id && *replaces == before && self.is_approved(*hash) =>
                {
                    Some((*hash, &**terms))
                }
                _ => None,
            });
            match next {
                Some(next) => versions.push(next),
                None => return versions,
            }
        }
    }

    /// The last day of an agreement that all four ended.
    fn end(&self, id: &AgreementId) -> Option<LocalDay> {
        self.deeds.iter().find_map(|(hash, deed)| match deed {
            Deed::End { last, id: of, .. } if of == id && self.is_approved(*hash) => Some(*last),
            _ => None,
        })
    }

    /// What all four have just approved must follow the newest version, and touch no day that is billed.
    pub(super) fn check_new_version(&self, hash: Hash, deed: &Deed) {
        let (id, from) = match deed {
            Deed::Terms { terms, .. } => (&terms.id, Some(terms.term.from)),
            Deed::End { last, id, .. } => (id, last.next()),
        };
        let of_periods = |(_, of): &&(Hash, Statement)| of.agreement == *id && !of.alone;
        for (_, statement) in self.statements.iter().filter(of_periods) {
            assert!(from.is_none_or(|from| statement.to < from), "{id} changed on days that are billed");
        }
        let versions = self.versions(id);
        match deed {
            Deed::Terms { .. } => assert_eq!(versions.last().unwrap().0, hash, "no version follows two others"),
            Deed::End { ends, .. } => assert_eq!(versions.last().unwrap().0, *ends, "not the newest was ended"),
        }
        let approved = self.deeds.iter().filter(|(hash, deed)| match deed {
            Deed::Terms { terms, .. } => terms.id == *id && self.is_approved(*hash),
            Deed::End { .. } => false,
        });
        assert_eq!(approved.count(), versions.len(), "the versions are one chain");
        let ends = self
            .deeds
            .iter()
            .filter(|(hash, deed)| matches!(deed, Deed::End { id: of, .. } if of == id) && self.is_approved(*hash));
        assert!(ends.count() <= 1, "ended twice");
    }

    /// A block that was accepted forks nothing: no number, no day and no predecessor is used twice.
    pub(super) fn check_block(&self, thing: &DeviceId, sealed: &Sealed) {
        let there = self.blocks.get(&(thing.clone(), sealed.number));
        if let Some(there) = there {
            assert_eq!(there.day.hash, sealed.day.hash, "number {} of {thing} is used twice", sealed.number);
            return;
        }
        let of_device = self.blocks.iter().filter(|((of, _), _)| of == thing).map(|(_, block)| *block);
        for other in of_device {
            if other.daily && sealed.daily {
                assert_ne!(other.at, sealed.at, "two blocks of one day");
                assert_ne!(other.previous, sealed.previous, "two blocks follow one");
            }
            if other.number + 1 == sealed.number {
                assert_eq!(sealed.previous, Some(other.day.hash), "it names another block before it");
            }
            if sealed.number + 1 == other.number {
                assert_eq!(other.previous, Some(sealed.day.hash), "the next one names another");
            }
        }
        if let Some(last_good) = self.halts.get(thing) {
            let end = sealed.day.account.first + sealed.day.account.count;
            assert!(last_good.is_some_and(|good| end <= good + 1), "taken beyond the last good number");
        }
    }

    /// Every line of a new statement is owed.
    pub(super) fn check_statement(
        &mut self,
        id: &AgreementId,
        (first, last): (LocalDay, LocalDay),
        view: &StatementView,
    ) {
        let statement = &view.statement;
        assert_eq!((statement.from, statement.to, &statement.agreement), (first, last, id));
        let of_periods = self.statements.iter().filter(|(_, other)| other.agreement == *id && !other.alone);
        for (_, other) in of_periods {
            assert!(other.to < first || last < other.from, "two statements of {id} share a day");
        }
        let versions = self.versions(id);
        let n = versions.iter().position(|(hash, _)| *hash == statement.agreement_hash);
        let n = n.expect("billed by what not all four approved");
        let terms = versions[n].1.clone();
        let until = [terms.term.to, versions.get(n + 1).and_then(|(_, next)| next.term.from.previous()), self.end(id)];
        assert!(terms.term.from <= first, "billed before the version holds");
        assert!(until.into_iter().flatten().all(|until| last <= until), "billed after the version held");
        self.check_sums(statement);
        self.check_corrections(id, view.id, statement);
        for line in &statement.lines {
            assert!((first..=last).contains(&line.day));
            self.check_line(line);
            let waits = !self.approved(&line.thing);
            let by_table = self.accepted(&line.thing, line.day);
            self.seen.chain_lines += usize::from(waits && !by_table);
            self.seen.table_lines += usize::from(waits && by_table);
        }
        // What is owed is billed, each day of each device once; nothing else is.
        let mut billed = 0;
        for day in (0..=DAYS).map(at).filter(|day| first <= *day && *day <= last) {
            for member in pool() {
                let thing = &member.entry.thing;
                let owed = self.owed(&terms, thing, day);
                let mut lines = statement.lines.iter().filter(|line| line.thing == *thing && line.day == day);
                assert_eq!(lines.next().map(Owed::of), owed, "{id}: {thing} {day}");
                assert!(lines.next().is_none(), "billed twice");
                billed += usize::from(owed.is_some());
                // Its other days count by an earlier entry, and this one does not.
                let unseen = member.entry.shard == terms.shard
                    && self.daily(thing, day).is_some()
                    && self.accepted(thing, at(0))
                    && !self.accepted(thing, day);
                self.seen.unseen_tables += usize::from(owed.is_none() && unseen);
                self.net.insert((id.clone(), thing.clone(), day), (view.id, owed));
            }
        }
        assert_eq!(billed, statement.lines.len());
        self.seen.lines += billed;
        if n > 0 {
            self.seen.amended_lines += billed;
        }
        self.statements.push((view.id, statement.clone()));
    }

    /// The evidence that a line cites is what was published.
    pub(super) fn check_line(&self, line: &Line) {
        assert_eq!(line.point, pool()[index(&line.thing)].entry.metering_point);
        let sealed = self.blocks.get(&(line.thing.clone(), line.block));
        let sealed = *sealed.expect("billed by a block that was never published");
        assert_eq!((sealed.day.hash, sealed.at, sealed.daily), (line.hash, line.day, true));
    }

    /// Of the two devices of one point, whether this one was registered to serve it.
    pub(super) fn serves_first(&self, thing: &DeviceId) -> bool {
        let call = calls::device(thing);
        let asked = self.ledger.simulate(&who(RC), call.function, &call.args).unwrap();
        call.read(&asked.response.payload).unwrap().serves
    }

    /// One query of all that there are.
    pub(super) fn ask(&mut self, by: Caller, what: usize) {
        let (function, args) = questions()[what % questions().len()].clone();
        let answered = self.ledger.simulate(&who(by), function, &args);
        if let Ok(answered) = answered {
            assert!(super::rules::may(function, by), "{function} told {by:?}");
            assert!(answered.writes.is_empty() && answered.response.event.is_none());
        }
    }

    /// What must hold in the end: every party reads, nobody else does, and what is told is of what was asked for.
    pub(super) fn finish(mut self) -> Seen {
        self.settle_all();
        let strangers = [OuRole::Admin, OuRole::Client].map(|ou| Caller { party: None, ou });
        let nodes = [OuRole::Peer, OuRole::Orderer].map(|ou| Caller { party: Some(Role::Rc), ou });
        for (function, args) in questions() {
            let told = self.ledger.simulate(&who(RC), function, &args);
            for role in [Role::Operator, Role::Sp] {
                let same =
                    self.ledger.simulate(&who(Caller { party: Some(role), ou: OuRole::Client }), function, &args);
                let payload = |asked: &Result<crate::testing::Simulation, crate::ContractError>| {
                    asked.as_ref().map(|asked| asked.response.payload.clone()).map_err(|error| error.code())
                };
                assert!(
                    function == "registry:roles" || payload(&same) == payload(&told),
                    "{function} differs for {role}"
                );
            }
            for by in strangers.into_iter().chain(nodes) {
                if function == "registry:roles" && by.party.is_none() {
                    continue;
                }
                let code = self.ledger.simulate(&who(by), function, &args).map(|_| "").map_err(|error| error.code());
                let expected = if by.party.is_none() { "not_a_party" } else { "wrong_identity" };
                assert_eq!(code, Err(expected), "{function} by {by:?}");
            }
        }
        for n in 0..3 {
            self.check_told(&id(n));
        }
        // Whatever is stored as a block is what was accepted, and nothing of it was lost or changed.
        let stored: BTreeSet<&str> = self.ledger.keys().into_iter().filter(|key| key.starts_with("block/")).collect();
        assert_eq!(stored.len(), self.blocks.len());
        let blocks = std::mem::take(&mut self.blocks);
        for ((thing, number), sealed) in blocks {
            let view = self.told(&calls::block(&thing, number)).unwrap();
            assert_eq!(view.message.0, sealed.day.message);
        }
        for ((thing, day), accounts) in &self.accounts {
            let view = self.told(&calls::day(thing, *day)).unwrap();
            let told: Vec<_> = view.accounts.into_iter().map(|there| (there.account.0, there.number)).collect();
            let known: Vec<_> = accounts.iter().map(|(account, number)| (account.encode(), *number)).collect();
            assert_eq!(told, known, "{thing} {day}");
        }
        for (hash, statement) in &self.statements {
            assert_eq!(self.told(&calls::statement(*hash)).unwrap().statement, *statement);
        }
        self.seen
    }

    pub(super) fn told<T: Record>(&self, call: &Call<T>) -> Option<T> {
        let asked = self.ledger.simulate(&who(RC), call.function, &call.args).ok()?;
        Some(call.read(&asked.response.payload).unwrap())
    }

    /// What is told of an agreement is of no other one.
    fn check_told(&self, id: &AgreementId) {
        for view in self.told(&calls::agreements(Some(id), None)).unwrap().agreements {
            assert_eq!(&view.agreement.id, id);
            assert_eq!(view.active, self.is_approved(view.hash), "active without the approval of all four");
            for approval in &view.approvals {
                assert!(self.approvals.contains(&(view.hash, approval.role)), "{} never approved", approval.role);
            }
        }
        assert!(self.told(&calls::statements(id)).unwrap().iter().all(|head| head.agreement == *id));
        let versions = self.versions(id);
        let Some(page) = self.told(&calls::summaries(id, at(0), at(DAYS), None)) else { return };
        for row in page.rows {
            let version = versions.iter().rev().find(|(_, terms)| terms.term.from <= row.day);
            let terms = version.expect("summaries of a day on which nothing holds").1;
            assert!(terms.term.to.into_iter().chain(self.end(id)).all(|last| row.day <= last));
            assert_eq!(pool()[index(&row.thing)].entry.shard, terms.shard);
            assert!(terms.points.as_ref().is_none_or(|points| points.contains(&row.point)));
            assert!(row.summaries.iter().all(|summary| terms.covers(&summary.sensor)), "another agreement's sensor");
            assert_eq!(row.counts, self.counts(terms, &row.thing, row.day), "{} {}", row.thing, row.day);
        }
    }
}

const RC: Caller = Caller { party: Some(Role::Rc), ou: OuRole::Client };

/// Every query, about everything that there is.
fn questions() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    fn of<T>(call: Call<T>) -> (&'static str, Vec<Vec<u8>>) {
        (call.function, call.args)
    }
    let (first, last, shard) = (at(0), at(DAYS), "north".parse().unwrap());
    let hour = Hour::holding(crate::calendar::utc_midnight(at(DAYS))).unwrap();
    let path = Path { siblings: vec![] };
    let mut all = vec![
        of(calls::roles()),
        of(calls::devices(None, None)),
        of(calls::devices(Some(&shard), None)),
        of(calls::agreements(None, None)),
        of(calls::agreements_in_force(None)),
        of(calls::hours(&shard, hour, hour)),
        of(calls::statement(Hash([0; 32]))),
    ];
    for n in 0..DEVICES {
        let entry = &pool()[n].entry;
        let (thing, sign) = (
            &entry.thing,
            crate::SignOfLife { thing: entry.thing.clone(), alive: true, number: None, heard: None, values: vec![] },
        );
        all.extend([
            of(calls::device(thing)),
            of(calls::chains(thing)),
            of(calls::device_history(thing)),
            of(calls::point_history(&entry.metering_point)),
            of(calls::day(thing, first)),
            of(calls::chain(thing)),
            of(calls::block(thing, 0)),
            of(calls::day_history(thing, first, last)),
            of(calls::audit_day(thing, first)),
            of(calls::verify_inclusion(thing, first, b"", &path)),
            of(calls::verify_alive(&shard, hour, &sign, 0, &path)),
        ]);
    }
    for n in 0..3 {
        let id = id(n);
        let mut draft = super::super::agreement();
        draft.id = id.clone();
        all.extend([
            of(calls::agreement(&id, None)),
            of(calls::agreement_on(&id, first)),
            of(calls::agreements(Some(&id), None)),
            of(calls::simulate(&draft, first, last)),
            of(calls::summaries(&id, first, last, None)),
            of(calls::statements(&id)),
        ]);
    }
    let asked: BTreeSet<&str> = all.iter().map(|(function, _)| *function).collect();
    assert_eq!(asked, crate::call::QUERIES.iter().copied().collect(), "every query is asked");
    all
}
