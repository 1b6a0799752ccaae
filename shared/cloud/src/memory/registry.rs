//! The registry and what is parked, in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use vitro_proof::{DeviceId, SequenceNumber, UnixMillis};

use super::{Fuse, lock};
use crate::devices::{Ask, Cause, Device, Exchanged, SealStore, StatusChange, StatusStore, Suspension, Turn};
use crate::error::CloudError;
use crate::parked::{Park, Parked};
use crate::sources::DeviceSource;

/// When a device was last told to seal, and for which ask that is not done yet.
type Sealed = (UnixMillis, Option<String>);

/// Registered devices.
#[derive(Clone, Debug, Default)]
pub struct MemoryDevices {
    fuse: Fuse,
    devices: Arc<Mutex<BTreeMap<DeviceId, Device>>>,
    judged: Arc<Mutex<BTreeMap<DeviceId, UnixMillis>>>,
    seals: Arc<Mutex<BTreeMap<DeviceId, Sealed>>>,
}

impl MemoryDevices {
    /// These devices.
    #[must_use]
    pub fn new(fuse: Fuse, devices: impl IntoIterator<Item = Device>) -> Self {
        let devices = devices.into_iter().map(|device| (device.id.clone(), device)).collect();
        Self { fuse, devices: Arc::new(Mutex::new(devices)), judged: Arc::default(), seals: Arc::default() }
    }

    /// Registers a device, or replaces its entry.
    pub fn put(&self, device: Device) {
        lock(&self.devices).insert(device.id.clone(), device);
    }

    fn change(
        &self,
        id: &DeviceId,
        decide: impl FnOnce(&Device) -> Result<Option<Device>, CloudError>,
    ) -> Result<StatusChange, CloudError> {
        self.fuse.around(|| {
            let mut devices = lock(&self.devices);
            let device = devices.get_mut(id).ok_or_else(|| CloudError::NotFound(format!("the device {id}")))?;
            let next = decide(device)?;
            let changed = next.is_some();
            if let Some(next) = next {
                *device = next;
            }
            Ok(StatusChange { device: device.clone(), changed })
        })?
    }
}

#[async_trait]
impl StatusStore for MemoryDevices {
    async fn suspend(
        &self,
        id: &DeviceId,
        at: UnixMillis,
        last_good: Option<SequenceNumber>,
        cause: Cause,
    ) -> Result<StatusChange, CloudError> {
        self.change(id, |device| Ok(device.suspended(&Suspension { at, last_good, cause })))
    }

    async fn activate(&self, id: &DeviceId, renewed: Option<&str>) -> Result<StatusChange, CloudError> {
        let judged = lock(&self.devices).get(id).and_then(|device| device.suspended_at);
        let change = self.change(id, |device| device.activated(renewed))?;
        if let Some(judged) = judged.filter(|_| change.changed) {
            lock(&self.judged).insert(id.clone(), judged);
        }
        Ok(change)
    }

    async fn retire(
        &self,
        id: &DeviceId,
        at: UnixMillis,
        last_good: Option<SequenceNumber>,
        cause: Cause,
    ) -> Result<StatusChange, CloudError> {
        self.change(id, |device| Ok(device.retired(&Suspension { at, last_good, cause })))
    }

    async fn exchange(&self, id: &DeviceId, exchange: &Exchanged) -> Result<StatusChange, CloudError> {
        self.change(id, |device| device.exchanged(exchange))
    }

    async fn judged_through(&self, id: &DeviceId) -> Result<Option<UnixMillis>, CloudError> {
        self.fuse.around(|| lock(&self.judged).get(id).copied())
    }

    async fn note_applied(&self, id: &DeviceId, revision: u64) -> Result<(), CloudError> {
        self.fuse.around(|| {
            if let Some(device) = lock(&self.devices).get_mut(id) {
                device.status_applied = device.status_applied.max(revision);
            }
        })
    }
}

#[async_trait]
impl SealStore for MemoryDevices {
    async fn take_turn(&self, thing: &DeviceId, ask: &Ask<'_>) -> Result<Turn, CloudError> {
        self.fuse.around(|| {
            if !lock(&self.devices).contains_key(thing) {
                return Err(CloudError::NotFound(format!("the device {thing}")));
            }
            let mut seals = lock(&self.seals);
            let known = seals.get(thing);
            let turn = ask.turn(known.map(|known| known.0), known.and_then(|known| known.1.as_deref()));
            if turn == Turn::Now {
                seals.insert(thing.clone(), (ask.now.max(ask.asked), Some(ask.id.to_owned())));
            }
            Ok(turn)
        })?
    }

    async fn end_turn(&self, thing: &DeviceId, id: &str) -> Result<(), CloudError> {
        self.fuse.around(|| {
            if let Some(known) = lock(&self.seals).get_mut(thing).filter(|known| known.1.as_deref() == Some(id)) {
                known.1 = None;
            }
        })
    }
}

#[async_trait]
impl DeviceSource for MemoryDevices {
    async fn device(&self, id: &DeviceId) -> Result<Option<Device>, CloudError> {
        self.fuse.around(|| lock(&self.devices).get(id).cloned())
    }

    async fn page(&self, after: Option<&DeviceId>, limit: u32) -> Result<Vec<Device>, CloudError> {
        self.fuse.around(|| {
            let devices = lock(&self.devices);
            let rest = devices.values().filter(|device| after.is_none_or(|after| device.id > *after));
            rest.take(limit as usize).cloned().collect()
        })
    }
}

/// What was parked, each row once.
#[derive(Clone, Debug, Default)]
pub struct MemoryParked {
    fuse: Fuse,
    rows: Arc<Mutex<Vec<Parked>>>,
}

impl MemoryParked {
    /// Nothing parked.
    #[must_use]
    pub fn new(fuse: Fuse) -> Self {
        Self { fuse, rows: Arc::default() }
    }

    /// All rows, in the order in which they came.
    #[must_use]
    pub fn rows(&self) -> Vec<Parked> {
        lock(&self.rows).clone()
    }
}

#[async_trait]
impl Park for MemoryParked {
    async fn park(&self, parked: &Parked) -> Result<(), CloudError> {
        self.fuse.around(|| {
            let mut rows = lock(&self.rows);
            if !rows.iter().any(|row| row.reason == parked.reason && row.id == parked.id) {
                rows.push(parked.clone());
            }
        })
    }
}
