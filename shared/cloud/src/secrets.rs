//! What is made from a secret: read once, kept for five minutes, read again when it was refused.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use vitro_proof::UnixMillis;

use crate::clock::Clock;
use crate::error::CloudError;

/// How long what was made from a secret is used before the secret is read again, in milliseconds.
pub const KEEP_MILLIS: i64 = 5 * 60 * 1000;

/// Makes something of a secret's text. Its error must not repeat the text.
pub type Make<T> = fn(&str) -> Result<T, String>;

/// Something made from a secret in Secrets Manager.
pub struct FromSecret<T, C> {
    client: aws_sdk_secretsmanager::Client,
    secret: String,
    clock: C,
    make: Make<T>,
    kept: Mutex<Option<(UnixMillis, Arc<T>)>>,
}

impl<T, C: Clock> FromSecret<T, C> {
    /// The secret by its name, and what is made of it.
    pub fn new(client: aws_sdk_secretsmanager::Client, secret: impl Into<String>, clock: C, make: Make<T>) -> Self {
        Self { client, secret: secret.into(), clock, make, kept: Mutex::new(None) }
    }

    /// What the secret makes, possibly of a text that was read before.
    ///
    /// # Errors
    /// [`CloudError::Service`] if it cannot be read, [`CloudError::Damaged`] if nothing can be made of it.
    pub async fn get(&self) -> Result<Arc<T>, CloudError> {
        if let Some(kept) = self.fresh() {
            return Ok(kept);
        }
        let found = self
            .client
            .get_secret_value()
            .secret_id(&self.secret)
            .send()
            .await
            .map_err(|e| CloudError::service("secretsmanager", "GetSecretValue", e))?;
        let what = || format!("the secret {}", self.secret);
        let text = found.secret_string().ok_or_else(|| CloudError::damaged(what(), "it is no text"))?;
        let made = Arc::new((self.make)(text).map_err(|e| CloudError::damaged(what(), e))?);
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some((self.clock.now(), made.clone()));
        Ok(made)
    }

    /// Reads the secret again next time: what it made was refused.
    pub fn forget(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn fresh(&self) -> Option<Arc<T>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (read, made) = kept.as_ref()?;
        (self.clock.now().0.saturating_sub(read.0) < KEEP_MILLIS).then(|| made.clone())
    }
}

impl<T, C> fmt::Debug for FromSecret<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FromSecret({})", self.secret)
    }
}
