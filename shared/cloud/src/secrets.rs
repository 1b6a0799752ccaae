//! What is made from a secret: read once, kept for five minutes, read again when it was refused.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
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
    remedy: &'static str,
    kept: Mutex<Option<(UnixMillis, Arc<T>)>>,
}

impl<T, C: Clock> FromSecret<T, C> {
    /// The secret by its name, what is made of it, and the command that puts its value there.
    pub fn new(
        client: aws_sdk_secretsmanager::Client,
        secret: impl Into<String>,
        clock: C,
        make: Make<T>,
        remedy: &'static str,
    ) -> Self {
        Self { client, secret: secret.into(), clock, make, remedy, kept: Mutex::new(None) }
    }

    /// What the secret makes, possibly of a text that was read before.
    ///
    /// # Errors
    /// [`CloudError::Service`] if it cannot be read, [`CloudError::Unset`] if it has no value, [`CloudError::Damaged`] if nothing can be made of it.
    pub async fn get(&self) -> Result<Arc<T>, CloudError> {
        if let Some(kept) = self.fresh() {
            return Ok(kept);
        }
        let found = match self.client.get_secret_value().secret_id(&self.secret).send().await {
            Ok(found) => found,
            // A secret without a value answers as one that is not there.
            Err(error) if error.code() == Some("ResourceNotFoundException") => return Err(self.unset()),
            Err(error) => return Err(CloudError::service("secretsmanager", "GetSecretValue", error)),
        };
        let text = found.secret_string().ok_or_else(|| CloudError::damaged(self.what(), "it is no text"))?;
        if text.trim().is_empty() {
            return Err(self.unset());
        }
        let made = Arc::new((self.make)(text).map_err(|e| CloudError::damaged(self.what(), e))?);
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some((self.clock.now(), made.clone()));
        Ok(made)
    }

    fn what(&self) -> String {
        format!("the secret {}", self.secret)
    }

    fn unset(&self) -> CloudError {
        CloudError::Unset { what: self.what(), remedy: self.remedy }
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
