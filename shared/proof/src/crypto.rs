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

    /// Takes a SubjectPublicKeyInfo in DER (RFC 5480) as key stores give it: of P-256, with an uncompressed point.
    ///
    /// # Errors
    /// [`ProofError::BadKey`] for any other curve or form.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, ProofError> {
        Self::from_sec1(der.strip_prefix(&SPKI_PREFIX).ok_or(ProofError::BadKey)?)
    }

    /// Takes a point that a backend has written.
    #[cfg(feature = "confidential")]
    pub(crate) fn from_point(point: [u8; 65]) -> Self {
        Self(point)
    }

    /// The 65 bytes of the point.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 65] {
        &self.0
    }
}

/// What a SubjectPublicKeyInfo of P-256 begins with: id-ecPublicKey, prime256v1, and the head of a bit string of 65 bytes.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The raw signature of an ECDSA-Sig-Value in DER (RFC 3279, section 2.2.3), as KMS and other key stores give it. Its numbers must be
/// positive, minimal and of at most 32 bytes.
///
/// # Errors
/// [`ProofError::BadSignatureForm`] for anything else.
pub fn signature_from_der(der: &[u8]) -> Result<Signature, ProofError> {
    let (numbers, rest) = der_element(0x30, der)?;
    let (r, numbers) = der_element(0x02, numbers)?;
    let (s, end) = der_element(0x02, numbers)?;
    if !rest.is_empty() || !end.is_empty() {
        return Err(ProofError::BadSignatureForm);
    }
    let mut raw = [0; 64];
    let (first, second) = raw.split_at_mut(32);
    der_number(r, first)?;
    der_number(s, second)?;
    Ok(raw)
}

/// An element with this tag and what follows it. No element of a signature is 128 bytes long, so long lengths are none.
fn der_element(tag: u8, bytes: &[u8]) -> Result<(&[u8], &[u8]), ProofError> {
    match bytes.split_at_checked(2) {
        Some((&[found, length], rest)) if found == tag && length < 0x80 => {
            rest.split_at_checked(usize::from(length)).ok_or(ProofError::BadSignatureForm)
        }
        _ => Err(ProofError::BadSignatureForm),
    }
}

/// Puts a positive number's digits at the end of `out`.
fn der_number(content: &[u8], out: &mut [u8]) -> Result<(), ProofError> {
    let digits = match content {
        [0, rest @ ..] if rest.first().is_some_and(|digit| digit & 0x80 != 0) => rest,
        [first, ..] if *first != 0 && first & 0x80 == 0 => content,
        _ => return Err(ProofError::BadSignatureForm),
    };
    let start = out.len().checked_sub(digits.len()).ok_or(ProofError::BadSignatureForm)?;
    out[start..].copy_from_slice(digits);
    Ok(())
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
    use p256::ecdsa::signature::hazmat::PrehashSigner;
    use p256::pkcs8::EncodePublicKey;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_public_key_comes_out_of_its_spki() {
        let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
        let spki = key.verifying_key().to_public_key_der().unwrap();
        let signer = SoftwareSigner::from_scalar(&[7; 32]).unwrap();
        assert_eq!(PublicKey::from_spki_der(spki.as_bytes()).unwrap(), signer.public_key());
        for broken in [&spki.as_bytes()[1..], &spki.as_bytes()[..90], &[spki.as_bytes(), &[0]].concat(), b""] {
            assert!(PublicKey::from_spki_der(broken).is_err());
        }
        let mut other_curve = spki.as_bytes().to_vec();
        other_curve[22] = 0x08;
        assert!(PublicKey::from_spki_der(&other_curve).is_err());
    }

    #[test]
    fn a_signature_in_der_has_one_form() {
        let sequence = |content: &[u8]| [&[0x30, u8::try_from(content.len()).unwrap()], content].concat();
        assert_eq!(signature_from_der(&sequence(&[2, 1, 5, 2, 2, 0, 0x80])).unwrap()[31], 5);
        for bad in [
            &[][..],
            &[2, 1, 5],                // one number
            &[2, 1, 5, 2, 1, 0x80],    // negative
            &[2, 1, 0, 2, 1, 5],       // zero
            &[2, 2, 0, 5, 2, 1, 5],    // not minimal
            &[2, 0, 2, 1, 5],          // empty
            &[2, 1, 5, 2, 1, 5, 5, 0], // something behind
        ] {
            assert!(signature_from_der(&sequence(bad)).is_err(), "{bad:?}");
        }
        let long = sequence(&[&[2, 33], &[1; 33][..], &[2, 1, 1]].concat());
        assert!(signature_from_der(&long).is_err());
        assert!(signature_from_der(&[&sequence(&[2, 1, 5, 2, 1, 5])[..], &[0]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn signatures_in_der_are_read_as_the_p256_crate_writes_them(key in 1..u64::MAX, digest: [u8; 32]) {
            let mut scalar = [0; 32];
            scalar[24..].copy_from_slice(&key.to_be_bytes());
            let signer = p256::ecdsa::SigningKey::from_slice(&scalar).unwrap();
            let signed: p256::ecdsa::Signature = signer.sign_prehash(&digest).unwrap();
            let other = p256::ecdsa::Signature::from_scalars(signed.r(), -*signed.s()).unwrap();
            for signature in [signed, other] {
                let raw: Signature = signature.to_bytes().into();
                prop_assert_eq!(signature_from_der(signature.to_der().as_bytes()).unwrap(), raw);
            }
        }

        #[test]
        fn reading_der_never_panics(bytes: Vec<u8>) {
            let _ = signature_from_der(&bytes);
            let _ = PublicKey::from_spki_der(&bytes);
        }
    }

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
