//! Decrypting in the cloud, by aws-lc.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

use super::{Bound, Sealed, Undecryptable, Unseal};
use crate::error::ProofError;

/// A private data-proxy key that aws-lc holds, which wipes it when it is dropped.
pub struct AwsLcDataKey(PrivateKey);

impl AwsLcDataKey {
    /// Takes a private scalar, 32 bytes, big-endian.
    ///
    /// # Errors
    /// [`ProofError::BadKey`] if it is zero or not below the curve's order.
    pub fn from_scalar(scalar: &Zeroizing<[u8; 32]>) -> Result<Self, ProofError> {
        PrivateKey::from_private_key(&ECDH_P256, &**scalar).map(Self).map_err(|_| ProofError::BadKey)
    }
}

/// The length of the content key.
struct ContentKey;

impl KeyType for ContentKey {
    fn len(&self) -> usize {
        AES_256_GCM.key_len()
    }
}

impl Unseal for AwsLcDataKey {
    fn unseal(&self, sealed: &Sealed<'_>, bound: &Bound<'_>) -> Result<Vec<u8>, Undecryptable> {
        let ephemeral = UnparsedPublicKey::new(&ECDH_P256, sealed.ephemeral.as_bytes());
        let key = agree(&self.0, ephemeral, Undecryptable, |shared| {
            let mut key = Zeroizing::new([0; 32]);
            Salt::new(HKDF_SHA256, &[])
                .extract(shared)
                .expand(&[&sealed.kdf_context()], ContentKey)
                .and_then(|content| content.fill(&mut *key))
                .and_then(|()| UnboundKey::new(&AES_256_GCM, &*key))
                .map(LessSafeKey::new)
                .map_err(|_| Undecryptable)
        })?;
        let mut text = sealed.ciphertext.to_vec();
        let nonce = Nonce::assume_unique_for_key(*sealed.nonce);
        let clear = key
            .open_in_place(nonce, Aad::from(sealed.enc_structure(bound)), &mut text)
            .map_err(|_| Undecryptable)?
            .len();
        text.truncate(clear);
        Ok(text)
    }
}
