//! A certificate authority: who vouches for devices. [`LocalAuthority`] keeps its key in a folder; others sign elsewhere, and the
//! folder says where (`authority.toml`).

mod digicert;
mod http;
mod journal;
mod local;
mod private_ca;
mod settings;
#[cfg(test)]
pub(crate) mod stub;

use std::path::Path;

use async_trait::async_trait;
use aws_config::SdkConfig;
use vitro_proof::chain::{ChainPolicy, RevocationReason, Serial, verify_chain};
use vitro_proof::{DeviceId, UnixMillis};

use crate::error::CliError;
use crate::pki::{self, CertificateFacts, Validity};

pub use digicert::DigiCert;
pub use journal::{Issued, Journal};
pub use local::{LocalAuthority, NewList};
pub use private_ca::PrivateCa;
pub use settings::Settings;

/// Whoever signs certificates for devices.
#[async_trait]
pub trait Authority: Send + Sync {
    /// The authority's own certificate in PEM.
    fn certificate(&self) -> &str;

    /// What that certificate says.
    fn facts(&self) -> &CertificateFacts;

    /// The certificates that a device shows after its own (PEM): the authority's and those above it, but for a root above them,
    /// which whoever checks has anyway.
    fn issuers(&self) -> &[String];

    /// Signs a device's request (PEM) and gives the certificate (PEM).
    ///
    /// # Errors
    /// [`CliError::Refused`] if the request is not for this thing; else what the authority answered.
    async fn issue(&self, request: &str, thing: &DeviceId, validity: Validity) -> Result<String, CliError>;

    /// Whether the authority alone decides how long a certificate is good.
    fn decides_validity(&self) -> bool {
        false
    }

    /// Signs the certificate that shows AWS IoT that the authority's key is held.
    ///
    /// # Errors
    /// What the authority answered.
    async fn prove_possession(&self, code: &str, validity: Validity) -> Result<String, CliError>;

    /// Revokes certificates that it issued. One that is revoked already stays as it is.
    ///
    /// # Errors
    /// [`CliError::NotFound`] if it did not issue one of them; else what the authority answered.
    async fn revoke(&self, serials: &[Serial], reason: RevocationReason, now: i64) -> Result<(), CliError>;

    /// Where its revocation list is published, if the authority says so.
    fn crl_location(&self) -> Option<&str> {
        None
    }
}

/// Opens the authority of a folder: what `authority.toml` names, or a local one if there is no such file.
///
/// # Errors
/// [`CliError::File`], [`CliError::Malformed`]; [`CliError::Refused`] if a secret lies open; what a remote authority answered.
pub async fn open(folder: &Path, aws: Option<&SdkConfig>) -> Result<Box<dyn Authority>, CliError> {
    Ok(match Settings::read(folder)? {
        Settings::Local => Box::new(LocalAuthority::open(folder)?),
        Settings::AwsPrivateCa(settings) => {
            let aws = aws.ok_or_else(|| CliError::Usage("AWS Private CA needs a region: --region".into()))?;
            Box::new(PrivateCa::open(&settings, aws).await?)
        }
        Settings::DigiCert(settings) => Box::new(DigiCert::open(folder, &settings)?),
    })
}

/// Checks that what an authority gave is a device's certificate for this request, signed by this very authority: it is verified as
/// the stack will verify it, at its first instant, with the authority as the root.
///
/// # Errors
/// [`CliError::Refused`].
pub fn check_issued(authority: &dyn Authority, certificate: &str, thing: &DeviceId) -> Result<(), CliError> {
    let refused =
        |why: String| CliError::Refused(format!("the authority's certificate for {thing} is not taken: {why}"));
    let facts = pki::read_certificate(certificate)?;
    let first = UnixMillis(facts.validity.not_before.max(authority.facts().validity.not_before).saturating_mul(1000));
    let (leaf, issuer) = (pki::der(certificate)?, pki::der(authority.certificate())?);
    let verified = verify_chain(&leaf, &[], &[&issuer], &[], first, ChainPolicy::WithoutRevocation)
        .map_err(|fault| refused(fault.to_string()))?;
    if verified.common_name != thing.as_str() {
        return Err(refused("it carries another name".into()));
    }
    Ok(())
}

/// What stands below a device's certificate: the authority, those above it, but no root unless it is the authority itself.
fn shown_issuers(own: &str, above: &[String]) -> Result<Vec<String>, CliError> {
    let mut shown = vec![own.to_owned()];
    for certificate in above {
        let facts = pki::read_certificate(certificate)?;
        if facts.issuer != facts.name {
            shown.push(certificate.clone());
        }
    }
    Ok(shown)
}
