//! A device's key that signs requests, wherever it is.

use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use vitro_proof::Signer;

/// A device's key behind its signer, which may be a token that never gives the private key away.
pub struct DeviceKey<'s> {
    signer: &'s dyn Signer,
    point: [u8; 65],
}

impl<'s> DeviceKey<'s> {
    /// Takes a signer.
    #[must_use]
    pub fn new(signer: &'s dyn Signer) -> Self {
        Self { signer, point: *signer.public_key().as_bytes() }
    }
}

impl PublicKeyData for DeviceKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for DeviceKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let digest = vitro_proof::crypto::sha256(&[message]);
        let signature = self.signer.sign_digest(&digest.0).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(der_signature(&signature))
    }
}

/// A raw signature as X.509 wants it: a DER sequence of two integers.
fn der_signature(raw: &vitro_proof::Signature) -> Vec<u8> {
    let integer = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len() - 1);
        let digits = &bytes[zeros..];
        let sign = if digits[0] & 0x80 == 0 { &[][..] } else { &[0] };
        [sign, digits].concat()
    };
    let (r, s) = (integer(&raw[..32]), integer(&raw[32..]));
    // Both integers have at most 33 bytes, so every length fits one byte.
    let part = |integer: &[u8]| [&[2, integer.len().to_le_bytes()[0]], integer].concat();
    let parts = [part(&r), part(&s)].concat();
    [&[0x30, parts.len().to_le_bytes()[0]], parts.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use vitro_proof::DeviceId;

    use super::*;
    use crate::pki::{self, Validity};

    const VALIDITY: Validity = Validity { not_before: 1_700_000_000, not_after: 1_800_000_000 };

    #[test]
    fn a_key_that_signs_elsewhere_makes_the_same_request() {
        let key = pki::new_key().unwrap();
        let pem = pki::root_certificate("Acme devices", &key, VALIDITY, 1).unwrap();
        let issuer = rcgen::Issuer::from_ca_cert_pem(&pem, key).unwrap();
        let thing: DeviceId = "dev-1".parse().unwrap();
        // Many, so that integers with and without a sign byte, and now and then a short one, are among them.
        for scalar in 1..=64 {
            let signer = vitro_proof::crypto::SoftwareSigner::from_scalar(&[scalar; 32]).unwrap();
            let request = pki::request(&thing, &DeviceKey::new(&signer)).unwrap();
            let leaf = pki::sign_device(&request, &thing, &issuer, VALIDITY).unwrap();
            assert_eq!(pki::read_certificate(&leaf).unwrap().public_key, signer.public_key());
        }
        let mut raw = [0; 64];
        (raw[31], raw[32]) = (5, 0x80);
        let der = der_signature(&raw);
        assert_eq!(der[..8], [0x30, 38, 2, 1, 5, 2, 33, 0]);
        assert_eq!(der[8], 0x80);
    }
}
