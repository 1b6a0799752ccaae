//! Who speaks, and with which key.

use std::sync::Arc;

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use prost::Message;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest as _, Sha256};
use vitro_proof::{PublicKey, Signature, Signer, SignerError};

use crate::error::LedgerError;
use crate::proto::msp::SerializedIdentity;
use crate::signature;

/// A signer that may be shared between tasks.
pub type SharedSigner = Arc<dyn Signer + Send + Sync>;

/// The creator field of everything that `msp`'s member with this certificate signs.
#[must_use]
pub fn creator(msp: &str, certificate_pem: &str) -> Vec<u8> {
    SerializedIdentity { mspid: msp.to_owned(), id_bytes: certificate_pem.as_bytes().to_vec() }.encode_to_vec()
}

/// SHA-256 over the bytes: what a signer signs.
#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// An identity and its key.
#[derive(Clone)]
pub struct Identity {
    creator: Arc<[u8]>,
    signer: SharedSigner,
}

impl Identity {
    /// Joins a certificate to the signer that holds its key.
    #[must_use]
    pub fn new(msp: &str, certificate_pem: &str, signer: SharedSigner) -> Self {
        Self { creator: creator(msp, certificate_pem).into(), signer }
    }

    /// The serialized identity.
    #[must_use]
    pub fn creator(&self) -> &[u8] {
        &self.creator
    }

    /// Signs, low-S and in DER, as Fabric takes it.
    ///
    /// # Errors
    /// [`LedgerError::Signer`] if the key store is away or refuses.
    pub fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, LedgerError> {
        let raw = self.signer.sign_digest(&digest(bytes)).map_err(LedgerError::Signer)?;
        Ok(signature::to_fabric(raw))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("creator", &hex::encode(&self.creator)).finish_non_exhaustive()
    }
}

/// A private key in memory, as cryptogen and Fabric CAs write it to a file. aws-lc wipes it when it is dropped.
pub struct PemSigner {
    key: EcdsaKeyPair,
    public_key: PublicKey,
}

impl PemSigner {
    /// Reads a P-256 key in PEM (PKCS#8 or SEC1).
    ///
    /// # Errors
    /// [`LedgerError::Key`] if it is anything else.
    pub fn from_pem(pem: &str) -> Result<Self, LedgerError> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| LedgerError::Key)?;
        let key = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der())
            .map_err(|_| LedgerError::Key)?;
        let public_key = PublicKey::from_sec1(key.public_key().as_ref()).map_err(|_| LedgerError::Key)?;
        Ok(Self { key, public_key })
    }
}

impl Signer for PemSigner {
    fn sign_digest(&self, digest: &[u8; 32]) -> Result<Signature, SignerError> {
        let failed = |_| SignerError("aws-lc could not sign".to_owned());
        let digest = Digest::import_less_safe(digest, &SHA256).map_err(failed)?;
        let signed = self.key.sign_digest(&digest).map_err(failed)?;
        signed.as_ref().try_into().map_err(|_| SignerError("a signature of odd length".to_owned()))
    }

    fn public_key(&self) -> PublicKey {
        self.public_key
    }
}

impl std::fmt::Debug for PemSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PemSigner").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::signature::hazmat::PrehashVerifier;
    use p256::pkcs8::EncodePrivateKey;

    #[test]
    fn signs_what_another_implementation_verifies() {
        let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        let pem = key.to_pkcs8_pem(Default::default()).unwrap();
        let signer = PemSigner::from_pem(&pem).unwrap();
        let identity = Identity::new("OperatorMSP", "cert", Arc::new(signer));
        let signed = identity.sign(b"bytes").unwrap();
        let read = p256::ecdsa::Signature::from_der(&signed).unwrap();
        assert!(key.verifying_key().verify_prehash(&digest(b"bytes"), &read).is_ok());
        let creator = SerializedIdentity::decode(identity.creator()).unwrap();
        assert_eq!((creator.mspid.as_str(), &creator.id_bytes[..]), ("OperatorMSP", &b"cert"[..]));
    }

    #[test]
    fn other_texts_are_no_keys() {
        for text in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert!(matches!(PemSigner::from_pem(text), Err(LedgerError::Key)));
        }
    }
}
