//! Encrypting, and decrypting without aws-lc: devices, tests and whoever links no TLS library.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use hkdf::Hkdf;
use p256::elliptic_curve::point::AffineCoordinates;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{ProjectivePoint, SecretKey};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Bound, Inside, NONCE_BYTES, Sealed, Undecryptable, Unseal, form};
use crate::crypto::PublicKey;
use crate::error::ProofError;
use crate::ids::DataKeyId;

/// The data-proxy key that a device encrypts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    id: DataKeyId,
    key: PublicKey,
}

impl Recipient {
    /// Takes a public data-proxy key.
    ///
    /// # Errors
    /// [`ProofError::BadKey`] if it is no point of P-256.
    pub fn new(id: DataKeyId, key: PublicKey) -> Result<Self, ProofError> {
        point(&key).map_err(|Undecryptable| ProofError::BadKey)?;
        Ok(Self { id, key })
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> &DataKeyId {
        &self.id
    }
}

/// The randomness of one message: an ephemeral private key and a nonce, drawn by the caller for this message alone. It cannot be
/// copied, and [`seal`] uses it up.
pub struct OneTime {
    ephemeral: SecretKey,
    nonce: [u8; NONCE_BYTES],
}

impl OneTime {
    /// Takes random bytes from a source that the caller trusts.
    ///
    /// # Errors
    /// [`ProofError::BadKey`] if the scalar is zero or not below the curve's order, of which the odds are 2^-32: draw again.
    pub fn new(scalar: &Zeroizing<[u8; 32]>, nonce: [u8; NONCE_BYTES]) -> Result<Self, ProofError> {
        Ok(Self { ephemeral: SecretKey::from_slice(&**scalar).map_err(|_| ProofError::BadKey)?, nonce })
    }
}

/// Encrypts for a data-proxy key.
///
/// # Errors
/// [`ProofError::BadKey`] if the recipient's key cannot be used.
pub fn seal(
    inside: Inside,
    bound: &Bound<'_>,
    clear: &[u8],
    recipient: &Recipient,
    once: OneTime,
) -> Result<Vec<u8>, ProofError> {
    let bad = |_| ProofError::BadKey;
    let protected = form::protected(inside);
    let context = form::kdf_context(&form::recipient_protected());
    let key = content_key(&once.ephemeral, &recipient.key, &context).map_err(|Undecryptable| ProofError::BadKey)?;
    let mut ciphertext = Vec::with_capacity(clear.len() + super::TAG_BYTES);
    ciphertext.extend_from_slice(clear);
    cipher(&key)
        .encrypt_in_place(&once.nonce.into(), &form::enc_structure(&protected, bound), &mut ciphertext)
        .map_err(bad)?;
    let ephemeral = once.ephemeral.public_key().to_sec1_point(false);
    let ephemeral = PublicKey::from_sec1(ephemeral.as_bytes())?;
    Ok(form::encode(&protected, &once.nonce, &ciphertext, recipient.id.as_str(), &ephemeral))
}

/// A private data-proxy key in memory. Zeroized when dropped.
pub struct PureDataKey(SecretKey);

impl PureDataKey {
    /// Takes a private scalar, 32 bytes, big-endian.
    ///
    /// # Errors
    /// [`ProofError::BadKey`] if it is zero or not below the curve's order.
    pub fn from_scalar(scalar: &Zeroizing<[u8; 32]>) -> Result<Self, ProofError> {
        SecretKey::from_slice(&**scalar).map(Self).map_err(|_| ProofError::BadKey)
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        let point = self.0.public_key().to_sec1_point(false);
        let mut bytes = [0; 65];
        bytes.copy_from_slice(point.as_bytes());
        PublicKey::from_point(bytes)
    }
}

impl Unseal for PureDataKey {
    fn unseal(&self, sealed: &Sealed<'_>, bound: &Bound<'_>) -> Result<Vec<u8>, Undecryptable> {
        let key = content_key(&self.0, &sealed.ephemeral, &sealed.kdf_context())?;
        let mut text = sealed.ciphertext.to_vec();
        cipher(&key)
            .decrypt_in_place(&(*sealed.nonce).into(), &sealed.enc_structure(bound), &mut text)
            .map_err(|_| Undecryptable)?;
        Ok(text)
    }
}

fn point(key: &PublicKey) -> Result<p256::PublicKey, Undecryptable> {
    p256::PublicKey::from_sec1_bytes(key.as_bytes()).map_err(|_| Undecryptable)
}

/// ECDH, then HKDF without a salt (RFC 9053, sections 5.1 and 6.3.1).
fn content_key(private: &SecretKey, public: &PublicKey, context: &[u8]) -> Result<Zeroizing<[u8; 32]>, Undecryptable> {
    // The shared secret is the product's x. (`p256` has this behind its feature `ecdh`, which AWS's crates would be built anew for.)
    let scalar = Zeroizing::new(private.to_nonzero_scalar());
    let product = Zeroizing::new((ProjectivePoint::from(*point(public)?.as_affine()) * **scalar).to_affine());
    let shared = Zeroizing::new(<[u8; 32]>::from(product.x()));
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, &*shared).expand(context, &mut *key).map_err(|_| Undecryptable)?;
    Ok(key)
}

fn cipher(key: &Zeroizing<[u8; 32]>) -> Aes256Gcm {
    Aes256Gcm::new((&**key).into())
}
