//! Why a call of the contract has no answer.

use thiserror::Error;
use vitro_cloud::CloudError;
use vitro_contract::{ContractError, code_of};
use vitro_ledger::LedgerError;

/// Why a call of the contract has no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The contract refused the call; nothing was submitted.
    #[error("the contract refuses: {message}")]
    Refused {
        /// The contract's stable code.
        code: String,
        /// Code and detail in the contract's words.
        message: String,
    },
    /// The ledger did not carry the call.
    #[error(transparent)]
    Ledger(LedgerError),
    /// The answer cannot be read: the contract there is of another version.
    #[error("the contract's answer cannot be read: {0}")]
    Answer(ContractError),
    /// The connection profile cannot be had.
    #[error(transparent)]
    Profile(CloudError),
}

impl ClientError {
    /// Whether the same call may succeed later without anybody changing it.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Refused { code, .. } => matches!(code.as_str(), "state" | "period_not_over" | "hour_not_over"),
            Self::Ledger(error) => error.retryable(),
            Self::Answer(_) => false,
            Self::Profile(error) => error.retryable(),
        }
    }

    /// Whether what was asked for is not on the ledger.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Refused { code, .. } => matches!(
                code.as_str(),
                "unknown_device"
                    | "unknown_point"
                    | "unknown_agreement"
                    | "agreement_not_active"
                    | "unknown_day"
                    | "unknown_block"
                    | "unknown_hour"
                    | "unknown_statement"
            ),
            Self::Ledger(error) => matches!(error, LedgerError::NotFound(_)),
            Self::Answer(_) | Self::Profile(_) => false,
        }
    }

    /// The contract's code, where it refused.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}

impl From<LedgerError> for ClientError {
    /// Tells the contract's own refusals from those of the network, which have no code.
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Refused { status, message } => match code_of(&message) {
                Some(code) => Self::Refused { code: code.to_owned(), message },
                None => Self::Ledger(LedgerError::Refused { status, message }),
            },
            error => Self::Ledger(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_refusals_have_its_codes() {
        let refused = |message: &str| ClientError::from(LedgerError::Refused { status: 500, message: message.into() });
        assert_eq!(refused("forbidden: rc may not call this").code(), Some("forbidden"));
        assert_eq!(refused("access denied for [mychannel]").code(), None);
        assert!(refused("period_not_over: 2026-01-02").retryable());
        assert!(refused("hour_not_over: 2026-01-02T10").retryable());
        assert!(!refused("forbidden: no").retryable());
        assert!(ClientError::from(LedgerError::OutcomeUnknown { tx_id: "t".into() }).retryable());
    }

    #[test]
    fn what_is_not_there_is_told_from_what_is_refused() {
        let refused = |message: &str| ClientError::from(LedgerError::Refused { status: 500, message: message.into() });
        for code in ["unknown_device", "unknown_day", "unknown_block", "unknown_hour", "unknown_statement"] {
            assert!(refused(&format!("{code}: x")).is_not_found(), "{code}");
        }
        assert!(!refused("forbidden: x").is_not_found());
        assert!(ClientError::from(LedgerError::NotFound("block 7".into())).is_not_found());
    }
}
