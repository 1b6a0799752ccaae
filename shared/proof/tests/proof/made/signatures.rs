//! Signatures on which two implementations could differ.

use p256::Scalar;
use p256::elliptic_curve::PrimeField;
use serde_json::{Value, json};
use vitro_proof::Signer;
use vitro_proof::crypto::sha256;

use super::envelopes::public;
use super::{scalar, signer, un};

/// The order of P-256, big-endian.
const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
/// The prime of P-256's field.
const FIELD: &str = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";
/// The base point of P-384: an uncompressed point, but of a larger curve.
const LARGER_CURVE: &str = "04aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab73617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f";
/// The base point of secp256k1: a point, but of another curve.
const OTHER_CURVE: &str = "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8";

fn of(bytes: &[u8; 32]) -> Scalar {
    Option::from(Scalar::from_repr((*bytes).into())).unwrap()
}

/// n - s in place of s.
fn negated(s: &[u8]) -> Vec<u8> {
    let bytes: [u8; 32] = s.try_into().unwrap();
    (-of(&bytes)).to_repr().to_vec()
}

/// An r with which verification meets the point at infinity for every s: e + r d = 0. It must be refused, not crash.
fn infinity(message: &[u8]) -> Vec<u8> {
    let e = of(&sha256(&[message]).0);
    let d = of(&scalar("dev-1"));
    (-(e * d.invert().unwrap())).to_repr().to_vec()
}

pub(super) fn signatures() -> Value {
    let message = b"Vitro test message".to_vec();
    let good = signer("dev-1").sign_digest(&sha256(&[&message]).0).unwrap();
    let (r, s) = (good[..32].to_vec(), good[32..].to_vec());
    let (zero, ones, order, field) = (vec![0; 32], vec![0xff; 32], un(ORDER), un(FIELD));
    let mut one = vec![0; 32];
    one[31] = 1;
    let (mut last, mut beyond) = (order.clone(), order.clone());
    last[31] -= 1;
    beyond[31] += 1;
    // Big-endian numbers of one length compare as their bytes do.
    let (low, high) = (s.clone().min(negated(&s)), s.clone().max(negated(&s)));
    let der = p256::ecdsa::Signature::from_slice(&good).unwrap().to_der().as_bytes().to_vec();
    let join = |a: &Vec<u8>, b: &Vec<u8>| [a.clone(), b.clone()].concat();
    let key = public("dev-1");
    let mut off_curve = un(&key);
    off_curve[64] ^= 1;
    let mut beyond_field = un(&key);
    beyond_field[1..33].copy_from_slice(&field);
    let compressed = [vec![2 + (un(&key)[64] & 1)], un(&key)[1..33].to_vec()].concat();
    let hybrid = [vec![6 + (un(&key)[64] & 1)], un(&key)[1..].to_vec()].concat();
    let with_key =
        |name: &str, point: &[u8]| (name.to_owned(), hex::encode(point), message.clone(), good.to_vec(), false);
    let with =
        |name: &str, signature: Vec<u8>, valid| (name.to_owned(), key.clone(), message.clone(), signature, valid);
    let cases = vec![
        with("good", good.to_vec(), true),
        with("n - s", join(&r, &negated(&s)), true),
        with("low s", join(&r, &low), true),
        with("high s", join(&r, &high), true),
        with("n - r", join(&negated(&r), &s), false),
        with("r zero", join(&zero, &s), false),
        with("s zero", join(&r, &zero), false),
        with("both zero", join(&zero, &zero), false),
        with("r = n", join(&order, &s), false),
        with("s = n", join(&r, &order), false),
        with("r = n + 1", join(&beyond, &s), false),
        with("s = n + 1", join(&r, &beyond), false),
        with("both n", join(&order, &order), false),
        with("r = p", join(&field, &s), false),
        with("r = 2^256 - 1", join(&ones, &s), false),
        with("s = 2^256 - 1", join(&r, &ones), false),
        with("r = s = 1", join(&one, &one), false),
        with("s = n - 1", join(&r, &last), false),
        with("point at infinity", join(&infinity(&message), &s), false),
        with("s then r", join(&s, &r), false),
        with(
            "little-endian",
            [r.iter().rev().copied().collect::<Vec<u8>>(), s.iter().rev().copied().collect()].concat(),
            false,
        ),
        with("DER", der.clone(), false),
        with("DER, filled up to 64 bytes", [der.clone(), vec![0; 64]].concat()[..64.max(der.len())].to_vec(), false),
        with("DER, cut at 64 bytes", der[..64].to_vec(), false),
        with("r alone", r.clone(), false),
        with("63 bytes", good[..63].to_vec(), false),
        with("65 bytes", [good.to_vec(), vec![0]].concat(), false),
        with("empty", vec![], false),
        ("another message".into(), key.clone(), b"Vitro test messagf".to_vec(), good.to_vec(), false),
        ("another key".into(), public("dev-2"), message.clone(), good.to_vec(), false),
        with_key("key of secp256k1", &un(OTHER_CURVE)),
        with_key("key of P-384", &un(LARGER_CURVE)),
        with_key("key off the curve", &off_curve),
        with_key("key's x beyond the field", &beyond_field),
        with_key("compressed key", &compressed),
        with_key("hybrid key", &hybrid),
        with_key("point at infinity as key", &[0]),
        with_key("key of zeros", &[vec![4], vec![0; 64]].concat()),
    ];
    let vectors: Vec<Value> = cases
        .into_iter()
        .map(|(name, key, message, signature, valid)| {
            json!({"name": name, "public_key": key, "message": hex::encode(message), "signature": hex::encode(signature), "valid": valid})
        })
        .collect();
    json!({
        "about": "ES256 over 'message'. A key that is no uncompressed point of P-256 is refused; here that counts as not valid.",
        "vectors": vectors,
    })
}
