//! What billing asks of the ledger, and the ledger behind Fabric's client.

use async_trait::async_trait;
use vitro_cloud::CloudError;
use vitro_cloud::clock::SystemClock;
use vitro_cloud::secrets::FromSecret;
use vitro_contract::calls::{self, Call};
use vitro_contract::{AgreementId, AgreementView, ContractError, Record, StatementHead, StatementView};
use vitro_ledger::{ConnectionProfile, Ledger, LedgerError};
use vitro_proof::{Hash, LocalDay};

/// Why a period was not closed.
#[derive(Debug, thiserror::Error)]
pub enum BillError {
    /// AWS. As retryable as it says.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The ledger. As retryable as it says.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger's answer cannot be read: client and contract do not fit. Terminal.
    #[error("the contract's answer: {0}")]
    Answer(#[from] ContractError),
    /// The request names no agreement, or only half a period. Terminal.
    #[error("the request: {0}")]
    Request(&'static str),
    /// Some of several periods were not closed; the others were. As retryable as the worst of them.
    #[error("{failed} of {periods} periods were not closed, the first because of this: {first}")]
    Some {
        /// How many failed.
        failed: usize,
        /// Of how many.
        periods: usize,
        /// The first failure.
        first: Box<BillError>,
    },
}

impl BillError {
    /// Whether the same request may succeed later without anybody changing anything.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Cloud(error) => error.retryable(),
            Self::Ledger(error) => error.retryable(),
            Self::Answer(_) | Self::Request(_) => false,
            Self::Some { first, .. } => first.retryable(),
        }
    }
}

/// The ledger as billing needs it.
#[async_trait]
pub trait LedgerPort: Send + Sync {
    /// Every agreement.
    ///
    /// # Errors
    /// [`BillError`].
    async fn agreements(&self) -> Result<Vec<AgreementView>, BillError>;

    /// An agreement's closed periods.
    ///
    /// # Errors
    /// [`BillError`].
    async fn statements(&self, agreement: &AgreementId) -> Result<Vec<StatementHead>, BillError>;

    /// A statement.
    ///
    /// # Errors
    /// [`BillError`].
    async fn statement(&self, id: Hash) -> Result<StatementView, BillError>;

    /// Closes a period and waits for the commit; both days are included.
    ///
    /// # Errors
    /// [`BillError`].
    async fn close(&self, agreement: &AgreementId, from: LocalDay, to: LocalDay) -> Result<StatementView, BillError>;
}

/// Fabric, by the connection profile in the operator's secret.
pub struct FabricLedger(FromSecret<Ledger, SystemClock>);

impl FabricLedger {
    /// The secret by its name.
    #[must_use]
    pub fn new(client: aws_sdk_secretsmanager::Client, secret: impl Into<String>) -> Self {
        let connect = |text: &str| {
            let profile = ConnectionProfile::from_json(text).map_err(|e| e.to_string())?;
            Ledger::from_profile(&profile).map_err(|e| e.to_string())
        };
        Self(FromSecret::new(client, secret, SystemClock, connect))
    }

    async fn call<T: Record>(&self, call: Call<T>) -> Result<T, BillError> {
        let ledger = self.0.get().await?;
        let payload = if call.is_query() {
            ledger.query(call.function, &call.args).await
        } else {
            ledger.submit(call.function, &call.args).await.map(|committed| committed.payload)
        };
        // A refusal may come from an identity that was renewed meanwhile.
        let payload = payload.inspect_err(|error| {
            if !error.retryable() {
                self.0.forget();
            }
        })?;
        Ok(call.read(&payload)?)
    }
}

#[async_trait]
impl LedgerPort for FabricLedger {
    async fn agreements(&self) -> Result<Vec<AgreementView>, BillError> {
        self.call(calls::agreements(None)).await
    }

    async fn statements(&self, agreement: &AgreementId) -> Result<Vec<StatementHead>, BillError> {
        self.call(calls::statements(agreement)).await
    }

    async fn statement(&self, id: Hash) -> Result<StatementView, BillError> {
        self.call(calls::statement(id)).await
    }

    async fn close(&self, agreement: &AgreementId, from: LocalDay, to: LocalDay) -> Result<StatementView, BillError> {
        self.call(calls::close(agreement, from, to)).await
    }
}
