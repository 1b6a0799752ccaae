//! What publishing asks of the ledger, and the ledger behind Fabric's client.

use async_trait::async_trait;
use vitro_cloud::CloudError;
use vitro_cloud::clock::SystemClock;
use vitro_cloud::secrets::FromSecret;
use vitro_contract::calls::{self, Call};
use vitro_contract::{ContractError, DayView, Item, Record, Verdict};
use vitro_ledger::{ConnectionProfile, Ledger, LedgerError};
use vitro_proof::{DeviceId, LocalDay};

/// Why something was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// AWS. As retryable as it says.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The ledger. As retryable as it says.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger's answer cannot be read: client and contract do not fit. Terminal.
    #[error("the contract's answer: {0}")]
    Answer(#[from] ContractError),
    /// The contract gave another number of verdicts than it was given items. Terminal.
    #[error("{verdicts} verdicts for {items} items")]
    Verdicts {
        /// Items given.
        items: usize,
        /// Verdicts answered.
        verdicts: usize,
    },
    /// The contract cannot accept the item yet. Retryable.
    #[error("not yet: {0}")]
    NotYet(String),
}

impl PublishError {
    /// Whether the same message may succeed later without anybody changing anything.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Cloud(error) => error.retryable(),
            Self::Ledger(error) => error.retryable(),
            Self::NotYet(_) => true,
            Self::Answer(_) | Self::Verdicts { .. } => false,
        }
    }
}

/// What a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The transaction.
    pub tx: String,
    /// A verdict an item.
    pub verdicts: Vec<Verdict>,
}

/// The ledger as publishing needs it.
#[async_trait]
pub trait LedgerPort: Send + Sync {
    /// Publishes items in one transaction and waits for its commit.
    ///
    /// # Errors
    /// [`PublishError`].
    async fn publish(&self, items: &[Item]) -> Result<Published, PublishError>;

    /// What the ledger has of a day.
    ///
    /// # Errors
    /// [`PublishError`].
    async fn day(&self, thing: &DeviceId, day: LocalDay) -> Result<DayView, PublishError>;
}

/// Fabric, by the connection profile in the operator's secret.
pub struct FabricLedger(FromSecret<Ledger, SystemClock>);

/// Makes a client of a connection profile in JSON. The errors name no secret.
///
/// # Errors
/// What is wrong with the profile.
pub fn connect(profile: &str) -> Result<Ledger, String> {
    let profile = ConnectionProfile::from_json(profile).map_err(|e| e.to_string())?;
    Ledger::from_profile(&profile).map_err(|e| e.to_string())
}

impl FabricLedger {
    /// The secret by its name.
    #[must_use]
    pub fn new(client: aws_sdk_secretsmanager::Client, secret: impl Into<String>) -> Self {
        Self(FromSecret::new(client, secret, SystemClock, connect))
    }

    async fn query<T: Record>(&self, call: &Call<T>) -> Result<T, PublishError> {
        let ledger = self.0.get().await?;
        let payload = ledger.query(call.function, &call.args).await.inspect_err(|e| self.refused(e))?;
        Ok(call.read(&payload)?)
    }

    /// A refusal may come from an identity that was renewed meanwhile.
    fn refused(&self, error: &LedgerError) {
        if !error.retryable() {
            self.0.forget();
        }
    }
}

#[async_trait]
impl LedgerPort for FabricLedger {
    async fn publish(&self, items: &[Item]) -> Result<Published, PublishError> {
        let call = calls::publish(items);
        let ledger = self.0.get().await?;
        let committed = ledger.submit(call.function, &call.args).await.inspect_err(|e| self.refused(e))?;
        let verdicts = call.read(&committed.payload)?;
        if verdicts.len() != items.len() {
            return Err(PublishError::Verdicts { items: items.len(), verdicts: verdicts.len() });
        }
        Ok(Published { tx: committed.tx_id, verdicts })
    }

    async fn day(&self, thing: &DeviceId, day: LocalDay) -> Result<DayView, PublishError> {
        self.query(&calls::day(thing, day)).await
    }
}
