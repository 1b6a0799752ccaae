//! `authority.toml`: which authority a folder stands for.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::CliError;
use crate::files;

/// The file's name in the authority's folder.
const SETTINGS_FILE: &str = "authority.toml";

/// Which authority a folder stands for. A folder without `authority.toml` is a local authority's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Settings {
    /// The key lies in the folder.
    Local,
    /// AWS Private CA holds the key.
    AwsPrivateCa(PrivateCaSettings),
    /// DigiCert holds the key.
    #[serde(rename = "digicert")]
    DigiCert(DigiCertSettings),
}

/// An authority of AWS Private CA.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivateCaSettings {
    /// The authority's ARN.
    pub arn: String,
    /// The template of devices' certificates; default: `EndEntityClientAuthCertificate/V1` of the ARN's partition.
    pub template: Option<String>,
    /// How long to wait for a certificate.
    #[serde(default = "default_wait")]
    pub wait_seconds: u64,
}

/// An enrollment profile of DigiCert IoT Trust Manager.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigiCertSettings {
    /// Where DigiCert ONE is reached.
    #[serde(default = "default_url")]
    pub url: String,
    /// The enrollment profile that issues devices' certificates.
    pub enrollment_profile: String,
    /// The file that holds the API key, readable by its owner alone, relative to the folder; default: the variable
    /// `VITRO_DIGICERT_API_KEY`.
    pub api_key_file: Option<PathBuf>,
    /// The issuing authority's certificate and those above it (PEM), relative to the folder.
    #[serde(default = "default_chain")]
    pub chain: PathBuf,
    /// Where the issuing authority publishes its revocation list.
    pub crl_url: Option<String>,
}

fn default_wait() -> u64 {
    60
}

fn default_url() -> String {
    "https://one.digicert.com".into()
}

fn default_chain() -> PathBuf {
    "chain.pem".into()
}

impl Settings {
    /// Reads the folder's file.
    ///
    /// # Errors
    /// [`CliError::File`]; [`CliError::Malformed`].
    pub fn read(folder: &Path) -> Result<Self, CliError> {
        let path = folder.join(SETTINGS_FILE);
        if !path.exists() {
            return Ok(Self::Local);
        }
        toml::from_str(&files::read(&path)?).map_err(|e| CliError::malformed(path.display().to_string(), e.message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, CliError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(SETTINGS_FILE), text).unwrap();
        Settings::read(folder.path())
    }

    #[test]
    fn a_folder_says_whose_it_is() {
        assert_eq!(Settings::read(tempfile::tempdir().unwrap().path()).unwrap(), Settings::Local);
        assert_eq!(read("kind = \"local\"").unwrap(), Settings::Local);
        let found = read("kind = \"aws-private-ca\"\narn = \"arn:aws:acm-pca:eu-central-1:1:certificate-authority/x\"");
        assert!(matches!(found.unwrap(), Settings::AwsPrivateCa(PrivateCaSettings { wait_seconds: 60, .. })));
        let found = read("kind = \"digicert\"\nenrollment_profile = \"IOT_1\"\napi_key_file = \"key\"").unwrap();
        assert!(matches!(found, Settings::DigiCert(settings) if settings.url == "https://one.digicert.com"));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for text in ["", "kind = \"other\"", "kind = \"digicert\"", "kind = \"aws-private-ca\"\narn = \"a\"\nx = 1"] {
            assert!(matches!(read(text), Err(CliError::Malformed { .. })), "{text}");
        }
    }
}
