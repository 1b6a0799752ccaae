//! Signing and verifying with ECDSA over P-256 and SHA-256 (ES256, RFC 9053 section 2.1), behind traits.
//!
//! Two backends: `aws-lc-rs` where TLS links it anyway, `p256` on devices and in the chaincode. Both must give the same verdict on
//! every signature; in both, `s` and `n - s` are valid, so nothing may depend on a signature's bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{ProofError, SignerError};
use crate::ids::Hash;

/// A raw ECDSA signature: r then s, 32 bytes each, big-endian.
pub type Signature = [u8; 64];

/// A public key of P-256 as an uncompressed SEC1 point: 0x04, x, y. Its form is checked, whether it lies on the curve is for
/// the backend to say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 65]);

impl PublicKey {
    /// Takes an uncompressed SEC1 point.
    ///
    /// # Errors
    /// [`ProofError::BadKey`] for any other length or form.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, ProofError> {
        match <[u8; 65]>::try_from(bytes) {
            Ok(point) if point[0] == 4 => Ok(Self(point)),
            _ => Err(ProofError::BadKey),
        }
    }

    /// The 65 bytes of the point.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 65] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_sec1(&hex::decode(text).map_err(|_| ProofError::BadKey)?)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The signature does not belong to the message and the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// A parsed public key that checks signatures.
pub trait Verify: Send + Sync {
    /// Checks an ES256 signature over `message`.
    ///
    /// # Errors
    /// [`BadSignature`] if it does not verify, whatever the cause.
    fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature>;
}

/// A private key somewhere: in a secure element, a token, KMS, or a file in development.
pub trait Signer {
    /// Signs a SHA-256 digest.
    ///
    /// # Errors
    /// [`SignerError`] if the key store is away or refuses.
    fn sign_digest(&self, digest: &[u8; 32]) -> Result<Signature, SignerError>;

    /// The public key that belongs to it.
    fn public_key(&self) -> PublicKey;
}

/// SHA-256 of the parts, one after another.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    Hash(hasher.finalize().into())
}

#[cfg(feature = "aws-lc")]
pub use aws_lc::AwsLcKey;

#[cfg(feature = "aws-lc")]
mod aws_lc {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};

    use super::{BadSignature, PublicKey, Signature, Verify};
    use crate::error::ProofError;

    /// A key parsed once by aws-lc.
    pub struct AwsLcKey(ParsedPublicKey);

    impl AwsLcKey {
        /// Parses the point.
        ///
        /// # Errors
        /// [`ProofError::BadKey`] if it is not on the curve.
        pub fn new(key: &PublicKey) -> Result<Self, ProofError> {
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.as_bytes()).map(Self).map_err(|_| ProofError::BadKey)
        }
    }

    impl Verify for AwsLcKey {
        fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
            self.0.verify_sig(message, signature).map_err(|_| BadSignature)
        }
    }
}

#[cfg(feature = "p256")]
pub use pure::{P256Key, SoftwareSigner};

#[cfg(feature = "p256")]
mod pure {
    use std::fmt;

    use p256::ecdsa::signature::Verifier;
    use p256::ecdsa::signature::hazmat::PrehashSigner;
    use p256::ecdsa::{SigningKey, VerifyingKey};
    use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};

    use super::{BadSignature, PublicKey, Signature, Signer, Verify};
    use crate::error::{ProofError, SignerError};

    /// A key parsed once by the `p256` crate.
    pub struct P256Key(VerifyingKey);

    impl P256Key {
        /// Parses the point.
        ///
        /// # Errors
        /// [`ProofError::BadKey`] if it is not on the curve.
        pub fn new(key: &PublicKey) -> Result<Self, ProofError> {
            VerifyingKey::from_sec1_bytes(key.as_bytes()).map(Self).map_err(|_| ProofError::BadKey)
        }
    }

    impl Verify for P256Key {
        fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
            let signature = p256::ecdsa::Signature::from_slice(signature).map_err(|_| BadSignature)?;
            self.0.verify(message, &signature).map_err(|_| BadSignature)
        }
    }

    /// A private key in memory: development, tests, and whoever has no secure element. Zeroized when dropped.
    pub struct SoftwareSigner(SigningKey);

    impl SoftwareSigner {
        /// Takes a private scalar: 32 bytes, big-endian, from a source of randomness that the caller trusts.
        ///
        /// # Errors
        /// [`ProofError::BadKey`] if it is zero or not below the order of the curve.
        pub fn from_scalar(scalar: &[u8; 32]) -> Result<Self, ProofError> {
            SigningKey::from_slice(scalar).map(Self).map_err(|_| ProofError::BadKey)
        }

        /// Reads a PKCS#8 key in PEM.
        ///
        /// # Errors
        /// [`ProofError::BadKey`] if it is not a private key of P-256.
        pub fn from_pkcs8_pem(pem: &str) -> Result<Self, ProofError> {
            SigningKey::from_pkcs8_pem(pem).map(Self).map_err(|_| ProofError::BadKey)
        }

        /// Writes the key as PKCS#8 in PEM, in a string that is wiped when dropped.
        ///
        /// # Errors
        /// [`ProofError::BadKey`] if the key cannot be written.
        pub fn to_pkcs8_pem(&self) -> Result<impl AsRef<str> + use<>, ProofError> {
            #[derive(Clone)]
            struct Pem<S: std::ops::Deref<Target = String>>(S);
            impl<S: std::ops::Deref<Target = String>> AsRef<str> for Pem<S> {
                fn as_ref(&self) -> &str {
                    &self.0
                }
            }
            self.0.to_pkcs8_pem(LineEnding::LF).map(Pem).map_err(|_| ProofError::BadKey)
        }
    }

    impl fmt::Debug for SoftwareSigner {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "SoftwareSigner({})", self.public_key())
        }
    }

    impl Signer for SoftwareSigner {
        fn sign_digest(&self, digest: &[u8; 32]) -> Result<Signature, SignerError> {
            let signature: p256::ecdsa::Signature =
                self.0.sign_prehash(digest).map_err(|e| SignerError(e.to_string()))?;
            Ok(signature.to_bytes().into())
        }

        fn public_key(&self) -> PublicKey {
            let point = self.0.verifying_key().to_sec1_point(false);
            let mut bytes = [0; 65];
            bytes.copy_from_slice(point.as_bytes());
            PublicKey(bytes)
        }
    }
}

#[cfg(test)]
#[cfg(feature = "p256")]
mod tests {
    use super::*;

    #[test]
    fn keys_have_one_form() {
        assert!(PublicKey::from_sec1(&[4; 64]).is_err());
        assert!(PublicKey::from_sec1(&[2; 65]).is_err());
        let off_curve = PublicKey::from_sec1(&[4; 65]).unwrap();
        assert!(P256Key::new(&off_curve).is_err());
        #[cfg(feature = "aws-lc")]
        assert!(AwsLcKey::new(&off_curve).is_err());
    }

    #[test]
    fn a_signer_shows_no_secret() {
        let signer = SoftwareSigner::from_scalar(&[7; 32]).unwrap();
        let shown = format!("{signer:?}");
        assert!(!shown.contains(&hex::encode([7; 32])));
        let pem = signer.to_pkcs8_pem().unwrap();
        let again = SoftwareSigner::from_pkcs8_pem(pem.as_ref()).unwrap();
        assert_eq!(again.public_key(), signer.public_key());
        assert!(SoftwareSigner::from_scalar(&[0; 32]).is_err());
    }

    #[test]
    fn both_backends_agree() {
        let signer = SoftwareSigner::from_scalar(&[9; 32]).unwrap();
        let message = b"a message";
        let signature = signer.sign_digest(&sha256(&[message]).0).unwrap();
        let mut zero_r = signature;
        zero_r[..32].fill(0);
        let mut big_s = signature;
        big_s[32..].fill(0xff);
        for (bytes, good) in [(signature, true), (zero_r, false), (big_s, false)] {
            let pure = P256Key::new(&signer.public_key()).unwrap();
            assert_eq!(pure.verify(message, &bytes).is_ok(), good);
            assert!(pure.verify(b"another", &bytes).is_err());
            #[cfg(feature = "aws-lc")]
            {
                let fast = AwsLcKey::new(&signer.public_key()).unwrap();
                assert_eq!(fast.verify(message, &bytes).is_ok(), good);
                assert!(fast.verify(b"another", &bytes).is_err());
            }
        }
    }
}
