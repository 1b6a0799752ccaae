//! What can go wrong on the way to AWS, and whether trying again helps.

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use vitro_proof::ProofError;

/// Why an adapter did not do what it was asked to do.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// A service refused, failed, or could not be reached.
    #[error("{service} {operation}: {detail}")]
    Service {
        /// The service, for example `dynamodb`.
        service: &'static str,
        /// The operation, for example `Query`.
        operation: &'static str,
        /// The service's error code; empty if it did not answer.
        code: String,
        /// What it said, with its causes.
        detail: String,
    },
    /// Something that must be there is not.
    #[error("{0} is not there")]
    NotFound(String),
    /// A secret that was created without a value and still has none.
    #[error("{what} holds no value yet: `{remedy}` puts it there")]
    Unset {
        /// Which secret.
        what: String,
        /// The command that puts the value there.
        remedy: &'static str,
    },
    /// A stored item or object does not have the form that we write.
    #[error("{what} is damaged: {detail}")]
    Damaged {
        /// Which item or object.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// An item of this name is there already.
    #[error("{0} is there already")]
    Exists(String),
    /// A rule of the registry forbids it.
    #[error("{0}")]
    Refused(String),
    /// A service kept taking only part of a batch: it is throttled.
    #[error("{service} {operation}: part of the batch was left undone after {attempts} attempts")]
    Unprocessed {
        /// The service.
        service: &'static str,
        /// The operation.
        operation: &'static str,
        /// How often it was tried.
        attempts: u32,
    },
    /// Others kept changing an item while we tried to.
    #[error("{0} kept changing")]
    Contended(String),
    /// An environment variable is missing or malformed.
    #[error("{name}: {detail}")]
    Config {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// An event or a queue's message that cannot be read.
    #[error("unreadable {what}: {detail}")]
    BadMessage {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A rule of the formats.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// A key store did not sign.
    #[error(transparent)]
    Signer(#[from] vitro_proof::SignerError),
}

impl CloudError {
    /// Whether the same call may succeed later. What a service answers with is tried again unless it says that the request itself
    /// is wrong: queues bound the attempts, and a permission that is repaired meanwhile loses nothing.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Service { code, .. } => !matches!(code.as_str(), "ValidationException" | "InvalidParameterValue"),
            Self::Unprocessed { .. }
            | Self::Contended(_)
            | Self::Signer(_)
            | Self::NotFound(_)
            | Self::Unset { .. }
            | Self::Config { .. } => true,
            Self::Exists(_) | Self::Refused(_) | Self::Damaged { .. } | Self::BadMessage { .. } | Self::Proof(_) => {
                false
            }
        }
    }

    /// Wraps what an AWS client answered.
    pub fn service<E, R>(service: &'static str, operation: &'static str, error: SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug + 'static,
    {
        let code = error.code().unwrap_or_default().to_owned();
        Self::Service { service, operation, code, detail: DisplayErrorContext(&error).to_string() }
    }

    /// A stored thing that does not have our form.
    pub fn damaged(what: impl Into<String>, detail: impl ToString) -> Self {
        Self::Damaged { what: what.into(), detail: detail.to_string() }
    }
}
