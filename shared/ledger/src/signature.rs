//! Signatures in the form that Fabric takes: DER, and `s` in the lower half of the order (low-S), else the peer refuses them.

use crate::der;

/// The order n of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// (n - 1) / 2, the largest low `s`.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xde, 0x73, 0x7d,
    0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

/// (n - 1) / 2 of P-384 (FIPS 186-5).
const HALF_ORDER_P384: [u8; 48] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xe3, 0xb1, 0xa6, 0xc0, 0xfa, 0x1b, 0x96, 0xef, 0xac, 0x0d, 0x06, 0xd9, 0x24, 0x58,
    0x53, 0xbd, 0x76, 0x76, 0x0c, 0xb5, 0x66, 0x62, 0x94, 0xb9,
];

/// Whether `s` of a raw signature (r then s) lies in the lower half.
#[must_use]
pub fn is_low_s(raw: &[u8; 64]) -> bool {
    raw[32..] <= HALF_ORDER[..]
}

/// The same of one on P-384.
pub(crate) fn is_low_s_p384(raw: &[u8; 96]) -> bool {
    raw[48..] <= HALF_ORDER_P384[..]
}

/// Replaces a high `s` by n - s, which is as valid.
#[must_use]
pub fn to_low_s(mut raw: [u8; 64]) -> [u8; 64] {
    if is_low_s(&raw) || raw[32..] >= ORDER[..] {
        return raw;
    }
    let mut borrow = 0;
    for index in (0..32).rev() {
        let digit = i16::from(ORDER[index]) - i16::from(raw[32 + index]) - borrow;
        borrow = i16::from(digit < 0);
        raw[32 + index] = digit.rem_euclid(256) as u8;
    }
    raw
}

/// A raw signature (r then s) as low-S DER.
#[must_use]
pub fn to_fabric(raw: [u8; 64]) -> Vec<u8> {
    let raw = to_low_s(raw);
    der::sequence(&[der::integer(&raw[..32]), der::integer(&raw[32..])])
}

/// Reads a DER signature into r then s; `None` if it is not one.
#[must_use]
pub fn from_der(bytes: &[u8]) -> Option<[u8; 64]> {
    der::signature(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_the_p256_crate(key in 1..u64::MAX, digest: [u8; 32]) {
            use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
            let mut scalar = [0; 32];
            scalar[24..].copy_from_slice(&key.to_be_bytes());
            let key = p256::ecdsa::SigningKey::from_slice(&scalar).unwrap();
            let signed: p256::ecdsa::Signature = key.sign_prehash(&digest).unwrap();
            let other = p256::ecdsa::Signature::from_scalars(signed.r(), -*signed.s()).unwrap();
            for signature in [signed, other] {
                let raw: [u8; 64] = signature.to_bytes().into();
                let der = to_fabric(raw);
                let low = signature.normalize_s().to_der();
                prop_assert_eq!(low.as_bytes(), &der[..]);
                let back = from_der(&der).unwrap();
                prop_assert!(is_low_s(&back));
                let back = p256::ecdsa::Signature::from_slice(&back).unwrap();
                prop_assert!(key.verifying_key().verify_prehash(&digest, &back).is_ok());
            }
        }

        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = from_der(&bytes);
        }
    }

    #[test]
    fn half_of_p_384s_order_is_the_largest_low_s() {
        let mut raw = [0xff; 96];
        raw[48..].copy_from_slice(&HALF_ORDER_P384);
        assert!(is_low_s_p384(&raw));
        raw[95] += 1;
        assert!(!is_low_s_p384(&raw));
    }
}
