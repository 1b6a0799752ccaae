//! Confidential telemetry: each step from a clear pack to the COSE_Encrypt, and what does not decrypt.

use hkdf::Hkdf;
use p256::ProjectivePoint;
use p256::SecretKey;
use p256::elliptic_curve::point::AffineCoordinates;
use serde_json::{Value, json};
use sha2::Sha256;
use vitro_proof::block::{BlockMessage, ReceivedBlock};
use vitro_proof::command::key_id;
use vitro_proof::confidential::{self, Bound, Inside, OneTime, PureDataKey, Recipient, Sealed};
use vitro_proof::crypto::sha256;
use vitro_proof::{ContentType, DataKeyId, Envelope, Header, Kind, Reason, envelope};
use zeroize::Zeroizing;

use super::{array, bstr, chain, head, int, map, scalar, signer, thing, tstr, un};

/// The data-proxy key of the vectors.
pub(super) const PROXY: &str = "data-proxy-1";
/// One that the cloud does not have.
pub(super) const STRANGER: &str = "data-proxy-2";

fn data_key(name: &str) -> PureDataKey {
    PureDataKey::from_scalar(&Zeroizing::new(scalar(name))).unwrap()
}

fn id(name: &str) -> DataKeyId {
    key_id(&data_key(name).public_key()).parse().unwrap()
}

fn recipient(name: &str) -> Recipient {
    Recipient::new(id(name), data_key(name).public_key()).unwrap()
}

fn ephemeral(name: &str) -> [u8; 32] {
    scalar(&format!("ephemeral {name}"))
}

fn nonce(name: &str) -> [u8; 12] {
    sha256(&[b"vitro test nonce ", name.as_bytes()]).0[..12].try_into().unwrap()
}

fn once(name: &str) -> OneTime {
    OneTime::new(&Zeroizing::new(ephemeral(name)), nonce(name)).unwrap()
}

/// One encryption with everything that is computed on the way, by the primitives alone.
fn steps(name: &str, number: u64, inside: Inside, clear: &[u8]) -> Value {
    let thing = thing();
    let bound = Bound { thing: &thing, number };
    let bytes = confidential::seal(inside, &bound, clear, &recipient(PROXY), once(name)).unwrap();
    let sealed = Sealed::parse(&bytes).unwrap();
    let private = SecretKey::from_slice(&ephemeral(name)).unwrap();
    let public = p256::PublicKey::from_sec1_bytes(data_key(PROXY).public_key().as_bytes()).unwrap();
    let product = ProjectivePoint::from(*public.as_affine()) * *private.to_nonzero_scalar();
    let shared: [u8; 32] = product.to_affine().x().into();
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(None, &shared).expand(&sealed.kdf_context(), &mut key).unwrap();
    json!({
        "name": name, "thing": thing, "number": number, "inside": if inside == Inside::Pack { "pack" } else { "opening" },
        "clear": hex::encode(clear), "ephemeral_private": hex::encode(ephemeral(name)), "nonce": hex::encode(nonce(name)),
        "external_data": hex::encode(bound.external_data()), "kdf_context": hex::encode(sealed.kdf_context()),
        "shared_secret": hex::encode(shared), "content_key": hex::encode(key),
        "enc_structure": hex::encode(sealed.enc_structure(&bound)), "sealed": hex::encode(&bytes),
    })
}

/// The parts of a COSE_Encrypt, to put it together otherwise than it should be.
struct Parts {
    tag: Vec<u8>,
    protected: Vec<u8>,
    unprotected: Vec<u8>,
    ciphertext: Vec<u8>,
    recipient_protected: Vec<u8>,
    recipient: Vec<(Vec<u8>, Vec<u8>)>,
    key: Vec<(Vec<u8>, Vec<u8>)>,
    recipient_ciphertext: Vec<u8>,
    recipients: usize,
}

impl Parts {
    fn of(name: &str, clear: &[u8], number: u64) -> Self {
        let bytes =
            confidential::seal(Inside::Pack, &Bound { thing: &thing(), number }, clear, &recipient(PROXY), once(name))
                .unwrap();
        let mut d = minicbor::Decoder::new(&bytes);
        d.tag().unwrap();
        d.array().unwrap();
        d.skip().unwrap();
        d.skip().unwrap();
        let ciphertext = d.bytes().unwrap().to_vec();
        let point = SecretKey::from_slice(&ephemeral(name)).unwrap().public_key();
        let point = p256::ecdsa::VerifyingKey::from(point).to_sec1_point(false);
        let key = vec![
            (int(1), int(2)),
            (int(-1), int(1)),
            (int(-2), bstr(&point.as_bytes()[1..33])),
            (int(-3), bstr(&point.as_bytes()[33..])),
        ];
        Self {
            tag: vec![0xd8, 0x60],
            protected: map(&[(int(1), int(3)), (int(3), int(112))]),
            unprotected: map(&[(int(5), bstr(&nonce(name)))]),
            ciphertext: bstr(&ciphertext),
            recipient_protected: map(&[(int(1), int(-25))]),
            recipient: vec![(int(4), bstr(id(PROXY).as_str().as_bytes()))],
            key,
            recipient_ciphertext: bstr(&[]),
            recipients: 1,
        }
    }

    fn join(self) -> Vec<u8> {
        let mut unprotected = self.recipient;
        unprotected.push((int(-1), map(&self.key)));
        let recipient = array(&[bstr(&self.recipient_protected), map(&unprotected), self.recipient_ciphertext]);
        let recipients = array(&vec![recipient; self.recipients]);
        [self.tag, array(&[bstr(&self.protected), self.unprotected, self.ciphertext, recipients])].concat()
    }
}

/// What cannot be read, each with its code.
fn refused(clear: &[u8]) -> Vec<Value> {
    const NUMBER: u64 = 42;
    let with = |change: &dyn Fn(&mut Parts)| {
        let mut parts = Parts::of("refused", clear, NUMBER);
        change(&mut parts);
        parts.join()
    };
    let good = with(&|_| {});
    let point = |x: Vec<u8>, y: Vec<u8>| vec![(int(1), int(2)), (int(-1), int(1)), (int(-2), x), (int(-3), y)];
    let mut flipped = good.clone();
    let at = flipped.len() / 4;
    flipped[at] ^= 1;
    let moved = confidential::seal(
        Inside::Pack,
        &Bound { thing: &thing(), number: NUMBER + 1 },
        clear,
        &recipient(PROXY),
        once("moved"),
    );
    let other = "dev-2".parse().unwrap();
    let of_other = confidential::seal(
        Inside::Pack,
        &Bound { thing: &other, number: NUMBER },
        clear,
        &recipient(PROXY),
        once("of another device"),
    );
    let bound = Bound { thing: &thing(), number: NUMBER };
    let stranger = confidential::seal(Inside::Pack, &bound, clear, &recipient(STRANGER), once("stranger"));
    let posing = Recipient::new(id(PROXY), data_key(STRANGER).public_key()).unwrap();
    let posing = confidential::seal(Inside::Pack, &bound, clear, &posing, once("posing"));
    let opening = confidential::seal(Inside::Opening, &bound, clear, &recipient(PROXY), once("opening"));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("good", good.clone()),
        (
            "headers in another order",
            with(&|p| {
                p.protected = map(&[(int(3), int(112)), (int(1), int(3))]);
                p.key.reverse();
            }),
        ),
        ("for a key that the cloud does not have", stranger.unwrap()),
        ("for another key under this one's id", posing.unwrap()),
        ("bound to another number", moved.unwrap()),
        ("bound to another device", of_other.unwrap()),
        ("a flipped bit", flipped),
        ("another nonce", with(&|p| p.unprotected = map(&[(int(5), bstr(&[0; 12]))]))),
        ("the ephemeral point off the curve", with(&|p| p.key = point(bstr(&[1; 32]), bstr(&[1; 32])))),
        ("a block's opening", opening.unwrap()),
        ("empty", vec![]),
        ("a pack in clear", clear.to_vec()),
        ("trailing bytes", [good.clone(), vec![0]].concat()),
        ("no tag", good[2..].to_vec()),
        ("the tag of a COSE_Encrypt0", with(&|p| p.tag = vec![0xd0])),
        ("AES-128-GCM", with(&|p| p.protected = map(&[(int(1), int(1)), (int(3), int(112))]))),
        ("another content type", with(&|p| p.protected = map(&[(int(1), int(3)), (int(3), int(96))]))),
        ("no content type", with(&|p| p.protected = map(&[(int(1), int(3))]))),
        (
            "a protected header more",
            with(&|p| {
                p.protected = map(&[(int(1), int(3)), (int(2), array(&[int(3)])), (int(3), int(112))]);
            }),
        ),
        ("a duplicate protected header", with(&|p| p.protected = map(&[(int(1), int(3)), (int(1), int(3))]))),
        (
            "an unprotected header more",
            with(&|p| {
                p.unprotected = map(&[(int(5), bstr(&nonce("refused"))), (int(6), bstr(&[1]))]);
            }),
        ),
        ("a nonce of 11 bytes", with(&|p| p.unprotected = map(&[(int(5), bstr(&[0; 11]))]))),
        ("a ciphertext shorter than its tag", with(&|p| p.ciphertext = bstr(&[0; 15]))),
        ("a detached ciphertext", with(&|p| p.ciphertext = vec![0xf6])),
        ("no recipient", with(&|p| p.recipients = 0)),
        ("two recipients", with(&|p| p.recipients = 2)),
        ("ECDH-SS", with(&|p| p.recipient_protected = map(&[(int(1), int(-27))]))),
        ("a recipient's header more", with(&|p| p.recipient.push((int(-20), bstr(&[1]))))),
        ("no kid", with(&|p| p.recipient.clear())),
        ("a kid that is not UTF-8", with(&|p| p.recipient = vec![(int(4), bstr(&[0xff]))])),
        ("a wrapped key", with(&|p| p.recipient_ciphertext = bstr(&[0; 40]))),
        ("a key of P-384", with(&|p| p.key[1] = (int(-1), int(2)))),
        ("an OKP key", with(&|p| p.key[0] = (int(1), int(1)))),
        ("a compressed point", with(&|p| p.key[3] = (int(-3), vec![0xf5]))),
        ("a coordinate of 31 bytes", with(&|p| p.key[2] = (int(-2), bstr(&[1; 31])))),
        ("a text where the key is", with(&|p| p.key = vec![(tstr("x"), tstr("y"))])),
        ("indefinite length", [vec![0xd8, 0x60, 0x9f], good[3..].to_vec(), vec![0xff]].concat()),
        ("a head of 2^64 - 1 recipients", [&good[..3], &head(4, u64::MAX)].concat()),
    ];
    cases
        .into_iter()
        .map(|(name, sealed)| {
            json!({"name": name, "number": NUMBER, "sealed": hex::encode(&sealed), "reason": verdict(&sealed, NUMBER)})
        })
        .collect()
}

/// The code with which a telemetry envelope around this payload is flagged; nothing if its pack can be read.
pub(crate) fn verdict(sealed: &[u8], number: u64) -> Option<&'static str> {
    let bytes = telemetry(sealed, number);
    let keys = std::collections::BTreeMap::from([(id(PROXY), data_key(PROXY))]);
    confidential::pack(&Envelope::parse(&bytes).unwrap(), &keys).err().map(|fault| fault.reason())
}

fn telemetry(payload: &[u8], number: u64) -> Vec<u8> {
    let header =
        Header { kind: Kind::Telemetry, content: ContentType::Encrypted, kid: super::THING.to_owned(), number };
    envelope::seal(&header, payload, &signer("dev-1")).unwrap()
}

pub(super) fn confidential() -> Value {
    let plain = super::envelopes::valid();
    let pack = un(plain["vectors"][0]["payload"].as_str().unwrap());
    let block = un(chain::chain()["vectors"][0]["message"].as_str().unwrap());
    let message = BlockMessage::decode(&block).unwrap();
    let opening = array(&[bstr(&message.salt), bstr(&message.summaries)]);
    let telemetry_steps = steps("telemetry", 42, Inside::Pack, &pack);
    let block_steps = steps("block", 0, Inside::Opening, &opening);
    let received = ReceivedBlock::Confidential {
        envelope: message.envelope,
        opening: un(block_steps["sealed"].as_str().unwrap()),
    };
    let outer = telemetry(&un(telemetry_steps["sealed"].as_str().unwrap()), 42);
    json!({
        "about": "Telemetry number 42 of dev-1 and the salt and summaries of its block 0, encrypted for a data-proxy key; randomness \
                  that must be drawn anew for each message is fixed here. 'refused' are payloads of content type 96 under number 42.",
        "key": {
            "id": id(PROXY), "private": hex::encode(scalar(PROXY)), "public": data_key(PROXY).public_key().to_string(),
        },
        "vectors": [
            telemetry_steps, block_steps, steps("empty", u64::MAX, Inside::Pack, &[]),
            steps("long", 0, Inside::Pack, &vec![0x5a; 1000]),
        ],
        "envelope": hex::encode(outer),
        "block_message": hex::encode(received.encode()),
        "clear_block_message": hex::encode(block),
        "refused": refused(&pack),
    })
}
