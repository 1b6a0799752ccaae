//! The yellow paper's second principle: every hour, the operator says of each shard how many of its devices showed life.
//!
//! It is the operator's word, as accounts are; what a device signed comes with its blocks. What was said of an hour stays: what came in
//! later is seen in the device's day. So a lost answer is repeated without effect, and nobody can make a silence good afterwards.

use crate::access::{self, Identity, exactly, text};
use crate::call::{Context, Response};
use crate::error::ContractError;
use crate::ids::{Role, Shard};
use crate::keys;
use crate::model::{Alive, AlivePage, AliveView, Hour, Hours};
use crate::tx::{self, Tx};
use crate::wire::Record;

/// The name of the event that an hour raises.
pub const ALIVE_EVENT: &str = "alive";
/// Hours on a page: three weeks, at most 200 KB.
const PAGE: i64 = 504;

/// Takes a shard's hour. The same again changes nothing; another content is refused.
pub(crate) fn alive(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require(ctx, tx, &[Role::Operator], Identity::Anyone)?;
    let [bytes] = exactly(args)?;
    let alive = Alive::decode(bytes)?;
    if alive.alive.checked_add(alive.silent).is_none() {
        return Err(ContractError::BadArguments("more devices than there are numbers".into()));
    }
    if alive.devices() == 0 && alive.root != vitro_proof::merkle::root(&[]) {
        return Err(ContractError::BadArguments("no devices, and yet a root over some".into()));
    }
    if alive.hour.end() > ctx.timestamp {
        return Err(ContractError::HourNotOver(format!("{} ends at {}", alive.hour, alive.hour.end())));
    }
    let key = keys::alive(&alive.shard, alive.hour);
    if let Some(there) = tx.load::<AliveView>(&key)? {
        return if there.alive == alive {
            Ok(Response::of(&there))
        } else {
            Err(ContractError::HourTaken(format!("{} {} by transaction {}", alive.shard, alive.hour, there.tx)))
        };
    }
    let view = AliveView { alive, tx: ctx.tx_id.clone(), time: ctx.timestamp };
    tx.store(&key, &view);
    let payload = view.encode();
    Ok(Response::of(&view).with_event(ALIVE_EVENT, payload))
}

/// What was said of a shard over a range of hours, both included, and of which hours nothing was, a page at a time.
pub(crate) fn hours(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let [shard, from, to] = exactly(args)?;
    let shard = text::<Shard>("a shard", shard)?;
    let (from, to) = (text::<Hour>("the first hour", from)?, text::<Hour>("the last hour", to)?);
    if from > to {
        return Err(ContractError::BadPeriod(format!("{from} is after {to}")));
    }
    let (last, next) = if from.plus(PAGE) <= to { (from.plus(PAGE - 1), Some(from.plus(PAGE))) } else { (to, None) };
    let mut page = AlivePage { hours: Vec::new(), missing: Vec::new(), next };
    let mut expected = from;
    for (key, bytes) in tx.range(&keys::alive(&shard, from), &keys::after_alive(&shard, last))? {
        let view: AliveView = tx::read(&key, &bytes)?;
        let hour = view.alive.hour;
        if expected < hour {
            page.missing.push(Hours { from: expected, to: hour.plus(-1) });
        }
        expected = hour.plus(1);
        page.hours.push(view);
    }
    if expected <= last && page.hours.last().is_none_or(|view| view.alive.hour < last) {
        page.missing.push(Hours { from: expected, to: last });
    }
    Ok(Response::of(&page))
}

/// What was said of a shard's hour.
pub(crate) fn find(tx: &mut Tx<'_>, shard: &Shard, hour: Hour) -> Result<AliveView, ContractError> {
    let found = tx.load(&keys::alive(shard, hour))?;
    found.ok_or_else(|| ContractError::UnknownHour(format!("{shard} {hour}")))
}
