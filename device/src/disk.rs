//! Files that must survive a power cut.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::DeviceError;

/// Makes the folder of a file remember that the file is there: a new name is durable only with its folder.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), DeviceError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let in_folder = |source| DeviceError::File { path: folder.to_owned(), source };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(in_folder)
}

/// Replaces a small file: whoever reads it, at whatever instant the power goes, finds the old content or the new.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), DeviceError> {
    let beside = with_suffix(path, ".new");
    let in_file = |source| DeviceError::File { path: beside.clone(), source };
    let mut file = File::create(&beside).map_err(in_file)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(in_file)?;
    fs::rename(&beside, path).map_err(|source| DeviceError::File { path: path.to_owned(), source })?;
    sync_folder_of(path)
}

/// The path with something after its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
