//! The token by which an identity asks a Fabric CA: its certificate, and a signature over the request.
//!
//! `base64(certificate) "." base64(signature)`, signed over `method "." base64(path) "." base64(body) "." base64(certificate)`, as Fabric CA
//! has it since 1.4.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use vitro_ledger::{Identity, IdentityProfile, PemSigner};
use zeroize::Zeroizing;

use crate::error::CliError;

/// The token for a request.
///
/// # Errors
/// [`CliError::Refused`] if the identity's key is not here; [`CliError::Ledger`] if it is no key.
pub(super) fn of(
    holder: &IdentityProfile,
    method: &str,
    path: &str,
    body: &[u8],
) -> Result<Zeroizing<String>, CliError> {
    let key = holder.key_pem.as_ref();
    let key = key.ok_or_else(|| CliError::Refused("the identity holds no key, and only its key can ask".into()))?;
    let signer = PemSigner::from_pem(key.expose()).map_err(vitro_client::ClientError::from)?;
    let identity = Identity::new(&holder.msp, &holder.certificate_pem, Arc::new(signer));
    let certificate = STANDARD.encode(&holder.certificate_pem);
    let payload = format!("{method}.{}.{}.{certificate}", STANDARD.encode(path), STANDARD.encode(body));
    let signature = identity.sign(payload.as_bytes()).map_err(vitro_client::ClientError::from)?;
    // Who has it can ask this one thing once more.
    Ok(Zeroizing::new(format!("{certificate}.{}", STANDARD.encode(signature))))
}
