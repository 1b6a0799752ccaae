//! Identities of the ledger, with their keys: where they lie.

use std::path::PathBuf;
use std::str::FromStr;

use aws_sdk_secretsmanager::Client;
use serde::Deserialize;
use vitro_ledger::{ClientTls, ConnectionProfile, IdentityProfile};
use zeroize::Zeroizing;

use crate::cli::Global;
use crate::error::CliError;
use crate::{files, pki, session};

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

    /// What a profile shows to nodes that want to know who connects.
    #[must_use]
    pub fn client_tls(&self) -> Option<&ClientTls> {
        match self {
            Self::Identity(_) => None,
            Self::Profile(profile) => profile.client_tls.as_ref(),
        }
    }

    /// The same, where an identity is itself a certificate for TLS, as `ledger enroll --enrollment-profile tls` gives one.
    ///
    /// # Errors
    /// [`CliError::Refused`] if there is none, or without its key.
    pub fn as_client_tls(&self) -> Result<ClientTls, CliError> {
        let found = match self {
            Self::Profile(profile) => profile.client_tls.clone(),
            Self::Identity(identity) => identity
                .key_pem
                .clone()
                .map(|key_pem| ClientTls { certificate_pem: identity.certificate_pem.clone(), key_pem }),
        };
        found.ok_or_else(|| CliError::Refused("--client-tls names no certificate for TLS with its key".into()))
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

/// A place for an identity, and what lies there.
pub struct Slot {
    place: IdentityPlace,
    held: Held,
}

enum Held {
    Nothing,
    Holder(Holder),
    Other(CliError),
}

impl Slot {
    /// Looks at what lies there.
    ///
    /// # Errors
    /// [`CliError::File`], [`CliError::Aws`]; [`CliError::Refused`] if others can read the file.
    pub async fn open(place: &IdentityPlace, global: &Global) -> Result<Self, CliError> {
        let held = match read_text(place, global).await? {
            None => Held::Nothing,
            Some(text) => match Holder::from_json(&place.to_string(), &text) {
                Ok(holder) => Held::Holder(holder),
                Err(error) => Held::Other(error),
            },
        };
        Ok(Self { place: place.clone(), held })
    }

    /// Whether an identity of this MSP and name may go there: where there is nothing, or the same one with another certificate.
    ///
    /// # Errors
    /// [`CliError::Refused`] if something else is there and shall not be `replace`d.
    pub fn admits(&self, msp: &str, name: &str, replace: bool) -> Result<(), CliError> {
        let there = match &self.held {
            Held::Holder(holder) => {
                let held = holder.identity();
                let known = pki::read_certificate(&held.certificate_pem).map(|facts| facts.name).unwrap_or_default();
                if held.msp == msp && known == name {
                    return Ok(());
                }
                format!("it holds {known} of {}", held.msp)
            }
            Held::Nothing => return Ok(()),
            Held::Other(error) => error.to_string(),
        };
        if replace {
            return Ok(());
        }
        Err(CliError::Refused(format!("{}: {there}, and is replaced only with --replace", self.place)))
    }

    /// Puts an identity there; where a connection profile is, it becomes the profile's. A secret keeps its former version.
    ///
    /// # Errors
    /// [`CliError::File`], [`CliError::Aws`].
    pub async fn put(self, identity: IdentityProfile, global: &Global) -> Result<(), CliError> {
        let text = match self.held {
            Held::Holder(Holder::Profile(mut profile)) => {
                profile.identity = identity;
                serde_json::to_string_pretty(&profile)
            }
            _ => serde_json::to_string_pretty(&identity),
        };
        let text = Zeroizing::new(text.map_err(|e| CliError::malformed("the identity", e))? + "\n");
        write_text(&self.place, &text, global).await
    }
}

/// Writes to a place, whatever lies there.
///
/// # Errors
/// [`CliError::File`], [`CliError::Aws`].
pub async fn write_text(place: &IdentityPlace, text: &str, global: &Global) -> Result<(), CliError> {
    let name = match place {
        IdentityPlace::File(path) => return files::replace_secret(path, text),
        IdentityPlace::Secret(name) => name,
    };
    let client = Client::new(&session::aws(global).await?);
    let put = client.put_secret_value().secret_id(name).secret_string(text).send().await;
    match put.map_err(|e| CliError::aws("PutSecretValue", &e)) {
        Err(error) if error.aws_code() == Some("ResourceNotFoundException") => {
            let made = client.create_secret().name(name).secret_string(text).send().await;
            made.map(|_| ()).map_err(|e| CliError::aws("CreateSecret", &e))
        }
        put => put.map(|_| ()),
    }
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

    fn identity(msp: &str, name: &str) -> IdentityProfile {
        let key = pki::new_key().unwrap();
        let validity = pki::Validity::new(0, 10).unwrap();
        IdentityProfile {
            msp: msp.into(),
            certificate_pem: pki::root_certificate(name, &key, validity, 0).unwrap(),
            key_pem: Some(vitro_ledger::SecretPem::new(pki::key_pem(&key).to_string())),
        }
    }

    #[tokio::test]
    async fn an_identity_takes_the_place_of_its_former_self_alone() {
        let global = Global { customer: None, stage: "dev".into(), region: None };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.json");
        let place = IdentityPlace::File(path.clone());
        let admits = async |msp: &str, name: &str, replace| {
            Slot::open(&place, &global).await.unwrap().admits(msp, name, replace)
        };
        assert!(admits("RcMSP", "alice", false).await.is_ok());
        Slot::open(&place, &global).await.unwrap().put(identity("RcMSP", "alice"), &global).await.unwrap();
        assert!(admits("RcMSP", "alice", false).await.is_ok());
        for (msp, name) in [("RcMSP", "bob"), ("DvMSP", "alice")] {
            let error = admits(msp, name, false).await.unwrap_err();
            assert!(error.to_string().contains("it holds alice of RcMSP"), "{error}");
            assert!(admits(msp, name, true).await.is_ok());
        }
        files::replace_secret(&path, "something else").unwrap();
        assert!(matches!(admits("RcMSP", "alice", false).await, Err(CliError::Refused(_))));
        assert!(admits("RcMSP", "alice", true).await.is_ok());
    }

    #[tokio::test]
    async fn a_profile_keeps_its_network_when_its_identity_is_renewed() {
        let global = Global { customer: None, stage: "dev".into(), region: None };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rc.json");
        let node = |name: &str| serde_json::json!({ "name": name, "msp": "RcMSP", "address": "https://h:1", "tls_ca_pem": "" });
        let profile = serde_json::json!({
            "channel": "c", "chaincode": "vitro", "peers": [node("p")], "orderers": [node("o")],
            "endorsers": { "required": ["RcMSP"] }, "identity": identity("RcMSP", "alice"),
        });
        files::write_secret(&path, &profile.to_string()).unwrap();
        let place = IdentityPlace::File(path.clone());
        let renewed = identity("RcMSP", "alice");
        let certificate = renewed.certificate_pem.clone();
        Slot::open(&place, &global).await.unwrap().put(renewed, &global).await.unwrap();
        let read = ConnectionProfile::from_json(&files::read_secret(&path).unwrap()).unwrap();
        assert_eq!((read.channel.as_str(), read.identity.certificate_pem), ("c", certificate));
    }

    #[test]
    fn places_are_files_or_secrets() {
        assert_eq!("a/b.json".parse(), Ok(IdentityPlace::File("a/b.json".into())));
        assert_eq!("secret:a".parse(), Ok(IdentityPlace::Secret("a".into())));
        assert!("secret:".parse::<IdentityPlace>().is_err());
    }
}
