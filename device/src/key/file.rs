//! A key in a file, readable by its owner alone: for development.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use vitro_proof::crypto::SoftwareSigner;
use zeroize::Zeroizing;

use crate::error::DeviceError;

/// Reads a PKCS#8 key in PEM.
pub(super) fn open(path: &Path) -> Result<SoftwareSigner, DeviceError> {
    check_private(path)?;
    let pem = fs::read_to_string(path).map_err(|source| DeviceError::File { path: path.to_owned(), source })?;
    SoftwareSigner::from_pkcs8_pem(&Zeroizing::new(pem)).map_err(|e| DeviceError::key(&path.display(), &e))
}

/// Makes a key from the operating system's randomness, in a file that nobody else may read.
pub(super) fn make(path: &Path) -> Result<SoftwareSigner, DeviceError> {
    let mut scalar = Zeroizing::new([0; 32]);
    let signer = loop {
        getrandom::fill(&mut *scalar).map_err(|e| DeviceError::Randomness(e.to_string()))?;
        // Zero and what is not below the curve's order are drawn again: one in 2^32.
        if let Ok(signer) = SoftwareSigner::from_scalar(&scalar) {
            break signer;
        }
    };
    let pem = signer.to_pkcs8_pem()?;
    let in_file = |source| DeviceError::File { path: path.to_owned(), source };
    let mut file = create_private(path).map_err(in_file)?;
    file.write_all(pem.as_ref().as_bytes()).and_then(|()| file.sync_all()).map_err(in_file)?;
    crate::disk::sync_folder_of(path)?;
    Ok(signer)
}

#[cfg(unix)]
fn create_private(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> std::io::Result<File> {
    File::options().write(true).create_new(true).open(path)
}

/// Refuses a secret that others than its owner may read.
#[cfg(unix)]
pub(super) fn check_private(path: &Path) -> Result<(), DeviceError> {
    use std::os::unix::fs::PermissionsExt;
    let meta = fs::metadata(path).map_err(|source| DeviceError::File { path: path.to_owned(), source })?;
    if meta.permissions().mode() & 0o077 != 0 {
        return Err(DeviceError::key(&path.display(), &"others than its owner may read it; its mode must be 0600"));
    }
    Ok(())
}

#[cfg(not(unix))]
pub(super) fn check_private(_: &Path) -> Result<(), DeviceError> {
    Ok(())
}
