//! What can stop a development ledger.

use std::path::PathBuf;

use thiserror::Error;

/// Why the ledger does not start, or stopped.
#[derive(Debug, Error)]
pub enum DevledgerError {
    /// A file or folder cannot be used. Retryable once the disk is.
    #[error("{path}: {source}")]
    File {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Another process has the data directory. Retryable once it is gone.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// The chain on disk is damaged where no torn write can have done it. Terminal.
    #[error("the chain is damaged at byte {offset}: {detail}")]
    Damaged {
        /// Where in the file.
        offset: u64,
        /// What is wrong.
        detail: String,
    },
    /// The chain on disk is of an earlier edition of this program. Terminal.
    #[error("{0} was written by an earlier edition: remove the data directory")]
    Edition(PathBuf),
    /// A key or certificate cannot be made or read. Terminal.
    #[error("certificates: {0}")]
    Certificates(String),
    /// An address cannot be listened on. Retryable once it is free.
    #[error("{address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A server ended. Terminal.
    #[error("server: {0}")]
    Server(String),
    /// The system gives no randomness, or a signature cannot be made. Terminal.
    #[error("signing: {0}")]
    Signing(String),
}

impl DevledgerError {
    /// Whether starting again may succeed without anybody changing anything in the data directory.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::File { .. } | Self::InUse(_) | Self::Listen { .. })
    }

    /// A closure that names the path of an I/O error.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
