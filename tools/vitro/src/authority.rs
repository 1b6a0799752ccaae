//! A certificate authority: who vouches for devices. [`LocalAuthority`] keeps its key in a folder; others sign elsewhere.

use std::path::{Path, PathBuf};

use rcgen::{Issuer, KeyPair};
use vitro_proof::DeviceId;

use crate::error::CliError;
use crate::files;
use crate::pki::{self, CertificateFacts, Validity};

/// Whoever signs certificates for devices.
pub trait Authority {
    /// The authority's own certificate in PEM.
    fn certificate(&self) -> &str;

    /// Signs a device's request (PEM) and gives the certificate (PEM).
    ///
    /// # Errors
    /// [`CliError::Refused`] if the request is not for this thing; else what the authority answered.
    fn issue(&self, request: &str, thing: &DeviceId, validity: Validity) -> Result<String, CliError>;

    /// Signs the certificate that shows AWS IoT that the authority's key is held.
    ///
    /// # Errors
    /// What the authority answered.
    fn prove_possession(&self, code: &str, validity: Validity) -> Result<String, CliError>;
}

/// An authority whose key lies in a folder: `ca.cert.pem`, and `ca.key.pem` with mode 0600.
pub struct LocalAuthority {
    certificate: String,
    facts: CertificateFacts,
    issuer: Issuer<'static, KeyPair>,
}

impl LocalAuthority {
    fn paths(folder: &Path) -> (PathBuf, PathBuf) {
        (folder.join("ca.cert.pem"), folder.join("ca.key.pem"))
    }

    /// Makes a new root authority in a folder.
    ///
    /// # Errors
    /// [`CliError::Refused`] if the folder already holds one; [`CliError::File`]; [`CliError::Certificate`].
    pub fn create(folder: &Path, name: &str, validity: Validity) -> Result<Self, CliError> {
        let (certificate_path, key_path) = Self::paths(folder);
        if certificate_path.exists() || key_path.exists() {
            return Err(CliError::Refused(format!("{} already holds an authority", folder.display())));
        }
        files::private_folder(folder)?;
        let key = pki::new_key()?;
        let certificate = pki::root_certificate(name, &key, validity)?;
        files::write_secret(&key_path, &pki::key_pem(&key))?;
        files::write_public(&certificate_path, &certificate)?;
        Self::assemble(certificate, key)
    }

    /// Opens the authority in a folder.
    ///
    /// # Errors
    /// [`CliError::File`]; [`CliError::Refused`] if others can read the key or it is not the certificate's.
    pub fn open(folder: &Path) -> Result<Self, CliError> {
        let (certificate_path, key_path) = Self::paths(folder);
        let certificate = files::read(&certificate_path)?;
        let key = pki::read_key(&files::read_secret(&key_path)?)?;
        Self::assemble(certificate, key)
    }

    fn assemble(certificate: String, key: KeyPair) -> Result<Self, CliError> {
        let facts = pki::read_certificate(&certificate)?;
        if facts.public_key != pki::public_key(&key)? {
            return Err(CliError::Refused("the authority's key does not belong to its certificate".into()));
        }
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)
            .map_err(|e| CliError::certificate("reading the authority's certificate", e))?;
        Ok(Self { certificate, facts, issuer })
    }

    /// What the authority's certificate says.
    #[must_use]
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }
}

impl Authority for LocalAuthority {
    fn certificate(&self) -> &str {
        &self.certificate
    }

    fn issue(&self, request: &str, thing: &DeviceId, validity: Validity) -> Result<String, CliError> {
        let own = self.facts.validity;
        if validity.not_before < own.not_before || validity.not_after > own.not_after {
            return Err(CliError::Refused("the certificate would be good when its authority's is not".into()));
        }
        pki::sign_device(request, thing, &self.issuer, validity)
    }

    fn prove_possession(&self, code: &str, validity: Validity) -> Result<String, CliError> {
        pki::verification_certificate(code, &self.issuer, validity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALIDITY: Validity = Validity { not_before: 1_700_000_000, not_after: 1_800_000_000 };

    #[test]
    fn an_authority_survives_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let made = LocalAuthority::create(folder.path(), "Acme", VALIDITY).unwrap();
        let opened = LocalAuthority::open(folder.path()).unwrap();
        assert_eq!(made.facts(), opened.facts());
        assert_eq!(made.certificate(), opened.certificate());
        assert!(matches!(LocalAuthority::create(folder.path(), "Acme", VALIDITY), Err(CliError::Refused(_))));
    }

    #[test]
    fn a_foreign_key_is_refused() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        LocalAuthority::create(one.path(), "One", VALIDITY).unwrap();
        LocalAuthority::create(two.path(), "Two", VALIDITY).unwrap();
        std::fs::copy(two.path().join("ca.cert.pem"), one.path().join("ca.cert.pem")).unwrap();
        assert!(matches!(LocalAuthority::open(one.path()), Err(CliError::Refused(_))));
    }

    #[test]
    fn no_certificate_outlives_its_authority() {
        let folder = tempfile::tempdir().unwrap();
        let authority = LocalAuthority::create(folder.path(), "Acme", VALIDITY).unwrap();
        let thing: DeviceId = "dev-1".parse().unwrap();
        let request = pki::request(&thing, &pki::new_key().unwrap()).unwrap();
        let late = Validity { not_before: VALIDITY.not_before, not_after: VALIDITY.not_after + 1 };
        assert!(matches!(authority.issue(&request, &thing, late), Err(CliError::Refused(_))));
        assert!(authority.issue(&request, &thing, VALIDITY).is_ok());
    }
}
