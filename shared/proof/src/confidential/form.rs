//! The bytes of a COSE_Encrypt, and what is derived from and authenticated with them.

use minicbor::Decoder;
use minicbor::data::{Tag, Type};

use super::{Bound, Inside, NONCE_BYTES, TAG_BYTES};
use crate::cbor;
use crate::crypto::PublicKey;

/// CBOR tag of a COSE_Encrypt (RFC 9052, section 2).
const COSE_ENCRYPT: u64 = 96;
/// A256GCM (RFC 9053, section 4.1).
const A256GCM: i64 = 3;
/// ECDH-ES + HKDF-256 (RFC 9053, section 6.3.1).
const ECDH_ES_HKDF_256: i64 = -25;
/// application/senml+cbor.
const SENML: u64 = 112;
/// A block's salt and summaries.
const OPENING: &str = "application/vitro-summaries+cbor";

/// Header labels (RFC 9052, sections 3.1 and 7; RFC 9053, sections 6.3.1 and 7.1).
mod label {
    pub(super) const ALG: i64 = 1;
    pub(super) const CONTENT_TYPE: i64 = 3;
    pub(super) const KID: i64 = 4;
    pub(super) const IV: i64 = 5;
    pub(super) const EPHEMERAL: i64 = -1;
    pub(super) const KTY: i64 = 1;
    pub(super) const CRV: i64 = -1;
    pub(super) const X: i64 = -2;
    pub(super) const Y: i64 = -3;
}
/// EC2 keys, and the curve P-256.
const EC2: i64 = 2;
const P256: i64 = 1;

/// Why bytes are no COSE_Encrypt of this profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no COSE_Encrypt of the profile: {0}")]
pub struct Malformed(pub &'static str);

/// A COSE_Encrypt, taken apart where it lies. Nothing of it is authentic before it was decrypted.
#[derive(Clone, Debug)]
// Without a backend that decrypts (the chaincode has none) some of it is only checked.
#[cfg_attr(not(any(feature = "aws-lc", feature = "confidential")), allow(dead_code))]
pub struct Sealed<'a> {
    inside: Inside,
    protected: &'a [u8],
    pub(super) nonce: &'a [u8; NONCE_BYTES],
    /// With its tag at the end.
    pub(super) ciphertext: &'a [u8],
    recipient_protected: &'a [u8],
    recipient: &'a str,
    pub(super) ephemeral: PublicKey,
}

/// Reads one item, or says what was expected.
fn expect<T>(read: Result<T, minicbor::decode::Error>, what: &'static str) -> Result<T, Malformed> {
    read.map_err(|_| Malformed(what))
}

fn ensure(is_so: bool, what: &'static str) -> Result<(), Malformed> {
    if is_so { Ok(()) } else { Err(Malformed(what)) }
}

impl<'a> Sealed<'a> {
    /// Takes it apart. Exactly the headers of the profile are allowed, in any order.
    ///
    /// # Errors
    /// [`Malformed`] says what is not as it must be.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        cbor::check(bytes).map_err(|_| Malformed("not one CBOR item"))?;
        let mut d = Decoder::new(bytes);
        ensure(expect(d.tag(), "the tag")? == Tag::new(COSE_ENCRYPT), "the tag")?;
        ensure(expect(d.array(), "the array")? == Some(4), "the array")?;
        let protected = expect(d.bytes(), "the protected header")?;
        ensure(expect(d.map(), "the unprotected header")? == Some(1), "the unprotected header")?;
        ensure(expect(d.i64(), "the unprotected header")? == label::IV, "the unprotected header")?;
        let nonce = expect(d.bytes(), "the nonce")?.try_into().map_err(|_| Malformed("the nonce"))?;
        let ciphertext = expect(d.bytes(), "the ciphertext")?;
        ensure(ciphertext.len() >= TAG_BYTES, "the ciphertext")?;
        ensure(expect(d.array(), "the recipients")? == Some(1), "the recipients")?;
        ensure(expect(d.array(), "the recipient")? == Some(3), "the recipient")?;
        let recipient_protected = expect(d.bytes(), "the recipient's protected header")?;
        let (recipient, ephemeral) = recipient_header(&mut d)?;
        ensure(expect(d.bytes(), "the recipient's ciphertext")?.is_empty(), "the recipient's ciphertext")?;
        check_recipient_protected(recipient_protected)?;
        let inside = inside(protected)?;
        Ok(Self { inside, protected, nonce, ciphertext, recipient_protected, recipient, ephemeral })
    }

    /// What its header says lies inside.
    #[must_use]
    pub fn inside(&self) -> Inside {
        self.inside
    }

    /// The id of the data-proxy key that it is encrypted for.
    #[must_use]
    pub fn recipient(&self) -> &'a str {
        self.recipient
    }

    /// The info of HKDF: the COSE_KDF_Context (RFC 9053, section 5.2) with nothing known of either party.
    #[must_use]
    pub fn kdf_context(&self) -> Vec<u8> {
        kdf_context(self.recipient_protected)
    }

    /// What AES-GCM authenticates beside the ciphertext: the Enc_structure (RFC 9052, section 5.3).
    #[must_use]
    pub fn enc_structure(&self, bound: &Bound<'_>) -> Vec<u8> {
        enc_structure(self.protected, bound)
    }
}

fn inside(protected: &[u8]) -> Result<Inside, Malformed> {
    const WHAT: &str = "the protected header";
    cbor::check(protected).map_err(|_| Malformed(WHAT))?;
    let mut d = Decoder::new(protected);
    ensure(expect(d.map(), WHAT)? == Some(2), WHAT)?;
    let mut inside = None;
    for _ in 0..2 {
        match expect(d.i64(), WHAT)? {
            label::ALG => ensure(expect(d.i64(), "the algorithm")? == A256GCM, "the algorithm")?,
            label::CONTENT_TYPE => {
                let is_text = expect(d.datatype(), "the content type")? == Type::String;
                inside = Some(match is_text {
                    true if expect(d.str(), "the content type")? == OPENING => Inside::Opening,
                    false if expect(d.u64(), "the content type")? == SENML => Inside::Pack,
                    _ => return Err(Malformed("the content type")),
                });
            }
            _ => return Err(Malformed(WHAT)),
        }
    }
    inside.ok_or(Malformed("the content type"))
}

fn check_recipient_protected(protected: &[u8]) -> Result<(), Malformed> {
    const WHAT: &str = "the recipient's protected header";
    cbor::check(protected).map_err(|_| Malformed(WHAT))?;
    let mut d = Decoder::new(protected);
    ensure(expect(d.map(), WHAT)? == Some(1), WHAT)?;
    ensure(expect(d.i64(), WHAT)? == label::ALG, WHAT)?;
    ensure(expect(d.i64(), "the recipient's algorithm")? == ECDH_ES_HKDF_256, "the recipient's algorithm")
}

/// The recipient's unprotected header: whose key, and the sender's ephemeral one.
fn recipient_header<'a>(d: &mut Decoder<'a>) -> Result<(&'a str, PublicKey), Malformed> {
    const WHAT: &str = "the recipient's unprotected header";
    ensure(expect(d.map(), WHAT)? == Some(2), WHAT)?;
    let (mut kid, mut ephemeral) = (None, None);
    for _ in 0..2 {
        match expect(d.i64(), WHAT)? {
            label::KID => {
                let bytes = expect(d.bytes(), "the recipient's kid")?;
                kid = Some(std::str::from_utf8(bytes).map_err(|_| Malformed("the recipient's kid"))?);
            }
            label::EPHEMERAL => ephemeral = Some(cose_key(d)?),
            _ => return Err(Malformed(WHAT)),
        }
    }
    Ok((kid.ok_or(Malformed(WHAT))?, ephemeral.ok_or(Malformed(WHAT))?))
}

/// A COSE_Key of P-256 with both coordinates in full.
fn cose_key(d: &mut Decoder<'_>) -> Result<PublicKey, Malformed> {
    const WHAT: &str = "the ephemeral key";
    ensure(expect(d.map(), WHAT)? == Some(4), WHAT)?;
    let mut point = [0; 65];
    point[0] = 4;
    for _ in 0..4 {
        let label = expect(d.i64(), WHAT)?;
        match label {
            label::KTY => ensure(expect(d.i64(), WHAT)? == EC2, WHAT)?,
            label::CRV => ensure(expect(d.i64(), WHAT)? == P256, WHAT)?,
            label::X | label::Y => {
                let coordinate: &[u8; 32] = expect(d.bytes(), WHAT)?.try_into().map_err(|_| Malformed(WHAT))?;
                let at = if label == label::X { 1..33 } else { 33..65 };
                point[at].copy_from_slice(coordinate);
            }
            _ => return Err(Malformed(WHAT)),
        }
    }
    // Four entries without a duplicate, each of which is one of four: all were there.
    PublicKey::from_sec1(&point).map_err(|_| Malformed(WHAT))
}

pub(super) fn kdf_context(recipient_protected: &[u8]) -> Vec<u8> {
    cbor::encode(|e| {
        e.array(4)?.i64(A256GCM)?;
        for _party in ["U", "V"] {
            e.array(3)?.null()?.null()?.null()?;
        }
        e.array(2)?.u16(256)?.bytes(recipient_protected)?;
        Ok(())
    })
}

pub(super) fn enc_structure(protected: &[u8], bound: &Bound<'_>) -> Vec<u8> {
    cbor::encode(|e| {
        e.array(3)?.str("Encrypt")?.bytes(protected)?.bytes(&bound.external_data())?;
        Ok(())
    })
}

/// The protected header of the content.
#[cfg(feature = "confidential")]
pub(super) fn protected(inside: Inside) -> Vec<u8> {
    cbor::encode(|e| {
        e.map(2)?.i64(label::ALG)?.i64(A256GCM)?.i64(label::CONTENT_TYPE)?;
        match inside {
            Inside::Pack => e.u64(SENML)?,
            Inside::Opening => e.str(OPENING)?,
        };
        Ok(())
    })
}

/// The protected header of the recipient.
#[cfg(feature = "confidential")]
pub(super) fn recipient_protected() -> Vec<u8> {
    cbor::encode(|e| {
        e.map(1)?.i64(label::ALG)?.i64(ECDH_ES_HKDF_256)?;
        Ok(())
    })
}

/// The whole message, in deterministic CBOR.
#[cfg(feature = "confidential")]
pub(super) fn encode(
    protected: &[u8],
    nonce: &[u8; NONCE_BYTES],
    ciphertext: &[u8],
    recipient: &str,
    ephemeral: &PublicKey,
) -> Vec<u8> {
    cbor::encode(|e| {
        e.tag(Tag::new(COSE_ENCRYPT))?.array(4)?.bytes(protected)?;
        e.map(1)?.i64(label::IV)?.bytes(nonce)?.bytes(ciphertext)?;
        e.array(1)?.array(3)?.bytes(&recipient_protected())?;
        e.map(2)?.i64(label::KID)?.bytes(recipient.as_bytes())?.i64(label::EPHEMERAL)?;
        e.map(4)?.i64(label::KTY)?.i64(EC2)?.i64(label::CRV)?.i64(P256)?;
        e.i64(label::X)?.bytes(&ephemeral.as_bytes()[1..33])?.i64(label::Y)?.bytes(&ephemeral.as_bytes()[33..])?;
        e.bytes(&[])?;
        Ok(())
    })
}
