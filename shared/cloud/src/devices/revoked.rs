//! The suspension that a revocation asks for, whoever finds it: the list that names a certificate, or the chain of a device that announces
//! itself.

use async_trait::async_trait;
use vitro_proof::{DeviceId, SequenceNumber, UnixMillis};

use super::{Cause, Device, Status, StatusChange, StatusStore};
use crate::error::CloudError;
use crate::identities::Identities;
use crate::queue::{Outbox, StatusTask};
use crate::readings::Readings;

/// A registry that devices are suspended in.
#[async_trait]
pub trait Suspend: Send + Sync {
    /// Suspends a device, as [`StatusStore::suspend`] does.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn suspend(
        &self,
        id: &DeviceId,
        at: UnixMillis,
        last_good: Option<SequenceNumber>,
        cause: Cause,
    ) -> Result<StatusChange, CloudError>;
}

#[async_trait]
impl Suspend for Identities {
    async fn suspend(
        &self,
        id: &DeviceId,
        at: UnixMillis,
        last_good: Option<SequenceNumber>,
        cause: Cause,
    ) -> Result<StatusChange, CloudError> {
        self.devices().suspend(id, at, last_good, cause).await
    }
}

/// The time series, as far as a suspension needs it.
#[async_trait]
pub trait LastGood: Send + Sync {
    /// The highest number that was received before an instant.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn highest_before(&self, id: &DeviceId, at: UnixMillis) -> Result<Option<SequenceNumber>, CloudError>;
}

#[async_trait]
impl LastGood for Readings {
    async fn highest_before(&self, id: &DeviceId, at: UnixMillis) -> Result<Option<SequenceNumber>, CloudError> {
        Self::highest_before(self, id, at).await
    }
}

/// Suspends a device, as it was read, for a revocation, and has the change applied. It may be done again with the same effect. Says whether
/// it suspended a device that was active.
///
/// # Errors
/// [`CloudError`]: then it has to be done again.
pub async fn suspend_revoked<S, R, O>(
    store: &S,
    readings: &R,
    outbox: &O,
    device: &Device,
    cause: Cause,
    now: UnixMillis,
) -> Result<bool, CloudError>
where
    S: Suspend + ?Sized,
    R: LastGood + ?Sized,
    O: Outbox + ?Sized,
{
    let thing = &device.id;
    let last_good = match device.status {
        Status::Active => readings.highest_before(thing, now).await?,
        // It stays what it was: nothing that came after counts.
        Status::Suspended | Status::Retired => device.last_good,
    };
    let change = store.suspend(thing, device.suspended_at.unwrap_or(now), last_good, cause).await?;
    if change.changed || !change.device.is_status_applied() {
        outbox.status(&StatusTask { thing: thing.clone() }).await?;
    }
    let suspended = change.changed && device.status == Status::Active;
    if suspended {
        tracing::warn!(%thing, %cause, last_good = ?last_good.map(|number| number.0), "suspended: revoked");
    }
    Ok(suspended)
}
