//! The data-proxy keys that devices encrypt confidential telemetry for, from Secrets Manager.
//!
//! Two secrets have one form. `P-data-proxy` holds the keys in use: the current one, the next one, and former ones that devices may
//! still encrypt for. `P-data-proxy-retired` holds those that nobody shall encrypt for any more; they stay as long as their
//! ciphertext does, and only the audit path may read them. The command line writes both ([`KeyRing::write`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vitro_proof::confidential::{AwsLcDataKey, DataKeys, Unseal};
use vitro_proof::{DataKeyId, UnixMillis};
use zeroize::{Zeroize, Zeroizing};

use crate::clock::Clock;
use crate::error::CloudError;
use crate::secrets::FromSecret;

/// The command that puts a first value into the secret.
const REMEDY: &str = "vitro data-key new";
/// Secrets are read again for an id that they did not hold at most so often, in milliseconds: anybody with a device can name one.
const ASK_AGAIN_MILLIS: i64 = 30_000;

/// What a key in a secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Devices encrypt for it.
    Current,
    /// Devices will encrypt for it after the next rotation; readers know it by then.
    Next,
    /// Devices that were not told of the rotation encrypt for it still.
    Former,
    /// Nobody shall encrypt for it any more.
    Retired,
}

impl KeyState {
    /// The word as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Next => "next",
            Self::Former => "former",
            Self::Retired => "retired",
        }
    }
}

/// A private data-proxy key as it lies in a secret. Wiped when dropped, and never shown.
#[derive(Clone)]
pub struct StoredKey {
    /// Its id.
    pub id: DataKeyId,
    /// What it is for.
    pub state: KeyState,
    /// The private scalar, 32 bytes, big-endian.
    pub scalar: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredKey({} {})", self.id, self.state.as_str())
    }
}

/// The keys of one secret, in their order there.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    /// The keys; no id occurs twice.
    pub keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRing {
    keys: Vec<WireKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireKey {
    id: DataKeyId,
    state: KeyState,
    private_key: String,
}

impl Drop for WireKey {
    fn drop(&mut self) {
        self.private_key.zeroize();
    }
}

impl KeyRing {
    /// Reads a secret's text.
    ///
    /// # Errors
    /// What is wrong with it, without any of its content.
    pub fn read(text: &str) -> Result<Self, String> {
        // serde_json's messages repeat what they stumble over: only the place is told.
        let wire: WireRing = serde_json::from_str(text)
            .map_err(|error| format!("no list of keys at line {} column {}", error.line(), error.column()))?;
        let mut keys: Vec<StoredKey> = Vec::with_capacity(wire.keys.len());
        for key in &wire.keys {
            let mut scalar = Zeroizing::new([0; 32]);
            hex::decode_to_slice(key.private_key.as_bytes(), &mut *scalar)
                .map_err(|_| format!("key {} has not 32 bytes in hex", key.id))?;
            if keys.iter().any(|known| known.id == key.id) {
                return Err(format!("key {} stands twice", key.id));
            }
            keys.push(StoredKey { id: key.id.clone(), state: key.state, scalar });
        }
        Ok(Self { keys })
    }

    /// Writes a secret's text.
    ///
    /// # Errors
    /// [`CloudError::BadMessage`] if it cannot be written as JSON.
    pub fn write(&self) -> Result<Zeroizing<String>, CloudError> {
        let keys = self.keys.iter().map(|key| WireKey {
            id: key.id.clone(),
            state: key.state,
            private_key: hex::encode(key.scalar.as_slice()),
        });
        serde_json::to_string(&WireRing { keys: keys.collect() })
            .map(Zeroizing::new)
            .map_err(|e| CloudError::BadMessage { what: "data-proxy keys", detail: e.to_string() })
    }

    /// The key in a state, the first of several.
    #[must_use]
    pub fn of(&self, state: KeyState) -> Option<&StoredKey> {
        self.keys.iter().find(|key| key.state == state)
    }
}

/// Keys that are ready to decrypt with.
#[derive(Default)]
pub struct Parsed(BTreeMap<DataKeyId, AwsLcDataKey>);

impl Parsed {
    /// Reads a secret's text.
    ///
    /// # Errors
    /// What is wrong with it, without any of its content.
    pub fn read(text: &str) -> Result<Self, String> {
        let ring = KeyRing::read(text)?;
        let parse = |key: StoredKey| match AwsLcDataKey::from_scalar(&key.scalar) {
            Ok(parsed) => Ok((key.id, parsed)),
            Err(_) => Err(format!("key {} is no key of P-256", key.id)),
        };
        ring.keys.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }
}

/// The keys of several secrets, as they were read last.
#[derive(Clone, Default)]
pub struct KnownKeys(Vec<Arc<Parsed>>);

impl DataKeys for KnownKeys {
    fn data_key(&self, id: &str) -> Option<&dyn Unseal> {
        self.0.iter().find_map(|parsed| parsed.0.data_key(id))
    }
}

impl fmt::Debug for KnownKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().flat_map(|parsed| parsed.0.keys())).finish()
    }
}

/// Where the data-proxy keys come from.
#[async_trait]
pub trait DataKeySource: Send + Sync {
    /// The keys, those of these ids among them if there are any. Nothing is read where no id is asked for.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn keys(&self, ids: &BTreeSet<String>) -> Result<KnownKeys, CloudError>;
}

/// The keys in Secrets Manager, kept for five minutes and read again for an unknown id.
#[derive(Debug)]
pub struct SecretDataKeys<C> {
    secrets: Vec<FromSecret<Parsed, C>>,
    clock: C,
    /// When secrets were last read again for an unknown id.
    asked: Mutex<Option<UnixMillis>>,
}

impl<C: Clock + Clone> SecretDataKeys<C> {
    /// The secrets by their names; the reader's role must allow all of them.
    pub fn new(client: &aws_sdk_secretsmanager::Client, secrets: &[String], clock: C) -> Self {
        let of = |name: &String| FromSecret::new(client.clone(), name, clock.clone(), Parsed::read, REMEDY);
        Self { secrets: secrets.iter().map(of).collect(), asked: Mutex::new(None), clock }
    }
}

impl<C: Clock> SecretDataKeys<C> {
    /// A secret without a value holds no keys: an installation may have none, or none that are retired.
    async fn read(&self) -> Result<KnownKeys, CloudError> {
        let mut known = KnownKeys::default();
        for secret in &self.secrets {
            match secret.get().await {
                Ok(parsed) => known.0.push(parsed),
                Err(CloudError::Unset { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(known)
    }

    /// Whether secrets may be read again for an unknown id now.
    fn may_ask(&self) -> bool {
        let now = self.clock.now();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back asks again.
        let is_recent = asked.is_some_and(|asked| (0..ASK_AGAIN_MILLIS).contains(&(now.0 - asked.0)));
        if !is_recent {
            *asked = Some(now);
        }
        !is_recent
    }
}

#[async_trait]
impl<C: Clock> DataKeySource for SecretDataKeys<C> {
    async fn keys(&self, ids: &BTreeSet<String>) -> Result<KnownKeys, CloudError> {
        if ids.is_empty() {
            return Ok(KnownKeys::default());
        }
        let known = self.read().await?;
        if ids.iter().all(|id| known.data_key(id).is_some()) || !self.may_ask() {
            return Ok(known);
        }
        self.secrets.iter().for_each(FromSecret::forget);
        self.read().await
    }
}

/// The keys of a secret's text, for tests and whoever has one.
///
/// # Errors
/// What is wrong with it.
pub fn fixed(text: &str) -> Result<KnownKeys, String> {
    Ok(KnownKeys(vec![Arc::new(Parsed::read(text)?)]))
}

#[async_trait]
impl DataKeySource for KnownKeys {
    async fn keys(&self, _: &BTreeSet<String>) -> Result<KnownKeys, CloudError> {
        Ok(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> KeyRing {
        let key =
            |id: &str, state, byte| StoredKey { id: id.parse().unwrap(), state, scalar: Zeroizing::new([byte; 32]) };
        KeyRing { keys: vec![key("a", KeyState::Current, 1), key("b", KeyState::Next, 2)] }
    }

    #[test]
    fn a_secret_comes_back_and_shows_no_key() {
        let text = ring().write().unwrap();
        let again = KeyRing::read(&text).unwrap();
        assert_eq!(again.write().unwrap(), text);
        assert_eq!(again.of(KeyState::Next).unwrap().id.as_str(), "b");
        assert!(again.of(KeyState::Retired).is_none());
        let known = fixed(&text).unwrap();
        assert!(known.data_key("a").is_some() && known.data_key("c").is_none() && known.data_key("!").is_none());
        for shown in [format!("{again:?}"), format!("{known:?}")] {
            assert!(!shown.contains("0101"), "{shown}");
        }
    }

    #[test]
    fn a_damaged_secret_is_told_without_its_content() {
        let good = ring().write().unwrap().to_string();
        let secret = "01".repeat(32);
        for bad in [
            good.replace(&secret, &secret[2..]),
            good.replace(&secret, &"00".repeat(32)),
            good.replace("\"b\"", "\"a\""),
            good.replace("current", "other"),
            good.replace("private_key", "key"),
            format!("\"{secret}\""),
            String::new(),
        ] {
            let error = fixed(&bad).unwrap_err();
            assert!(!error.contains("0101"), "{error}");
        }
    }
}
