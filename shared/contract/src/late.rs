//! What changes after its period was closed, noted where the next statement finds it.
//!
//! Each shard counts the statements that were drawn of it (its *epoch*) and knows the last day that any of them closed. What changes a day
//! up to there, or a whole device, leaves a mark under the epoch, the device and the day: no two devices share one. A statement looks at
//! the marks that came since its agreement's last one, and at nothing else, however long ago the days are. Drawing it begins another
//! epoch, so a mark is either seen by it or comes after it: who was publishing meanwhile has read the epoch, and tries again.

use vitro_proof::{DeviceId, LocalDay};

use crate::error::ContractError;
use crate::ids::Shard;
use crate::keys;
use crate::model::ShardClosed;
use crate::registry;
use crate::tx::Tx;

/// What a mark is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Its key without the shard: what a statement goes on from.
    pub(crate) at: String,
    /// The device.
    pub(crate) thing: DeviceId,
    /// The day; nothing for all of the device's.
    pub(crate) day: Option<LocalDay>,
}

/// What stands for a device's every day.
const ALL: &str = "all";

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
        tx.put(&keys::late(shard, closed.epoch, thing, &day.to_string()), by.as_bytes().to_vec());
    }
    Ok(())
}

/// Notes that something changed which may decide about every day of a device: who accepts it, its status, its service.
pub(crate) fn device(tx: &mut Tx<'_>, thing: &DeviceId, by: &str) -> Result<(), ContractError> {
    let (_, entry) = registry::load(tx, thing)?;
    if let Some(closed) = tx.load::<ShardClosed>(&keys::shard_closed(&entry.shard))? {
        tx.put(&keys::late(&entry.shard, closed.epoch, thing, ALL), by.as_bytes().to_vec());
    }
    Ok(())
}

/// A shard's marks from a place on, in their order.
pub(crate) fn marks(tx: &mut Tx<'_>, shard: &Shard, from: &str) -> Result<Vec<Mark>, ContractError> {
    let prefix = keys::late_of(shard);
    let mut marks = Vec::new();
    for (key, _) in tx.range(&format!("{prefix}{from}"), &keys::end_of(&prefix))? {
        let at = key[prefix.len()..].to_owned();
        let damaged = || ContractError::Damaged(key.clone());
        let mut parts = at.splitn(3, '/').skip(1);
        let (thing, day) = parts.next().zip(parts.next()).ok_or_else(damaged)?;
        let day = if day == ALL { None } else { Some(day.parse()?) };
        marks.push(Mark { thing: thing.parse()?, day, at });
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
