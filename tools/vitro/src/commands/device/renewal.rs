//! The files of a renewal: the device's certificate, and the one that waits to replace it.

use std::path::{Path, PathBuf};

use vitro_device::config::SharedSigner;
use vitro_proof::DeviceId;

use super::folder::DeviceCertificate;
use crate::authority::{self, Authority};
use crate::error::CliError;
use crate::files;
use crate::pki::{self, DeviceKey};

/// A renewal in a device's folder. The key may be a file or lie in a token: it is only asked to sign.
pub(super) struct Renewal {
    request: PathBuf,
    certificate: PathBuf,
    next: PathBuf,
    thing: DeviceId,
    signer: SharedSigner,
}

impl Renewal {
    /// The renewal of the certificate that the agent is configured with.
    pub(super) fn new(folder: &Path, certificate: &Path, thing: &DeviceId, signer: SharedSigner) -> Self {
        Self {
            request: folder.join("request.pem"),
            next: certificate.with_extension("next.pem"),
            certificate: certificate.to_owned(),
            thing: thing.clone(),
            signer,
        }
    }

    /// A new request, signed by the device's key; it is kept beside the certificate.
    ///
    /// # Errors
    /// [`CliError::Certificate`] if the key does not sign; [`CliError::File`].
    pub(super) fn request(&self) -> Result<String, CliError> {
        let request = pki::request(&self.thing, &DeviceKey::new(self.signer.as_ref()))?;
        files::replace(&self.request, &request)?;
        Ok(request)
    }

    /// The certificate that the device shows now.
    ///
    /// # Errors
    /// [`CliError::File`]; [`CliError::Refused`] if it is for another key or thing.
    pub(super) fn current(&self) -> Result<DeviceCertificate, CliError> {
        self.read(&self.certificate)
    }

    /// Whether a certificate waits that a run before this one did not bring to its end.
    pub(super) fn is_unfinished(&self) -> bool {
        self.next.exists()
    }

    /// The certificate that waits.
    ///
    /// # Errors
    /// [`CliError::File`]; [`CliError::Refused`] if it is for another key or thing, or by another authority.
    pub(super) fn waiting(&self, authority: &dyn Authority) -> Result<Option<DeviceCertificate>, CliError> {
        if !self.is_unfinished() {
            return Ok(None);
        }
        let certificate = self.read(&self.next)?;
        authority::check_issued(authority, &certificate.pem, &self.thing)?;
        Ok(Some(certificate))
    }

    /// Lets a new certificate wait, with the authorities above it.
    ///
    /// # Errors
    /// [`CliError::Refused`] if it is for another key or thing, or not by this authority; [`CliError::File`].
    pub(super) fn put(&self, pem: &str, authority: &dyn Authority) -> Result<DeviceCertificate, CliError> {
        let certificate = self.checked(pem)?;
        authority::check_issued(authority, pem, &self.thing)?;
        files::replace(&self.next, format!("{pem}{}", authority.issuers().concat()))?;
        Ok(certificate)
    }

    /// Puts the waiting certificate in the place of the one before, in one step.
    ///
    /// # Errors
    /// [`CliError::File`].
    pub(super) fn take(&self) -> Result<(), CliError> {
        files::rename(&self.next, &self.certificate)
    }

    fn read(&self, path: &Path) -> Result<DeviceCertificate, CliError> {
        let first = pki::split(&files::read(path)?).into_iter().next();
        let first = first.ok_or_else(|| CliError::malformed(path.display().to_string(), "it holds no certificate"))?;
        self.checked(&first)
    }

    fn checked(&self, pem: &str) -> Result<DeviceCertificate, CliError> {
        let facts = pki::read_certificate(pem)?;
        if facts.public_key != self.signer.public_key() || facts.name != self.thing.as_str() {
            return Err(CliError::Refused(format!("the certificate {} is not for {}'s key", facts.id, self.thing)));
        }
        Ok(DeviceCertificate { pem: pem.to_owned(), facts })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vitro_proof::crypto::SoftwareSigner;

    use super::*;
    use crate::authority::LocalAuthority;
    use crate::pki::Validity;

    const VALIDITY: Validity = Validity { not_before: 1_700_000_000, not_after: 1_800_000_000 };

    fn signer(scalar: u8) -> SharedSigner {
        Arc::new(SoftwareSigner::from_scalar(&[scalar; 32]).unwrap())
    }

    #[tokio::test]
    async fn a_new_certificate_waits_until_it_is_known() {
        let root = tempfile::tempdir().unwrap();
        let top = LocalAuthority::create(&root.path().join("top"), "Top", VALIDITY, 1).unwrap();
        let below = top.create_below(&root.path().join("below"), "Below", VALIDITY, None).unwrap();
        let thing: DeviceId = "dev-1".parse().unwrap();
        let path = root.path().join("cert.pem");
        let renewal = Renewal::new(root.path(), &path, &thing, signer(5));
        let first = below.issue(&renewal.request().unwrap(), &thing, VALIDITY).await.unwrap();
        std::fs::write(&path, format!("{first}{}", below.certificate())).unwrap();
        assert!(!renewal.is_unfinished() && renewal.waiting(&below).unwrap().is_none());

        let second = below.issue(&renewal.request().unwrap(), &thing, VALIDITY).await.unwrap();
        let put = renewal.put(&second, &below).unwrap();
        assert_eq!(renewal.current().unwrap().pem, first, "the device shows the old one");
        assert_eq!(renewal.waiting(&below).unwrap().unwrap().facts, put.facts, "a run that is repeated finds it");
        assert!(renewal.waiting(&top).is_err(), "by another authority");
        renewal.take().unwrap();
        assert!(!renewal.is_unfinished());
        assert_eq!(renewal.current().unwrap().facts, put.facts);
        let shown = std::fs::read_to_string(&path).unwrap();
        assert_eq!(pki::split(&shown), [second, below.certificate().to_owned()]);
    }

    #[tokio::test]
    async fn another_key_or_name_is_not_taken() {
        let root = tempfile::tempdir().unwrap();
        let top = LocalAuthority::create(&root.path().join("top"), "Top", VALIDITY, 1).unwrap();
        let thing: DeviceId = "dev-1".parse().unwrap();
        let other: DeviceId = "dev-2".parse().unwrap();
        let renewal = |thing: &DeviceId, key| Renewal::new(root.path(), &root.path().join("c.pem"), thing, signer(key));
        let mine = renewal(&thing, 5);
        for (thing, key) in [(&thing, 6), (&other, 5)] {
            let strange = top.issue(&renewal(thing, key).request().unwrap(), thing, VALIDITY).await.unwrap();
            assert!(matches!(mine.put(&strange, &top), Err(CliError::Refused(_))));
        }
        assert!(!mine.is_unfinished());
    }
}
