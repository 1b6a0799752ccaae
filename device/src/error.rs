//! What can go wrong with a device, and whether trying again helps.

use std::path::{Path, PathBuf};

use thiserror::Error;

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
}

impl DeviceError {
    pub(crate) fn key(path: &Path, why: &dyn std::fmt::Display) -> Self {
        Self::Key { path: path.to_owned(), why: why.to_string() }
    }

    /// Whether the same may succeed when it is tried again without a change.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::File { .. } | Self::Config(_) | Self::Recording { .. } | Self::Key { .. } => false,
        }
    }
}
