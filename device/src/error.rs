//! What can go wrong with a device, and whether trying again helps.

use std::path::PathBuf;

use rusqlite::ErrorCode;
use thiserror::Error;
use vitro_proof::{LocalDay, ProofError, SignerError};

use crate::outbox::Numbers;

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
    #[error("{key}: {why}")]
    Key {
        /// Where it is.
        key: String,
        /// Why; never the key.
        why: String,
    },
    /// The token refuses the PIN. It is not asked again: after a few times it would lock itself.
    #[error("token {token:?} refuses the PIN")]
    Pin {
        /// The token's label.
        token: String,
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
    /// The outbox lacks what was sent already: an older copy of it was put back.
    #[error(
        "the outbox is behind {}: it goes on with {next:?}, but what was sent went up to {sent:?}. An older copy was put back; under this \
         key it would say other things under used numbers. Put the newest one back, or make a new device",
        mark.display()
    )]
    Behind {
        /// The high-water mark.
        mark: PathBuf,
        /// The next numbers by the mark.
        sent: Numbers,
        /// The next numbers by the outbox.
        next: Numbers,
    },
    /// The high-water mark of an outbox is gone, so nobody can tell whether the outbox is the newest.
    #[error("{}: the outbox's high-water mark is not there", path.display())]
    NoMark {
        /// Where it should be.
        path: PathBuf,
    },
    /// A line of the input is not as `docs/device.md` has it.
    #[error("line {line}: {why}")]
    Line {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        why: String,
    },
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
    pub(crate) fn key(key: &dyn std::fmt::Display, why: &dyn std::fmt::Display) -> Self {
        Self::Key { key: key.to_string(), why: why.to_string() }
    }

    /// Whether the same may succeed when it is tried again without a change.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Outbox(e) => matches!(
                e.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull)
            ),
            Self::File { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            Self::InUse { .. } | Self::Connection(_) | Self::Broker(_) | Self::Signer(_) => true,
            Self::Config(_)
            | Self::Recording { .. }
            | Self::Key { .. }
            | Self::Pin { .. }
            | Self::ForeignOutbox { .. }
            | Self::Damaged(_)
            | Self::Behind { .. }
            | Self::NoMark { .. }
            | Self::Line { .. }
            | Self::DayClosed(_)
            | Self::Block(_)
            | Self::Randomness(_)
            | Self::Proof(_) => false,
        }
    }
}
