//! A device's certificate chain, from where it can be had.

use std::path::Path;

use vitro_cloud::trust::{TrustStore, certificate_der};
use vitro_cloud::verified::complete;
use vitro_proof::DeviceId;

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
    complete(&leaf, None, &authorities)
        .map_err(|fault| CliError::Refused(format!("the certificate of {thing}: {fault}")))
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
