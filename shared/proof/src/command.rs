//! Signed commands to a device, and its signed replies.

use minicbor::Decoder;

use crate::account::{Range, decode_ranges, encode_ranges};
use crate::cbor;
use crate::crypto::{PublicKey, Signer, sha256};
use crate::day::LocalDay;
use crate::envelope::{ContentType, Header, Kind, Unsigned, seal};
use crate::error::{ProofError, SignerError};
use crate::ids::{BlockNumber, CommandNumber, DeviceId, Hash, ReplyNumber};

/// The version of the commands' and replies' format.
pub const VERSION: u8 = 1;

/// The id of a command key, which is the `kid` of its commands: the first 16 hex digits of SHA-256 over its SEC1 point.
#[must_use]
pub fn key_id(key: &PublicKey) -> String {
    hex::encode(&sha256(&[key.as_bytes()]).0[..8])
}

/// What a device is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the stored envelopes of these numbers again, byte for byte. Argument: an array of inclusive ranges.
    Backfill(Vec<Range>),
    /// The cloud has this day for good; the device may prune it. Argument: `[day, block number, block hash]`.
    Settled {
        /// The day.
        day: LocalDay,
        /// Its daily block.
        block: BlockNumber,
        /// That block's hash.
        hash: Hash,
    },
    /// Tell hashes of the Merkle tree over a run. Argument: `[first number, count, level]`; level 0 are the leaves.
    Subtree {
        /// The first sequence number of the run.
        first: u64,
        /// How many numbers the run has.
        count: u64,
        /// How many levels above the leaves: at most 63.
        level: u8,
    },
    /// Seal an interim block of the open day now. Argument: null is written, nothing is read.
    Seal,
    /// An action that this version does not know. It is answered with [`status::UNSUPPORTED`].
    Unknown(String),
}

impl Action {
    /// The action's name on the wire.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Backfill(_) => "backfill",
            Self::Settled { .. } => "settled",
            Self::Subtree { .. } => "subtree",
            Self::Seal => "seal",
            Self::Unknown(name) => name,
        }
    }
}

/// A command's payload. Its number is in the envelope's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The device that it is for.
    pub thing: DeviceId,
    /// A random id, which the reply names.
    pub id: [u8; 16],
    /// When it expires, in Unix seconds.
    pub expires: i64,
    /// What to do.
    pub action: Action,
}

impl Command {
    /// The command's envelope, which the customer's command key of this id has to sign.
    #[must_use]
    pub fn unsigned(&self, number: CommandNumber, key_id: &str) -> Unsigned {
        let header =
            Header { kind: Kind::Command, content: ContentType::Command, kid: key_id.to_owned(), number: number.0 };
        Unsigned::new(&header, &self.encode())
    }

    /// Signs the command with the customer's command key.
    ///
    /// # Errors
    /// [`SignerError`] if the key store does not sign.
    pub fn seal(&self, number: CommandNumber, key_id: &str, signer: &dyn Signer) -> Result<Vec<u8>, SignerError> {
        let unsigned = self.unsigned(number, key_id);
        let signature = signer.sign_digest(&unsigned.digest())?;
        Ok(unsigned.sign(&signature))
    }

    fn encode(&self) -> Vec<u8> {
        cbor::encode(|e| {
            e.map(6)?.u8(0)?.u8(VERSION)?.u8(1)?.str(self.thing.as_str())?.u8(2)?.bytes(&self.id)?;
            e.u8(3)?.i64(self.expires)?.u8(4)?.str(self.action.name())?.u8(5)?;
            match &self.action {
                Action::Backfill(ranges) => encode_ranges(ranges, e)?,
                Action::Settled { day, block, hash } => {
                    e.array(3)?.str(&day.to_string())?.u64(block.0)?.bytes(&hash.0)?;
                }
                Action::Subtree { first, count, level } => _ = e.array(3)?.u64(*first)?.u64(*count)?.u8(*level)?,
                Action::Seal | Action::Unknown(_) => _ = e.null()?,
            }
            Ok(())
        })
    }

    /// Reads a command's payload, after its signature was verified.
    ///
    /// # Errors
    /// [`ProofError::Cbor`] says what is wrong.
    pub fn decode(payload: &[u8]) -> Result<Self, ProofError> {
        let wire = |e: minicbor::decode::Error| ProofError::cbor("command", e);
        let bad = |detail: &str| ProofError::cbor("command", detail);
        cbor::check(payload).map_err(|fault| ProofError::cbor("command", format!("{fault:?}")))?;
        let mut d = Decoder::new(payload);
        let (mut thing, mut id, mut expires, mut name, mut arguments) = (None, None, None, None, None);
        let mut version = None;
        for _ in 0..d.map().map_err(wire)?.unwrap_or(0) {
            match d.u64().map_err(wire)? {
                0 => version = Some(d.u8().map_err(wire)?),
                1 => thing = Some(d.str().map_err(wire)?.parse()?),
                2 => id = Some(d.bytes().map_err(wire)?.try_into().map_err(|_| bad("the id has not 16 bytes"))?),
                3 => expires = Some(d.i64().map_err(wire)?),
                4 => name = Some(d.str().map_err(wire)?.to_owned()),
                5 => {
                    arguments = Some(d.clone());
                    d.skip().map_err(wire)?;
                }
                key => return Err(bad(&format!("unknown key {key}"))),
            }
        }
        if version != Some(VERSION) {
            return Err(bad("an unknown version"));
        }
        let name = name.ok_or_else(|| bad("key 4 is missing"))?;
        let mut arguments = arguments.ok_or_else(|| bad("key 5 is missing"))?;
        let action = match name.as_str() {
            "backfill" => Action::Backfill(decode_ranges(&mut arguments)?),
            "settled" => {
                if arguments.array().map_err(wire)? != Some(3) {
                    return Err(bad("settled takes day, block number and block hash"));
                }
                Action::Settled {
                    day: arguments.str().map_err(wire)?.parse()?,
                    block: BlockNumber(arguments.u64().map_err(wire)?),
                    hash: Hash::from_slice(arguments.bytes().map_err(wire)?)?,
                }
            }
            "subtree" => {
                if arguments.array().map_err(wire)? != Some(3) {
                    return Err(bad("subtree takes first number, count and level"));
                }
                let mut number = || arguments.u64().map_err(wire);
                let (first, count, level) = (number()?, number()?, number()?);
                match u8::try_from(level) {
                    Ok(level @ 0..=63) => Action::Subtree { first, count, level },
                    _ => return Err(bad("a tree has no level above 63")),
                }
            }
            // Whatever its arguments are: null is written, nothing is read.
            "seal" => Action::Seal,
            _ => Action::Unknown(name),
        };
        Ok(Self {
            thing: thing.ok_or_else(|| bad("key 1 is missing"))?,
            id: id.ok_or_else(|| bad("key 2 is missing"))?,
            expires: expires.ok_or_else(|| bad("key 3 is missing"))?,
            action,
        })
    }
}

/// What a reply says became of a command.
pub mod status {
    /// Done.
    pub const DONE: u64 = 0;
    /// The command cannot be carried out: what it asks for is not there.
    pub const FAILED: u64 = 1;
    /// The device does not know this action.
    pub const UNSUPPORTED: u64 = 2;
    /// The command came after it had expired.
    pub const EXPIRED: u64 = 3;
}

/// What a device tells of a command that it carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Of a backfill: how many envelopes are sent again.
    Count(u64),
    /// Of a subtree: the nodes of that level, from left to right.
    Nodes(Vec<Hash>),
    /// Of a seal: the interim block.
    Sealed {
        /// Its number.
        block: BlockNumber,
        /// Its hash.
        hash: Hash,
    },
}

impl Outcome {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        match self {
            Self::Count(count) => _ = e.u64(*count)?,
            Self::Nodes(nodes) => {
                e.array(nodes.len() as u64)?;
                for node in nodes {
                    e.bytes(&node.0)?;
                }
            }
            Self::Sealed { block, hash } => _ = e.array(2)?.u64(block.0)?.bytes(&hash.0)?,
        }
        Ok(())
    }

    /// Nothing for a result of another form: it belongs to an action of a later version.
    fn decode(mut d: Decoder<'_>) -> Option<Self> {
        if let Ok(count) = d.clone().u64() {
            return Some(Self::Count(count));
        }
        let length = d.array().ok()??;
        let hash = |d: &mut Decoder<'_>| Hash::from_slice(d.bytes().ok()?).ok();
        if length == 2
            && let Ok(number) = d.clone().u64()
        {
            d.skip().ok()?;
            return Some(Self::Sealed { block: BlockNumber(number), hash: hash(&mut d)? });
        }
        (0..length).map(|_| hash(&mut d)).collect::<Option<_>>().map(Self::Nodes)
    }
}

/// A reply's payload. Its number is in the envelope's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The command's id.
    pub command: [u8; 16],
    /// See [`status`].
    pub status: u64,
    /// What the action tells, where it tells something.
    pub result: Option<Outcome>,
}

impl Reply {
    /// Signs the reply with the device's key.
    ///
    /// # Errors
    /// [`SignerError`] if the key store does not sign.
    pub fn seal(&self, number: ReplyNumber, thing: &DeviceId, signer: &dyn Signer) -> Result<Vec<u8>, SignerError> {
        let header =
            Header { kind: Kind::Reply, content: ContentType::Reply, kid: thing.to_string(), number: number.0 };
        let payload = cbor::encode(|e| {
            e.map(3 + u64::from(self.result.is_some()))?;
            e.u8(0)?.u8(VERSION)?.u8(1)?.bytes(&self.command)?.u8(2)?.u64(self.status)?;
            if let Some(result) = &self.result {
                result.encode(e.u8(3)?)?;
            }
            Ok(())
        });
        seal(&header, &payload, signer)
    }

    /// What the device says, in words.
    #[must_use]
    pub fn describe(&self) -> String {
        let word = match self.status {
            status::DONE => "done".to_owned(),
            status::FAILED => "failed".to_owned(),
            status::UNSUPPORTED => "unsupported".to_owned(),
            status::EXPIRED => "expired".to_owned(),
            other => format!("status {other}"),
        };
        match &self.result {
            Some(Outcome::Count(count)) => format!("{word}, {count} sent again"),
            Some(Outcome::Nodes(nodes)) => format!("{word}, {} nodes", nodes.len()),
            Some(Outcome::Sealed { block, .. }) => format!("{word}, block {block}"),
            None => word,
        }
    }

    /// Reads a reply's payload, after its signature was verified.
    ///
    /// # Errors
    /// [`ProofError::Cbor`] says what is wrong.
    pub fn decode(payload: &[u8]) -> Result<Self, ProofError> {
        let wire = |e: minicbor::decode::Error| ProofError::cbor("reply", e);
        let bad = |detail: &str| ProofError::cbor("reply", detail);
        cbor::check(payload).map_err(|fault| ProofError::cbor("reply", format!("{fault:?}")))?;
        let mut d = Decoder::new(payload);
        let (mut version, mut command, mut status, mut result) = (None, None, None, None);
        for _ in 0..d.map().map_err(wire)?.unwrap_or(0) {
            match d.u64().map_err(wire)? {
                0 => version = Some(d.u8().map_err(wire)?),
                1 => command = Some(d.bytes().map_err(wire)?.try_into().map_err(|_| bad("the id has not 16 bytes"))?),
                2 => status = Some(d.u64().map_err(wire)?),
                3 => {
                    result = Outcome::decode(d.clone());
                    d.skip().map_err(wire)?;
                }
                key => return Err(bad(&format!("unknown key {key}"))),
            }
        }
        if version != Some(VERSION) {
            return Err(bad("an unknown version"));
        }
        Ok(Self {
            command: command.ok_or_else(|| bad("key 1 is missing"))?,
            status: status.ok_or_else(|| bad("key 2 is missing"))?,
            result,
        })
    }
}

#[cfg(test)]
#[cfg(feature = "p256")]
mod tests {
    use super::*;
    use crate::crypto::SoftwareSigner;
    use crate::envelope::Envelope;

    #[test]
    fn commands_round_trip() {
        let signer = SoftwareSigner::from_scalar(&[3; 32]).unwrap();
        let actions = [
            Action::Backfill(vec![(3, 5), (9, 9)]),
            Action::Settled { day: "2026-01-02".parse().unwrap(), block: BlockNumber(4), hash: Hash([8; 32]) },
            Action::Subtree { first: 1440, count: 1440, level: 5 },
            Action::Seal,
            Action::Unknown("dance".into()),
        ];
        for action in actions {
            let command = Command { thing: "dev-1".parse().unwrap(), id: [1; 16], expires: 1_700_000_000, action };
            let bytes = command.seal(CommandNumber(2), "key-1", &signer).unwrap();
            let envelope = Envelope::parse(&bytes).unwrap();
            assert_eq!((envelope.header().kind, envelope.header().kid.as_str()), (Kind::Command, "key-1"));
            assert_eq!(Command::decode(envelope.payload()).unwrap(), command);
        }
    }

    #[test]
    fn a_command_key_has_one_id() {
        let signer = SoftwareSigner::from_scalar(&[3; 32]).unwrap();
        let id = key_id(&signer.public_key());
        assert_eq!(id.len(), 16);
        assert_eq!(id, sha256(&[signer.public_key().as_bytes()]).to_string()[..16]);
    }

    #[test]
    fn replies_round_trip() {
        let signer = SoftwareSigner::from_scalar(&[3; 32]).unwrap();
        let sealed = Outcome::Sealed { block: BlockNumber(4), hash: Hash([8; 32]) };
        let nodes = [vec![], vec![Hash([1; 32])], vec![Hash([1; 32]), Hash([2; 32])]].map(Outcome::Nodes);
        let results = [Outcome::Count(12), sealed].into_iter().chain(nodes).map(Some).chain([None]);
        for result in results {
            let reply = Reply { command: [1; 16], status: status::DONE, result };
            let bytes = reply.seal(ReplyNumber(0), &"dev-1".parse().unwrap(), &signer).unwrap();
            assert_eq!(Reply::decode(Envelope::parse(&bytes).unwrap().payload()).unwrap(), reply);
        }
    }

    #[test]
    fn a_result_of_a_later_version_is_none() {
        for result in ["6161", "f6", "8101", "8241aa41bb", "820140", "a0", "20"] {
            let payload = [hex::decode("a4000101").unwrap(), vec![0x50], vec![7; 16], hex::decode("020003").unwrap()];
            let payload = [payload.concat(), hex::decode(result).unwrap()].concat();
            assert_eq!(Reply::decode(&payload).unwrap().result, None, "{result}");
        }
    }

    #[test]
    fn replies_have_words() {
        let reply = |status, result| Reply { command: [1; 16], status, result }.describe();
        assert_eq!(reply(status::DONE, Some(Outcome::Count(3))), "done, 3 sent again");
        assert_eq!([reply(1, None), reply(2, None), reply(3, None)], ["failed", "unsupported", "expired"]);
        assert_eq!(reply(9, None), "status 9");
        assert_eq!(reply(0, Some(Outcome::Nodes(vec![Hash([1; 32])]))), "done, 1 nodes");
        let sealed = Outcome::Sealed { block: BlockNumber(4), hash: Hash([8; 32]) };
        assert_eq!(reply(0, Some(sealed)), "done, block 4");
    }

    #[test]
    fn malformed_commands_are_told() {
        for bad in ["", "a0", "a1000100", "a6000201", "80"] {
            assert!(Command::decode(&hex::decode(bad).unwrap()).is_err());
            assert!(Reply::decode(&hex::decode(bad).unwrap()).is_err());
        }
    }
}
