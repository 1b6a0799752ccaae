//! What the night reads and does not change, as traits: the registry and the time series. Tests bring their own.

use async_trait::async_trait;
use vitro_proof::{DeviceId, SequenceNumber};

use crate::devices::{Device, Devices};
use crate::error::CloudError;
use crate::readings::{Reading, Readings};

/// The registry, to be read.
#[async_trait]
pub trait DeviceSource: Send + Sync {
    /// A device as it is now; nothing if it is not registered.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn device(&self, id: &DeviceId) -> Result<Option<Device>, CloudError>;

    /// At most `limit` devices in the table's own order after `after`; fewer only at the end.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn page(&self, after: Option<&DeviceId>, limit: u32) -> Result<Vec<Device>, CloudError>;
}

/// The time series, to be read.
#[async_trait]
pub trait ReadingSource: Send + Sync {
    /// The readings of the numbers from `first` to `last`, both included, by number and then by received time.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn range(
        &self,
        device: &DeviceId,
        first: SequenceNumber,
        last: SequenceNumber,
    ) -> Result<Vec<Reading>, CloudError>;
}

#[async_trait]
impl DeviceSource for Devices {
    async fn device(&self, id: &DeviceId) -> Result<Option<Device>, CloudError> {
        self.get(id).await
    }

    async fn page(&self, after: Option<&DeviceId>, limit: u32) -> Result<Vec<Device>, CloudError> {
        Devices::page(self, after, limit).await
    }
}

#[async_trait]
impl ReadingSource for Readings {
    async fn range(
        &self,
        device: &DeviceId,
        first: SequenceNumber,
        last: SequenceNumber,
    ) -> Result<Vec<Reading>, CloudError> {
        Readings::range(self, device, first, last).await
    }
}

/// The readings of a run: `count` numbers from `first`. An empty run costs no call.
///
/// # Errors
/// [`CloudError`].
pub async fn run(
    readings: &dyn ReadingSource,
    device: &DeviceId,
    first: u64,
    count: u64,
) -> Result<Vec<Reading>, CloudError> {
    match count.checked_sub(1) {
        None => Ok(Vec::new()),
        Some(rest) => readings.range(device, SequenceNumber(first), SequenceNumber(first.saturating_add(rest))).await,
    }
}
