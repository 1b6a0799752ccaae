//! The customer's command key: in KMS, or in a file for development and for commands that are carried by hand.
//!
//! An alias names the key in use and another the one that follows it. What is signed names the very key that signed it, whatever the
//! alias points at meanwhile.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use aws_sdk_kms::error::ProvideErrorMetadata;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use vitro_proof::command::{Command, key_id};
use vitro_proof::crypto::{AwsLcKey, signature_from_der};
use vitro_proof::{CommandNumber, Envelope, PublicKey, Signer, UnixMillis};

use crate::clock::Clock;
use crate::config::StackName;
use crate::error::CloudError;
use crate::secrets::KEEP_MILLIS;

const SERVICE: &str = "kms";
/// The command that makes the key.
const REMEDY: &str = "vitro command-key new";

/// The alias of the key that commands are signed with.
#[must_use]
pub fn current_alias(stack: &StackName) -> String {
    format!("alias/{}", stack.resource("command-key"))
}

/// The alias of the key that follows it. Devices take commands of both.
#[must_use]
pub fn next_alias(stack: &StackName) -> String {
    format!("alias/{}", stack.resource("command-key-next"))
}

/// Signs commands. Where the private key lies is the implementation's business; it may be far away.
#[async_trait]
pub trait CommandSigner: Send + Sync {
    /// The command's envelope, signed, under the id of the key that signed it.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn seal(&self, command: &Command, number: CommandNumber) -> Result<Vec<u8>, CloudError>;
}

/// A key at hand: of a file.
pub struct LocalKey<S>(S);

impl<S: Signer + Send + Sync> LocalKey<S> {
    /// Signs with it.
    pub fn new(signer: S) -> Self {
        Self(signer)
    }
}

#[async_trait]
impl<S: Signer + Send + Sync> CommandSigner for LocalKey<S> {
    async fn seal(&self, command: &Command, number: CommandNumber) -> Result<Vec<u8>, CloudError> {
        Ok(command.seal(number, &key_id(&self.0.public_key()), &self.0)?)
    }
}

/// A public key as KMS gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsPublicKey {
    /// The key's ARN: unlike an alias, it always means the same key.
    pub arn: String,
    /// The point.
    pub public_key: PublicKey,
}

/// Reads the public half of a key in KMS by its id, ARN or alias.
///
/// # Errors
/// [`CloudError::Unset`] if there is no such key, [`CloudError::Damaged`] if it is not one of P-256.
pub async fn public_key(client: &aws_sdk_kms::Client, key: &str) -> Result<KmsPublicKey, CloudError> {
    let found = match client.get_public_key().key_id(key).send().await {
        Ok(found) => found,
        Err(error) if error.code() == Some("NotFoundException") => {
            return Err(CloudError::Unset { what: format!("{key} in KMS"), remedy: REMEDY });
        }
        Err(error) => return Err(CloudError::service(SERVICE, "GetPublicKey", error)),
    };
    let damaged = |detail: &str| CloudError::damaged(format!("the KMS key {key}"), detail);
    let spki = found.public_key.ok_or_else(|| damaged("it has no public half"))?;
    let public_key = PublicKey::from_spki_der(spki.as_ref()).map_err(|_| damaged("it is not a key of P-256"))?;
    Ok(KmsPublicKey { arn: found.key_id.ok_or_else(|| damaged("it has no ARN"))?, public_key })
}

/// A key as it was found behind its alias.
struct Found {
    arn: String,
    id: String,
    verifier: AwsLcKey,
}

/// A command key in KMS. What its alias points at is looked up at most every five minutes, and again when KMS does not sign with it.
pub struct KmsKey<C> {
    client: aws_sdk_kms::Client,
    alias: String,
    clock: C,
    kept: Mutex<Option<(UnixMillis, Arc<Found>)>>,
}

impl<C: Clock> KmsKey<C> {
    /// The key by its alias.
    pub fn new(client: aws_sdk_kms::Client, alias: impl Into<String>, clock: C) -> Self {
        Self { client, alias: alias.into(), clock, kept: Mutex::new(None) }
    }

    fn kept(&self) -> Option<Arc<Found>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (found_at, found) = kept.as_ref()?;
        // A clock that was set back makes it old, not young.
        (0..KEEP_MILLIS).contains(&(self.clock.now().0 - found_at.0)).then(|| Arc::clone(found))
    }

    async fn find(&self) -> Result<Arc<Found>, CloudError> {
        let KmsPublicKey { arn, public_key } = public_key(&self.client, &self.alias).await?;
        let found = Arc::new(Found { arn, id: key_id(&public_key), verifier: AwsLcKey::new(&public_key)? });
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some((self.clock.now(), Arc::clone(&found)));
        Ok(found)
    }

    async fn seal_with(&self, key: &Found, command: &Command, number: CommandNumber) -> Result<Vec<u8>, CloudError> {
        let unsigned = command.unsigned(number, &key.id);
        let signed = self
            .client
            .sign()
            .key_id(&key.arn)
            .message(Blob::new(unsigned.digest()))
            .message_type(MessageType::Digest)
            .signing_algorithm(SigningAlgorithmSpec::EcdsaSha256)
            .send()
            .await
            .map_err(|error| CloudError::service(SERVICE, "Sign", error))?;
        let damaged = |detail: &str| CloudError::damaged(format!("the signature of {}", key.arn), detail);
        let der = signed.signature.ok_or_else(|| damaged("it is not there"))?;
        let signature = signature_from_der(der.as_ref()).map_err(|error| damaged(&error.to_string()))?;
        let envelope = unsigned.sign(&signature);
        // A device would ignore it without a word, so it is not sent.
        let parsed = Envelope::parse(&envelope).map_err(|fault| damaged(&fault.to_string()))?;
        parsed.verify(&key.verifier).map_err(|_| damaged("it does not verify under the key's public half"))?;
        Ok(envelope)
    }
}

#[async_trait]
impl<C: Clock> CommandSigner for KmsKey<C> {
    async fn seal(&self, command: &Command, number: CommandNumber) -> Result<Vec<u8>, CloudError> {
        if let Some(key) = self.kept() {
            match self.seal_with(&key, command, number).await {
                // The key may have been replaced since it was looked up.
                Err(CloudError::Service { code, .. }) if is_out_of_use(&code) => {}
                sealed => return sealed,
            }
        }
        let key = self.find().await?;
        self.seal_with(&key, command, number).await
    }
}

/// Whether KMS says that the key itself cannot sign any more.
fn is_out_of_use(code: &str) -> bool {
    matches!(
        code,
        "DisabledException"
            | "KMSInvalidStateException"
            | "NotFoundException"
            | "KeyUnavailableException"
            | "AccessDeniedException"
    )
}

impl<C> fmt::Debug for KmsKey<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KmsKey({})", self.alias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_names_its_keys() {
        let stack = StackName::new("acme".parse().unwrap(), "dev").unwrap();
        assert_eq!(current_alias(&stack), "alias/vitro-acme-dev-command-key");
        assert_eq!(next_alias(&stack), "alias/vitro-acme-dev-command-key-next");
    }
}
