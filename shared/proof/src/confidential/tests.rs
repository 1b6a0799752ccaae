use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::crypto::{SoftwareSigner, sha256};
use crate::envelope::seal as sign;
use crate::envelope::{Header, Kind};

fn thing() -> DeviceId {
    "dev-1".parse().unwrap()
}

fn scalar(name: &str) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(sha256(&[name.as_bytes()]).0)
}

fn id() -> DataKeyId {
    "key-1".parse().unwrap()
}

fn recipient() -> Recipient {
    Recipient::new(id(), PureDataKey::from_scalar(&scalar("proxy")).unwrap().public_key()).unwrap()
}

fn sealed(clear: &[u8], number: u64) -> Vec<u8> {
    let once = OneTime::new(&scalar("ephemeral"), [7; NONCE_BYTES]).unwrap();
    seal(Inside::Pack, &Bound { thing: &thing(), number }, clear, &recipient(), once).unwrap()
}

/// What every backend that is built in makes of it; they must not differ.
fn unsealed(key: &str, bytes: &[u8], number: u64) -> Option<Vec<u8>> {
    let sealed = Sealed::parse(bytes).ok()?;
    let bound = Bound { thing: &thing(), number };
    let pure = PureDataKey::from_scalar(&scalar(key)).unwrap().unseal(&sealed, &bound);
    #[cfg(feature = "aws-lc")]
    assert_eq!(AwsLcDataKey::from_scalar(&scalar(key)).unwrap().unseal(&sealed, &bound), pure);
    pure.ok()
}

fn keys() -> BTreeMap<DataKeyId, PureDataKey> {
    BTreeMap::from([(id(), PureDataKey::from_scalar(&scalar("proxy")).unwrap())])
}

fn envelope(payload: &[u8]) -> Vec<u8> {
    let header = Header { kind: Kind::Telemetry, content: ContentType::Encrypted, kid: "dev-1".into(), number: 42 };
    sign(&header, payload, &SoftwareSigner::from_scalar(&[5; 32]).unwrap()).unwrap()
}

#[test]
fn a_pack_comes_back_for_its_key_its_device_and_its_number_alone() {
    let bytes = sealed(b"a pack", 42);
    assert_eq!(unsealed("proxy", &bytes, 42).as_deref(), Some(&b"a pack"[..]));
    assert_eq!(unsealed("another", &bytes, 42), None);
    assert_eq!(unsealed("proxy", &bytes, 43), None);
    let parsed = Sealed::parse(&bytes).unwrap();
    let other = "dev-2".parse().unwrap();
    assert!(keys()[&id()].unseal(&parsed, &Bound { thing: &other, number: 42 }).is_err());
}

#[test]
fn each_way_of_not_reading_has_its_code() {
    let bytes = envelope(&sealed(b"a pack", 42));
    let parsed = Envelope::parse(&bytes).unwrap();
    assert_eq!(pack(&parsed, &keys()).unwrap(), &b"a pack"[..]);
    assert_eq!(recipient_of(&bytes), Some("key-1".to_owned()));
    assert_eq!(pack(&parsed, &NoKeys), Err(ContentFault::Encrypted));
    let moved = envelope(&sealed(b"a pack", 41));
    assert_eq!(pack(&Envelope::parse(&moved).unwrap(), &keys()), Err(ContentFault::Undecryptable));
    let nonsense = envelope(b"nonsense");
    assert_eq!(pack(&Envelope::parse(&nonsense).unwrap(), &keys()), Err(ContentFault::BadEncryption));
    assert_eq!(recipient_of(&nonsense), None);
    let once = OneTime::new(&scalar("ephemeral"), [7; NONCE_BYTES]).unwrap();
    let bound = Bound { thing: &thing(), number: 42 };
    let opening = envelope(&seal(Inside::Opening, &bound, b"x", &recipient(), once).unwrap());
    assert_eq!(pack(&Envelope::parse(&opening).unwrap(), &keys()), Err(ContentFault::BadEncryption));
}

fn recipient_of(bytes: &[u8]) -> Option<String> {
    super::recipient(&Envelope::parse(bytes).unwrap()).map(str::to_owned)
}

#[test]
fn keys_are_checked_before_they_are_used() {
    assert!(OneTime::new(&Zeroizing::new([0; 32]), [0; 12]).is_err());
    assert!(OneTime::new(&Zeroizing::new([0xff; 32]), [0; 12]).is_err());
    assert!(PureDataKey::from_scalar(&Zeroizing::new([0; 32])).is_err());
    #[cfg(feature = "aws-lc")]
    assert!(AwsLcDataKey::from_scalar(&Zeroizing::new([0; 32])).is_err());
    assert!(Recipient::new(id(), crate::PublicKey::from_sec1(&[4; 65]).unwrap()).is_err());
}

proptest! {
    #[test]
    fn what_is_encrypted_comes_back(clear in proptest::collection::vec(any::<u8>(), 0..300), number: u64) {
        prop_assert_eq!(unsealed("proxy", &sealed(&clear, number), number), Some(clear));
    }

    #[test]
    fn a_changed_byte_never_decrypts(at in any::<prop::sample::Index>(), xor in 1u8..) {
        let mut bytes = sealed(b"a pack", 42);
        let at = at.index(bytes.len());
        bytes[at] ^= xor;
        // The recipient's id says which key to look for; whoever has the right one reads it still.
        let id = bytes.windows(5).position(|window| window == b"key-1");
        let in_id = id.is_none();
        if let Some(clear) = unsealed("proxy", &bytes, 42) {
            prop_assert!(in_id, "{at}");
            prop_assert_eq!(clear, b"a pack");
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Sealed::parse(&bytes);
    }
}
