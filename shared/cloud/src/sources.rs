//! What the night reads and does not change, as traits: the registry and the time series. Tests bring their own.

use async_trait::async_trait;
use vitro_proof::{DayBounds, DeviceId, SequenceNumber};

use crate::devices::{Device, Devices};
use crate::error::CloudError;
use crate::readings::{Reading, ReadingKey, Readings, sort};

/// How many readings are read at once where a day is found by time.
const PAGE: usize = 4096;

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

    /// The readings from the key `from` on, in the order of keys, at most `limit`; fewer only at the end.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn page(&self, device: &DeviceId, from: ReadingKey, limit: usize) -> Result<Vec<Reading>, CloudError>;
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

    async fn page(&self, device: &DeviceId, from: ReadingKey, limit: usize) -> Result<Vec<Reading>, CloudError> {
        Readings::page(self, device, from, limit).await
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

/// The readings from the number `start` on until a whole page of them lies behind the day, by number and then by received time. It goes
/// by readings and not by numbers, so a number far beyond all others costs nothing.
///
/// # Errors
/// [`CloudError`].
pub async fn around_day(
    readings: &dyn ReadingSource,
    device: &DeviceId,
    start: u64,
    bounds: DayBounds,
) -> Result<Vec<Reading>, CloudError> {
    let mut found: Vec<Reading> = Vec::new();
    let mut from = Some(ReadingKey::first_of(SequenceNumber(start)));
    while let Some(key) = from {
        let page = readings.page(device, key, PAGE).await?;
        let behind = page.iter().all(|reading| reading.time.is_some_and(|time| time.seconds() >= bounds.to));
        let is_last = behind || page.len() < PAGE;
        from = page.last().filter(|_| !is_last).and_then(|reading| reading.key.next());
        found.extend(page);
    }
    sort(&mut found);
    Ok(found)
}
