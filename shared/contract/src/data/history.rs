//! All that became of days: accounts, corrections, and the statements that cite them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use vitro_proof::{DeviceId, Hash, LocalDay};

use crate::access::{self, exactly, text};
use crate::agreement;
use crate::billing;
use crate::calendar;
use crate::call::{Context, Response};
use crate::data::query::block_of;
use crate::data::{by_number, continuity};
use crate::error::ContractError;
use crate::ids::AgreementId;
use crate::keys;
use crate::model::{
    AccountStep, Agreement, BlockView, Citation, CitedCorrection, Corrected, DayHistory, DayRecord, HistoryPage, Owed,
    StatementHead, StatementView, UnbilledDays,
};
use crate::registry;
use crate::status;
use crate::tx::Tx;

/// Days on a page of a device's history.
const PAGE: usize = 50;

/// A device's days, both ends included, a page at a time. A single day is a range of one.
pub(crate) fn history(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let [thing, from, to] = exactly(args)?;
    let thing = text::<DeviceId>("a device", thing)?;
    let (from, to) = (text::<LocalDay>("the first day", from)?, text::<LocalDay>("the last day", to)?);
    registry::load(tx, &thing)?;
    let days = calendar::days(from, to, billing::MAX_DAYS)?;
    let mut citing = Citing::of(tx, &thing, from, to)?;
    let mut page = HistoryPage { days: Vec::new(), next: None };
    for day in days {
        let statements = citing.on(tx, &thing, day)?;
        let record = tx.load::<DayRecord>(&keys::day(&thing, day))?;
        if record.is_none() && statements.is_empty() {
            continue;
        }
        if page.days.len() == PAGE {
            page.next = Some(day);
            break;
        }
        page.days.push(of_record(tx, &thing, day, record, statements)?);
    }
    Ok(Response::of(&page))
}

/// All that became of one day.
pub(crate) fn of_day(tx: &mut Tx<'_>, thing: &DeviceId, day: LocalDay) -> Result<DayHistory, ContractError> {
    let statements = Citing::of(tx, thing, day, day)?.on(tx, thing, day)?;
    let record = tx.load::<DayRecord>(&keys::day(thing, day))?;
    of_record(tx, thing, day, record, statements)
}

fn of_record(
    tx: &mut Tx<'_>,
    thing: &DeviceId,
    day: LocalDay,
    record: Option<DayRecord>,
    statements: Vec<Citation>,
) -> Result<DayHistory, ContractError> {
    let mut history = DayHistory {
        thing: thing.clone(),
        day,
        outcome: None,
        continuity: None,
        block: None,
        accounts: Vec::new(),
        statements,
    };
    let Some(record) = record else { return Ok(history) };
    let stored = block_of(tx, thing, &record)?;
    let opened = stored.as_ref().map(|stored| &stored.opened);
    history.outcome = Some(record.outcome(opened));
    if let Some(opened) = opened {
        history.continuity = continuity(tx, thing, opened)?;
    }
    for published in &record.accounts {
        let outcome = published.outcome(opened);
        let (account, tx, time) = (published.account.clone(), published.tx.clone(), published.time);
        history.accounts.push(AccountStep { account, tx, time, outcome });
    }
    history.block = record.block;
    Ok(history)
}

/// The statements whose periods hold a day. Each is read when the first day of it is asked for: a statement may be large, and a page
/// ends long before a year does.
struct Citing {
    heads: Vec<(AgreementId, StatementHead)>,
    /// What was read, with the terms by which it billed.
    read: BTreeMap<Hash, (StatementView, Agreement)>,
}

impl Citing {
    /// Those that may say something of a device between two days, both included. None of them is read yet.
    fn of(tx: &mut Tx<'_>, thing: &DeviceId, first: LocalDay, last: LocalDay) -> Result<Self, ContractError> {
        let (_, entry) = registry::load(tx, thing)?;
        let mut heads = Vec::new();
        for id in agreement::ids(tx)? {
            if agreement::ever_of(tx, &id, &entry.shard)? {
                let closed = billing::closed(tx, &id)?.into_iter();
                let within = closed.filter(|head| head.from <= last && first <= head.to);
                heads.extend(within.map(|head| (id.clone(), head)));
            }
        }
        Ok(Self { heads, read: BTreeMap::new() })
    }

    /// What they say of the device on a day, by agreement.
    fn on(&mut self, tx: &mut Tx<'_>, thing: &DeviceId, day: LocalDay) -> Result<Vec<Citation>, ContractError> {
        let mut found = Vec::new();
        for (id, head) in self.heads.iter().filter(|(_, head)| (head.from..=head.to).contains(&day)) {
            let (view, terms) = match self.read.entry(head.id) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(free) => {
                    let view = billing::load(tx, head.id)?;
                    let terms = agreement::terms(tx, id, view.statement.agreement_hash)?;
                    free.insert((view, terms))
                }
            };
            found.extend(cite(tx, thing, day, view, terms)?);
        }
        Ok(found)
    }
}

/// What a statement and its corrections say of a device's day, if they say anything.
fn cite(
    tx: &mut Tx<'_>,
    thing: &DeviceId,
    day: LocalDay,
    view: &StatementView,
    terms: &Agreement,
) -> Result<Option<Citation>, ContractError> {
    let statement = &view.statement;
    let line = statement.lines.iter().find(|line| line.thing == *thing && line.day == day);
    let holds = |left: &&UnbilledDays| left.thing.as_ref() == Some(thing) && (left.from..=left.to).contains(&day);
    let unbilled = statement.unbilled.iter().find(holds);
    let corrected = tx.load::<Corrected>(&keys::corrected(&statement.agreement, thing, day))?;
    if line.is_none() && unbilled.is_none() && corrected.is_none() {
        return Ok(None);
    }
    let corrections = corrections(tx, thing, day, corrected.as_ref())?;
    let billed = corrected.map_or_else(|| line.map(Owed::of), |corrected| corrected.billed);
    let (_, entry) = registry::load(tx, thing)?;
    let services = status::services(tx, &entry.metering_point)?;
    let today = billing::today(tx, terms, &services, thing, day)?;
    let stands = today.and_then(Result::ok).as_ref().map(Owed::of) == billed;
    Ok(Some(Citation {
        statement: view.id,
        agreement: statement.agreement.clone(),
        agreement_hash: statement.agreement_hash,
        from: statement.from,
        to: statement.to,
        tx: view.tx.clone(),
        time: view.time,
        line: line.cloned(),
        unbilled: unbilled.cloned(),
        stands,
        corrections,
    }))
}

/// The corrections of a day, each with its statement.
fn corrections(
    tx: &mut Tx<'_>,
    thing: &DeviceId,
    day: LocalDay,
    corrected: Option<&Corrected>,
) -> Result<Vec<CitedCorrection>, ContractError> {
    let mut found = Vec::new();
    for id in corrected.iter().flat_map(|corrected| &corrected.statements) {
        let StatementView { id, statement, tx, time } = billing::load(tx, *id)?;
        let correction = statement.corrections.into_iter().find(|one| one.thing == *thing && one.day == day);
        found.extend(correction.map(|correction| CitedCorrection { statement: id, tx, time, correction }));
    }
    Ok(found)
}

/// A block by its number, interim ones too.
pub(crate) fn block(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let [thing, number] = exactly(args)?;
    let (thing, number) = (text::<DeviceId>("a device", thing)?, text::<u64>("a block's number", number)?);
    registry::load(tx, &thing)?;
    let stored = by_number(tx, &thing, number)?;
    let stored = stored.ok_or_else(|| ContractError::UnknownBlock(format!("{thing} {number}")))?;
    let (day, daily) = (stored.opened.block.day, stored.opened.block.is_daily());
    Ok(Response::of(&BlockView { thing, day, daily, block: stored.reference(), message: stored.record.message }))
}
