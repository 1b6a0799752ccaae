//! The vectors of confidential telemetry: every backend decrypts what another origin encrypted too, and refuses alike.

use serde_json::Value;
use vitro_proof::block::ReceivedBlock;
use vitro_proof::confidential::{Bound, DataKeys, Inside, PureDataKey, Sealed, Unseal};
use vitro_proof::crypto::P256Key;
use vitro_proof::{DataKeyId, DeviceId, Envelope, PublicKey, Reason, confidential};
use zeroize::Zeroizing;

use crate::vectors::{load, un};

/// Every backend that is built in; they must not differ.
struct All(DataKeyId, Vec<(&'static str, Box<dyn Unseal>)>);

impl All {
    fn of(key: &Value) -> Self {
        let scalar: Zeroizing<[u8; 32]> = Zeroizing::new(un(&key["private"]).try_into().unwrap());
        let mut all: Vec<(&'static str, Box<dyn Unseal>)> =
            vec![("pure", Box::new(PureDataKey::from_scalar(&scalar).unwrap()))];
        #[cfg(feature = "aws-lc")]
        all.push(("aws-lc", Box::new(confidential::AwsLcDataKey::from_scalar(&scalar).unwrap())));
        Self(key["id"].as_str().unwrap().parse().unwrap(), all)
    }

    /// Each backend as the only one.
    fn each(&self) -> impl Iterator<Item = One<'_>> {
        self.1.iter().map(|(name, key)| One { name, id: &self.0, key: &**key })
    }
}

struct One<'a> {
    name: &'a str,
    id: &'a DataKeyId,
    key: &'a dyn Unseal,
}

impl DataKeys for One<'_> {
    fn data_key(&self, id: &str) -> Option<&dyn Unseal> {
        (id == self.id.as_str()).then_some(self.key)
    }
}

fn check(file: &Value) {
    let all = All::of(&file["key"]);
    for vector in file["vectors"].as_array().unwrap() {
        let thing: DeviceId = vector["thing"].as_str().unwrap().parse().unwrap();
        let bound = Bound { thing: &thing, number: vector["number"].as_u64().unwrap() };
        let bytes = un(&vector["sealed"]);
        let sealed = Sealed::parse(&bytes).unwrap();
        let inside = if vector["inside"] == "pack" { Inside::Pack } else { Inside::Opening };
        assert_eq!((sealed.inside(), sealed.recipient()), (inside, all.0.as_str()));
        assert_eq!(bound.external_data(), un(&vector["external_data"]));
        assert_eq!(sealed.kdf_context(), un(&vector["kdf_context"]));
        assert_eq!(sealed.enc_structure(&bound), un(&vector["enc_structure"]));
        for one in all.each() {
            assert_eq!(
                one.key.unseal(&sealed, &bound).unwrap(),
                un(&vector["clear"]),
                "{} {}",
                one.name,
                vector["name"]
            );
        }
    }
}

#[test]
fn every_backend_decrypts_ours_and_the_outsiders() {
    check(&load("confidential.json"));
    check(&load("outsider.json")["confidential"]);
}

#[test]
fn what_cannot_be_read_is_told_alike() {
    let file = load("confidential.json");
    let all = All::of(&file["key"]);
    let envelope = un(&file["envelope"]);
    let payload = Envelope::parse(&envelope).unwrap().payload().to_vec();
    assert_eq!(payload, un(&file["vectors"][0]["sealed"]));
    let mut told = std::collections::BTreeSet::new();
    for vector in file["refused"].as_array().unwrap() {
        let bytes = un(&vector["sealed"]);
        let reason = crate::made::confidential::verdict(&bytes, vector["number"].as_u64().unwrap());
        assert_eq!(reason, vector["reason"].as_str(), "{}", vector["name"]);
        told.extend(reason);
        let thing: DeviceId = "dev-1".parse().unwrap();
        let bound = Bound { thing: &thing, number: vector["number"].as_u64().unwrap() };
        let opened: Vec<_> = all
            .each()
            .map(|one| Sealed::parse(&bytes).ok().and_then(|sealed| one.key.unseal(&sealed, &bound).ok()))
            .collect();
        assert!(opened.windows(2).all(|pair| pair[0] == pair[1]), "{}", vector["name"]);
    }
    assert_eq!(told.into_iter().collect::<Vec<_>>(), ["bad_encryption", "encrypted", "undecryptable"]);
}

#[test]
fn a_confidential_block_message_reveals_the_clear_one() {
    let file = load("confidential.json");
    let public: PublicKey = load("keys.json")["keys"][0]["public"].as_str().unwrap().parse().unwrap();
    let thing: DeviceId = "dev-1".parse().unwrap();
    for one in All::of(&file["key"]).each() {
        let received = ReceivedBlock::decode(&un(&file["block_message"])).unwrap();
        let message = received.reveal(&thing, &P256Key::new(&public).unwrap(), &one).map_err(|e| e.reason());
        assert_eq!(message.map(|message| message.encode()), Ok(un(&file["clear_block_message"])), "{}", one.name);
    }
}
