//! What an implementation of another origin wrote (`tests/outsider/`, pycose and cbor2), read by ours.

use serde_json::{Value, json};
use vitro_proof::block::{BlockMessage, ChainLink, DailyLink, OpenedBlock, check_follows, check_openings};
use vitro_proof::command::{Action, Command, Outcome, Reply};
use vitro_proof::confidential::{self, NoKeys};
use vitro_proof::crypto::P256Key;
use vitro_proof::reconcile::{CloudDay, Comparison, DayFrame, Stored, compare};
use vitro_proof::summary::{self, closings};
use vitro_proof::{
    Account, BlockNumber, DeviceId, Envelope, PublicKey, Reason, SensorTable, SequenceNumber, merkle, senml,
};

use crate::made;
use crate::vectors::{load, un};

fn file() -> (Value, DeviceId, SensorTable, P256Key) {
    let file = load("outsider.json");
    let thing = file["thing"].as_str().unwrap().parse().unwrap();
    let table = serde_json::from_value(file["table"].clone()).unwrap();
    let key: PublicKey = file["public"].as_str().unwrap().parse().unwrap();
    let key = P256Key::new(&key).unwrap();
    (file, thing, table, key)
}

#[test]
fn its_envelopes_verify_and_read_the_same() {
    let (file, thing, table, key) = file();
    for vector in file["envelopes"].as_array().unwrap() {
        let name = &vector["name"];
        let bytes = un(&vector["envelope"]);
        let envelope = Envelope::parse(&bytes).unwrap();
        let leaf = envelope.verify_leaf(&key).unwrap();
        assert_eq!(leaf.to_string(), vector["leaf"].as_str().unwrap(), "{name}");
        let header = envelope.header();
        assert_eq!(
            (header.kid.as_str(), header.number),
            (thing.as_str(), vector["number"].as_u64().unwrap()),
            "{name}"
        );
        let pack = confidential::pack(&envelope, &NoKeys);
        let (_, codes) = summary::inspect(pack.as_deref(), &thing, &table);
        let mut codes: Vec<&str> = codes.iter().map(Reason::reason).collect();
        codes.sort_unstable();
        assert_eq!(json!(codes), vector["codes"], "{name}");
        let records = match senml::read_pack(envelope.payload(), &thing) {
            Err(fault) => fault.reason().into(),
            Ok(pack) => pack.into_iter().map(made::packs::record).collect::<Value>(),
        };
        assert_eq!(records, vector["records"], "{name}");
    }
}

#[test]
fn its_chain_of_days_agrees_with_our_own_account() {
    let (file, thing, table, key) = file();
    let mut chain: Vec<OpenedBlock> = Vec::new();
    for vector in file["chain"].as_array().unwrap() {
        let message = BlockMessage::decode(&un(&vector["message"])).unwrap();
        let opened = message.open(&thing, &key).unwrap();
        assert_eq!(opened.hash.to_string(), vector["hash"].as_str().unwrap());
        let before = chain.last();
        let link = before.map(|block| ChainLink { number: block.number, hash: block.hash });
        let daily =
            before.map(|block| DailyLink { hash: block.hash, to: block.block.bounds.to, end: block.block.end() });
        check_follows(&opened, link, daily).unwrap();
        let left = before.map(|block| block.summaries.clone()).unwrap_or_default();
        check_openings(&opened.summaries, &left).unwrap();

        let block = &opened.block;
        #[cfg(feature = "zones")]
        assert_eq!(vitro_proof::DayBounds::of(&block.zone, block.day).unwrap(), block.bounds);
        let envelopes: Vec<Vec<u8>> = vector["envelopes"].as_array().unwrap().iter().map(un).collect();
        let openings = closings(&left);
        let frame = DayFrame {
            thing: &thing,
            day: block.day,
            bounds: block.bounds,
            first: block.first,
            count: block.count,
            table: &table,
            openings: &openings,
        };
        let stored = (block.first..).zip(&envelopes);
        let stored = stored.map(|(n, bytes)| Stored { number: SequenceNumber(n), envelope: bytes });
        let cloud = CloudDay::compute(&frame, stored, &NoKeys).unwrap();
        assert_eq!(cloud.root.to_string(), vector["root"].as_str().unwrap());
        assert_eq!(summary::encode(&cloud.summaries), message.summaries, "to the byte");
        assert_eq!(compare(&opened, &cloud), Comparison::Agrees);
        chain.push(opened);
    }
    assert_eq!(chain.len(), 3);
}

#[test]
fn its_commands_and_replies_are_understood() {
    let (file, thing, _, key) = file();
    let keys = load("keys.json");
    let public: PublicKey = keys["keys"][2]["public"].as_str().unwrap().parse().unwrap();
    let command_key = P256Key::new(&public).unwrap();
    for vector in file["commands"].as_array().unwrap() {
        let bytes = un(&vector["envelope"]);
        let envelope = Envelope::parse(&bytes).unwrap();
        envelope.verify(&command_key).unwrap();
        let command = Command::decode(envelope.payload()).unwrap();
        assert_eq!(command.thing, thing);
        match &command.action {
            Action::Backfill(ranges) => assert_eq!(json!(ranges), vector["backfill"]),
            action => assert_eq!(action.name(), vector["action"]),
        }
    }
    for vector in file["replies"].as_array().unwrap() {
        let bytes = un(&vector["envelope"]);
        let envelope = Envelope::parse(&bytes).unwrap();
        envelope.verify(&key).unwrap();
        let reply = Reply::decode(envelope.payload()).unwrap();
        let result = vector["result"].as_u64().map(Outcome::Count);
        assert_eq!((json!(reply.status), reply.result), (vector["status"].clone(), result));
    }
}

#[test]
fn committed_trees_and_accounts_read_back() {
    for vector in load("merkle.json")["vectors"].as_array().unwrap() {
        let root = vector["root"].as_str().unwrap().parse().unwrap();
        let count = vector["count"].as_u64().unwrap();
        for proof in vector["proofs"].as_array().unwrap() {
            let leaf = proof["leaf"].as_str().unwrap().parse().unwrap();
            let path = proof["path"].as_array().unwrap().iter();
            let path: Vec<_> = path.map(|node| node.as_str().unwrap().parse().unwrap()).collect();
            let index = proof["index"].as_u64().unwrap();
            assert!(merkle::verify_inclusion(leaf, index, count, &path, root));
            assert!(!merkle::verify_inclusion(leaf, index + 1, count, &path, root));
        }
    }
    for vector in load("messages.json")["accounts"].as_array().unwrap() {
        let account = Account::decode(&un(&vector["account"])).unwrap();
        assert_eq!(json!(account.block.map(|BlockNumber(n)| n)), vector["block"]);
        assert_eq!(json!(account.missing), vector["missing"]);
        assert_eq!(account.encode(), un(&vector["account"]));
    }
}
