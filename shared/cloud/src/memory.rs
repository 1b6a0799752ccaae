//! Stores in memory for tests of what stands on them, with the same conditions as the real ones. A [`Fuse`] stands for a kill: it
//! burns at a chosen point before or after a store's work, and then every call fails, as if the process were gone.

mod hours;
mod registry;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use vitro_proof::block::ChainLink;
use vitro_proof::command::Action;
use vitro_proof::{BlockNumber, CommandNumber, DeviceId, LocalDay, SequenceNumber, UnixMillis};

use crate::archive::{Archive, PutOnce};
use crate::chain::{ChainHead, ChainStore};
use crate::commands::Commands;
use crate::days::{DayRow, DayStore, ObjectRef};
use crate::error::CloudError;
use crate::queue::{AskTask, Outbox, PublishTask, ReconcileTask, StatusTask, SummarizeTask};
use crate::readings::{Reading, ReadingKey};
use crate::sources::ReadingSource;

pub use hours::MemoryHours;
pub use registry::{MemoryDevices, MemoryParked};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets a number of points pass and then fails every call. Shared by the stores of one test.
#[derive(Clone, Debug, Default)]
pub struct Fuse(Arc<Mutex<FuseState>>);

#[derive(Debug, Default)]
struct FuseState {
    passed: usize,
    limit: Option<usize>,
}

impl Fuse {
    /// Burns after so many more points; never without a number. Counts from zero again.
    pub fn set(&self, limit: Option<usize>) {
        *lock(&self.0) = FuseState { passed: 0, limit };
    }

    /// How many points have passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        lock(&self.0).passed
    }

    /// Passes a point.
    ///
    /// # Errors
    /// [`CloudError::Service`] once it has burnt.
    pub fn point(&self) -> Result<(), CloudError> {
        let mut state = lock(&self.0);
        if state.limit.is_some_and(|limit| state.passed >= limit) {
            return Err(CloudError::Service {
                service: "test",
                operation: "call",
                code: "Killed".to_owned(),
                detail: "the fuse has burnt".to_owned(),
            });
        }
        state.passed += 1;
        Ok(())
    }

    fn around<T>(&self, work: impl FnOnce() -> T) -> Result<T, CloudError> {
        self.point()?;
        let done = work();
        self.point()?;
        Ok(done)
    }
}

/// Days.
#[derive(Clone, Debug, Default)]
pub struct MemoryDays {
    fuse: Fuse,
    rows: Arc<Mutex<BTreeMap<(DeviceId, LocalDay), DayRow>>>,
}

impl MemoryDays {
    /// No days.
    #[must_use]
    pub fn new(fuse: Fuse) -> Self {
        Self { fuse, rows: Arc::default() }
    }

    /// All rows.
    #[must_use]
    pub fn rows(&self) -> Vec<DayRow> {
        lock(&self.rows).values().cloned().collect()
    }

    /// One row.
    #[must_use]
    pub fn row(&self, thing: &DeviceId, day: LocalDay) -> Option<DayRow> {
        lock(&self.rows).get(&(thing.clone(), day)).cloned()
    }
}

#[async_trait]
impl DayStore for MemoryDays {
    async fn get(&self, thing: &DeviceId, day: LocalDay) -> Result<Option<DayRow>, CloudError> {
        self.fuse.around(|| self.row(thing, day))
    }

    async fn write(&self, row: &DayRow) -> Result<bool, CloudError> {
        self.fuse.around(|| {
            let mut rows = lock(&self.rows);
            let key = (row.thing.clone(), row.day);
            let stored = rows.get(&key);
            if stored.map_or(0, |stored| stored.revision) != row.revision {
                return false;
            }
            let seen = stored.map_or((None, None), |stored| (stored.low, stored.high));
            let written = DayRow { revision: row.revision + 1, low: seen.0, high: seen.1, ..row.clone() };
            rows.insert(key, written);
            true
        })
    }

    async fn list_from(&self, thing: &DeviceId, day: LocalDay, limit: u32) -> Result<Vec<DayRow>, CloudError> {
        self.fuse.around(|| {
            let rows = self.rows().into_iter().filter(|row| row.thing == *thing && row.day >= day);
            rows.take(limit as usize).collect()
        })
    }

    async fn before_day(&self, thing: &DeviceId, day: LocalDay) -> Result<Option<DayRow>, CloudError> {
        self.fuse.around(|| self.rows().into_iter().rfind(|row| row.thing == *thing && row.day < day))
    }

    async fn note_seen(&self, thing: &DeviceId, day: LocalDay, low: u64, high: u64) -> Result<(), CloudError> {
        self.fuse.around(|| {
            let mut rows = lock(&self.rows);
            let row = rows.entry((thing.clone(), day)).or_insert_with(|| DayRow::new(thing.clone(), day));
            row.low = Some(row.low.map_or(low, |known| known.min(low)));
            row.high = Some(row.high.map_or(high, |known| known.max(high)));
        })
    }
}

/// An archive whose versions count from 1.
#[derive(Clone, Debug, Default)]
pub struct MemoryArchive {
    fuse: Fuse,
    objects: Arc<Mutex<BTreeMap<String, Vec<Vec<u8>>>>>,
}

impl MemoryArchive {
    /// Nothing archived.
    #[must_use]
    pub fn new(fuse: Fuse) -> Self {
        Self { fuse, objects: Arc::default() }
    }

    /// Every key with its newest content.
    #[must_use]
    pub fn newest(&self) -> BTreeMap<String, Vec<u8>> {
        let objects = lock(&self.objects);
        objects.iter().filter_map(|(key, versions)| Some((key.clone(), versions.last()?.clone()))).collect()
    }

    fn reference(key: &str, version: usize) -> ObjectRef {
        ObjectRef { key: key.to_owned(), version: version.to_string() }
    }

    fn read(&self, key: &str, version: Option<usize>) -> Result<(ObjectRef, Vec<u8>), CloudError> {
        let objects = lock(&self.objects);
        let missing = || CloudError::NotFound(format!("the archive's {key}"));
        let versions = objects.get(key).ok_or_else(missing)?;
        let version = version.unwrap_or(versions.len());
        let body = version.checked_sub(1).and_then(|index| versions.get(index)).ok_or_else(missing)?;
        Ok((Self::reference(key, version), body.clone()))
    }
}

#[async_trait]
impl Archive for MemoryArchive {
    async fn put_once(&self, key: &str, body: Vec<u8>, _media_type: &str) -> Result<PutOnce, CloudError> {
        self.fuse.around(|| {
            let mut objects = lock(&self.objects);
            if objects.contains_key(key) {
                return PutOnce::Exists;
            }
            objects.insert(key.to_owned(), vec![body]);
            PutOnce::Stored(Self::reference(key, 1))
        })
    }

    async fn put(&self, key: &str, body: Vec<u8>, _media_type: &str) -> Result<ObjectRef, CloudError> {
        self.fuse.around(|| {
            let mut objects = lock(&self.objects);
            let versions = objects.entry(key.to_owned()).or_default();
            versions.push(body);
            Self::reference(key, versions.len())
        })
    }

    async fn get(&self, object: &ObjectRef) -> Result<Vec<u8>, CloudError> {
        self.fuse.around(|| self.read(&object.key, object.version.parse().ok()).map(|(_, body)| body))?
    }

    async fn get_newest(&self, key: &str) -> Result<(ObjectRef, Vec<u8>), CloudError> {
        self.fuse.around(|| self.read(key, None))?
    }
}

/// Chains of registered devices.
#[derive(Clone, Debug, Default)]
pub struct MemoryChains {
    fuse: Fuse,
    heads: Arc<Mutex<BTreeMap<DeviceId, (ChainHead, u64)>>>,
}

impl MemoryChains {
    /// The chains of these devices, all empty.
    #[must_use]
    pub fn new(fuse: Fuse, devices: &[DeviceId]) -> Self {
        let heads = devices.iter().map(|device| (device.clone(), <(ChainHead, u64)>::default())).collect();
        Self { fuse, heads: Arc::new(Mutex::new(heads)) }
    }

    fn with<T>(&self, thing: &DeviceId, work: impl FnOnce(&mut ChainHead, &mut u64) -> T) -> Result<T, CloudError> {
        self.fuse.around(|| {
            let mut heads = lock(&self.heads);
            let entry = heads.get_mut(thing).ok_or_else(|| CloudError::NotFound(format!("the device {thing}")))?;
            Ok(work(&mut entry.0, &mut entry.1))
        })?
    }
}

#[async_trait]
impl ChainStore for MemoryChains {
    async fn head(&self, thing: &DeviceId) -> Result<ChainHead, CloudError> {
        self.with(thing, |head, _| head.clone())
    }

    async fn advance(&self, thing: &DeviceId, link: ChainLink, is_daily: bool) -> Result<bool, CloudError> {
        self.with(thing, |head, _| {
            if head.block.map(|block| block.number.0) != link.number.0.checked_sub(1) {
                return false;
            }
            head.block = Some(link);
            if is_daily {
                head.daily = Some(link.number);
            }
            true
        })
    }

    async fn add_pending(&self, thing: &DeviceId, number: BlockNumber) -> Result<(), CloudError> {
        self.with(thing, |head, _| _ = head.pending.insert(number.0))
    }

    async fn remove_pending(&self, thing: &DeviceId, number: BlockNumber) -> Result<(), CloudError> {
        self.with(thing, |head, _| _ = head.pending.remove(&number.0))
    }

    async fn close(&self, thing: &DeviceId, from: Option<u64>, to: u64) -> Result<bool, CloudError> {
        self.with(thing, |head, _| {
            let held = head.closed_through == from;
            if held {
                head.closed_through = Some(to);
            }
            held
        })
    }

    async fn next_command(&self, thing: &DeviceId, now: UnixMillis) -> Result<CommandNumber, CloudError> {
        self.with(thing, |_, last| {
            *last = u64::try_from(now.0).unwrap_or_default().max(*last + 1);
            CommandNumber(*last)
        })
    }
}

/// Messages that were sent, in order.
#[derive(Clone, Debug, Default)]
pub struct MemoryOutbox {
    fuse: Fuse,
    sent: Arc<Mutex<Sent>>,
}

/// What a [`MemoryOutbox`] was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// To summarize, with the delay in seconds.
    pub summarize: Vec<(SummarizeTask, u32)>,
    /// To reconcile.
    pub reconcile: Vec<ReconcileTask>,
    /// To publish.
    pub publish: Vec<PublishTask>,
    /// To status.
    pub status: Vec<StatusTask>,
    /// To asks, with the delay in seconds.
    pub asks: Vec<(AskTask, u32)>,
}

impl MemoryOutbox {
    /// Nothing sent.
    #[must_use]
    pub fn new(fuse: Fuse) -> Self {
        Self { fuse, sent: Arc::default() }
    }

    /// Takes what was sent.
    #[must_use]
    pub fn take(&self) -> Sent {
        std::mem::take(&mut lock(&self.sent))
    }
}

#[async_trait]
impl Outbox for MemoryOutbox {
    async fn summarize(&self, task: &SummarizeTask, delay_seconds: u32) -> Result<(), CloudError> {
        self.fuse.around(|| lock(&self.sent).summarize.push((task.clone(), delay_seconds)))
    }

    async fn reconcile(&self, task: &ReconcileTask) -> Result<(), CloudError> {
        self.fuse.around(|| lock(&self.sent).reconcile.push(task.clone()))
    }

    async fn publish(&self, task: &PublishTask) -> Result<(), CloudError> {
        self.fuse.around(|| lock(&self.sent).publish.push(task.clone()))
    }

    async fn status(&self, task: &StatusTask) -> Result<(), CloudError> {
        self.fuse.around(|| lock(&self.sent).status.push(task.clone()))
    }

    async fn ask(&self, task: &AskTask, delay_seconds: u32) -> Result<(), CloudError> {
        self.fuse.around(|| lock(&self.sent).asks.push((task.clone(), delay_seconds)))
    }
}

/// A command that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentCommand {
    /// The device.
    pub thing: DeviceId,
    /// The command's id.
    pub id: [u8; 16],
    /// When it expires, in Unix seconds.
    pub expires: i64,
    /// What it asks for.
    pub action: Action,
}

/// Commands that were sent, in order.
#[derive(Clone, Debug, Default)]
pub struct MemoryCommands {
    fuse: Fuse,
    sent: Arc<Mutex<Vec<SentCommand>>>,
}

impl MemoryCommands {
    /// Nothing sent.
    #[must_use]
    pub fn new(fuse: Fuse) -> Self {
        Self { fuse, sent: Arc::default() }
    }

    /// Takes what was sent.
    #[must_use]
    pub fn take(&self) -> Vec<SentCommand> {
        std::mem::take(&mut lock(&self.sent))
    }
}

#[async_trait]
impl Commands for MemoryCommands {
    async fn send(
        &self,
        thing: &DeviceId,
        id: [u8; 16],
        expires: i64,
        action: Action,
    ) -> Result<CommandNumber, CloudError> {
        self.fuse.around(|| {
            let mut sent = lock(&self.sent);
            sent.push(SentCommand { thing: thing.clone(), id, expires, action });
            CommandNumber(sent.len() as u64)
        })
    }
}

/// A time series.
#[derive(Clone, Debug, Default)]
pub struct MemoryReadings {
    fuse: Fuse,
    readings: Arc<Mutex<BTreeMap<(DeviceId, ReadingKey), Reading>>>,
}

impl MemoryReadings {
    /// Nothing stored.
    #[must_use]
    pub fn new(fuse: Fuse) -> Self {
        Self { fuse, readings: Arc::default() }
    }

    /// Stores a reading.
    pub fn put(&self, reading: Reading) {
        lock(&self.readings).insert((reading.device.clone(), reading.key), reading);
    }
}

#[async_trait]
impl ReadingSource for MemoryReadings {
    async fn range(
        &self,
        device: &DeviceId,
        first: SequenceNumber,
        last: SequenceNumber,
    ) -> Result<Vec<Reading>, CloudError> {
        self.fuse.around(|| {
            let readings = lock(&self.readings);
            let of_run = |reading: &&Reading| reading.device == *device && (first..=last).contains(&reading.number());
            let mut found: Vec<Reading> = readings.values().filter(of_run).cloned().collect();
            found.sort_by_key(|reading| (reading.number(), reading.received, reading.key));
            found
        })
    }

    async fn page(&self, device: &DeviceId, from: ReadingKey, limit: usize) -> Result<Vec<Reading>, CloudError> {
        self.fuse.around(|| {
            let readings = lock(&self.readings);
            let rest = readings.range((device.clone(), from)..).take_while(|((owner, _), _)| owner == device);
            rest.map(|(_, reading)| reading.clone()).take(limit).collect()
        })
    }
}
