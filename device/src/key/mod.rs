//! The device's key: a file in development, a token by PKCS#11 else. Envelopes, TLS and certificate requests use it through one trait.

mod file;
mod pin;
mod pkcs11;
mod request;

use std::path::Path;
use std::sync::Arc;

use vitro_proof::Signer;

pub use pin::PinSource;
pub use pkcs11::{Pkcs11Key, Pkcs11Signer};
pub use request::request;

use crate::config::KeyStore;
use crate::error::DeviceError;

/// A signer that the agent may share between its tasks and its TLS connection.
pub type SharedSigner = Arc<dyn Signer + Send + Sync>;

/// Opens a key; `folder` is what its paths are relative to.
///
/// # Errors
/// [`DeviceError::Key`] if it is not there, is no P-256 key, or lies open; [`DeviceError::Pin`]; [`DeviceError::Signer`] if the token
/// is away.
pub fn open(folder: &Path, store: &KeyStore) -> Result<SharedSigner, DeviceError> {
    match store {
        KeyStore::File { path } => Ok(Arc::new(file::open(&folder.join(path))?)),
        KeyStore::Pkcs11(key) => Ok(Arc::new(Pkcs11Signer::open(&key.within(folder))?)),
    }
}

/// Makes a key: in the file, or inside the token, which it never leaves. A key that is there is never replaced, since a device is its
/// key.
///
/// # Errors
/// [`DeviceError::File`] or [`DeviceError::Key`] if there is one already or it cannot be made; else as [`open`].
pub fn make(folder: &Path, store: &KeyStore) -> Result<SharedSigner, DeviceError> {
    match store {
        KeyStore::File { path } => Ok(Arc::new(file::make(&folder.join(path))?)),
        KeyStore::Pkcs11(key) => Ok(Arc::new(Pkcs11Signer::make(&key.within(folder))?)),
    }
}

/// Opens a key, or makes it where there is none yet.
///
/// # Errors
/// As [`open`] and [`make`].
pub fn open_or_make(folder: &Path, store: &KeyStore) -> Result<SharedSigner, DeviceError> {
    let there = match store {
        KeyStore::File { path } => folder.join(path).exists(),
        KeyStore::Pkcs11(key) => Pkcs11Signer::exists(&key.within(folder))?,
    };
    if there { open(folder, store) } else { make(folder, store) }
}
