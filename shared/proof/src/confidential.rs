//! Confidential telemetry: what a device encrypts for the operator's data-proxy key before it signs.
//!
//! A COSE_Encrypt (RFC 9052, section 5.1) with AES-256-GCM for one recipient by ECDH-ES + HKDF-256 on P-256 (RFC 9053, section
//! 6.3.1), bound to the device and the message's number. The form is `docs/formats.md`, section 11, and is read strictly.
//!
//! This module draws no randomness and checks no signature: callers verify an envelope before they ask for what it holds. It keeps
//! no plaintext and never shows a key.

#[cfg(feature = "aws-lc")]
mod aws_lc;
mod form;
#[cfg(feature = "confidential")]
mod pure;
#[cfg(test)]
#[cfg(feature = "confidential")]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::cbor;
use crate::envelope::{ContentType, Envelope};
use crate::error::ContentFault;
use crate::ids::{DataKeyId, DeviceId};

#[cfg(feature = "aws-lc")]
pub use aws_lc::AwsLcDataKey;
pub use form::{Malformed, Sealed};
#[cfg(feature = "confidential")]
pub use pure::{OneTime, PureDataKey, Recipient, seal};

/// The bytes of AES-256-GCM's nonce.
pub const NONCE_BYTES: usize = 12;
/// The bytes of AES-256-GCM's tag, which ends the ciphertext.
pub const TAG_BYTES: usize = 16;

/// What lies inside: the content type in the protected header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// 112, a SenML pack.
    Pack,
    /// `application/vitro-summaries+cbor`: a block's salt and summaries.
    Opening,
}

/// What a ciphertext is bound to: another device's message, or one under another number, does not decrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound<'a> {
    /// The device.
    pub thing: &'a DeviceId,
    /// The sequence number of the telemetry, or the number of the block.
    pub number: u64,
}

impl Bound<'_> {
    /// The external data: CBOR of `[thing, number]`.
    #[must_use]
    pub fn external_data(&self) -> Vec<u8> {
        cbor::encode(|e| {
            e.array(2)?.str(self.thing.as_str())?.u64(self.number)?;
            Ok(())
        })
    }
}

/// The ciphertext does not open under the key: it was encrypted for another one or altered, or it belongs to another message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not decrypt")]
pub struct Undecryptable;

/// A data-proxy key's private half, somewhere.
pub trait Unseal: Send + Sync {
    /// Decrypts.
    ///
    /// # Errors
    /// [`Undecryptable`], whatever the cause.
    fn unseal(&self, sealed: &Sealed<'_>, bound: &Bound<'_>) -> Result<Vec<u8>, Undecryptable>;
}

/// The data-proxy keys that a reader has.
pub trait DataKeys {
    /// The key of this id.
    fn data_key(&self, id: &str) -> Option<&dyn Unseal>;
}

/// A reader without any key: to it, all confidential telemetry is `encrypted`.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoKeys;

impl DataKeys for NoKeys {
    fn data_key(&self, _: &str) -> Option<&dyn Unseal> {
        None
    }
}

impl<K: Unseal> DataKeys for BTreeMap<DataKeyId, K> {
    fn data_key(&self, id: &str) -> Option<&dyn Unseal> {
        self.get(&id.parse().ok()?).map(|key| key as &dyn Unseal)
    }
}

/// The pack of a telemetry envelope, decrypted where it is confidential. The envelope's signature was verified before.
///
/// # Errors
/// [`ContentFault::Encrypted`] without the key, [`ContentFault::BadEncryption`] for another form than this profile's,
/// [`ContentFault::Undecryptable`] if the key is there and does not open it.
pub fn pack<'e>(envelope: &Envelope<'e>, keys: &dyn DataKeys) -> Result<Cow<'e, [u8]>, ContentFault> {
    match envelope.header().content {
        ContentType::Senml => Ok(Cow::Borrowed(envelope.payload())),
        ContentType::Encrypted => {
            let sealed = Sealed::parse(envelope.payload()).map_err(|_| ContentFault::BadEncryption)?;
            if sealed.inside() != Inside::Pack {
                return Err(ContentFault::BadEncryption);
            }
            let key = keys.data_key(sealed.recipient()).ok_or(ContentFault::Encrypted)?;
            let thing = envelope.header().kid.parse().map_err(|_| ContentFault::Undecryptable)?;
            let bound = Bound { thing: &thing, number: envelope.header().number };
            key.unseal(&sealed, &bound).map(Cow::Owned).map_err(|Undecryptable| ContentFault::Undecryptable)
        }
        ContentType::Block | ContentType::Command | ContentType::Reply => Err(ContentFault::UnreadablePack),
    }
}

/// Whose key a telemetry envelope is encrypted for; nothing if it is in clear, or not of the form.
#[must_use]
pub fn recipient<'e>(envelope: &Envelope<'e>) -> Option<&'e str> {
    match envelope.header().content {
        ContentType::Encrypted => Sealed::parse(envelope.payload()).ok().map(|sealed| sealed.recipient()),
        _ => None,
    }
}
