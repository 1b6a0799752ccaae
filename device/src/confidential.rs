//! Encrypting for the operator's data-proxy key, where the device's telemetry is confidential by agreement.
//!
//! The key is in a file of the device's folder, which `vitro device keys` writes anew after a rotation: a running agent sees that the
//! file changed and goes on with the new key. A file that cannot be read then does not stop the device: it keeps the key that it has,
//! and says so.

use std::path::PathBuf;
use std::time::SystemTime;

use vitro_proof::DeviceId;
use vitro_proof::block::ReceivedBlock;
use vitro_proof::confidential::{Bound, Inside, NONCE_BYTES, OneTime, Recipient, seal};
use vitro_proof::{BlockMessage, ProofError};
use zeroize::Zeroizing;

use crate::config::{DataProxyKeys, DeviceFolder};
use crate::error::DeviceError;

/// Whom a device encrypts for.
pub(crate) struct DataProxy {
    file: PathBuf,
    changed: Option<SystemTime>,
    recipient: Recipient,
}

impl DataProxy {
    /// The data-proxy key of a device's folder; nothing if its telemetry is not confidential.
    pub(crate) fn open(folder: &DeviceFolder) -> Result<Option<Self>, DeviceError> {
        let Some(config) = &folder.config.confidential else { return Ok(None) };
        let file = folder.resolve(&config.keys);
        let changed = changed(&file);
        let recipient = DataProxyKeys::read(&file)?.recipient()?;
        Ok(Some(Self { file, changed, recipient }))
    }

    /// Takes the key of a changed file.
    fn refresh(&mut self) {
        let changed = changed(&self.file);
        if changed == self.changed {
            return;
        }
        match DataProxyKeys::read(&self.file).and_then(|keys| Ok(keys.recipient()?)) {
            Ok(recipient) => {
                tracing::info!(key = %recipient.id(), "data-proxy key");
                (self.recipient, self.changed) = (recipient, changed);
            }
            Err(error) => tracing::warn!(%error, key = %self.recipient.id(), "the data-proxy key stays as it was"),
        }
    }

    /// Encrypts a pack for the envelope of this number.
    pub(crate) fn conceal_pack(&mut self, thing: &DeviceId, number: u64, pack: &[u8]) -> Result<Vec<u8>, DeviceError> {
        self.refresh();
        Ok(seal(Inside::Pack, &Bound { thing, number }, pack, &self.recipient, draw()?)?)
    }

    /// Encrypts a block's salt and summaries.
    pub(crate) fn conceal_block(
        &mut self,
        thing: &DeviceId,
        message: &BlockMessage,
    ) -> Result<ReceivedBlock, DeviceError> {
        self.refresh();
        Ok(message.conceal(thing, &self.recipient, draw()?)?)
    }
}

fn changed(file: &std::path::Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|meta| meta.modified()).ok()
}

/// Draws the randomness of one message from the operating system.
fn draw() -> Result<OneTime, DeviceError> {
    let random = |bytes: &mut [u8]| getrandom::fill(bytes).map_err(|e| DeviceError::Randomness(e.to_string()));
    let (mut scalar, mut nonce) = (Zeroizing::new([0; 32]), [0; NONCE_BYTES]);
    random(&mut nonce)?;
    // One draw in 2^32 is no private key.
    loop {
        random(&mut *scalar)?;
        match OneTime::new(&scalar, nonce) {
            Ok(once) => return Ok(once),
            Err(ProofError::BadKey) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
