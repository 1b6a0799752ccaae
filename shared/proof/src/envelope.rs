//! The envelope: one signed message, a COSE_Sign1 (RFC 9052, section 4.2) with ES256 over P-256, its payload attached.
//!
//! Parsing borrows from the bytes as they came; what is verified and hashed is built from those very bytes. This module does not
//! look into payloads.

use minicbor::Decoder;
use minicbor::data::{Tag, Type};

use crate::cbor::{self, CborFault};
use crate::crypto::{BadSignature, Signature, Signer, Verify, sha256};
use crate::error::{EnvelopeFault, SignerError};
use crate::ids::{Hash, Leaf};

/// The most bytes an envelope may have: AWS IoT's limit of a message.
pub const MAX_BYTES: usize = 128 * 1024;
/// COSE header label of our number within the kind, from the private-use range (RFC 9052, section 11.1).
pub const NUMBER_LABEL: i64 = -65537;
/// An envelope is metered in steps of 5 KB, as AWS IoT meters messages.
pub const METERED_STEP: u64 = 5 * 1024;

/// What a message is for: the `typ` header (RFC 9596).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Readings of a device.
    Telemetry,
    /// A daily or interim block of a device.
    Block,
    /// A customer's command to a device.
    Command,
    /// A device's answer to a command.
    Reply,
}

impl Kind {
    /// The value of the `typ` header.
    #[must_use]
    pub fn typ(self) -> &'static str {
        match self {
            Self::Telemetry => "vitro-telemetry",
            Self::Block => "vitro-block",
            Self::Command => "vitro-command",
            Self::Reply => "vitro-reply",
        }
    }

    fn from_typ(typ: &str) -> Option<Self> {
        [Self::Telemetry, Self::Block, Self::Command, Self::Reply].into_iter().find(|kind| kind.typ() == typ)
    }

    fn admits(self, content: ContentType) -> bool {
        match self {
            Self::Telemetry => matches!(content, ContentType::Senml | ContentType::Encrypted),
            Self::Block => content == ContentType::Block,
            Self::Command => content == ContentType::Command,
            Self::Reply => content == ContentType::Reply,
        }
    }
}

/// What the payload is: the content type header (RFC 9052, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// 112, `application/senml+cbor` (RFC 8428).
    Senml,
    /// 96, a COSE_Encrypt around the SenML pack.
    Encrypted,
    /// `application/vitro-block+cbor`.
    Block,
    /// `application/vitro-command+cbor`.
    Command,
    /// `application/vitro-reply+cbor`.
    Reply,
}

impl ContentType {
    fn text(self) -> Option<&'static str> {
        match self {
            Self::Senml | Self::Encrypted => None,
            Self::Block => Some("application/vitro-block+cbor"),
            Self::Command => Some("application/vitro-command+cbor"),
            Self::Reply => Some("application/vitro-reply+cbor"),
        }
    }
}

/// The protected header's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the message is for.
    pub kind: Kind,
    /// What the payload is.
    pub content: ContentType,
    /// Who signed: a device's thing name, or the id of a command key.
    pub kid: String,
    /// The number within the kind: sequence, block, command or reply number.
    pub number: u64,
}

/// A parsed envelope. Nothing is verified until [`Envelope::verify`] said so.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    bytes: &'a [u8],
    protected: &'a [u8],
    payload: &'a [u8],
    signature: Signature,
    header: Header,
}

impl<'a> Envelope<'a> {
    /// Takes an envelope apart.
    ///
    /// # Errors
    /// [`EnvelopeFault`] says which rule of the format the bytes break.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EnvelopeFault> {
        if bytes.len() > MAX_BYTES {
            return Err(EnvelopeFault::TooLarge(bytes.len()));
        }
        let malformed = |fault: CborFault| match fault {
            CborFault::Trailing(n) => EnvelopeFault::TrailingBytes(n),
            CborFault::Malformed(why) => EnvelopeFault::NotAnEnvelope(why),
        };
        if bytes.first() != Some(&0xd2) {
            return Err(EnvelopeFault::NotAnEnvelope("no COSE_Sign1 tag"));
        }
        cbor::check(bytes).map_err(malformed)?;
        let shape = |_| EnvelopeFault::NotAnEnvelope("not the array of a COSE_Sign1");
        let mut d = Decoder::new(bytes);
        if d.tag().map_err(shape)? != Tag::new(18) || d.array().map_err(shape)? != Some(4) {
            return Err(EnvelopeFault::NotAnEnvelope("not the array of a COSE_Sign1"));
        }
        let protected = d.bytes().map_err(shape)?;
        match d.map().map_err(shape)? {
            Some(0) => {}
            _ => return Err(EnvelopeFault::UnknownHeader("unprotected headers are not allowed".into())),
        }
        let payload = d.bytes().map_err(|_| EnvelopeFault::NotAnEnvelope("no payload"))?;
        let signature = d.bytes().map_err(shape)?;
        let signature = Signature::try_from(signature)
            .map_err(|_| EnvelopeFault::NotAnEnvelope("the signature has not 64 bytes"))?;
        let header = Header::parse(protected)?;
        Ok(Self { bytes, protected, payload, signature, header })
    }

    /// The envelope as it came.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The protected header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The signed payload as it came.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The raw signature.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// What the signature is over: the Sig_structure of RFC 9052, section 4.4, without external data.
    #[must_use]
    pub fn sig_structure(&self) -> Vec<u8> {
        sig_structure(self.protected, self.payload)
    }

    /// The envelope's leaf in its day's Merkle tree.
    #[must_use]
    pub fn leaf(&self) -> Leaf {
        leaf_of(&self.sig_structure())
    }

    /// A block's hash: that of its Sig_structure.
    #[must_use]
    pub fn hash(&self) -> Hash {
        sha256(&[&self.sig_structure()])
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(&self, key: &dyn Verify) -> Result<(), BadSignature> {
        key.verify(&self.sig_structure(), &self.signature)
    }

    /// Checks the signature and gives the leaf: both are over the same bytes, which are built once.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify_leaf(&self, key: &dyn Verify) -> Result<Leaf, BadSignature> {
        let structure = self.sig_structure();
        key.verify(&structure, &self.signature)?;
        Ok(leaf_of(&structure))
    }

    /// How many units of 5 KB the envelope is metered as.
    #[must_use]
    pub fn metered_units(&self) -> u64 {
        metered_units(self.bytes.len())
    }
}

/// How many units of 5 KB a message of this many bytes is metered as.
#[must_use]
pub fn metered_units(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(METERED_STEP)
}

fn leaf_of(sig_structure: &[u8]) -> Leaf {
    Leaf(sha256(&[&[0x00], sig_structure]).0)
}

/// What a Sig_structure has at most beside the two strings: its array, the context, the empty external data, two heads.
const SIG_STRUCTURE_HEADS: usize = 1 + 11 + 1 + 2 * 9;

fn sig_structure(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    cbor::encode_into(Vec::with_capacity(protected.len() + payload.len() + SIG_STRUCTURE_HEADS), |e| {
        e.array(4)?.str("Signature1")?.bytes(protected)?.bytes(&[])?.bytes(payload)?;
        Ok(())
    })
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, EnvelopeFault> {
        cbor::check(bytes).map_err(|_| EnvelopeFault::NotAnEnvelope("the protected header is not one CBOR item"))?;
        let shape = |_: minicbor::decode::Error| EnvelopeFault::NotAnEnvelope("a malformed protected header");
        let mut d = Decoder::new(bytes);
        let length = d.map().map_err(shape)?.unwrap_or(0);
        let (mut algorithm, mut content, mut kid, mut kind, mut number) = (None, None, None, None, None);
        for _ in 0..length {
            let label = match d.datatype().map_err(shape)? {
                Type::String => return Err(EnvelopeFault::UnknownHeader(short(d.str().map_err(shape)?))),
                _ => d.i64().map_err(|_| EnvelopeFault::UnknownHeader("a label that is no small integer".into()))?,
            };
            match label {
                1 => algorithm = Some(d.i64().map_err(|_| EnvelopeFault::WrongAlgorithm)?),
                3 => content = Some(Self::content(&mut d)?),
                4 => {
                    let bytes = d.bytes().map_err(|_| EnvelopeFault::UnknownHeader("kid is no byte string".into()))?;
                    let text = std::str::from_utf8(bytes)
                        .map_err(|_| EnvelopeFault::UnknownHeader("kid is not UTF-8".into()))?;
                    kid = Some(text.to_owned());
                }
                16 => {
                    let typ = d.str().map_err(|_| EnvelopeFault::WrongKind)?;
                    kind = Some(Kind::from_typ(typ).ok_or(EnvelopeFault::WrongKind)?);
                }
                NUMBER_LABEL => {
                    number = Some(d.u64().map_err(|_| EnvelopeFault::UnknownHeader("the number is no uint".into()))?);
                }
                other => return Err(EnvelopeFault::UnknownHeader(format!("label {other}"))),
            }
        }
        if algorithm != Some(-7) {
            return Err(EnvelopeFault::WrongAlgorithm);
        }
        let missing = |what: &str| EnvelopeFault::UnknownHeader(format!("{what} is missing"));
        let kind = kind.ok_or(EnvelopeFault::WrongKind)?;
        let content = content.ok_or(EnvelopeFault::BadContentType)?;
        if !kind.admits(content) {
            return Err(EnvelopeFault::BadContentType);
        }
        Ok(Self {
            kind,
            content,
            kid: kid.ok_or_else(|| missing("kid"))?,
            number: number.ok_or_else(|| missing("the number"))?,
        })
    }

    fn content(d: &mut Decoder<'_>) -> Result<ContentType, EnvelopeFault> {
        let bad = |_| EnvelopeFault::BadContentType;
        if d.datatype().map_err(bad)? == Type::String {
            let text = d.str().map_err(bad)?;
            return [ContentType::Block, ContentType::Command, ContentType::Reply]
                .into_iter()
                .find(|content| content.text() == Some(text))
                .ok_or(EnvelopeFault::BadContentType);
        }
        match d.u16().map_err(bad)? {
            112 => Ok(ContentType::Senml),
            96 => Ok(ContentType::Encrypted),
            _ => Err(EnvelopeFault::BadContentType),
        }
    }

    fn encode(&self) -> Vec<u8> {
        cbor::encode(|e| {
            e.map(5)?.u8(1)?.i8(-7)?.u8(3)?;
            match self.content {
                ContentType::Senml => e.u16(112)?,
                ContentType::Encrypted => e.u16(96)?,
                text => e.str(text.text().unwrap_or_default())?,
            };
            e.u8(4)?.bytes(self.kid.as_bytes())?;
            e.u8(16)?.str(self.kind.typ())?;
            e.i64(NUMBER_LABEL)?.u64(self.number)?;
            Ok(())
        })
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The envelopes of a CBOR sequence (RFC 8742), as the archive keeps a day. After the first that cannot be read there is nothing more.
pub fn sequence(mut bytes: &[u8]) -> impl Iterator<Item = Result<Envelope<'_>, EnvelopeFault>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let end = cbor::check_prefix(bytes).unwrap_or(bytes.len());
        let (item, rest) = bytes.split_at(end);
        let envelope = Envelope::parse(item);
        bytes = if envelope.is_ok() { rest } else { &[] };
        Some(envelope)
    })
}

/// An envelope that lacks its signature: for a key that only an asynchronous call reaches. Whoever has a [`Signer`] uses [`seal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsigned {
    protected: Vec<u8>,
    payload: Vec<u8>,
}

impl Unsigned {
    /// A message that is to be signed.
    #[must_use]
    pub fn new(header: &Header, payload: &[u8]) -> Self {
        Self { protected: header.encode(), payload: payload.to_owned() }
    }

    /// The SHA-256 digest that has to be signed.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        sha256(&[&sig_structure(&self.protected, &self.payload)]).0
    }

    /// The envelope with its signature, which is not checked here.
    #[must_use]
    pub fn sign(&self, signature: &Signature) -> Vec<u8> {
        cbor::encode(|e| {
            e.tag(Tag::new(18))?.array(4)?.bytes(&self.protected)?.map(0)?.bytes(&self.payload)?.bytes(signature)?;
            Ok(())
        })
    }
}

/// Signs a payload into an envelope.
///
/// # Errors
/// [`SignerError`] if the key store does not sign.
pub fn seal(header: &Header, payload: &[u8], signer: &dyn Signer) -> Result<Vec<u8>, SignerError> {
    let unsigned = Unsigned::new(header, payload);
    let signature = signer.sign_digest(&unsigned.digest())?;
    Ok(unsigned.sign(&signature))
}

#[cfg(test)]
#[cfg(feature = "p256")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::{P256Key, SoftwareSigner};

    fn signer() -> SoftwareSigner {
        SoftwareSigner::from_scalar(&[5; 32]).unwrap()
    }

    fn header() -> Header {
        Header { kind: Kind::Telemetry, content: ContentType::Senml, kid: "dev-1".into(), number: 42 }
    }

    fn raw(protected: &[u8], unprotected: &[u8], signature: &[u8]) -> Vec<u8> {
        let mut out = vec![0xd2, 0x84];
        out.extend(cbor::encode(|e| e.bytes(protected).map(|_| ())));
        out.extend(unprotected);
        out.extend(cbor::encode(|e| e.bytes(b"x").map(|_| ())));
        out.extend(cbor::encode(|e| e.bytes(signature).map(|_| ())));
        out
    }

    #[test]
    fn a_sealed_envelope_opens() {
        let bytes = seal(&header(), b"payload", &signer()).unwrap();
        let envelope = Envelope::parse(&bytes).unwrap();
        assert_eq!(envelope.header(), &header());
        assert_eq!(envelope.payload(), b"payload");
        let key = P256Key::new(&signer().public_key()).unwrap();
        assert_eq!(envelope.verify_leaf(&key), Ok(envelope.leaf()));
    }

    #[test]
    fn a_sequence_gives_each_envelope() {
        let all: Vec<Vec<u8>> =
            (0..3).map(|number| seal(&Header { number, ..header() }, &[7; 300], &signer()).unwrap()).collect();
        let numbers = |bytes: &[u8]| -> Vec<Option<u64>> {
            sequence(bytes).map(|envelope| envelope.ok().map(|e| e.header().number)).collect()
        };
        assert_eq!(numbers(&all.concat()), [Some(0), Some(1), Some(2)]);
        assert_eq!(numbers(&all.concat()[..all[0].len() + 20]), [Some(0), None]);
        assert_eq!(numbers(&[&all[0][..], b"garbage"].concat()), [Some(0), None]);
        assert!(numbers(b"").is_empty());
    }

    #[test]
    fn each_fault_has_its_own_code() {
        use crate::error::Reason;
        let good = seal(&header(), b"x", &signer()).unwrap();
        let code = |bytes: &[u8]| Envelope::parse(bytes).unwrap_err().reason();
        assert_eq!(code(b""), "not_an_envelope");
        assert_eq!(code(b"{}"), "not_an_envelope");
        assert_eq!(code(&good[..good.len() - 1]), "not_an_envelope");
        assert_eq!(code(&vec![0; MAX_BYTES + 1]), "too_large");
        assert_eq!(code(&[good.clone(), vec![0]].concat()), "trailing_bytes");
        let protected = header().encode();
        assert_eq!(code(&raw(&protected, &[0xa0], &[0; 63])), "not_an_envelope");
        assert_eq!(code(&raw(&protected, &[0xa1, 0x04, 0x41, 0x61], &[0; 64])), "unknown_header");
        let mut es384 = protected.clone();
        es384[2] = 0x38; // -7 becomes the two-byte -35
        es384.insert(3, 34);
        assert_eq!(code(&raw(&es384, &[0xa0], &[0; 64])), "wrong_algorithm");
        let mut extra = protected.clone();
        extra[0] = 0xa6;
        extra.extend([0x02, 0x81, 0x01]); // crit: [1]
        assert_eq!(code(&raw(&extra, &[0xa0], &[0; 64])), "unknown_header");
        let block = Header { content: ContentType::Block, ..header() }.encode();
        assert_eq!(code(&raw(&block, &[0xa0], &[0; 64])), "bad_content_type");
    }

    #[test]
    fn both_forms_of_a_signature_give_one_leaf() {
        let bytes = seal(&header(), b"payload", &signer()).unwrap();
        let mut other = bytes.clone();
        let at = other.len() - 64;
        let parsed = p256::ecdsa::Signature::from_slice(&bytes[at..]).unwrap();
        let (r, s) = parsed.split_scalars();
        let flipped = p256::ecdsa::Signature::from_scalars(r, -*s).unwrap();
        other[at..].copy_from_slice(&flipped.to_bytes());
        assert_ne!(bytes, other);
        let key = P256Key::new(&signer().public_key()).unwrap();
        let (a, b) = (Envelope::parse(&bytes).unwrap(), Envelope::parse(&other).unwrap());
        assert_eq!(a.verify_leaf(&key).unwrap(), b.verify_leaf(&key).unwrap());
    }

    #[test]
    fn metering_goes_in_steps_of_5_kb() {
        for (bytes, units) in [(1, 1), (5120, 1), (5121, 2), (MAX_BYTES, 26)] {
            assert_eq!(metered_units(bytes), units);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Envelope::parse(&bytes);
        }

        #[test]
        fn a_flipped_bit_never_verifies(payload in proptest::collection::vec(any::<u8>(), 0..64), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let key = P256Key::new(&signer().public_key()).unwrap();
            let mut bytes = seal(&header(), &payload, &signer()).unwrap();
            let index = at.index(bytes.len());
            bytes[index] ^= 1 << bit;
            prop_assert!(!Envelope::parse(&bytes).is_ok_and(|envelope| envelope.verify(&key).is_ok()));
        }
    }
}
