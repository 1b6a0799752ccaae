//! Accounts, commands and replies.

use serde_json::{Value, json};
use vitro_proof::account::Range;
use vitro_proof::command::{Action, Command, Outcome, Reply, status};
use vitro_proof::crypto::sha256;
use vitro_proof::{Account, BlockNumber, CommandNumber, Envelope, Hash, ReplyNumber};

use super::{signer, thing};

pub(super) fn messages() -> Value {
    json!({
        "about": "Accounts, and the payloads of commands and replies in their envelopes, signed with the keys of keys.json.",
        "accounts": accounts(),
        "commands": commands(),
        "replies": replies(),
    })
}

/// A name, a block's number, what was healed, what is missing.
type Case = (&'static str, Option<u64>, Vec<Range>, Vec<Range>);

fn accounts() -> Vec<Value> {
    let cases: [Case; 3] = [
        ("matched", Some(3), vec![], vec![]),
        ("backfilled", Some(u64::MAX), vec![(1500, 1502), (1503, 1503), (1600, 1600)], vec![]),
        ("no block", None, vec![], vec![(1440, 2879)]),
    ];
    let of = |(name, block, healed, missing): Case| {
        let account = Account {
            thing: thing(),
            day: "2018-10-14".parse().unwrap(),
            block: block.map(BlockNumber),
            first: 1440,
            count: 1440,
            root: sha256(&[b"root"]),
            summaries_digest: sha256(&[b"summaries"]),
            healed: healed.clone(),
            missing: missing.clone(),
        };
        json!({
            "name": name, "account": hex::encode(account.encode()), "thing": account.thing, "day": account.day, "block": block,
            "first": account.first, "count": account.count, "root": account.root, "digest": account.summaries_digest,
            "healed": healed, "missing": missing,
        })
    };
    cases.into_iter().map(of).collect()
}

fn commands() -> Vec<Value> {
    let cases = [
        ("backfill", Action::Backfill(vec![(3, 5), (9, 9)]), json!([[3, 5], [9, 9]])),
        (
            "settled",
            Action::Settled { day: "2018-10-14".parse().unwrap(), block: BlockNumber(4), hash: Hash([8; 32]) },
            json!(["2018-10-14", 4, Hash([8; 32])]),
        ),
        ("an action of a later version", Action::Unknown("dance".into()), Value::Null),
        ("subtree", Action::Subtree { first: 1440, count: 1440, level: 5 }, json!([1440, 1440, 5])),
        ("seal", Action::Seal, Value::Null),
    ];
    let of = |(at, (name, action, arguments)): (usize, (&str, Action, Value))| {
        let command = Command { thing: thing(), id: [at as u8; 16], expires: 1_539_590_400, action };
        let bytes = command.seal(CommandNumber(at as u64), "command-1", &signer("command-1")).unwrap();
        let payload = Envelope::parse(&bytes).unwrap().payload().to_vec();
        assert_eq!(Command::decode(&payload).unwrap(), command);
        json!({
            "name": name, "envelope": hex::encode(&bytes), "payload": hex::encode(payload), "number": at, "thing": command.thing,
            "id": hex::encode(command.id), "expires": command.expires, "action": command.action.name(), "arguments": arguments,
        })
    };
    cases.into_iter().enumerate().map(of).collect()
}

fn replies() -> Vec<Value> {
    let cases = [
        ("backfilled", status::DONE, Some(Outcome::Count(4))),
        ("settled", status::DONE, None),
        ("nothing there", status::FAILED, None),
        ("unknown action", status::UNSUPPORTED, None),
        ("too late", status::EXPIRED, None),
        ("subtree", status::DONE, Some(Outcome::Nodes(vec![Hash([1; 32]), Hash([2; 32]), Hash([3; 32])]))),
        ("sealed", status::DONE, Some(Outcome::Sealed { block: BlockNumber(4), hash: Hash([8; 32]) })),
    ];
    let of = |(at, (name, status, result)): (usize, (&str, u64, Option<Outcome>))| {
        let told = match &result {
            None => Value::Null,
            Some(Outcome::Count(count)) => json!(count),
            Some(Outcome::Nodes(nodes)) => json!(nodes),
            Some(Outcome::Sealed { block, hash }) => json!([block, hash]),
        };
        let reply = Reply { command: [7; 16], status, result };
        let bytes = reply.seal(ReplyNumber(at as u64), &thing(), &signer("dev-1")).unwrap();
        let payload = Envelope::parse(&bytes).unwrap().payload().to_vec();
        assert_eq!(Reply::decode(&payload).unwrap(), reply);
        json!({
            "name": name, "envelope": hex::encode(&bytes), "payload": hex::encode(payload), "number": at,
            "command": hex::encode(reply.command), "status": status, "result": told,
        })
    };
    cases.into_iter().enumerate().map(of).collect()
}
