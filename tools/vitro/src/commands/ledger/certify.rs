//! A device's certificate chain, from where it can be had.

use std::path::Path;

use vitro_cloud::trust::{TrustStore, TrustedAuthority, certificate_der};
use vitro_proof::DeviceId;
use vitro_proof::chain::{CertificateId, SeenSignatures, verify_lasting};

use crate::error::CliError;
use crate::session::Session;
use crate::{files, pki};

/// The certificates of a PEM file in DER, as they stand there.
///
/// # Errors
/// [`CliError::File`], [`CliError::Certificate`], [`CliError::Malformed`] if there is none.
pub(super) fn of_file(path: &Path) -> Result<Vec<Vec<u8>>, CliError> {
    let certificates = pki::split(&files::read(path)?);
    if certificates.is_empty() {
        return Err(CliError::malformed(path.display().to_string(), "no certificate in PEM"));
    }
    certificates.iter().map(|certificate| pki::der(certificate)).collect()
}

/// The newest certificate that the registry has of a device, with the trusted authorities that it leads through.
///
/// # Errors
/// [`CliError`] if registry or trust store cannot be read, or the chain leads to no trusted root.
pub(super) async fn of_registry(session: &Session, thing: &DeviceId) -> Result<Vec<Vec<u8>>, CliError> {
    let device = session.device(thing).await?;
    let leaf = certificate_der(&device.certificate)?;
    let authorities = session.trust().authorities().await?;
    let (roots, between): (Vec<_>, Vec<_>) = authorities.iter().partition(|authority| authority.parent.is_none());
    let ders = |of: &[&TrustedAuthority]| -> Vec<Vec<u8>> {
        of.iter().map(|authority| authority.certificate.clone()).collect()
    };
    let (roots, between) = (ders(&roots), ders(&between));
    fn slices(of: &[Vec<u8>]) -> Vec<&[u8]> {
        of.iter().map(Vec::as_slice).collect()
    }
    let paths = verify_lasting(&leaf, &slices(&between), &slices(&roots), &SeenSignatures::default())
        .map_err(|fault| CliError::Refused(format!("the certificate of {thing}: {fault}")))?;
    let mut chain = vec![leaf];
    // Every path: which of its authorities an agreement pins is for the agreement to say.
    for id in paths.iter().flat_map(|path| &path.chain.issuers) {
        let found = between.iter().find(|der| CertificateId::of(der) == *id);
        chain.extend(found.filter(|der| !chain.contains(der)).cloned());
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.pem");
        std::fs::write(&path, "no PEM at all\n").unwrap();
        let told = of_file(&path).unwrap_err().to_string();
        assert!(told.contains("chain.pem") && told.contains("no certificate"), "{told}");
    }
}
