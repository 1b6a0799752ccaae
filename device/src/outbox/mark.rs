//! The high-water mark: which numbers were ever sent, in a file of its own beside the outbox.
//!
//! A backup of the outbox that is put back does not know the numbers that were used since. Signing them again would say two things under
//! one number, for which the cloud suspends a device. The mark is raised before anything is sent; an outbox that is behind it is refused.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vitro_proof::PublicKey;

use crate::disk;
use crate::error::DeviceError;

/// The next number of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbers {
    /// Of telemetry.
    pub telemetry: u64,
    /// Of blocks.
    pub block: u64,
    /// Of replies.
    pub reply: u64,
}

impl Numbers {
    /// Whether no kind is behind the other's.
    fn covers(self, other: Self) -> bool {
        self.telemetry >= other.telemetry && self.block >= other.block && self.reply >= other.reply
    }
}

/// The file's content.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    public_key: PublicKey,
    next: Numbers,
}

/// The mark as it lies on the disk.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    public_key: PublicKey,
    next: Numbers,
}

impl Mark {
    /// Reads a mark, where there is one.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, DeviceError> {
        let text = match fs::read_to_string(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|source| DeviceError::File { path: path.to_owned(), source })?,
        };
        let damaged = |e| DeviceError::Damaged(format!("{}: {e}", path.display()));
        let Content { public_key, next } = serde_json::from_str(&text).map_err(damaged)?;
        Ok(Some(Self { path: path.to_owned(), public_key, next }))
    }

    /// Sets a mark where there was none.
    pub(super) fn set(path: &Path, public_key: &PublicKey, next: Numbers) -> Result<Self, DeviceError> {
        let mark = Self { path: path.to_owned(), public_key: *public_key, next };
        mark.write()?;
        Ok(mark)
    }

    /// Checks that an outbox of this key and these numbers is not behind.
    pub(super) fn check(&self, public_key: &PublicKey, next: Numbers) -> Result<(), DeviceError> {
        if self.public_key != *public_key {
            return Err(DeviceError::Damaged(format!("{} is of another key", self.path.display())));
        }
        if next.covers(self.next) {
            return Ok(());
        }
        Err(DeviceError::Behind { mark: self.path.clone(), sent: self.next, next })
    }

    /// Raises the mark to these numbers, durably. Numbers that it covers already cost nothing.
    pub(super) fn raise(&mut self, next: Numbers) -> Result<(), DeviceError> {
        if self.next.covers(next) {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.next, next);
        self.write().inspect_err(|_| self.next = before)
    }

    fn write(&self) -> Result<(), DeviceError> {
        let content = Content { public_key: self.public_key, next: self.next };
        let json = serde_json::to_vec(&content).map_err(|e| DeviceError::Damaged(e.to_string()))?;
        disk::replace(&self.path, &json)
    }
}
