//! Files of the command line: secrets only their owner can read, and nothing overwritten that cannot be made again.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::CliError;

/// Makes a folder that only its owner can enter; one that exists is left as it is.
///
/// # Errors
/// [`CliError::File`].
pub fn private_folder(path: &Path) -> Result<(), CliError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| CliError::file(path, e))
}

/// Writes a new file that only its owner can read, mode 0600 from the first byte on.
///
/// # Errors
/// [`CliError::File`], also if the file exists: a key is never overwritten.
pub fn write_secret(path: &Path, text: &str) -> Result<(), CliError> {
    write_new(path, text.as_bytes(), 0o600)
}

/// Writes a new file that everybody may read.
///
/// # Errors
/// [`CliError::File`], also if the file exists.
pub fn write_public(path: &Path, text: &str) -> Result<(), CliError> {
    write_new(path, text.as_bytes(), 0o644)
}

/// Replaces a file in one step: a reader sees the old or the new one, whole, whenever the power fails.
///
/// # Errors
/// [`CliError::File`].
pub fn replace(path: &Path, content: impl AsRef<[u8]>) -> Result<(), CliError> {
    let staged = path.with_extension("tmp");
    let write = || {
        let mut file = File::create(&staged)?;
        file.write_all(content.as_ref())?;
        file.sync_all()
    };
    write().map_err(|e| CliError::file(path, e))?;
    rename(&staged, path)
}

/// Writes a secret in the place of another, or of nothing, in one step; only its owner can read it.
///
/// # Errors
/// [`CliError::File`].
pub fn replace_secret(path: &Path, text: &str) -> Result<(), CliError> {
    let staged = path.with_extension("tmp");
    // One that a cut-off run left behind may have another mode.
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(CliError::file(&staged, error)),
        _ => write_secret(&staged, text)?,
    }
    rename(&staged, path)
}

/// Tries whether [`replace_secret`] can put a file there, and leaves nothing behind.
///
/// # Errors
/// [`CliError::File`].
pub fn try_place(path: &Path) -> Result<(), CliError> {
    let staged = path.with_extension("tmp");
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(CliError::file(&staged, error)),
        _ => write_secret(&staged, "")?,
    }
    fs::remove_file(&staged).map_err(|e| CliError::file(&staged, e))
}

/// Puts a file in the place of another, durably.
///
/// # Errors
/// [`CliError::File`].
pub fn rename(from: &Path, to: &Path) -> Result<(), CliError> {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::rename(from, to).and_then(|()| File::open(folder)?.sync_all()).map_err(|e| CliError::file(to, e))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CliError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(|e| CliError::file(path, e))
}

/// Reads a text file.
///
/// # Errors
/// [`CliError::File`].
pub fn read(path: &Path) -> Result<String, CliError> {
    fs::read_to_string(path).map_err(|e| CliError::file(path, e))
}

/// Reads a secret, in a string that is wiped when dropped.
///
/// # Errors
/// [`CliError::File`]; [`CliError::Refused`] if others than its owner can read it.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let mode = fs::metadata(path).map_err(|e| CliError::file(path, e))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(CliError::Refused(format!(
            "{}: others can read this secret (mode {:03o}); make it 0600",
            path.display(),
            mode & 0o777
        )));
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(|e| CliError::file(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_their_owners_alone_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key.pem");
        write_secret(&path, "one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_secret(&path, "two").is_err());
        fs::write(path.with_extension("tmp"), "left behind").unwrap();
        replace_secret(&path, "three").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_secret(&path).unwrap().as_str(), "three");
        replace_secret(&path, "one").unwrap();
        assert_eq!(read_secret(&path).unwrap().as_str(), "one");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_secret(&path), Err(CliError::Refused(_))));
    }

    #[test]
    fn a_place_is_tried_before_what_cannot_be_had_again() {
        let folder = tempfile::tempdir().unwrap();
        try_place(&folder.path().join("a.secret")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(matches!(try_place(&folder.path().join("no/such/folder")), Err(CliError::File { .. })));
    }

    #[test]
    fn private_folders_are_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        private_folder(&path).unwrap();
        private_folder(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
