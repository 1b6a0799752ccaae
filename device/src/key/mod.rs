//! The device's key: a file in development, a token by PKCS#11 else. Envelopes, TLS and certificate requests use it through one trait.

mod file;
mod pin;
mod pkcs11;
mod request;

use std::sync::Arc;

use vitro_proof::Signer;

pub use pin::PinSource;
pub use pkcs11::{Pkcs11Key, Pkcs11Signer};
pub use request::request;

use crate::config::{DeviceFolder, KeyStore};
use crate::error::DeviceError;

/// A signer that the agent may share between its tasks and its TLS connection.
pub type SharedSigner = Arc<dyn Signer + Send + Sync>;

/// Opens the key that a device's folder names.
///
/// # Errors
/// [`DeviceError::Key`] if it is not there, is no P-256 key, or lies open; [`DeviceError::Signer`] if the token is away.
pub fn open(folder: &DeviceFolder) -> Result<SharedSigner, DeviceError> {
    match &folder.config.key {
        KeyStore::File { path } => Ok(Arc::new(file::open(&folder.resolve(path))?)),
        KeyStore::Pkcs11(key) => Ok(Arc::new(Pkcs11Signer::open(&key.within(folder))?)),
    }
}

/// Makes the key that a device's folder names: in the file, or inside the token, which it never leaves. A key that is there is never
/// replaced, since a device is its key.
///
/// # Errors
/// [`DeviceError::Key`] if there is one already or it cannot be made; [`DeviceError::Signer`] if the token is away.
pub fn make(folder: &DeviceFolder) -> Result<SharedSigner, DeviceError> {
    match &folder.config.key {
        KeyStore::File { path } => Ok(Arc::new(file::make(&folder.resolve(path))?)),
        KeyStore::Pkcs11(key) => Ok(Arc::new(Pkcs11Signer::make(&key.within(folder))?)),
    }
}
