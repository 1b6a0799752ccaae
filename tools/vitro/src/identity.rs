//! Identities of the ledger, with their keys: where they lie.

use std::path::PathBuf;
use std::str::FromStr;

use aws_sdk_secretsmanager::Client;
use serde::Deserialize;
use vitro_ledger::{ConnectionProfile, IdentityProfile};
use zeroize::Zeroizing;

use crate::cli::Global;
use crate::error::CliError;
use crate::{files, session};

/// Where an identity lies: in a file, or in a secret of Secrets Manager (`secret:NAME`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityPlace {
    /// A file that its owner alone can read.
    File(PathBuf),
    /// A secret, by its name or ARN.
    Secret(String),
}

impl FromStr for IdentityPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("secret:") {
            Some("") => Err("secret:NAME is needed".into()),
            Some(name) => Ok(Self::Secret(name.into())),
            None => Ok(Self::File(text.into())),
        }
    }
}

impl std::fmt::Display for IdentityPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Secret(name) => write!(f, "the secret {name}"),
        }
    }
}

/// What holds an identity.
pub enum Holder {
    /// The identity by itself.
    Identity(IdentityProfile),
    /// A connection profile.
    Profile(Box<ConnectionProfile>),
}

impl Holder {
    /// Reads an identity or a connection profile. No error quotes the text.
    ///
    /// # Errors
    /// [`CliError::Malformed`].
    pub fn from_json(what: &str, text: &str) -> Result<Self, CliError> {
        /// The one field by which a profile is told from an identity.
        #[derive(Deserialize)]
        struct Sketch {
            channel: Option<serde::de::IgnoredAny>,
        }
        let place = |error: serde_json::Error| {
            let detail = format!("line {}, column {}: not an identity or a profile", error.line(), error.column());
            CliError::malformed(what, detail)
        };
        let sketch: Sketch = serde_json::from_str(text).map_err(place)?;
        if sketch.channel.is_some() {
            let profile = ConnectionProfile::from_json(text).map_err(|error| CliError::malformed(what, error))?;
            return Ok(Self::Profile(Box::new(profile)));
        }
        serde_json::from_str(text).map(Self::Identity).map_err(place)
    }

    /// The identity.
    #[must_use]
    pub fn identity(&self) -> &IdentityProfile {
        match self {
            Self::Identity(identity) => identity,
            Self::Profile(profile) => &profile.identity,
        }
    }
}

/// Reads what lies at a place; nothing if there is nothing.
///
/// # Errors
/// [`CliError::File`], [`CliError::Aws`]; [`CliError::Refused`] if others can read the file.
pub async fn read_text(place: &IdentityPlace, global: &Global) -> Result<Option<Zeroizing<String>>, CliError> {
    match place {
        IdentityPlace::File(path) if !path.exists() => Ok(None),
        IdentityPlace::File(path) => files::read_secret(path).map(Some),
        IdentityPlace::Secret(name) => read_secret(&Client::new(&session::aws(global).await?), name).await,
    }
}

/// Reads the identity at a place.
///
/// # Errors
/// [`CliError::NotFound`] if there is none; [`CliError::File`], [`CliError::Aws`], [`CliError::Malformed`].
pub async fn read(place: &IdentityPlace, global: &Global) -> Result<Holder, CliError> {
    let text = read_text(place, global).await?;
    let text = text.ok_or_else(|| CliError::NotFound(format!("{place} holds no identity")))?;
    Holder::from_json(&place.to_string(), &text)
}

/// A secret's text; nothing if it is not there or has no value.
async fn read_secret(client: &Client, name: &str) -> Result<Option<Zeroizing<String>>, CliError> {
    let answer = client.get_secret_value().secret_id(name).send().await;
    match answer.map_err(|e| CliError::aws("GetSecretValue", &e)) {
        // A secret without a value answers as one that is not there; the local stack's with an empty one.
        Err(error) if error.aws_code() == Some("ResourceNotFoundException") => Ok(None),
        Err(error) => Err(error),
        Ok(answer) => {
            let text = answer.secret_string.map(Zeroizing::new).unwrap_or_default();
            Ok((!text.trim().is_empty()).then_some(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_taken_from_a_profile_and_by_itself() {
        let identity = serde_json::json!({ "msp": "RcMSP", "certificate_pem": "c", "key_pem": "hidden" });
        let node = |name: &str| serde_json::json!({ "name": name, "msp": "RcMSP", "address": "https://h:1", "tls_ca_pem": "" });
        let profile = serde_json::json!({
            "channel": "c", "chaincode": "vitro", "peers": [node("p")], "orderers": [node("o")],
            "endorsers": { "required": ["RcMSP"] }, "identity": identity,
        });
        for value in [identity, profile] {
            let holder = Holder::from_json("x", &value.to_string()).unwrap();
            assert_eq!(holder.identity().msp, "RcMSP");
            assert!(!format!("{:?}", holder.identity()).contains("hidden"));
        }
    }

    #[test]
    fn what_is_neither_is_told_without_its_text() {
        for text in [
            "",
            "hidden",
            r#"{"msp":"m","key_pem":["hidden"]}"#,
            r#"{"channel":"c","identity":{"key_pem":["hidden"]}}"#,
        ] {
            let error = Holder::from_json("x", text).err().unwrap();
            assert!(!format!("{error} {error:?}").contains("hidden"), "{error}");
        }
    }

    #[test]
    fn places_are_files_or_secrets() {
        assert_eq!("a/b.json".parse(), Ok(IdentityPlace::File("a/b.json".into())));
        assert_eq!("secret:a".parse(), Ok(IdentityPlace::Secret("a".into())));
        assert!("secret:".parse::<IdentityPlace>().is_err());
    }
}
