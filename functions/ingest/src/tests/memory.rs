//! A store in memory: fails where it is told to, and dies after so many writes.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use vitro_cloud::CloudError;
use vitro_cloud::data_keys::KnownKeys;
use vitro_cloud::devices::{Device, Mark, Status, Suspension};
use vitro_cloud::parked::Parked;
use vitro_cloud::quarantine;
use vitro_cloud::readings::{Reading, ReadingKey};
use vitro_cloud::rule_event::RuleEvent;
use vitro_proof::{DeviceId, Envelope, LocalDay, SequenceNumber, UnixMillis};

use crate::archived::Archived;
use crate::evidence::Newest;
use crate::store::{Entries, Place, Store};

/// Everything that a kill must not change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) readings: BTreeMap<(DeviceId, ReadingKey), Reading>,
    pub(super) parked: BTreeMap<(String, String), Parked>,
    pub(super) quarantined: BTreeMap<String, String>,
    pub(super) days: BTreeMap<(DeviceId, LocalDay), (u64, u64)>,
}

/// Envelopes by device and number.
pub(super) type Archive = BTreeMap<(DeviceId, u64), Vec<Vec<u8>>>;

#[derive(Default)]
pub(super) struct Memory {
    pub(super) devices: RefCell<BTreeMap<DeviceId, Device>>,
    /// The secret with the data-proxy keys.
    pub(super) data_keys: RefCell<KnownKeys>,
    pub(super) kept: RefCell<Kept>,
    /// Envelopes of closed days, by device and number.
    pub(super) archive: RefCell<Archive>,
    /// Failed signatures that are noted.
    pub(super) failures: RefCell<BTreeMap<DeviceId, BTreeSet<String>>>,
    /// Up to when an operator has judged.
    pub(super) judged: RefCell<BTreeMap<DeviceId, UnixMillis>>,
    /// Devices whose status was to be applied.
    pub(super) tasks: RefCell<Vec<DeviceId>>,
    /// Operations that fail, by name.
    pub(super) failing: RefCell<BTreeSet<&'static str>>,
    /// Numbers that cannot be stored.
    pub(super) unwritable: RefCell<BTreeSet<u64>>,
    /// After so many more writes the process is dead: no call returns.
    pub(super) life: Cell<Option<usize>>,
    /// Every operation, in order.
    pub(super) calls: RefCell<Vec<&'static str>>,
}

impl Memory {
    pub(super) fn count(&self, name: &str) -> usize {
        self.calls.borrow().iter().filter(|call| **call == name).count()
    }

    fn check(&self, name: &'static str) -> Result<(), CloudError> {
        self.calls.borrow_mut().push(name);
        if self.failing.borrow().contains(name) {
            let detail = "the rate is exceeded".to_owned();
            let code = "ThrottlingException".to_owned();
            return Err(CloudError::Service { service: "memory", operation: name, code, detail });
        }
        Ok(())
    }

    /// Lives through one write, or never returns.
    async fn live(&self) {
        match self.life.get() {
            Some(0) => std::future::pending().await,
            Some(left) => self.life.set(Some(left - 1)),
            None => {}
        }
    }
}

impl Store for &Memory {
    async fn devices(&self, ids: &[DeviceId]) -> Result<Entries, CloudError> {
        self.check("devices")?;
        let devices = self.devices.borrow();
        Ok(ids.iter().filter_map(|id| Some((id.clone(), Ok(devices.get(id)?.clone())))).collect())
    }

    async fn data_keys(&self, _: &BTreeSet<String>) -> Result<KnownKeys, CloudError> {
        self.check("data_keys")?;
        Ok(self.data_keys.borrow().clone())
    }

    async fn range(
        &self,
        device: &DeviceId,
        first: SequenceNumber,
        last: SequenceNumber,
    ) -> Result<Vec<Reading>, CloudError> {
        self.check("range")?;
        let kept = self.kept.borrow();
        let mut found: Vec<Reading> = kept
            .readings
            .values()
            .filter(|reading| reading.device == *device && (first..=last).contains(&reading.number()))
            .cloned()
            .collect();
        found.sort_by_key(|reading| (reading.number(), reading.received));
        Ok(found)
    }

    async fn archived(
        &self,
        device: &DeviceId,
        numbers: &BTreeSet<u64>,
    ) -> Result<BTreeMap<u64, Vec<Archived>>, CloudError> {
        self.check("archived")?;
        let archive = self.archive.borrow();
        let of = |number: &u64| -> Option<(u64, Vec<Archived>)> {
            let kept = archive.get(&(device.clone(), *number))?;
            let parsed = kept.iter().map(|bytes| Envelope::parse(bytes).unwrap());
            Some((*number, parsed.map(|envelope| (envelope.leaf(), *envelope.signature())).collect()))
        };
        Ok(numbers.iter().filter_map(of).collect())
    }

    async fn write(&self, readings: &[Reading]) -> Vec<Result<(), CloudError>> {
        let keys: BTreeSet<_> = readings.iter().map(|r| (r.device.clone(), r.key)).collect();
        assert_eq!(keys.len(), readings.len(), "DynamoDB refuses a batch with a key twice");
        let mut results = Vec::new();
        for reading in readings {
            self.live().await;
            let mut result = self.check("write");
            if self.unwritable.borrow().contains(&reading.number().0) {
                result = Err(CloudError::Unprocessed { service: "memory", operation: "write", attempts: 5 });
            }
            if result.is_ok() {
                self.kept.borrow_mut().readings.insert((reading.device.clone(), reading.key), reading.clone());
            }
            results.push(result);
        }
        results
    }

    async fn note_seen(&self, device: &DeviceId, day: LocalDay, low: u64, high: u64) -> Result<(), CloudError> {
        self.live().await;
        self.check("note_seen")?;
        let mut kept = self.kept.borrow_mut();
        let range = kept.days.entry((device.clone(), day)).or_insert((low, high));
        *range = (range.0.min(low), range.1.max(high));
        Ok(())
    }

    async fn move_mark(&self, device: &DeviceId, mark: Mark) -> Result<Option<Mark>, CloudError> {
        self.live().await;
        self.check("move_mark")?;
        let mut devices = self.devices.borrow_mut();
        let device = devices.get_mut(device).ok_or_else(|| CloudError::NotFound("the device".into()))?;
        if device.status != Status::Active {
            return Ok(None);
        }
        device.mark = Some(device.mark.map_or(mark, |known| known.merged(&mark)));
        device.gap_since = None;
        Ok(device.mark)
    }

    async fn quarantine(
        &self,
        event: &RuleEvent,
        reason: &str,
        detail: &str,
        stands_for: u64,
    ) -> Result<Place, CloudError> {
        self.live().await;
        self.check("quarantine")?;
        let key = quarantine::key(event, reason);
        let document = quarantine::document(event, reason, detail, stands_for);
        self.kept.borrow_mut().quarantined.insert(key.clone(), document);
        Ok(("quarantine-bucket".into(), key))
    }

    async fn park(&self, parked: &Parked) -> Result<(), CloudError> {
        self.live().await;
        self.check("park")?;
        let mut kept = self.kept.borrow_mut();
        kept.parked.entry((parked.reason.clone(), parked.id.clone())).or_insert_with(|| parked.clone());
        Ok(())
    }

    async fn newest(&self, device: &DeviceId) -> Result<Newest, CloudError> {
        self.check("newest")?;
        let kept = self.kept.borrow();
        let of_device = || kept.readings.values().filter(|reading| reading.device == *device);
        let number = of_device().map(Reading::number).max();
        Ok(Newest { number, received: of_device().map(|reading| reading.received).max() })
    }

    async fn note_failures(
        &self,
        device: &DeviceId,
        events: &BTreeSet<String>,
    ) -> Result<Option<BTreeSet<String>>, CloudError> {
        self.live().await;
        self.check("note_failures")?;
        if self.devices.borrow()[device].status != Status::Active {
            return Ok(None);
        }
        let mut failures = self.failures.borrow_mut();
        let noted = failures.entry(device.clone()).or_default();
        noted.extend(events.iter().cloned());
        Ok(Some(noted.clone()))
    }

    async fn forget_failures(&self, device: &DeviceId, events: &BTreeSet<String>) -> Result<(), CloudError> {
        self.live().await;
        self.check("forget_failures")?;
        if let Some(noted) = self.failures.borrow_mut().get_mut(device) {
            noted.retain(|event| !events.contains(event));
        }
        Ok(())
    }

    async fn suspend(
        &self,
        device: &DeviceId,
        suspension: &Suspension,
        evidence: UnixMillis,
    ) -> Result<bool, CloudError> {
        if self.judged.borrow().get(device).is_some_and(|judged| evidence <= *judged) {
            return Ok(false);
        }
        self.live().await;
        self.check("suspend")?;
        let suspended = self.devices.borrow()[device].suspended(suspension);
        if let Some(suspended) = suspended {
            self.devices.borrow_mut().insert(device.clone(), suspended);
        }
        self.live().await;
        self.check("status")?;
        if !self.devices.borrow()[device].is_status_applied() {
            self.tasks.borrow_mut().push(device.clone());
        }
        Ok(true)
    }
}
