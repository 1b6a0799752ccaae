//! What carries a call to the contract.

use std::sync::Arc;

use async_trait::async_trait;
use vitro_ledger::{Committed, Ledger};

use crate::error::ClientError;

/// A way to the contract.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Calls in a transaction and waits until it is in the chain.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn submit(&self, function: &str, args: &[Vec<u8>]) -> Result<Committed, ClientError>;

    /// Asks without a transaction.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn query(&self, function: &str, args: &[Vec<u8>]) -> Result<Vec<u8>, ClientError>;
}

#[async_trait]
impl Channel for Ledger {
    async fn submit(&self, function: &str, args: &[Vec<u8>]) -> Result<Committed, ClientError> {
        Ok(Ledger::submit(self, function, args).await?)
    }

    async fn query(&self, function: &str, args: &[Vec<u8>]) -> Result<Vec<u8>, ClientError> {
        Ok(Ledger::query(self, function, args).await?)
    }
}

#[async_trait]
impl<C: Channel + ?Sized> Channel for Arc<C> {
    async fn submit(&self, function: &str, args: &[Vec<u8>]) -> Result<Committed, ClientError> {
        (**self).submit(function, args).await
    }

    async fn query(&self, function: &str, args: &[Vec<u8>]) -> Result<Vec<u8>, ClientError> {
        (**self).query(function, args).await
    }
}
