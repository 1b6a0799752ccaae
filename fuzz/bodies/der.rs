//! Just enough DER to write certificates and revocation lists (RFC 5280) whose every byte is known: signed by RFC 6979, they are the
//! same in every run.

use vitro_proof::crypto::{SoftwareSigner, sha256};
use vitro_proof::{PublicKey, Signer};

use super::{THING, scalar};

/// The ways into the body of certificates and lists.
pub(crate) mod ways {
    pub(crate) const CERTIFICATE: u8 = 0;
    pub(crate) const LIST: u8 = 1;
    pub(crate) const SIGNED_LIST: u8 = 2;
    pub(crate) const SIGNED_DEVICE: u8 = 3;
    pub(crate) const SIGNED_AUTHORITY: u8 = 4;
}

/// Names of the authorities, and of their keys.
pub(crate) const ROOT: &str = "Root";
pub(crate) const BETWEEN: &str = "Between";

pub(crate) fn signer(name: &str) -> SoftwareSigner {
    SoftwareSigner::from_scalar(&scalar(name)).unwrap()
}

/// The signed part of the authority below the root.
pub(crate) fn authority() -> Vec<u8> {
    certificate(&[2], ROOT, BETWEEN, &signer(BETWEEN).public_key(), Purpose::Authority)
}

/// The signed part of the device's certificate with this serial number.
pub(crate) fn device(serial: &[u8]) -> Vec<u8> {
    certificate(serial, BETWEEN, THING, &signer(THING).public_key(), Purpose::Device)
}

/// An element.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let length = match length {
        [0, short @ 0..0x80] => vec![short],
        [0, byte] => vec![0x81, byte],
        [high, low] => vec![0x82, high, low],
    };
    [vec![tag], length, content.to_vec()].concat()
}

pub(crate) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

fn oid(bytes: &[u8]) -> Vec<u8> {
    tlv(6, bytes)
}

/// A non-negative integer of these bytes, big-endian.
pub(crate) fn integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let digits = &bytes[zeros..];
    let sign: &[u8] = if digits.first().is_none_or(|first| first & 0x80 != 0) { &[0] } else { &[] };
    tlv(2, &[sign, digits].concat())
}

/// ecdsa-with-SHA256.
pub(crate) fn algorithm() -> Vec<u8> {
    sequence(&[oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2])])
}

/// A name of one common name.
pub(crate) fn name(common: &str) -> Vec<u8> {
    sequence(&[tlv(0x31, &sequence(&[oid(&[0x55, 4, 3]), tlv(0x0c, common.as_bytes())]))])
}

/// A UTCTime, as `270115080000Z`.
pub(crate) fn time(text: &str) -> Vec<u8> {
    tlv(0x17, text.as_bytes())
}

fn key(public: &PublicKey) -> Vec<u8> {
    let algorithm = [oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]), oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7])];
    sequence(&[sequence(&algorithm), bits(0, public.as_bytes())])
}

fn bits(unused: u8, bytes: &[u8]) -> Vec<u8> {
    tlv(3, &[&[unused], bytes].concat())
}

/// An extension of `id-ce`.
pub(crate) fn extension(id: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { tlv(1, &[0xff]) } else { vec![] };
    sequence(&[oid(&[0x55, 0x1d, id]), critical, tlv(4, value)])
}

/// What a certificate is for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Authority,
    Device,
}

/// The part of a certificate that is signed.
pub(crate) fn certificate(serial: &[u8], issuer: &str, subject: &str, public: &PublicKey, purpose: Purpose) -> Vec<u8> {
    let identifier = sha256(&[public.as_bytes()]).0;
    let mut extensions = match purpose {
        Purpose::Authority => {
            vec![extension(19, true, &sequence(&[tlv(1, &[0xff])])), extension(15, true, &bits(1, &[0b0000_0110]))]
        }
        Purpose::Device => vec![
            extension(19, true, &sequence(&[])),
            extension(15, true, &bits(7, &[0b1000_0000])),
            // clientAuth
            extension(37, false, &sequence(&[oid(&[0x2b, 6, 1, 5, 5, 7, 3, 2])])),
            extension(31, false, &sequence(&[sequence(&[tlv(0xa0, &tlv(0xa0, &tlv(0x86, PLACE.as_bytes())))])])),
        ],
    };
    extensions.push(extension(14, false, &tlv(4, &identifier[..20])));
    sequence(&[
        tlv(0xa0, &integer(&[2])),
        integer(serial),
        algorithm(),
        name(issuer),
        sequence(&[time("270114080000Z"), time("270116080000Z")]),
        name(subject),
        key(public),
        tlv(0xa3, &sequence(&extensions)),
    ])
}

/// Where the list is found that a device's certificate could be on.
pub(crate) const PLACE: &str = "http://crl.example/1";

/// The part of a revocation list that is signed. `entries` are serial numbers with a reason's code.
pub(crate) fn list(issuer: &str, number: &[u8], entries: &[(&[u8], u8)], more: &[Vec<u8>]) -> Vec<u8> {
    let entry = |(serial, reason): &(&[u8], u8)| {
        let reason = extension(21, false, &tlv(10, &[*reason]));
        sequence(&[integer(serial), time("270115070000Z"), sequence(&[reason])])
    };
    let entries: Vec<Vec<u8>> = entries.iter().map(entry).collect();
    let entries = if entries.is_empty() { vec![] } else { sequence(&entries) };
    let extensions = [more.concat(), extension(20, false, &integer(number))].concat();
    sequence(&[
        integer(&[1]),
        algorithm(),
        name(issuer),
        time("270115070000Z"),
        time("270115090000Z"),
        entries,
        tlv(0xa0, &tlv(0x30, &extensions)),
    ])
}

/// A certificate or a list: what is signed, and its signature.
pub(crate) fn signed(part: &[u8], signer: &dyn Signer) -> Vec<u8> {
    let raw = signer.sign_digest(&sha256(&[part]).0).unwrap();
    let signature = p256::ecdsa::Signature::from_slice(&raw).unwrap().to_der();
    sequence(&[part.to_vec(), algorithm(), bits(0, signature.as_bytes())])
}
