//! Certificate requests (RFC 2986), signed by the device's key wherever it is.

use rcgen::{CertificateParams, DistinguishedName, DnType, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use vitro_proof::crypto::sha256;
use vitro_proof::{DeviceId, PublicKey, Signer};

use crate::error::DeviceError;

/// A request in PEM for a certificate with the thing name as common name.
///
/// # Errors
/// [`DeviceError::Signer`] if the key store does not sign.
pub fn request(thing: &DeviceId, signer: &dyn Signer) -> Result<String, DeviceError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, thing.as_str());
    let key = RequestKey { public_key: signer.public_key(), signer };
    let failed = |e: rcgen::Error| DeviceError::Signer(vitro_proof::SignerError(e.to_string()));
    params.serialize_request(&key).and_then(|request| request.pem()).map_err(failed)
}

/// The device's key as requests see it.
struct RequestKey<'a> {
    public_key: PublicKey,
    signer: &'a dyn Signer,
}

impl PublicKeyData for RequestKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public_key.as_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for RequestKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let failed = |_| rcgen::Error::RemoteKeyError;
        let raw = self.signer.sign_digest(&sha256(&[message]).0).map_err(failed)?;
        // X.509 has signatures in DER, envelopes have them raw.
        let signature = p256::ecdsa::Signature::from_slice(&raw).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::CertificateSigningRequestParams;
    use vitro_proof::crypto::SoftwareSigner;

    use super::*;

    #[test]
    fn a_request_is_for_the_thing_and_proves_that_the_key_is_held() {
        let signer = SoftwareSigner::from_scalar(&[7; 32]).unwrap();
        let thing = "dev-1".parse().unwrap();
        // Reading a request verifies its signature.
        let read = CertificateSigningRequestParams::from_pem(&request(&thing, &signer).unwrap()).unwrap();
        let name = read.params.distinguished_name.get(&DnType::CommonName).unwrap();
        assert_eq!(name, &rcgen::DnValue::Utf8String("dev-1".into()));
        assert_eq!(read.public_key.der_bytes(), signer.public_key().as_bytes());
    }
}
