//! The operator's line to the ledger from a function: its connection profile is a secret, read at most every five minutes and read
//! again when the network refuses what it says.

use std::sync::Arc;

use async_trait::async_trait;
use vitro_cloud::Clock;
use vitro_cloud::secrets::FromSecret;
use vitro_ledger::{Committed, ConnectionProfile, Ledger, LedgerError};

use crate::channel::Channel;
use crate::error::ClientError;

/// A ledger found by a connection profile in Secrets Manager.
#[derive(Debug)]
pub struct SecretLedger<C>(FromSecret<Ledger, C>);

impl<C: Clock> SecretLedger<C> {
    /// The secret by its name.
    pub fn new(client: aws_sdk_secretsmanager::Client, secret: impl Into<String>, clock: C) -> Self {
        Self(FromSecret::new(client, secret, clock, connect, "vitro ledger put-secret"))
    }

    async fn ledger(&self) -> Result<Arc<Ledger>, ClientError> {
        self.0.get().await.map_err(ClientError::Profile)
    }

    /// Whether a newer profile may help. The caller tries once more with what it reads then.
    fn renew_after(&self, error: &ClientError) -> bool {
        let stale = speaks_of_identity(error);
        if stale {
            tracing::warn!(%error, "the ledger's profile is read again");
            self.0.forget();
        }
        stale
    }
}

fn connect(text: &str) -> Result<Ledger, String> {
    let profile = ConnectionProfile::from_json(text).map_err(|e| e.to_string())?;
    Ledger::from_profile(&profile).map_err(|e| e.to_string())
}

/// Whether the network, not the contract, refuses: a certificate that expired or was revoked, endpoints that moved.
fn speaks_of_identity(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Ledger(
            LedgerError::Refused { .. }
                | LedgerError::Denied(_)
                | LedgerError::NotEndorsed { .. }
                | LedgerError::Unavailable { .. }
                | LedgerError::NotOrdered { .. }
                | LedgerError::Key
                | LedgerError::Profile(_)
        )
    )
}

#[async_trait]
impl<C: Clock> Channel for SecretLedger<C> {
    async fn submit(&self, function: &str, args: &[Vec<u8>]) -> Result<Committed, ClientError> {
        // Nothing is tried again here: the caller's queue does that, with the profile that is read then.
        let result = Channel::submit(&*self.ledger().await?, function, args).await;
        if let Err(error) = &result {
            self.renew_after(error);
        }
        result
    }

    async fn query(&self, function: &str, args: &[Vec<u8>]) -> Result<Vec<u8>, ClientError> {
        let result = Channel::query(&*self.ledger().await?, function, args).await;
        if let Err(error) = &result {
            self.renew_after(error);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_is_none_is_told_without_its_text() {
        let error = connect(r#"{"identity":{"key_pem":"hidden"}}"#).unwrap_err();
        assert!(!error.contains("hidden"), "{error}");
    }

    #[test]
    fn only_the_networks_refusals_make_it_read_again() {
        let of = |error: LedgerError| speaks_of_identity(&ClientError::from(error));
        assert!(of(LedgerError::Refused { status: 500, message: "access denied".into() }));
        assert!(of(LedgerError::Denied(Default::default())));
        assert!(!of(LedgerError::Refused { status: 400, message: "forbidden: no".into() }));
        assert!(!of(LedgerError::OutcomeUnknown { tx_id: "t".into() }));
    }
}
