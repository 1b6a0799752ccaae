//! Evidence: whether a reading is part of what was published, and all that the ledger has of a day.

use vitro_proof::crypto::P256Key;
use vitro_proof::{DeviceId, Envelope, Kind, LocalDay, Span, merkle};

use crate::acceptance::{self, Acceptance};
use crate::access::{self, exactly, text};
use crate::agreement::{self, InForce};
use crate::calendar;
use crate::call::{Context, Response};
use crate::data::{self, Stored, by_number, daily_by_hash};
use crate::error::ContractError;
use crate::ids::Shard;
use crate::keys;
use crate::model::{
    AliveInclusion, AuditDay, Covered, DayOutcome, DayRecord, DeviceRecord, EntryRevision, History, Hour, Inclusion,
    Path, Roles, SignOfLife,
};
use crate::registry;
use crate::status;
use crate::tx::{self, Tx};
use crate::wire::Record;

fn bad(why: &str) -> ContractError {
    ContractError::BadEvidence(why.to_owned())
}

/// Verifies a telemetry envelope's signature under the registered key, and its path to the root that the device signed: in its daily
/// block of a day, or in its block of a number.
pub(crate) fn verify_inclusion(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let [thing, place, envelope, path] = exactly(args)?;
    let thing = text::<DeviceId>("a device", thing)?;
    let place = place_of(place)?;
    let path = Path::decode(path)?;
    let envelope = Envelope::parse(envelope).map_err(|fault| ContractError::BadEvidence(fault.to_string()))?;
    let header = envelope.header();
    if header.kind != Kind::Telemetry || header.kid != thing.as_str() {
        return Err(bad("it is not telemetry of this device"));
    }
    let (_, entry) = registry::load(tx, &thing)?;
    let key = P256Key::new(&entry.public_key).map_err(|error| ContractError::Damaged(error.to_string()))?;
    let leaf = envelope.verify_leaf(&key).map_err(|_| bad("the signature does not verify"))?;
    let stored = published(tx, &thing, place)?;
    let block = &stored.opened.block;
    let included = header
        .number
        .checked_sub(block.first)
        .is_some_and(|index| merkle::verify_inclusion(leaf, index, block.count, &path.siblings, block.root));
    if !included {
        return Err(ContractError::NotIncluded(format!("number {} in the block of {}", header.number, block.day)));
    }
    let outcome = match tx.load::<DayRecord>(&keys::day(&thing, block.day))? {
        Some(record) => {
            let daily = data::block_of(tx, &thing, &record)?;
            record.outcome(daily.as_ref().map(|daily| &daily.opened))
        }
        // An interim block of a day that is not published yet.
        None => DayOutcome::NoBlock,
    };
    Ok(Response::of(&Inclusion {
        thing,
        day: block.day,
        number: header.number,
        leaf: vitro_proof::Hash(leaf.0),
        root: block.root,
        block: stored.reference(),
        outcome,
    }))
}

/// Where a reading is looked for.
enum Place {
    /// In the daily block of this day.
    Day(LocalDay),
    /// In the block of this number.
    Block(u64),
}

/// A day has dashes, a number has none.
fn place_of(arg: &[u8]) -> Result<Place, ContractError> {
    if arg.contains(&b'-') {
        text("a day or a block's number", arg).map(Place::Day)
    } else {
        text("a day or a block's number", arg).map(Place::Block)
    }
}

fn published(tx: &mut Tx<'_>, thing: &DeviceId, place: Place) -> Result<Stored, ContractError> {
    match place {
        Place::Block(number) => {
            by_number(tx, thing, number)?.ok_or_else(|| ContractError::UnknownBlock(format!("{thing} {number}")))
        }
        Place::Day(day) => {
            let unknown = || ContractError::UnknownDay(format!("{thing} {day}"));
            let record: DayRecord = tx.load(&keys::day(thing, day))?.ok_or_else(unknown)?;
            data::block_of(tx, thing, &record)?.ok_or_else(unknown)
        }
    }
}

/// Verifies what the operator says that it said of a device in a shard's hour.
pub(crate) fn verify_alive(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let [shard, hour, sign, index, path] = exactly(args)?;
    let (shard, hour) = (text::<Shard>("a shard", shard)?, text::<Hour>("an hour", hour)?);
    let (sign, index) = (SignOfLife::decode(sign)?, text::<u64>("an index", index)?);
    let path = Path::decode(path)?;
    let (_, entry) = registry::load(tx, &sign.thing)?;
    if entry.shard != shard {
        return Err(bad("the device belongs to another shard"));
    }
    let view = data::find_alive(tx, &shard, hour)?;
    if !merkle::verify_inclusion(sign.leaf(), index, view.alive.devices(), &path.siblings, view.alive.root) {
        return Err(ContractError::NotIncluded(format!("{} at {index} in {shard} {hour}", sign.thing)));
    }
    Ok(Response::of(&AliveInclusion { hour: view, sign }))
}

/// Everything that an auditor needs of a device's day, published or not.
pub(crate) fn day(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let [thing, day] = exactly(args)?;
    let (thing, day) = (text::<DeviceId>("a device", thing)?, text::<LocalDay>("a day", day)?);
    let (_, entry) = registry::load(tx, &thing)?;
    let history = data::of_day(tx, &thing, day)?;
    let stored = match &history.block {
        Some(block) => by_number(tx, &thing, block.number)?,
        None => None,
    };
    let previous = match stored.as_ref().map(|stored| stored.opened.block.span) {
        Some(Span::Daily { previous_daily: Some(hash) }) => daily_by_hash(tx, &thing, hash)?,
        _ => None,
    };
    let at = stored.as_ref().map_or_else(|| calendar::utc_end(day), |stored| stored.record.time);
    let entries = entries(tx, &thing)?;
    let in_force = entries.iter().rev().find(|revision| revision.time <= at).or(entries.first());
    let revision = in_force.map_or(0, |revision| revision.revision);
    let mut services = status::services(tx, &entry.metering_point)?;
    services.retain(|service| service.thing == thing);
    let mut agreements = Vec::new();
    for id in agreement::ids(tx)? {
        for InForce { agreement, hash, held } in agreement::in_force(tx, &id)? {
            if agreement.shard != entry.shard || !held.covers(day, day) {
                continue;
            }
            let is_covered = |point| agreement.points.as_ref().is_none_or(|points| points.contains(point));
            for service in services.iter().filter(|service| service.holds(day) && is_covered(&service.point)) {
                let accepted = Acceptance::of(tx, &agreement, &thing)?.on(
                    tx,
                    day,
                    stored.as_ref().map(|stored| &stored.opened.block),
                )?;
                let chain = accepted.as_ref().and_then(|accepted| accepted.chain);
                agreements.push(Covered {
                    agreement: id.clone(),
                    hash,
                    holds: held.clone(),
                    point: service.point.clone(),
                    counts: accepted.is_some(),
                    by: accepted.map(|accepted| accepted.by),
                    certificate: chain.map(|chain| chain.0),
                    authority: chain.map(|chain| chain.1),
                    authorities: agreement.authorities.clone(),
                });
            }
        }
    }
    let device = History { changes: status::changes(tx, &thing)?, services };
    let roles = tx.load::<Roles>(keys::ROLES)?.ok_or(ContractError::NotConfigured)?;
    Ok(Response::of(&AuditDay {
        history,
        message: stored.map(|stored| stored.record.message),
        previous: previous.map(|previous| previous.reference()),
        entries,
        revision,
        device,
        agreements,
        roles,
        chains: acceptance::registered(tx, &thing)?,
    }))
}

/// Every entry that a device ever had, with its approvals.
fn entries(tx: &mut Tx<'_>, thing: &DeviceId) -> Result<Vec<EntryRevision>, ContractError> {
    let mut entries = Vec::new();
    for (key, bytes) in tx.under(&keys::device_revisions(thing))? {
        let record: DeviceRecord = tx::read(&key, &bytes)?;
        let entry = record.open()?;
        let hash = entry.hash();
        let approvals = registry::approvals(tx, thing, hash)?;
        let DeviceRecord { revision, tx, time, .. } = record;
        entries.push(EntryRevision { entry, hash, revision, tx, time, approvals });
    }
    Ok(entries)
}
