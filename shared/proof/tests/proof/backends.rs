//! Both verifier backends, and the arithmetic behind the vectors, give one verdict.

use serde_json::Value;
use vitro_proof::crypto::P256Key;
use vitro_proof::{PublicKey, Verify};

use crate::vectors::{load, un};

/// The verdict of every backend that is built in; they must not differ.
fn verdict(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok(key) = PublicKey::from_sec1(key) else { return false };
    let Ok(signature) = signature.try_into() else { return false };
    let pure = P256Key::new(&key).is_ok_and(|key| key.verify(message, &signature).is_ok());
    #[cfg(feature = "aws-lc")]
    {
        use vitro_proof::crypto::AwsLcKey;
        let fast = AwsLcKey::new(&key);
        assert_eq!(fast.is_ok(), P256Key::new(&key).is_ok(), "they take different keys: {key}");
        let fast = fast.is_ok_and(|key| key.verify(message, &signature).is_ok());
        assert_eq!(fast, pure, "they differ on {} under {key}", hex::encode(signature));
    }
    pure
}

#[test]
fn on_signatures_that_could_divide_them() {
    for vector in load("signatures.json")["vectors"].as_array().unwrap() {
        let parts = ["public_key", "message", "signature"].map(|field| un(&vector[field]));
        assert_eq!(verdict(&parts[0], &parts[1], &parts[2]), vector["valid"].as_bool().unwrap(), "{}", vector["name"]);
    }
}

#[test]
fn on_every_envelope_of_the_vectors() {
    let keys = load("keys.json");
    let of = |name: &Value| {
        let key = keys["keys"].as_array().unwrap().iter().find(|key| key["name"] == *name).unwrap();
        un(&key["public"])
    };
    for vector in load("envelopes.json")["vectors"].as_array().unwrap() {
        let bytes = un(&vector["envelope"]);
        let envelope = vitro_proof::Envelope::parse(&bytes).unwrap();
        let good = verdict(&of(&vector["key"]), &envelope.sig_structure(), envelope.signature());
        assert_eq!(good, vector["verifies"].as_bool().unwrap(), "{}", vector["name"]);
    }
}

#[test]
#[cfg(feature = "aws-lc")]
fn on_every_block_of_the_vectors_and_on_what_the_outsider_signed() {
    use vitro_proof::block::BlockMessage;
    use vitro_proof::crypto::AwsLcKey;

    let (chain, refused, outsider) = (load("chain.json"), load("refused-blocks.json"), load("outsider.json"));
    let ours = load("keys.json")["keys"][0]["public"].clone();
    let sets = [(&chain["vectors"], &ours), (&refused["vectors"], &ours), (&outsider["chain"], &outsider["public"])];
    let mut opened = 0;
    for (vectors, public) in sets {
        let key: PublicKey = public.as_str().unwrap().parse().unwrap();
        let (pure, fast) = (P256Key::new(&key).unwrap(), AwsLcKey::new(&key).unwrap());
        for vector in vectors.as_array().unwrap() {
            let Ok(message) = BlockMessage::decode(&un(&vector["message"])) else { continue };
            let thing = if public == &ours { "dev-1" } else { "outsider-1" }.parse().unwrap();
            let verdict = message.open(&thing, &fast);
            assert_eq!(verdict, message.open(&thing, &pure));
            opened += u32::from(verdict.is_ok());
        }
    }
    assert!(opened >= 7, "the blocks of both chains open");
    for vector in outsider["envelopes"].as_array().unwrap() {
        let bytes = un(&vector["envelope"]);
        let envelope = vitro_proof::Envelope::parse(&bytes).unwrap();
        assert!(verdict(&un(&outsider["public"]), &envelope.sig_structure(), envelope.signature()));
    }
}

mod random {
    use proptest::prelude::*;
    use vitro_proof::Signer;
    use vitro_proof::crypto::{SoftwareSigner, sha256};

    use super::verdict;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn on_random_signatures_and_their_neighbours(scalar in any::<[u8; 32]>(), message: Vec<u8>, at in 0usize..64, xor: u8) {
            let Ok(signer) = SoftwareSigner::from_scalar(&scalar) else { return Ok(()) };
            let mut signature = signer.sign_digest(&sha256(&[&message]).0).unwrap();
            signature[at] ^= xor;
            prop_assert_eq!(verdict(signer.public_key().as_bytes(), &message, &signature), xor == 0);
        }

        #[test]
        fn on_arbitrary_bytes(key in proptest::collection::vec(any::<u8>(), 64), signature in proptest::collection::vec(any::<u8>(), 64)) {
            prop_assert!(!verdict(&[vec![4], key].concat(), b"message", &signature));
        }
    }
}
