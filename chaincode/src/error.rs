//! Why the chaincode does not run, or ends.

use thiserror::Error;

/// Why the chaincode does not run, or ends. A call's own refusals are [`vitro_contract::ContractError`]s, and go to the peer.
#[derive(Debug, Error)]
pub enum ChaincodeError {
    /// Environment and arguments name no way to run, or name it wrongly.
    #[error("settings: {0}")]
    Settings(String),
    /// A certificate or key is not usable.
    #[error("TLS: {0}")]
    Tls(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {detail}")]
    Listen {
        /// The address.
        address: String,
        /// What the system says.
        detail: String,
    },
    /// The peer cannot be reached, or refuses the chaincode.
    #[error("the peer at {address}: {detail}")]
    Peer {
        /// The peer's address.
        address: String,
        /// What went wrong.
        detail: String,
    },
    /// The server ended by itself.
    #[error("the server stopped: {0}")]
    Stopped(String),
}

impl ChaincodeError {
    /// Whether starting it again as it is may help.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Peer { .. } | Self::Listen { .. } | Self::Stopped(_) => true,
            Self::Settings(_) | Self::Tls(_) => false,
        }
    }
}
