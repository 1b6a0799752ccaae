//! A certificate that turns out to be revoked when its device has it already: registered and revoked at the same time.

use vitro_client::Channel;
use vitro_cloud::CloudError;
use vitro_cloud::devices::{Cause, Consequence, Device, Revoked, suspend_revoked};
use vitro_cloud::queue::StatusTask;
use vitro_proof::chain::ChainFault;

use crate::Register;

/// Whether a fault says that the certificate's key is compromised. It is told only of a certificate whose chain of signatures is good.
pub(crate) fn speaks_of_key(fault: &ChainFault) -> bool {
    Revoked::of(fault).is_some_and(|revoked| revoked.cause() == Cause::KeyCompromised)
}

impl<L: Channel> Register<L> {
    /// Does what the function `trust` would do, had it found the certificate when it carried the list out: it will not look again for
    /// an hour. Says whether the certificate is out. Faults that are no revocation take nothing back.
    ///
    /// A replaced certificate is left to `trust`, which withdraws it: refused, it connects nobody until then.
    pub(crate) async fn is_out(&self, device: &Device, id: &str, fault: &ChainFault) -> Result<bool, CloudError> {
        let Some(revoked) = Revoked::of(fault) else { return Ok(false) };
        match device.consequence_of(id, revoked) {
            Consequence::Suspend(cause) => {
                let (registry, readings) = (self.registry.as_ref(), self.readings.as_ref());
                let now = self.clock.now();
                suspend_revoked(registry, readings, self.outbox.as_ref(), device, cause, now).await?;
            }
            Consequence::CarriedOut if !device.is_status_applied() => self.tell(device).await?,
            Consequence::CarriedOut | Consequence::Withdraw | Consequence::Nothing => {}
        }
        Ok(true)
    }

    async fn tell(&self, device: &Device) -> Result<(), CloudError> {
        self.outbox.status(&StatusTask { thing: device.id.clone() }).await
    }
}
