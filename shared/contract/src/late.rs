//! What changes after its period was closed, noted where the next statement finds it.
//!
//! Each shard counts the statements that were drawn of it (its *epoch*) and knows the last day that any of them closed. What changes a day
//! up to there, or more of a device's, leaves a mark under the device, the epoch and the day: no two devices share one. A statement looks
//! at the marks that came since its agreement's last one, and at nothing else, however long ago the days are. Drawing it begins another
//! epoch, so a mark is either seen by it or comes after it: who was publishing meanwhile has read the epoch, and tries again.
//!
//! A range is read to its end, and a transaction has a size. So a shard's marks lie in parts, by a hash of the device: a statement reads as
//! many parts as it has room for, and the next one goes on.

use vitro_proof::crypto::sha256;
use vitro_proof::{DeviceId, LocalDay};

use crate::error::ContractError;
use crate::ids::Shard;
use crate::keys;
use crate::model::{Place, ShardClosed};
use crate::registry;
use crate::tx::Tx;

/// The parts of a shard's marks.
pub(crate) const PARTS: usize = 64;
/// What stands for a device's every day.
const ALL: &str = "all";
/// What stands before the Unix second that a device's days end after.
const SINCE: &str = "since-";

/// Which of a device's days may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// One.
    Day(LocalDay),
    /// Those that end after a Unix second.
    Since(i64),
    /// Any.
    All,
}

/// What a mark is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Its key without shard and part: what a statement goes on from.
    pub(crate) at: String,
    /// The device.
    pub(crate) thing: DeviceId,
    /// Its days.
    pub(crate) days: Changed,
}

/// The part of a device.
fn part_of(thing: &DeviceId) -> usize {
    usize::from(sha256(&[thing.as_str().as_bytes()]).0[0]) % PARTS
}

/// Notes that block or accounts of a day changed, if a period that may hold it is closed.
pub(crate) fn day(
    tx: &mut Tx<'_>,
    shard: &Shard,
    thing: &DeviceId,
    day: LocalDay,
    by: &str,
) -> Result<(), ContractError> {
    if let Some(closed) = tx.load::<ShardClosed>(&keys::shard_closed(shard))?
        && day <= closed.through
    {
        put(tx, shard, closed.epoch, thing, &day.to_string(), by);
    }
    Ok(())
}

/// Notes that something changed which may decide about every day of a device: who accepts it, its status, its service.
pub(crate) fn device(tx: &mut Tx<'_>, thing: &DeviceId, by: &str) -> Result<(), ContractError> {
    of_device(tx, thing, ALL, by)
}

/// Notes that something changed which may decide about the days of a device that end after a Unix second.
pub(crate) fn device_since(tx: &mut Tx<'_>, thing: &DeviceId, second: i64, by: &str) -> Result<(), ContractError> {
    of_device(tx, thing, &format!("{SINCE}{:012}", second.max(0)), by)
}

fn of_device(tx: &mut Tx<'_>, thing: &DeviceId, days: &str, by: &str) -> Result<(), ContractError> {
    let (_, entry) = registry::load(tx, thing)?;
    if let Some(closed) = tx.load::<ShardClosed>(&keys::shard_closed(&entry.shard))? {
        put(tx, &entry.shard, closed.epoch, thing, days, by);
    }
    Ok(())
}

fn put(tx: &mut Tx<'_>, shard: &Shard, epoch: u64, thing: &DeviceId, days: &str, by: &str) {
    tx.put(&keys::late(shard, part_of(thing), epoch, thing, days), by.as_bytes().to_vec());
}

/// The marks of a part of a shard from a place on, in their order.
pub(crate) fn marks(tx: &mut Tx<'_>, shard: &Shard, part: usize, from: &Place) -> Result<Vec<Mark>, ContractError> {
    let prefix = keys::late_of(shard, part);
    let mut marks = Vec::new();
    for (key, _) in tx.range(&format!("{prefix}{}", from.next), &keys::end_of(&prefix))? {
        let at = key[prefix.len()..].to_owned();
        let damaged = || ContractError::Damaged(key.clone());
        let mut parts = at.splitn(3, '/').skip(1);
        let (thing, days) = parts.next().zip(parts.next()).ok_or_else(damaged)?;
        let days = match days.strip_prefix(SINCE) {
            Some(second) => Changed::Since(second.parse().map_err(|_| damaged())?),
            None if days == ALL => Changed::All,
            None => Changed::Day(days.parse()?),
        };
        marks.push(Mark { thing: thing.parse()?, days, at });
    }
    Ok(marks)
}

/// Begins another epoch of a shard, whose days up to `through` are closed. Gives the place of its first mark.
pub(crate) fn begin_epoch(tx: &mut Tx<'_>, shard: &Shard, through: Option<LocalDay>) -> Result<String, ContractError> {
    let key = keys::shard_closed(shard);
    let before = tx.load::<ShardClosed>(&key)?;
    let epoch = before.as_ref().map_or(0, |closed| closed.epoch + 1);
    if let Some(through) = before.map(|closed| closed.through).max(through) {
        tx.store(&key, &ShardClosed { through, epoch });
    }
    Ok(keys::late_epoch(epoch))
}
