//! What no further attempt mends: it is parked for an operator. What may go better later is not among it.

use thiserror::Error;
use vitro_client::ClientError;
use vitro_cloud::CloudError;
use vitro_proof::Reason;

/// A step that did not work.
#[derive(Debug, Error)]
pub(crate) enum Stop {
    /// No further attempt mends it.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A store may go better later.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// So may the ledger.
    #[error(transparent)]
    Ledger(ClientError),
}

/// Why a status cannot be applied.
#[derive(Debug, Error)]
pub enum Fault {
    /// The registry has no such device.
    #[error("the registry has no such device")]
    UnknownDevice,
    /// The device is active, and AWS IoT does not have its certificate.
    #[error("AWS IoT has no certificate {0}")]
    CertificateMissing(String),
    /// The device is active, and its newest certificate is revoked in AWS IoT.
    #[error("the certificate {0} is revoked in AWS IoT: the device needs another one")]
    CertificateRevoked(String),
    /// AWS IoT does not let the certificate's status be changed.
    #[error("AWS IoT does not change the certificate {id}: {detail}")]
    CertificateStuck {
        /// Its id.
        id: String,
        /// What AWS IoT says.
        detail: String,
    },
    /// The contract refuses what the registry says.
    #[error("the ledger refuses it: {message}")]
    LedgerRefuses {
        /// Code and detail in the contract's words.
        message: String,
    },
}

impl Reason for Fault {
    fn reason(&self) -> &'static str {
        match self {
            Self::UnknownDevice => "status_unknown_device",
            Self::CertificateMissing(_) => "status_certificate_missing",
            Self::CertificateRevoked(_) => "status_certificate_revoked",
            Self::CertificateStuck { .. } => "status_certificate_stuck",
            Self::LedgerRefuses { .. } => "status_ledger_refuses",
        }
    }
}
