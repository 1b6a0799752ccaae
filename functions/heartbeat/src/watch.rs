//! What heartbeat stands on.

use async_trait::async_trait;
use vitro_cloud::CloudError;
use vitro_cloud::devices::{Devices, Mark};
use vitro_cloud::readings::Readings;
use vitro_proof::{DeviceId, UnixMillis};

use crate::pulse::Newest;

/// Registry and time series as heartbeat needs them.
#[async_trait]
pub trait Watch: Send + Sync {
    /// Devices in one part of the liveness index whose mark is older than `before` ([`Devices::quiet`]).
    ///
    /// # Errors
    /// [`CloudError`].
    async fn quiet(&self, shard: u8, before: UnixMillis) -> Result<Vec<DeviceId>, CloudError>;

    /// A device's mark; nothing if it has none or is gone.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn seen(&self, device: &DeviceId) -> Result<Option<Mark>, CloudError>;

    /// A device's newest stored reading.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn newest(&self, device: &DeviceId) -> Result<Option<Newest>, CloudError>;

    /// Opens a gap, if the mark is still the one seen; says whether it was.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn open_gap(&self, device: &DeviceId, since: UnixMillis, seen: &Mark) -> Result<bool, CloudError>;

    /// Closes a gap by moving the mark.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn close_gap(&self, device: &DeviceId, mark: Mark) -> Result<(), CloudError>;
}

/// The tables `devices` and `readings`.
#[derive(Clone, Debug)]
pub struct AwsWatch {
    /// The registry.
    pub devices: Devices,
    /// The time series.
    pub readings: Readings,
}

#[async_trait]
impl Watch for AwsWatch {
    async fn quiet(&self, shard: u8, before: UnixMillis) -> Result<Vec<DeviceId>, CloudError> {
        self.devices.quiet(shard, before).await
    }

    async fn seen(&self, device: &DeviceId) -> Result<Option<Mark>, CloudError> {
        Ok(self.devices.get(device).await?.and_then(|device| device.mark))
    }

    async fn newest(&self, device: &DeviceId) -> Result<Option<Newest>, CloudError> {
        Ok(self.readings.newest(device).await?.map(|reading| (reading.number(), reading.received)))
    }

    async fn open_gap(&self, device: &DeviceId, since: UnixMillis, seen: &Mark) -> Result<bool, CloudError> {
        self.devices.open_gap(device, since, seen).await
    }

    async fn close_gap(&self, device: &DeviceId, mark: Mark) -> Result<(), CloudError> {
        self.devices.move_mark(device, mark).await.map(|_| ())
    }
}
