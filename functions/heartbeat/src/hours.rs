//! The yellow paper's second principle: every hour it is said of each shard how many of its devices showed life.
//!
//! What is said is found once, archived, noted in the table `hours`, and handed to publish, in this order; the archive takes one object of an
//! hour, so whatever is cut short ends with the same words. Hours that were missed are found later, by what was received by their end.
//!
//! What is wrong with one shard's hour, a damaged reading or object, is told and holds up no other.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use vitro_cloud::archive::{Archive, CBOR, PutOnce, alive_key};
use vitro_cloud::batch::chain;
use vitro_cloud::days::ObjectRef;
use vitro_cloud::devices::Device;
use vitro_cloud::hours::{HourRow, HourStore};
use vitro_cloud::queue::{Outbox, PublishHour, PublishTask};
use vitro_cloud::readings::{Reading, Readings};
use vitro_cloud::sources::DeviceSource;
use vitro_cloud::{Clock, CloudError};
use vitro_contract::{Alive, Hour, Record, Shard, SignOfLife};
use vitro_proof::{DeviceId, UnixMillis};

use crate::sign::{Member, Place, place};

/// So many hours are looked back at, when the event does not say.
pub const LOOK_BACK: u32 = 24;
/// At most so many: what was received then is still in the time series.
pub const LOOK_BACK_AT_MOST: u32 = 72;
/// An hour is looked at so many seconds after its end, when what was received by then is stored.
pub const GRACE_SECONDS: i64 = 120;
/// So long may an hour be on its way to the ledger before it is handed to publish again, in milliseconds.
const PATIENCE_MILLIS: i64 = 3_600_000;
/// What is left of the invocation when no further hour is begun, in milliseconds.
const RESERVE_MILLIS: i64 = 60_000;
/// Devices that are read from the registry at once.
const PAGE: u32 = 500;
/// Devices that are looked at at once.
const LOOKS: usize = 32;
/// So many readings are mostly enough, and so many are looked at where a sensor has no value in them.
const FEW: usize = 16;
const MANY: usize = 64;

/// The time series, as far as signs of life need it.
#[async_trait]
pub trait Heard: Send + Sync {
    /// The readings that were received up to an instant, those with the highest numbers first ([`Readings::up_to`]).
    ///
    /// # Errors
    /// [`CloudError`].
    async fn up_to(&self, device: &DeviceId, at: UnixMillis, limit: usize) -> Result<Vec<Reading>, CloudError>;
}

#[async_trait]
impl Heard for Readings {
    async fn up_to(&self, device: &DeviceId, at: UnixMillis, limit: usize) -> Result<Vec<Reading>, CloudError> {
        Readings::up_to(self, device, at, limit).await
    }
}

/// What the hours stand on.
pub struct Hours {
    /// The registry.
    pub devices: Box<dyn DeviceSource>,
    /// The time series.
    pub readings: Box<dyn Heard>,
    /// The hours.
    pub hours: Box<dyn HourStore>,
    /// The archive.
    pub archive: Box<dyn Archive>,
    /// The queue of publish.
    pub outbox: Box<dyn Outbox>,
    /// The time.
    pub clock: Box<dyn Clock>,
}

/// An hour that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The shard.
    pub shard: String,
    /// The Unix second with which the hour begins.
    pub hour: i64,
    /// How many devices were heard of.
    pub alive: u64,
    /// How many were silent.
    pub silent: u64,
}

/// Something of a shard that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// The shard.
    pub shard: String,
    /// The Unix second with which the hour begins; nothing if the shard's hours could not be read at all.
    pub hour: Option<i64>,
    /// Whether the same may go better later as it is.
    pub retryable: bool,
    /// What it was.
    pub error: String,
}

/// What a look at the hours ended with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// The instant of the look, in Unix milliseconds.
    pub now: i64,
    /// The hours that were found now, the newest first.
    pub found: Vec<Found>,
    /// How many were handed to publish again.
    pub again: u64,
    /// How many are not on the ledger although they were found an hour ago or longer, or not found at all yet. Of a shard whose hours
    /// could not be read, all.
    pub unsaid: u64,
    /// What failed.
    pub failed: Vec<Failed>,
}

impl Looked {
    fn failed(&mut self, shard: &str, hour: Option<i64>, error: &CloudError) {
        let retryable = error.retryable();
        let error = chain(error).to_string();
        tracing::error!(shard, hour, retryable, error, "a shard's hour cannot be said");
        self.failed.push(Failed { shard: shard.to_owned(), hour, retryable, error });
    }

    /// Whether a look a minute later may find what failed in this one.
    #[must_use]
    pub fn is_to_come_again(&self) -> bool {
        self.failed.iter().any(|failed| failed.retryable)
    }
}

/// A shard's devices of today that may have been there.
type Shards = BTreeMap<String, Vec<Device>>;

impl Hours {
    /// Looks at the hours that are over, `back` of them, and finds what was not found yet. `deadline` is when the invocation ends.
    ///
    /// What fails of one shard or hour is told in the answer, and the others are looked at.
    ///
    /// # Errors
    /// [`CloudError`] if the registry cannot be read.
    pub async fn look(&self, now: UnixMillis, back: u32, deadline: UnixMillis) -> Result<Looked, CloudError> {
        let mut looked = Looked { now: now.0, ..Looked::default() };
        let last = now.seconds().saturating_sub(GRACE_SECONDS);
        let Some(last) = Hour::holding(last).ok().and_then(|open| Hour::beginning(open.begin() - 3600).ok()) else {
            return Ok(looked);
        };
        let back = i64::from(back.clamp(1, LOOK_BACK_AT_MOST)) - 1;
        let first = last.begin().saturating_sub(back * 3600).max(0);
        let shards = self.shards().await?;
        let mut rows: BTreeMap<(&str, i64), HourRow> = BTreeMap::new();
        let mut unread: BTreeSet<&str> = BTreeSet::new();
        for shard in shards.keys() {
            match self.hours.range(shard, first, last.begin()).await {
                Ok(known) => rows.extend(known.into_iter().map(|row| ((shard.as_str(), row.hour), row))),
                Err(error) => {
                    looked.failed(shard, None, &error);
                    looked.unsaid += (back + 1).unsigned_abs();
                    unread.insert(shard.as_str());
                }
            }
        }
        // The newest first: after an outage what is new is not held up by what is late.
        for hour in (first..=last.begin()).rev().step_by(3600).filter_map(|second| Hour::beginning(second).ok()) {
            for (shard, devices) in shards.iter().filter(|(shard, _)| !unread.contains(shard.as_str())) {
                let done = match rows.get(&(shard.as_str(), hour.begin())) {
                    Some(row) => self.hand_on_again(row, now, deadline, &mut looked).await,
                    None => self.say(shard, devices, hour, deadline, &mut looked).await,
                };
                if let Err(error) = done {
                    looked.failed(shard, Some(hour.begin()), &error);
                }
            }
        }
        let failed = looked.failed.len();
        tracing::info!(found = looked.found.len(), again = looked.again, unsaid = looked.unsaid, failed, "hours");
        Ok(looked)
    }

    /// The registry by shard, without what a sign of life does not need.
    async fn shards(&self) -> Result<Shards, CloudError> {
        let mut shards = Shards::new();
        let mut after: Option<DeviceId> = None;
        loop {
            let page = self.devices.page(after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            after = page.last().map(|device| device.id.clone());
            for mut device in page {
                // Thousands of these are kept at once.
                device.certificate = String::new();
                device.certificate_ids.clear();
                device.revoked_certificates.clear();
                device.sensor_tables.drain(..device.sensor_tables.len().saturating_sub(1));
                shards.entry(device.shard.clone()).or_default().push(device);
            }
            if is_last {
                return Ok(shards);
            }
        }
    }

    async fn hand_on_again(
        &self,
        row: &HourRow,
        now: UnixMillis,
        deadline: UnixMillis,
        looked: &mut Looked,
    ) -> Result<(), CloudError> {
        if row.tx.is_some() || row.found.0.saturating_add(PATIENCE_MILLIS) > now.0 {
            return Ok(());
        }
        looked.unsaid += 1;
        if row.is_open() && self.is_time_left(deadline) {
            self.hand_on(&row.shard, row.hour).await?;
            looked.again += 1;
        }
        Ok(())
    }

    fn is_time_left(&self, deadline: UnixMillis) -> bool {
        self.clock.now().0.saturating_add(RESERVE_MILLIS) <= deadline.0
    }

    async fn hand_on(&self, shard: &str, hour: i64) -> Result<(), CloudError> {
        self.outbox.publish(&PublishTask::Hour(PublishHour { shard: shard.to_owned(), hour })).await
    }

    async fn say(
        &self,
        shard: &str,
        devices: &[Device],
        hour: Hour,
        deadline: UnixMillis,
        looked: &mut Looked,
    ) -> Result<(), CloudError> {
        let at = UnixMillis(hour.end().saturating_mul(1000));
        let Some(members) = members(devices, at) else { return Ok(()) };
        // Until it is handed on.
        looked.unsaid += 1;
        if !self.is_time_left(deadline) {
            tracing::warn!(shard, %hour, "no time is left for this hour");
            return Ok(());
        }
        let name: Shard = shard.parse().map_err(|e| CloudError::damaged(format!("the shard {shard}"), e))?;
        let signs = self.signs(&members, at).await?;
        let (object, signs) = self.keep(shard, hour, signs).await?;
        let damaged = |e| CloudError::damaged(format!("the archive's {}", object.key), e);
        let alive = Alive::of(name, hour, &signs).map_err(damaged)?;
        let row = HourRow {
            shard: shard.to_owned(),
            hour: hour.begin(),
            object: object.clone(),
            root: alive.root,
            alive: alive.alive,
            silent: alive.silent,
            found: self.clock.now(),
            tx: None,
            parked: None,
        };
        self.hours.add(&row).await?;
        self.hand_on(shard, hour.begin()).await?;
        tracing::info!(shard, %hour, alive = alive.alive, silent = alive.silent, root = %alive.root, "an hour is found");
        looked.unsaid -= 1;
        let Alive { alive, silent, .. } = alive;
        looked.found.push(Found { shard: shard.to_owned(), hour: hour.begin(), alive, silent });
        Ok(())
    }

    /// The signs of life of these devices, in the order of their names.
    async fn signs(&self, members: &[Member], at: UnixMillis) -> Result<Vec<SignOfLife>, CloudError> {
        let mut signs: Vec<SignOfLife> =
            stream::iter(members).map(|member| self.sign(member, at)).buffer_unordered(LOOKS).try_collect().await?;
        signs.sort_by(|a, b| a.thing.cmp(&b.thing));
        Ok(signs)
    }

    async fn sign(&self, member: &Member, at: UnixMillis) -> Result<SignOfLife, CloudError> {
        let few = self.readings.up_to(&member.thing, at, FEW).await?;
        let sign = member.sign(at, &few);
        if member.is_whole(&sign) || few.len() < FEW {
            return Ok(sign);
        }
        Ok(member.sign(at, &self.readings.up_to(&member.thing, at, MANY).await?))
    }

    /// Archives the signs; gives what is archived, which an earlier attempt may have left.
    async fn keep(
        &self,
        shard: &str,
        hour: Hour,
        signs: Vec<SignOfLife>,
    ) -> Result<(ObjectRef, Vec<SignOfLife>), CloudError> {
        let key = alive_key(shard, hour.begin());
        match self.archive.put_once(&key, signs.encode(), CBOR).await? {
            PutOnce::Stored(object) => Ok((object, signs)),
            PutOnce::Exists => {
                let (object, bytes) = self.archive.get_newest(&key).await?;
                let signs = Vec::decode(&bytes).map_err(|e| CloudError::damaged(format!("the archive's {key}"), e))?;
                Ok((object, signs))
            }
        }
    }
}

/// Of which devices something is to be said; nothing of a shard that had none then.
fn members(devices: &[Device], at: UnixMillis) -> Option<Vec<Member>> {
    let places: Vec<_> = devices.iter().map(|device| (device, place(device, at))).collect();
    if places.iter().all(|(_, place)| *place == Place::Absent) {
        return None;
    }
    let counting = places.into_iter().filter(|(_, place)| *place == Place::Counts);
    Some(counting.map(|(device, _)| Member::of(device)).collect())
}

#[cfg(test)]
mod tests;
