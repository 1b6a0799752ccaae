//! What can go wrong with a device, and whether trying again helps.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use thiserror::Error;
use vitro_proof::{LocalDay, ProofError, SignerError};

/// Why the agent could not do something.
#[derive(Debug, Error)]
pub enum DeviceError {
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration, or a file that it names, is not as `docs/device.md` has it.
    #[error("{0}")]
    Config(String),
    /// A recording, or the file that describes its columns, is wrong somewhere.
    #[error("{}, line {line}, column {column}: {why}", path.display())]
    Recording {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The column: its title in a CSV, its place in the line from 1 elsewhere.
        column: String,
        /// What is wrong.
        why: String,
    },
    /// The private key cannot be used.
    #[error("{}: {why}", path.display())]
    Key {
        /// Where it is.
        path: PathBuf,
        /// Why; never the key.
        why: String,
    },
    /// SQLite could not read or write the outbox.
    #[error("outbox: {0}")]
    Outbox(#[from] rusqlite::Error),
    /// Another process has the outbox open.
    #[error("{}: another process is this device", path.display())]
    InUse {
        /// The outbox.
        path: PathBuf,
    },
    /// The outbox belongs to another thing or to another key: a device is its key, and its numbers count under it.
    #[error("{}: the outbox of {owner} under another name or key", path.display())]
    ForeignOutbox {
        /// The outbox.
        path: PathBuf,
        /// The thing that it belongs to.
        owner: String,
    },
    /// The outbox holds something that it never should, or lacks something.
    #[error("the outbox is damaged: {0}")]
    Damaged(String),
    /// The day has its block, or a later day has begun: nothing can be added to it.
    #[error("{0} is over: nothing can be added to it")]
    DayClosed(LocalDay),
    /// A block cannot be sealed: the cloud would refuse it.
    #[error("the block cannot be sealed: {0}")]
    Block(String),
    /// The operating system gives no randomness.
    #[error("no randomness: {0}")]
    Randomness(String),
    /// The key store does not sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The connection could not be made, or it broke.
    #[error("{0}")]
    Connection(std::io::Error),
    /// The broker refused something, was silent for too long, or broke the protocol.
    #[error("{0}")]
    Broker(String),
    /// A name, number or day is not as the formats have it.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl DeviceError {
    pub(crate) fn key(path: &Path, why: &dyn std::fmt::Display) -> Self {
        Self::Key { path: path.to_owned(), why: why.to_string() }
    }

    /// Whether the same may succeed when it is tried again without a change.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Outbox(e) => matches!(
                e.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull)
            ),
            Self::InUse { .. } | Self::Connection(_) | Self::Broker(_) | Self::Signer(_) => true,
            Self::File { .. }
            | Self::Config(_)
            | Self::Recording { .. }
            | Self::Key { .. }
            | Self::ForeignOutbox { .. }
            | Self::Damaged(_)
            | Self::DayClosed(_)
            | Self::Block(_)
            | Self::Randomness(_)
            | Self::Proof(_) => false,
        }
    }
}
