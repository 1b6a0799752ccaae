//! Where everything is stored. No key begins with U+0000 (those are Fabric's composite keys) or an underscore (CouchDB's own).
//!
//! Names hold no `/`, so a prefix that ends in `/` is one range, and no name reaches into another's. Everything that publishing a
//! day touches has the device in its key: two devices share no key, or MVCC would serialise the night.

use vitro_proof::{DeviceId, Hash, LocalDay};

use crate::ids::{AgreementId, MeteringPoint, MspId, Role, Shard};
use crate::model::Hour;

/// The roles in force.
pub(crate) const ROLES: &str = "roles";

/// What an MSP wants the roles to be.
pub(crate) fn roles_vote(msp: &MspId) -> String {
    format!("roles-vote/{msp}")
}

/// All devices.
pub(crate) const DEVICES: &str = "device/";

/// A device's entry in force.
pub(crate) fn device(thing: &DeviceId) -> String {
    format!("device/{thing}")
}

/// One of a device's entries.
pub(crate) fn device_revision(thing: &DeviceId, revision: u64) -> String {
    format!("{}{revision:010}", device_revisions(thing))
}

/// Every entry that a device ever had, in their order.
pub(crate) fn device_revisions(thing: &DeviceId) -> String {
    format!("device-revision/{thing}/")
}

/// A party's approval of an entry.
pub(crate) fn device_approval(thing: &DeviceId, entry: Hash, role: Role) -> String {
    format!("device-approval/{thing}/{entry}/{role}")
}

/// One of a device's certificate chains, in the order in which they were registered.
pub(crate) fn device_chain(thing: &DeviceId, number: u64) -> String {
    format!("{}{number:010}", device_chains(thing))
}

/// All of a device's certificate chains.
pub(crate) fn device_chains(thing: &DeviceId) -> String {
    format!("device-chain/{thing}/")
}

/// The device that serves a metering point.
pub(crate) fn point(point: &MeteringPoint) -> String {
    format!("point/{point}")
}

/// A metering point's exchange by number.
pub(crate) fn exchange(point: &MeteringPoint, number: u64) -> String {
    format!("{}{number:010}", exchanges(point))
}

/// All exchanges of a metering point.
pub(crate) fn exchanges(point: &MeteringPoint) -> String {
    format!("exchange/{point}/")
}

/// A device's status.
pub(crate) fn status(thing: &DeviceId) -> String {
    format!("status/{thing}")
}

/// A device's status after one of its changes.
pub(crate) fn status_change(thing: &DeviceId, revision: u64) -> String {
    format!("{}{revision:010}", status_changes(thing))
}

/// All changes of a device's status.
pub(crate) fn status_changes(thing: &DeviceId) -> String {
    format!("status-change/{thing}/")
}

/// A device of a shard.
pub(crate) fn shard_device(shard: &Shard, thing: &DeviceId) -> String {
    format!("{}{thing}", shard_devices(shard))
}

/// All devices of a shard.
pub(crate) fn shard_devices(shard: &Shard) -> String {
    format!("shard/{shard}/")
}

/// A proposed agreement.
pub(crate) fn agreement(id: &AgreementId, hash: Hash) -> String {
    format!("agreement/{id}/{hash}")
}

/// All proposals under an id.
pub(crate) fn agreement_proposals(id: &AgreementId) -> String {
    format!("agreement/{id}/")
}

/// All proposals.
pub(crate) const AGREEMENTS: &str = "agreement/";

/// The first key after all that begin with `prefix`, which ends with `/`.
pub(crate) fn end_of(prefix: &str) -> String {
    format!("{}0", prefix.trim_end_matches('/'))
}

/// A party's approval of a proposal.
pub(crate) fn agreement_approval(id: &AgreementId, hash: Hash, role: Role) -> String {
    format!("agreement-approval/{id}/{hash}/{role}")
}

/// What all parties approved under an id: its versions, and its end.
pub(crate) fn agreement_active(id: &AgreementId) -> String {
    format!("agreement-active/{id}")
}

/// All ids under which something is active.
pub(crate) const AGREEMENTS_ACTIVE: &str = "agreement-active/";

/// A device's block by number. Twenty digits hold every number, and sort as numbers do.
pub(crate) fn block(thing: &DeviceId, number: u64) -> String {
    format!("block/{thing}/{number:020}")
}

/// The number of a daily block by its hash.
pub(crate) fn daily_by_hash(thing: &DeviceId, hash: Hash) -> String {
    format!("daily/{thing}/{hash}")
}

/// The number of the daily block that follows another, or of the first.
pub(crate) fn daily_after(thing: &DeviceId, previous: Option<Hash>) -> String {
    match previous {
        Some(hash) => format!("daily-after/{thing}/{hash}"),
        None => format!("daily-after/{thing}/first"),
    }
}

/// Which of a device's blocks are there.
pub(crate) fn chain(thing: &DeviceId) -> String {
    format!("chain/{thing}")
}

/// A device's day.
pub(crate) fn day(thing: &DeviceId, day: LocalDay) -> String {
    format!("day/{thing}/{day}")
}

/// A shard's hour. Twelve digits hold every [`Hour`], and sort as numbers do.
pub(crate) fn alive(shard: &Shard, hour: Hour) -> String {
    format!("alive/{shard}/{:012}", hour.begin())
}

/// Just after a shard's hour, for the end of a range.
pub(crate) fn after_alive(shard: &Shard, hour: Hour) -> String {
    format!("{}~", alive(shard, hour))
}

/// Just after a device's day, for the end of a range.
pub(crate) fn after_day(thing: &DeviceId, day: LocalDay) -> String {
    format!("day/{thing}/{day}~")
}

/// How far a shard's periods are closed, and how often.
pub(crate) fn shard_closed(shard: &Shard) -> String {
    format!("shard-closed/{shard}")
}

/// All marks of a part of a shard.
pub(crate) fn late_of(shard: &Shard, part: usize) -> String {
    format!("late/{shard}/{part:02}/")
}

/// Where the marks of an epoch begin, among all of a part's.
pub(crate) fn late_epoch(epoch: u64) -> String {
    format!("{epoch:010}/")
}

/// A mark: something of a device's days changed in an epoch.
pub(crate) fn late(shard: &Shard, part: usize, epoch: u64, thing: &DeviceId, days: &str) -> String {
    format!("{}{}{thing}/{days}", late_of(shard, part), late_epoch(epoch))
}

/// How far an agreement's statements of a group have looked at a shard's marks.
pub(crate) fn examined(id: &AgreementId, group: &Hash, shard: &Shard) -> String {
    format!("examined/{id}/{group}/{shard}")
}

/// What a day came to with its corrections.
pub(crate) fn corrected(id: &AgreementId, thing: &DeviceId, day: LocalDay) -> String {
    format!("corrected/{id}/{thing}/{day}")
}

/// A statement of corrections alone.
pub(crate) fn settled(id: &AgreementId, number: u64) -> String {
    format!("{}{number:010}", all_settled(id))
}

/// All of an agreement's statements of corrections alone.
pub(crate) fn all_settled(id: &AgreementId) -> String {
    format!("settled/{id}/")
}

/// A statement.
pub(crate) fn statement(id: Hash) -> String {
    format!("statement/{id}")
}

/// A closed period of an agreement.
pub(crate) fn closed(id: &AgreementId, from: LocalDay) -> String {
    format!("{}{from}", closed_periods(id))
}

/// All closed periods of an agreement.
pub(crate) fn closed_periods(id: &AgreementId) -> String {
    format!("closed/{id}/")
}
