//! Envelopes, and the small readers that stand before them: CBOR, signatures and keys in DER.

use minicbor::data::Tag;
use minicbor::{Decoder, Encoder};
use p256::pkcs8::DecodePublicKey;
use vitro_proof::cbor::{self, CborFault};
use vitro_proof::crypto::{P256Key, sha256, signature_from_der};
use vitro_proof::envelope::{MAX_BYTES, METERED_STEP, Unsigned, sequence};
use vitro_proof::{Envelope, EnvelopeFault, PublicKey, Signature, Signer, Verify};

use super::{DEVICE_KEYS, UNSIGNED, cut, flipped, lies_in};

/// The ways in.
pub(crate) const WHOLE: u8 = 0;
pub(crate) const SEQUENCE: u8 = 1;
pub(crate) const HEADER: u8 = 2;
pub(crate) const SIGNATURE: u8 = 3;
pub(crate) const KEY: u8 = 4;
pub(crate) const ITEM: u8 = 5;

pub(crate) fn run(data: &[u8]) -> bool {
    let Some((way, data)) = data.split_first() else { return false };
    match way % 6 {
        WHOLE => whole(data),
        SEQUENCE => day_of(data),
        HEADER => header(data),
        SIGNATURE => signature(data),
        KEY => key(data),
        _ => item(data),
    }
}

/// An envelope as it comes.
fn whole(bytes: &[u8]) -> bool {
    let Ok(envelope) = Envelope::parse(bytes) else { return false };
    check(&envelope, bytes);
    envelope.verify(&*DEVICE_KEYS).is_ok()
}

/// What holds for all that is taken for an envelope, whoever signed it.
pub(super) fn check(envelope: &Envelope<'_>, bytes: &[u8]) {
    assert_eq!(envelope.bytes(), bytes);
    assert!(bytes.len() <= MAX_BYTES);
    assert_eq!(envelope.metered_units(), (bytes.len() as u64).div_ceil(METERED_STEP));
    assert!(lies_in(envelope.payload(), bytes), "what is read is what came");

    // What is signed are these very bytes and nothing else.
    let structure = envelope.sig_structure();
    let mut d = Decoder::new(&structure);
    assert_eq!(d.array().unwrap(), Some(4));
    assert_eq!(d.str().unwrap(), "Signature1");
    let protected = d.bytes().unwrap();
    assert!(bytes.windows(protected.len().max(1)).any(|window| window == protected));
    assert!(d.bytes().unwrap().is_empty());
    assert_eq!(d.bytes().unwrap(), envelope.payload());
    assert_eq!(d.position(), structure.len());
    assert_eq!(envelope.hash(), sha256(&[&structure]));
    assert_eq!(envelope.leaf().0, sha256(&[&[0], &structure]).0);

    // Written anew it says the same, in no more bytes: ours are the shortest.
    let unsigned = Unsigned::new(envelope.header(), envelope.payload());
    let written = unsigned.sign(envelope.signature());
    let again = Envelope::parse(&written).unwrap();
    assert_eq!((again.header(), again.payload()), (envelope.header(), envelope.payload()));
    assert_eq!(again.signature(), envelope.signature());
    assert_eq!(unsigned.digest(), again.hash().0);
    assert!(written.len() <= bytes.len());
    assert_eq!(again.hash() == envelope.hash(), again.sig_structure() == structure);

    // It ends where it ends.
    if bytes.len() < MAX_BYTES {
        let longer = [bytes, &[0]].concat();
        assert_eq!(Envelope::parse(&longer).err(), Some(EnvelopeFault::TrailingBytes(1)));
    }
    assert!(Envelope::parse(&bytes[..bytes.len() - 1]).is_err());
}

/// A day's envelopes, one behind the other.
fn day_of(bytes: &[u8]) -> bool {
    let mut at = 0;
    let mut good = 0;
    let mut broken = false;
    for envelope in sequence(bytes) {
        assert!(!broken, "nothing follows what cannot be read");
        match envelope {
            Ok(envelope) => {
                check(&envelope, &bytes[at..at + envelope.bytes().len()]);
                at += envelope.bytes().len();
                good += 1;
            }
            Err(_) => broken = true,
        }
    }
    assert_eq!(at == bytes.len(), !broken);
    good > 1 && !broken
}

/// A COSE_Sign1 of these parts.
pub(crate) fn sign1(protected: &[u8], payload: &[u8], signature: &Signature) -> Vec<u8> {
    let mut out = Vec::new();
    let mut e = Encoder::new(&mut out);
    e.tag(Tag::new(18)).unwrap().array(4).unwrap().bytes(protected).unwrap().map(0).unwrap();
    e.bytes(payload).unwrap().bytes(signature).unwrap();
    out
}

/// A protected header, and a payload, signed by the device.
fn header(data: &[u8]) -> bool {
    let Some((protected, payload)) = cut(data) else { return false };
    let unsigned = sign1(protected, payload, &UNSIGNED);
    let Ok(envelope) = Envelope::parse(&unsigned) else { return false };
    check(&envelope, &unsigned);
    assert!(envelope.verify(&*DEVICE_KEYS).is_err());

    let signature = DEVICE_KEYS.signer.sign_digest(&envelope.hash().0).unwrap();
    let signed = sign1(protected, payload, &signature);
    let envelope = Envelope::parse(&signed).unwrap();
    assert_eq!(envelope.verify_leaf(&*DEVICE_KEYS), Ok(envelope.leaf()));
    assert!(!Envelope::parse(&flipped(&signed)).is_ok_and(|other| other.verify(&*DEVICE_KEYS).is_ok()));
    // The signature's other form is as good, and changes neither leaf nor hash.
    let (r, s) = p256::ecdsa::Signature::from_slice(&signature).unwrap().split_scalars();
    let other = p256::ecdsa::Signature::from_scalars(r, -*s).unwrap().to_bytes().into();
    let other = sign1(protected, payload, &other);
    let other = Envelope::parse(&other).unwrap();
    assert_eq!(other.verify_leaf(&*DEVICE_KEYS), Ok(envelope.leaf()));
    assert_eq!(other.hash(), envelope.hash());
    true
}

/// A signature in DER: read as the `p256` crate reads it, which also asks that its numbers are below the curve's order.
fn signature(der: &[u8]) -> bool {
    let ours = signature_from_der(der).ok();
    let in_range = ours.filter(|raw| p256::ecdsa::Signature::from_slice(raw).is_ok());
    let theirs = p256::ecdsa::Signature::from_der(der).ok().map(|signature| Signature::from(signature.to_bytes()));
    assert_eq!(in_range, theirs);
    in_range.is_some()
}

/// A public key in DER: read as the `p256` crate reads it, which also takes compressed points and asks for the curve.
fn key(der: &[u8]) -> bool {
    let theirs = p256::PublicKey::from_public_key_der(der).ok();
    let Ok(ours) = PublicKey::from_spki_der(der) else {
        // 91 bytes: an uncompressed point in its one form.
        assert!(theirs.is_none() || der.len() != 91);
        return false;
    };
    let pure = P256Key::new(&ours);
    #[cfg(feature = "aws-lc")]
    assert_eq!(vitro_proof::crypto::AwsLcKey::new(&ours).is_ok(), pure.is_ok());
    assert_eq!(theirs.is_some(), pure.is_ok());
    assert_eq!(ours.to_string().parse::<PublicKey>().unwrap(), ours);
    pure.is_ok_and(|key| key.verify(der, &UNSIGNED).is_err())
}

/// CBOR: what is found well-formed, another decoder passes over in as many bytes, and no shorter.
fn item(bytes: &[u8]) -> bool {
    let Ok(end) = cbor::check_prefix(bytes) else {
        assert!(matches!(cbor::check(bytes), Err(CborFault::Malformed(_))));
        return false;
    };
    let mut d = Decoder::new(bytes);
    d.skip().unwrap();
    assert_eq!(d.position(), end);
    assert_eq!(cbor::check(&bytes[..end]), Ok(()));
    assert!(cbor::check_prefix(&bytes[..end - 1]).is_err());
    let rest = bytes.len() - end;
    assert_eq!(cbor::check(bytes), if rest == 0 { Ok(()) } else { Err(CborFault::Trailing(rest)) });
    rest == 0
}
