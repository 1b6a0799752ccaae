//! ecdsa-with-SHA256 over P-256 for X.509 (RFC 5758), by the backends that verify envelopes.
//!
//! An X.509 signature is a DER sequence of two integers; both backends take its one DER form only.

use pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

#[cfg(not(any(feature = "p256", feature = "aws-lc")))]
compile_error!("the feature `chain` needs a verifier: `p256` or `aws-lc`");

/// The backend that this build verifies chains with.
#[cfg(feature = "aws-lc")]
pub(super) fn es256() -> &'static dyn SignatureVerificationAlgorithm {
    &AwsLc
}

/// The backend that this build verifies chains with.
#[cfg(all(feature = "p256", not(feature = "aws-lc")))]
pub(super) fn es256() -> &'static dyn SignatureVerificationAlgorithm {
    &Pure
}

macro_rules! identifiers {
    () => {
        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ECDSA_P256
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ECDSA_SHA256
        }
    };
}

/// The `p256` crate; beside aws-lc, only to compare.
#[cfg(all(feature = "p256", any(test, not(feature = "aws-lc"))))]
#[derive(Debug)]
pub(super) struct Pure;

#[cfg(all(feature = "p256", any(test, not(feature = "aws-lc"))))]
impl SignatureVerificationAlgorithm for Pure {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        use p256::ecdsa::signature::Verifier;
        // Only the uncompressed form is an X.509 key here, as it is for the other backend.
        let key = crate::crypto::PublicKey::from_sec1(key).map_err(|_| InvalidSignature)?;
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key.as_bytes()).map_err(|_| InvalidSignature)?;
        let signature = p256::ecdsa::DerSignature::from_bytes(signature).map_err(|_| InvalidSignature)?;
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }

    identifiers!();
}

/// aws-lc.
#[cfg(feature = "aws-lc")]
#[derive(Debug)]
pub(super) struct AwsLc;

#[cfg(feature = "aws-lc")]
impl SignatureVerificationAlgorithm for AwsLc {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
        let key = crate::crypto::PublicKey::from_sec1(key).map_err(|_| InvalidSignature)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.as_bytes())
            .verify(message, signature)
            .map_err(|_| InvalidSignature)
    }

    identifiers!();
}
