//! The life of a device after its registration: suspended, reinstated, retired, exchanged at its metering point.
//!
//! Histories only grow. A halt is made stricter, never milder; only a reinstatement ends a suspension, and nothing ends a retirement.
//! What is billed already is not touched by any of it; what would be billed otherwise today is corrected by the next statement.

use vitro_proof::{DeviceId, LocalDay};

use crate::access::{self, Identity, exactly, text};
use crate::billing;
use crate::calendar;
use crate::call::{Context, Response};
use crate::error::ContractError;
use crate::ids::{MeteringPoint, Role};
use crate::keys;
use crate::late;
use crate::model::{DeviceStatus, Exchange, ExchangeView, Halt, History, Service, Standing, StatusReason};
use crate::registry;
use crate::tx::{self, Tx};
use crate::wire::Record;

/// The name of the event that a change of status raises.
pub const STATUS_EVENT: &str = "status";
/// The name of the event that an exchange raises.
pub const EXCHANGED_EVENT: &str = "exchanged";
/// The operator's clock may be ahead of the transaction's by so many milliseconds.
const CLOCK_SKEW: i64 = 300_000;

/// A device's status; nobody ever changed that of revision 0.
pub(crate) fn of(tx: &mut Tx<'_>, thing: &DeviceId) -> Result<DeviceStatus, ContractError> {
    if let Some(status) = tx.load::<DeviceStatus>(&keys::status(thing))? {
        return Ok(status);
    }
    let (record, _) = registry::load(tx, thing)?;
    Ok(DeviceStatus {
        thing: thing.clone(),
        revision: 0,
        standing: Standing::Active,
        halt: None,
        tx: record.tx,
        time: record.time,
    })
}

/// Suspends a device: of what it signs, only runs up to the last good number are taken. The same again changes nothing.
pub(crate) fn suspend(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    halt(ctx, tx, args, Standing::Suspended)
}

/// Retires a device for good. The same again changes nothing.
pub(crate) fn retire(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    halt(ctx, tx, args, Standing::Retired)
}

fn halt(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>], standing: Standing) -> Result<Response, ContractError> {
    access::require(ctx, tx, &[Role::Operator], Identity::Anyone)?;
    let [thing, halt] = exactly(args)?;
    let (thing, halt) = (text::<DeviceId>("a device", thing)?, Halt::decode(halt)?);
    check_instant(ctx, halt.at)?;
    let now = of(tx, &thing)?;
    if now.standing > standing {
        return Err(ContractError::DeviceRetired(format!("{thing}: that is for good")));
    }
    if let Some(there) = now.halt.as_ref().filter(|there| !halt.is_as_strict_as(there)) {
        let good = there.last_good.map_or_else(|| "no number".to_owned(), |good| format!("numbers up to {good}"));
        let there = format!("{thing}: {} at {} already, with {good}", now.standing, there.at);
        return Err(ContractError::NotStricter(there));
    }
    change(ctx, tx, &now, standing, Some(halt))
}

/// Ends a suspension. Of an active device it changes nothing.
pub(crate) fn reinstate(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require(ctx, tx, &[Role::Operator], Identity::Anyone)?;
    let [thing] = exactly(args)?;
    let thing = text::<DeviceId>("a device", thing)?;
    let now = of(tx, &thing)?;
    if now.standing == Standing::Retired {
        return Err(ContractError::DeviceRetired(format!("{thing}: that is for good")));
    }
    change(ctx, tx, &now, Standing::Active, None)
}

/// Nothing that is recorded lies in the future of the transaction that records it.
fn check_instant(ctx: &Context, at: i64) -> Result<(), ContractError> {
    let latest = ctx.timestamp.saturating_mul(1000).saturating_add(CLOCK_SKEW);
    if (0..=latest).contains(&at) {
        Ok(())
    } else {
        Err(ContractError::BadArguments(format!("the instant {at} is not in the past")))
    }
}

fn change(
    ctx: &Context,
    tx: &mut Tx<'_>,
    now: &DeviceStatus,
    standing: Standing,
    halt: Option<Halt>,
) -> Result<Response, ContractError> {
    if (now.standing, &now.halt) == (standing, &halt) {
        return Ok(Response::of(now));
    }
    let next = DeviceStatus {
        thing: now.thing.clone(),
        revision: now.revision + 1,
        standing,
        halt,
        tx: ctx.tx_id.clone(),
        time: ctx.timestamp,
    };
    late::device(tx, &next.thing, &ctx.tx_id)?;
    tx.store(&keys::status(&next.thing), &next);
    tx.store(&keys::status_change(&next.thing, next.revision), &next);
    let payload = next.encode();
    Ok(Response::of(&next).with_event(STATUS_EVENT, payload))
}

/// A metering point's device is replaced by another one: the old is retired as of its last good number, the new takes the point. The
/// same again changes nothing.
pub(crate) fn exchange(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require(ctx, tx, &[Role::Operator], Identity::Anyone)?;
    let [bytes] = exactly(args)?;
    let wanted = Exchange::decode(bytes)?;
    let (_, old) = registry::load(tx, &wanted.old)?;
    let (_, new) = registry::load(tx, &wanted.new)?;
    let point = old.metering_point.clone();
    let before = exchanges(tx, &point)?;
    if let Some(done) = before.iter().find(|view| view.exchange.old == wanted.old) {
        return if done.exchange == wanted {
            Ok(Response::of(done))
        } else {
            Err(ContractError::ExchangeRefused(format!(
                "{} was exchanged for {} already",
                wanted.old, done.exchange.new
            )))
        };
    }
    let refused = |why: String| Err(ContractError::ExchangeRefused(why));
    if (&old.metering_point, &old.zone, &old.shard) != (&new.metering_point, &new.zone, &new.shard) {
        return refused(format!("{} is not registered for {point} with its zone and shard", wanted.new));
    }
    match current(tx, &point)? {
        Some(serving) if serving == wanted.old && wanted.new != wanted.old => {}
        serving => {
            let serving = serving.map_or_else(|| "nobody".to_owned(), |thing| thing.to_string());
            return refused(format!("{point} is served by {serving}"));
        }
    }
    let standing = of(tx, &wanted.new)?.standing;
    if standing != Standing::Active {
        return refused(format!("{} is {standing}", wanted.new));
    }
    check_instant(ctx, wanted.at)?;
    if !calendar::may_hold(wanted.day, wanted.at.div_euclid(1000)) {
        return refused(format!("{} is on {} nowhere on Earth", wanted.at, wanted.day));
    }
    if before.last().is_some_and(|last| (wanted.day, wanted.at) < (last.exchange.day, last.exchange.at)) {
        return refused(format!("the exchange before it was later: {}", wanted.old));
    }
    if let Some(head) = billing::closed_since(tx, &old.shard, &point, wanted.day)? {
        let (id, from, to) = (head.agreement, head.from, head.to);
        return refused(format!("{id} is billed from {from} to {to}: which device served {point} then is settled"));
    }
    let halt = Halt { at: wanted.at, last_good: wanted.last_good, reason: StatusReason::Exchanged };
    let now = of(tx, &wanted.old)?;
    // An earlier suspension or retirement stays what it was, with its own reason.
    let merged = now.halt.as_ref().map_or_else(|| halt.clone(), |there| there.merged(&halt));
    change(ctx, tx, &now, Standing::Retired, Some(merged))?;
    let view = ExchangeView {
        point: point.clone(),
        number: before.len() as u64,
        exchange: wanted,
        tx: ctx.tx_id.clone(),
        time: ctx.timestamp,
    };
    tx.store(&keys::exchange(&point, view.number), &view);
    late::device(tx, &view.exchange.old, &ctx.tx_id)?;
    late::device(tx, &view.exchange.new, &ctx.tx_id)?;
    tx.put(&keys::point(&point), view.exchange.new.as_str().as_bytes().to_vec());
    let payload = view.encode();
    Ok(Response::of(&view).with_event(EXCHANGED_EVENT, payload))
}

/// What became of a device, or of a metering point's devices.
pub(crate) fn history(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let [kind, name] = exactly(args)?;
    let (things, services) = match kind.as_slice() {
        b"device" => {
            let thing = text::<DeviceId>("a device", name)?;
            let (_, entry) = registry::load(tx, &thing)?;
            let mut services = services(tx, &entry.metering_point)?;
            services.retain(|service| service.thing == thing);
            (vec![thing], services)
        }
        b"point" => {
            let point = text::<MeteringPoint>("a metering point", name)?;
            let services = services(tx, &point)?;
            if services.is_empty() {
                return Err(ContractError::UnknownPoint(point.to_string()));
            }
            (services.iter().map(|service| service.thing.clone()).collect(), services)
        }
        _ => return Err(ContractError::BadArguments("`device` or `point`, and its name, are expected".into())),
    };
    let mut changes = Vec::new();
    for thing in things {
        changes.extend(self::changes(tx, &thing)?);
    }
    Ok(Response::of(&History { changes, services }))
}

/// Every change of a device's status, oldest first.
pub(crate) fn changes(tx: &mut Tx<'_>, thing: &DeviceId) -> Result<Vec<DeviceStatus>, ContractError> {
    tx.under(&keys::status_changes(thing))?.iter().map(|(key, bytes)| tx::read(key, bytes)).collect()
}

/// The device that serves a metering point.
pub(crate) fn current(tx: &mut Tx<'_>, point: &MeteringPoint) -> Result<Option<DeviceId>, ContractError> {
    let key = keys::point(point);
    let Some(bytes) = tx.get(&key)? else { return Ok(None) };
    let name = String::from_utf8(bytes).map_err(|_| ContractError::Damaged(key.clone()))?;
    name.parse().map(Some).map_err(|error| ContractError::Damaged(format!("{key}: {error}")))
}

fn exchanges(tx: &mut Tx<'_>, point: &MeteringPoint) -> Result<Vec<ExchangeView>, ContractError> {
    tx.under(&keys::exchanges(point))?.iter().map(|(key, bytes)| tx::read(key, bytes)).collect()
}

/// The devices that served a metering point, one after another.
pub(crate) fn services(tx: &mut Tx<'_>, point: &MeteringPoint) -> Result<Vec<Service>, ContractError> {
    let mut services: Vec<Service> = Vec::new();
    let mut since = None;
    for view in exchanges(tx, point)? {
        let thing = view.exchange.old.clone();
        services.push(Service { point: point.clone(), thing, since: since.replace(view.clone()), until: Some(view) });
    }
    if let Some(thing) = current(tx, point)? {
        services.push(Service { point: point.clone(), thing, since, until: None });
    }
    Ok(services)
}

/// Whether the device serves its metering point today.
pub(crate) fn serves(tx: &mut Tx<'_>, thing: &DeviceId, point: &MeteringPoint) -> Result<bool, ContractError> {
    Ok(current(tx, point)?.as_ref() == Some(thing))
}

/// The part of a service that lies between two days, both included; nothing if there is none.
pub(crate) fn within(service: &Service, from: LocalDay, to: LocalDay) -> Option<(LocalDay, LocalDay)> {
    let first = service.since.as_ref().map_or(from, |view| view.exchange.day.max(from));
    let last = service.until.as_ref().map_or(to, |view| view.exchange.day.min(to));
    (first <= last).then_some((first, last))
}
