//! What can go wrong at the command line.

use std::path::{Path, PathBuf};

use aws_sdk_iot::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use thiserror::Error;
use vitro_client::ClientError;
use vitro_cloud::CloudError;
use vitro_proof::ProofError;

/// Everything that ends a command. Messages are for the person at the terminal and never hold a secret.
#[derive(Debug, Error)]
pub enum CliError {
    /// The arguments do not make sense together.
    #[error("{0}")]
    Usage(String),
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Standard output did not take what was printed.
    #[error("standard output: {0}")]
    Output(std::io::Error),
    /// A file or a text does not have the form it should have.
    #[error("{what}: {detail}")]
    Malformed {
        /// What was being read.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Doing this would break a rule; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// A CA issued a certificate that is not right. Terminal; the certificate is here, since the secret that it came by may be used up.
    #[error("{why}")]
    NotTaken {
        /// What is wrong with it.
        why: String,
        /// What came, in PEM if it is that at all.
        certificate: String,
    },
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// It is begun, and was not finished within the time that was given.
    #[error("{0}")]
    NotYet(String),
    /// A key, request or certificate could not be made or read.
    #[error("{what}: {detail}")]
    Certificate {
        /// What was being done.
        what: &'static str,
        /// What went wrong.
        detail: String,
    },
    /// A name, number or format that the proof crate refuses.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// One of the stack's stores refused or did not answer.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The ledger refused or did not answer.
    #[error(transparent)]
    Ledger(#[from] ClientError),
    /// An authority that is no AWS service refused or did not answer, or one did not do in time what it was asked for.
    #[error("{call}: {detail}")]
    Remote {
        /// What it was asked to do.
        call: &'static str,
        /// What it said.
        detail: String,
        /// Whether the same call may succeed later.
        retryable: bool,
    },
    /// AWS refused or did not answer.
    #[error("{call}: {detail}")]
    Aws {
        /// The operation.
        call: &'static str,
        /// The error code, where AWS gave one.
        code: Option<String>,
        /// What it said.
        detail: String,
        /// Whether the same call may succeed later.
        retryable: bool,
    },
}

impl CliError {
    /// A file's error.
    #[must_use]
    pub fn file(path: &Path, error: std::io::Error) -> Self {
        Self::File { path: path.to_owned(), error }
    }

    /// A certificate library's error.
    #[must_use]
    pub fn certificate(what: &'static str, error: rcgen::Error) -> Self {
        Self::Certificate { what, detail: error.to_string() }
    }

    /// Something malformed.
    #[must_use]
    pub fn malformed(what: impl Into<String>, detail: impl ToString) -> Self {
        Self::Malformed { what: what.into(), detail: detail.to_string() }
    }

    /// An AWS call's error.
    #[must_use]
    pub fn aws<E>(call: &'static str, error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let code = error.code().map(str::to_owned);
        let detail = match (&code, error.message()) {
            (Some(code), Some(message)) => format!("{message} ({code})"),
            (Some(code), None) => code.clone(),
            _ => DisplayErrorContext(error).to_string(),
        };
        let status = error.raw_response().map(|response| response.status().as_u16());
        let transport = matches!(error, SdkError::DispatchFailure(_) | SdkError::TimeoutError(_));
        let throttled = code.as_deref().is_some_and(|code| {
            code.contains("Throttl") || code.contains("LimitExceeded") || code == "ServiceUnavailableException"
        });
        let retryable = transport || throttled || status.is_some_and(|status| status >= 500 || status == 429);
        Self::Aws { call, code, detail, retryable }
    }

    /// The error code that AWS gave.
    #[must_use]
    pub fn aws_code(&self) -> Option<&str> {
        match self {
            Self::Aws { code, .. } => code.as_deref(),
            _ => None,
        }
    }

    /// Whether whoever read standard output has gone, as `head` does: no fault, and nobody to tell.
    #[must_use]
    pub fn is_closed_output(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// Whether the same command may succeed later, unchanged.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Aws { retryable, .. } | Self::Remote { retryable, .. } => *retryable,
            Self::NotYet(_) => true,
            Self::Ledger(error) => error.retryable(),
            Self::Cloud(error) => error.retryable() && !matches!(error, CloudError::NotFound(_)),
            _ => false,
        }
    }

    /// The process's exit code: 2 for arguments, 3 for what is not there, 75 (`EX_TEMPFAIL`) for what may succeed later, 1 for the rest.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::NotFound(_) | Self::Cloud(CloudError::NotFound(_)) => 3,
            Self::Ledger(error) if error.is_not_found() => 3,
            error if error.retryable() => 75,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn only_a_reader_that_has_gone_ends_quietly() {
        assert!(CliError::Output(ErrorKind::BrokenPipe.into()).is_closed_output());
        assert!(!CliError::Output(ErrorKind::StorageFull.into()).is_closed_output());
        assert!(!CliError::file(Path::new("pipe"), ErrorKind::BrokenPipe.into()).is_closed_output());
    }
}
