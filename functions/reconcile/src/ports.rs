//! What reconcile stands on.

use std::sync::Mutex;

use vitro_cloud::archive::Archive;
use vitro_cloud::chain::ChainStore;
use vitro_cloud::commands::Commands;
use vitro_cloud::data_keys::DataKeySource;
use vitro_cloud::days::{DayStore, ObjectRef};
use vitro_cloud::devices::{SealStore, StatusStore};
use vitro_cloud::metrics::Metrics;
use vitro_cloud::queue::Outbox;
use vitro_cloud::sources::{DeviceSource, ReadingSource};
use vitro_cloud::{Clock, CloudError};
use vitro_proof::BlockMessage;

use crate::refusal::Refusals;

/// The stores, queues and settings, behind traits.
pub struct Ports {
    /// The registry.
    pub devices: Box<dyn DeviceSource>,
    /// The registry, as far as the devices' status goes.
    pub status: Box<dyn StatusStore>,
    /// The registry, as far as interim blocks were asked for.
    pub seals: Box<dyn SealStore>,
    /// The time series.
    pub readings: Box<dyn ReadingSource>,
    /// The days.
    pub days: Box<dyn DayStore>,
    /// The chains of blocks.
    pub chains: Box<dyn ChainStore>,
    /// The archive.
    pub archive: Box<dyn Archive>,
    /// The data-proxy keys, retired ones too.
    pub data_keys: Box<dyn DataKeySource>,
    /// The queues.
    pub outbox: Box<dyn Outbox>,
    /// Commands to devices.
    pub commands: Box<dyn Commands>,
    /// Quarantine and parked rows.
    pub refusals: Box<dyn Refusals>,
    /// The time.
    pub clock: Box<dyn Clock>,
    /// What is counted in this invocation.
    pub metrics: Mutex<Metrics>,
    /// The stack, which every metric is told of.
    pub stack: String,
    /// The settings.
    pub settings: Settings,
}

/// The settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `VITRO_SETTLE_SECONDS`: how long late messages may take before a day is compared, and the first wait for a backfill.
    pub settle_seconds: u32,
    /// `VITRO_BACKFILL_ATTEMPTS`: how often a device is asked for what is missing.
    pub backfill_attempts: u32,
    /// `VITRO_SEAL_SECONDS`: the least time between two interim blocks that are asked of one device.
    pub seal_seconds: u32,
}

impl Ports {
    /// Counts something.
    pub fn count(&self, name: &'static str) {
        self.with_metrics(|metrics| metrics.count(name, 1));
    }

    /// Writes what was counted and starts to count anew.
    pub fn emit_metrics(&self) {
        let counted = self.with_metrics(|metrics| std::mem::replace(metrics, Metrics::new(&self.stack)));
        counted.emit(self.clock.now());
    }

    /// Works with the metrics.
    pub fn with_metrics<T>(&self, work: impl FnOnce(&mut Metrics) -> T) -> T {
        work(&mut self.metrics.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Reads an archived block message.
    pub(crate) async fn archived_block(&self, object: &ObjectRef) -> Result<BlockMessage, CloudError> {
        let bytes = self.archive.get(object).await?;
        decode_archived(&object.key, &bytes)
    }

    /// Reads an archived block message by its key.
    pub(crate) async fn archived_block_at(&self, key: &str) -> Result<(ObjectRef, BlockMessage), CloudError> {
        let (object, bytes) = self.archive.get_newest(key).await?;
        let message = decode_archived(key, &bytes)?;
        Ok((object, message))
    }
}

fn decode_archived(key: &str, bytes: &[u8]) -> Result<BlockMessage, CloudError> {
    BlockMessage::decode(bytes).map_err(|fault| CloudError::damaged(format!("the archive's {key}"), fault))
}
