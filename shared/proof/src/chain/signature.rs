//! ecdsa-with-SHA256 over P-256 for X.509 (RFC 5758), by the backends that verify envelopes.
//!
//! An X.509 signature is a DER sequence of two integers; both backends take its one DER form only.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

use crate::crypto::sha256;
use crate::ids::Hash;

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

/// Signatures that were found good, so that none is verified twice.
#[derive(Debug, Default)]
pub struct SeenSignatures(Mutex<BTreeSet<Hash>>);

impl SeenSignatures {
    /// A backend that remembers.
    pub(super) fn over<'s>(&'s self, es256: &'s dyn SignatureVerificationAlgorithm) -> Remembering<'s> {
        Remembering { seen: self, es256 }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Asks the backend only for what was not seen.
#[derive(Debug)]
pub(super) struct Remembering<'s> {
    seen: &'s SeenSignatures,
    es256: &'s dyn SignatureVerificationAlgorithm,
}

impl SignatureVerificationAlgorithm for Remembering<'_> {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let lengths = [key.len() as u64, signature.len() as u64].map(u64::to_be_bytes);
        let id = sha256(&[&lengths[0], &lengths[1], key, signature, message]);
        let mut seen = self.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains(&id) {
            self.es256.verify_signature(key, message, signature)?;
            seen.insert(id);
        }
        Ok(())
    }

    identifiers!();
}
