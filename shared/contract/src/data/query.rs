//! Asking for what was published.

use vitro_proof::{DeviceId, LocalDay};

use crate::acceptance::Acceptance;
use crate::access::{self, exactly, text};
use crate::agreement::{self, InForce};
use crate::call::{Context, Response};
use crate::data::{Stored, by_number, continuity};
use crate::error::ContractError;
use crate::ids::AgreementId;
use crate::keys;
use crate::model::{ChainRecord, ChainView, DayRecord, DayView, SummaryPage, SummaryRow};
use crate::registry;
use crate::status;
use crate::tx::{self, Tx};

/// Rows on a page of summaries: about 300 KB with the grids of four counters.
const PAGE: usize = 100;

/// A device's day with everything the ledger has of it.
pub(crate) fn day(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let [thing, day] = exactly(args)?;
    let (thing, day) = (text::<DeviceId>("a device", thing)?, text::<LocalDay>("a day", day)?);
    let record: DayRecord =
        tx.load(&keys::day(&thing, day))?.ok_or_else(|| ContractError::UnknownDay(format!("{thing} {day}")))?;
    let stored = block_of(tx, &thing, &record)?;
    let (continuity, message) = match &stored {
        Some(stored) => (continuity(tx, &thing, &stored.opened)?, Some(stored.record.message.clone())),
        None => (None, None),
    };
    let outcome = record.outcome(stored.as_ref().map(|stored| &stored.opened));
    let view = DayView { thing, day, outcome, continuity, block: record.block, message, accounts: record.accounts };
    Ok(Response::of(&view))
}

/// The daily block of a day's record.
pub(crate) fn block_of(tx: &mut Tx<'_>, thing: &DeviceId, record: &DayRecord) -> Result<Option<Stored>, ContractError> {
    match &record.block {
        Some(block) => by_number(tx, thing, block.number),
        None => Ok(None),
    }
}

/// Which of a device's blocks are there, and which are missing below the head.
pub(crate) fn chain_view(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let [thing] = exactly(args)?;
    let thing = text::<DeviceId>("a device", thing)?;
    registry::load(tx, &thing)?;
    let Some(chain) = tx.load::<ChainRecord>(&keys::chain(&thing))? else {
        return Ok(Response::of(&ChainView { thing, head: None, known: Vec::new(), holes: Vec::new() }));
    };
    let head = match chain.known.last() {
        Some(last) => by_number(tx, &thing, last.1)?.map(|stored| stored.reference()),
        None => None,
    };
    let holes = chain.holes();
    Ok(Response::of(&ChainView { thing, head, known: chain.known, holes }))
}

/// An agreement's sensors over a range of days, by device and day, a page at a time.
pub(crate) fn summaries(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let (id, from, to, cursor) = match args {
        [id, from, to] => (id, from, to, None),
        [id, from, to, cursor] => (id, from, to, Some(cursor)),
        _ => return Err(ContractError::BadArguments("agreement, first day, last day, and a cursor or none".into())),
    };
    let id = text::<AgreementId>("an agreement's id", id)?;
    let (from, to) = (text::<LocalDay>("the first day", from)?, text::<LocalDay>("the last day", to)?);
    let cursor = cursor.map(|cursor| read_cursor(cursor)).transpose()?;
    let versions = agreement::in_force(tx, &id)?;
    if versions.is_empty() {
        return Err(ContractError::AgreementNotActive(id.to_string()));
    }
    // Each day by the version that held then: another one may be about other sensors and metering points.
    let mut parts = Vec::new();
    for InForce { agreement, held, .. } in &versions {
        let (first, last) = (held.from.max(from), held.to.map_or(to, |last| last.min(to)));
        if first > last {
            continue;
        }
        for service in agreement::points(tx, agreement)?.into_iter().flat_map(|(_, services)| services) {
            if let Some((first, last)) = status::within(&service, first, last) {
                parts.push((service.thing, first, last, service.point, agreement));
            }
        }
    }
    parts.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let mut page = SummaryPage { agreement: id, rows: Vec::new(), next: None };
    for (thing, mut first, last, point, agreement) in parts {
        match &cursor {
            Some((at, _)) if thing < *at => continue,
            Some((at, day)) if thing == *at => first = first.max(*day),
            _ => {}
        }
        let acceptance = Acceptance::of(tx, agreement, &thing)?;
        for (key, bytes) in tx.range(&keys::day(&thing, first), &keys::after_day(&thing, last))? {
            let day = key.rsplit('/').next().unwrap_or_default().parse::<LocalDay>()?;
            if page.rows.len() == PAGE {
                page.next = Some(format!("{thing}/{day}"));
                return Ok(Response::of(&page));
            }
            let record: DayRecord = tx::read(&key, &bytes)?;
            let stored = block_of(tx, &thing, &record)?;
            let counts = acceptance.on(tx, day, stored.as_ref().map(|stored| &stored.opened.block))?.is_some();
            let (outcome, opened) = (record.outcome(stored.as_ref().map(|s| &s.opened)), stored.map(|s| s.opened));
            let (continuity, summaries) = match opened {
                Some(opened) => {
                    let continuity = continuity(tx, &thing, &opened)?;
                    (continuity, opened.summaries.into_iter().filter(|s| agreement.covers(&s.sensor)).collect())
                }
                None => (None, Vec::new()),
            };
            page.rows.push(SummaryRow {
                point: point.clone(),
                thing: thing.clone(),
                day,
                outcome,
                continuity,
                counts,
                block: record.block,
                summaries,
            });
        }
    }
    Ok(Response::of(&page))
}

/// A cursor is the device and day with which the page begins.
fn read_cursor(cursor: &[u8]) -> Result<(DeviceId, LocalDay), ContractError> {
    let bad = || ContractError::BadArguments("not a cursor".into());
    let text = std::str::from_utf8(cursor).map_err(|_| bad())?;
    let (thing, day) = text.split_once('/').ok_or_else(bad)?;
    Ok((thing.parse().map_err(|_| bad())?, day.parse().map_err(|_| bad())?))
}
