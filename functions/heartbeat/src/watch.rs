//! What heartbeat stands on.

use async_trait::async_trait;
use vitro_cloud::CloudError;
use vitro_cloud::devices::{Devices, Mark};
use vitro_cloud::readings::{Reading, Readings};
use vitro_proof::{DeviceId, UnixMillis};

use crate::pulse::Newest;

/// How many of the readings with the highest numbers are looked at.
const HIGHEST: u8 = 16;

/// The newest of these: the highest number and the last received time.
fn newest(highest: &[Reading]) -> Option<Newest> {
    let number = highest.iter().map(Reading::number).max()?;
    let received = highest.iter().map(|reading| reading.received).max()?;
    Some((number, received))
}

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

    /// A device's newest stored reading: its highest number, and when one of its highest few was received last. A single number far
    /// beyond the others so hides nothing that comes after it.
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
        Ok(newest(&self.readings.highest(device, HIGHEST).await?))
    }

    async fn open_gap(&self, device: &DeviceId, since: UnixMillis, seen: &Mark) -> Result<bool, CloudError> {
        self.devices.open_gap(device, since, seen).await
    }

    async fn close_gap(&self, device: &DeviceId, mark: Mark) -> Result<(), CloudError> {
        self.devices.move_mark(device, mark).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use vitro_cloud::readings::ReadingKey;
    use vitro_proof::SequenceNumber;

    use super::*;

    fn reading(number: u64, received: i64) -> Reading {
        Reading {
            device: "dev-1".parse().unwrap(),
            key: ReadingKey::first_of(SequenceNumber(number)),
            envelope: vec![1],
            time: None,
            received: UnixMillis(received),
            flags: BTreeSet::new(),
            expires: None,
        }
    }

    #[test]
    fn a_number_far_beyond_the_others_hides_nothing() {
        for far in [10u64.pow(15), u64::MAX] {
            let highest = [reading(far, 10), reading(8, 90), reading(7, 80)];
            assert_eq!(newest(&highest), Some((SequenceNumber(far), UnixMillis(90))));
        }
        assert_eq!(newest(&[]), None);
    }
}
