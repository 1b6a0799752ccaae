//! Confidential telemetry and blocks.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use minicbor::data::Tag;
use minicbor::{Decoder, Encoder};
use vitro_proof::block::{BlockMessage, ReceivedBlock};
use vitro_proof::command::key_id;
use vitro_proof::confidential::{
    self, Bound, Inside, NONCE_BYTES, OneTime, PureDataKey, Recipient, Sealed, TAG_BYTES, Undecryptable, Unseal,
};
use vitro_proof::envelope::{MAX_BYTES, Unsigned};
use vitro_proof::{ContentFault, ContentType, DataKeyId, Envelope, Header, Kind, cbor, summary};
use zeroize::Zeroizing;

use super::{Anybody, DEVICE, TABLE, THING, UNSIGNED, cut, flipped, lies_in, scalar, telemetry};

/// The ways in.
pub(crate) const SEALED: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PACK: u8 = 2;
pub(crate) const OPENING: u8 = 3;
pub(crate) const BLOCK: u8 = 4;
pub(crate) const TELEMETRY: u8 = 5;

/// The number of every message here: that of the vectors.
pub(crate) const NUMBER: u64 = 42;

/// Both backends of the data-proxy key; they must not differ.
struct Proxy {
    pure: PureDataKey,
    #[cfg(feature = "aws-lc")]
    fast: confidential::AwsLcDataKey,
}

impl Unseal for Proxy {
    fn unseal(&self, sealed: &Sealed<'_>, bound: &Bound<'_>) -> Result<Vec<u8>, Undecryptable> {
        let clear = self.pure.unseal(sealed, bound);
        #[cfg(feature = "aws-lc")]
        assert_eq!(clear, self.fast.unseal(sealed, bound), "the backends differ");
        clear
    }
}

fn private() -> Zeroizing<[u8; 32]> {
    Zeroizing::new(scalar("data-proxy-1"))
}

static KEYS: LazyLock<BTreeMap<DataKeyId, Proxy>> = LazyLock::new(|| {
    let proxy = Proxy {
        pure: PureDataKey::from_scalar(&private()).unwrap(),
        #[cfg(feature = "aws-lc")]
        fast: confidential::AwsLcDataKey::from_scalar(&private()).unwrap(),
    };
    BTreeMap::from([(id(), proxy)])
});

/// The id of the data-proxy key.
pub(crate) fn id() -> DataKeyId {
    key_id(&PureDataKey::from_scalar(&private()).unwrap().public_key()).parse().unwrap()
}

static RECIPIENT: LazyLock<Recipient> =
    LazyLock::new(|| Recipient::new(id(), PureDataKey::from_scalar(&private()).unwrap().public_key()).unwrap());

/// Encrypts as the device does, with randomness that is always the same.
pub(crate) fn seal(inside: Inside, number: u64, clear: &[u8]) -> Vec<u8> {
    let once = OneTime::new(&Zeroizing::new(scalar("ephemeral fuzz")), [6; NONCE_BYTES]).unwrap();
    confidential::seal(inside, &Bound { thing: &DEVICE, number }, clear, &RECIPIENT, once).unwrap()
}

pub(crate) fn run(data: &[u8]) -> bool {
    let Some((way, data)) = data.split_first() else { return false };
    if data.len() > MAX_BYTES / 2 {
        return false;
    }
    match way % 6 {
        SEALED => sealed(data),
        HEADERS => headers(data).is_some_and(|bytes| sealed(&bytes)),
        PACK => pack(data),
        OPENING => opening(data),
        BLOCK => block(data),
        _ => message(data),
    }
}

/// A COSE_Encrypt as it comes. Whether it decrypts.
fn sealed(bytes: &[u8]) -> bool {
    let Ok(sealed) = Sealed::parse(bytes) else { return false };
    check(&sealed, bytes);
    let bound = Bound { thing: &DEVICE, number: NUMBER };
    let Some(key) = KEYS.values().next() else { return false };
    key.unseal(&sealed, &bound).is_ok()
}

fn check(sealed: &Sealed<'_>, bytes: &[u8]) {
    assert_eq!(cbor::check(bytes), Ok(()));
    assert!(lies_in(sealed.recipient().as_bytes(), bytes));
    let bound = Bound { thing: &DEVICE, number: NUMBER };
    for derived in [sealed.kdf_context(), sealed.enc_structure(&bound), bound.external_data()] {
        assert_eq!(cbor::check(&derived), Ok(()));
    }
    let mut d = Decoder::new(bytes);
    d.tag().unwrap();
    d.array().unwrap();
    let protected = d.bytes().unwrap().to_vec();
    let context = sealed.enc_structure(&bound);
    assert!(context.windows(protected.len()).any(|window| window == protected), "what came is authenticated");
    assert!(Sealed::parse(&[bytes, &[0]].concat()).is_err());
}

/// Both protected headers, and the ciphertext, in a COSE_Encrypt that is right otherwise.
fn headers(data: &[u8]) -> Option<Vec<u8>> {
    let (protected, data) = cut(data)?;
    let (recipient_protected, ciphertext) = cut(data)?;
    let good = seal(Inside::Pack, NUMBER, &[]);
    let mut d = Decoder::new(&good);
    d.tag().unwrap();
    d.array().unwrap();
    d.bytes().unwrap();
    let unprotected = d.position();
    d.skip().unwrap();
    let unprotected = &good[unprotected..d.position()];
    d.bytes().unwrap();
    d.array().unwrap();
    d.array().unwrap();
    d.bytes().unwrap();
    let end = d.position();
    let mut bytes = Vec::new();
    let mut e = Encoder::new(&mut bytes);
    e.tag(Tag::new(96)).unwrap().array(4).unwrap().bytes(protected).unwrap();
    e.writer_mut().extend_from_slice(unprotected);
    e.bytes(ciphertext).unwrap().array(1).unwrap().array(3).unwrap().bytes(recipient_protected).unwrap();
    e.writer_mut().extend_from_slice(&good[end..]);
    Some(bytes)
}

/// The parts of a COSE_Encrypt that [`HEADERS`] takes.
pub(crate) fn parts_of(bytes: &[u8]) -> [Vec<u8>; 3] {
    let mut d = Decoder::new(bytes);
    d.tag().unwrap();
    d.array().unwrap();
    let protected = d.bytes().unwrap().to_vec();
    d.skip().unwrap();
    let ciphertext = d.bytes().unwrap().to_vec();
    d.array().unwrap();
    d.array().unwrap();
    [protected, d.bytes().unwrap().to_vec(), ciphertext]
}

/// A clear pack, encrypted and read again.
fn pack(clear: &[u8]) -> bool {
    let payload = seal(Inside::Pack, NUMBER, clear);
    let sealed = Sealed::parse(&payload).unwrap();
    check(&sealed, &payload);
    assert_eq!((sealed.inside(), sealed.recipient()), (Inside::Pack, id().as_str()));
    let read = |payload: &[u8], number| {
        let bytes = Unsigned::new(&telemetry(number, ContentType::Encrypted), payload).sign(&UNSIGNED);
        let envelope = Envelope::parse(&bytes).unwrap();
        confidential::pack(&envelope, &*KEYS).map(std::borrow::Cow::into_owned)
    };
    assert_eq!(read(&payload, NUMBER).as_deref(), Ok(clear));
    assert_eq!(read(&payload, NUMBER + 1), Err(ContentFault::Undecryptable), "it is bound to its number");
    let changed = read(&flipped(&payload), NUMBER);
    assert!(changed.is_err(), "not a bit can be changed");
    let longer = payload.len() - clear.len();
    assert!((TAG_BYTES..256).contains(&longer), "what it costs does not depend on what is inside");
    summary::inspect(Ok(clear), &DEVICE, &TABLE).1.is_empty()
}

/// Some block's envelope, for what lies beside it.
fn envelope_of_a_block() -> Vec<u8> {
    let header = Header { kind: Kind::Block, content: ContentType::Block, kid: THING.to_owned(), number: NUMBER };
    Unsigned::new(&header, &[0xa0]).sign(&UNSIGNED)
}

/// What is encrypted beside a block: salt and summaries.
fn opening(clear: &[u8]) -> bool {
    let received =
        ReceivedBlock::Confidential { envelope: envelope_of_a_block(), opening: seal(Inside::Opening, NUMBER, clear) };
    assert_eq!(received.recipient(), Some(id().as_str()));
    let Ok(message) = received.reveal(&DEVICE, &Anybody, &*KEYS) else { return false };
    assert_eq!(cbor::check(clear), Ok(()));
    check_concealed(&message);
    summary::decode(&message.summaries).is_ok()
}

/// A message that was revealed is concealed and revealed again.
fn check_concealed(message: &BlockMessage) {
    let once = OneTime::new(&Zeroizing::new(scalar("ephemeral fuzz")), [8; NONCE_BYTES]).unwrap();
    let received = message.conceal(&DEVICE, &RECIPIENT, once).unwrap();
    assert_eq!(ReceivedBlock::decode(&received.encode()).as_ref(), Ok(&received));
    assert_eq!(received.reveal(&DEVICE, &Anybody, &*KEYS).as_ref(), Ok(message));
}

/// A confidential block as it comes.
fn block(bytes: &[u8]) -> bool {
    let Ok(received) = ReceivedBlock::decode(bytes) else { return false };
    assert_eq!(ReceivedBlock::decode(&received.encode()).as_ref(), Ok(&received));
    let confidential = received.recipient().is_some();
    let Ok(message) = received.reveal(&DEVICE, &Anybody, &*KEYS) else { return false };
    let Ok(opened) = message.open(&DEVICE, &Anybody) else { return false };
    super::block::check(&opened, &message);
    check_concealed(&message);
    confidential
}

/// A telemetry envelope as it comes, encrypted or not.
fn message(bytes: &[u8]) -> bool {
    let Ok(envelope) = Envelope::parse(bytes) else { return false };
    super::envelope::check(&envelope, bytes);
    let pack = confidential::pack(&envelope, &*KEYS);
    let whose = confidential::recipient(&envelope);
    match (envelope.header().content, &pack) {
        (ContentType::Senml, pack) => assert_eq!(pack.as_deref(), Ok(envelope.payload())),
        (ContentType::Encrypted, Ok(_)) => assert_eq!(whose, Some(id().as_str())),
        (ContentType::Encrypted, Err(fault)) => {
            assert!(matches!(
                fault,
                ContentFault::Encrypted | ContentFault::BadEncryption | ContentFault::Undecryptable
            ));
        }
        (_, pack) => assert_eq!(pack.as_deref(), Err(&ContentFault::UnreadablePack)),
    }
    let (_, faults) = summary::inspect(pack.as_deref(), &DEVICE, &TABLE);
    if let Err(fault) = &pack {
        assert_eq!(faults.iter().collect::<Vec<_>>(), [fault]);
    }
    whose.is_some() && faults.is_empty()
}
