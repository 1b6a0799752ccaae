//! Commands: who may give them, and carrying each out once.

use vitro_proof::command::{Action, Command, Outcome, Reply, status};
use vitro_proof::crypto::P256Key;
use vitro_proof::{Envelope, Hash, Kind, Reason, ReplyNumber, UnixMillis, merkle};

use crate::agent::{Agent, Draft};
use crate::error::DeviceError;
use crate::outbox::{MessageKind, Transaction};

/// The most nodes that one reply tells, and over how many leaves at most: a reply stays far below what the broker takes.
const MAX_NODES: u64 = 1024;
const MAX_LEAVES: u64 = 1 << 20;

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not answered, and nothing was done: the code says why.
    Ignored(Refusal),
    /// It was carried out or refused, and answered.
    Answered {
        /// What was asked for.
        action: String,
        /// What the reply says, of [`status`].
        status: u64,
        /// What the reply tells.
        result: Option<Outcome>,
    },
}

/// Why a command is ignored. What cannot be trusted gets no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No command envelope: the code of the fault.
    #[error("no command ({0})")]
    NotACommand(&'static str),
    /// No key of this id may command this device.
    #[error("signed by an unknown key {0:?}")]
    UnknownKey(String),
    /// The key of this id did not sign it.
    #[error("its signature does not verify")]
    BadSignature,
    /// It is for another device.
    #[error("for {0}")]
    OtherDevice(String),
    /// A command of this number or a higher one was carried out before.
    #[error("number {0} was passed before")]
    Repeated(u64),
    /// The key signed something that this version cannot read.
    #[error("unreadable: {0}")]
    Unreadable(String),
}

impl Reason for Refusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::NotACommand(code) => code,
            Self::UnknownKey(_) => "unknown_command_key",
            Self::BadSignature => "bad_signature",
            Self::OtherDevice(_) => "other_device",
            Self::Repeated(_) => "repeated_command",
            Self::Unreadable(_) => "not_a_command",
        }
    }
}

impl Agent {
    /// Takes a command: verifies it, carries it out at most once, and stores the signed reply, all in one transaction. `now` is the
    /// device's clock.
    ///
    /// # Errors
    /// [`DeviceError`] if the outbox or the key store fails; then nothing was done and the command may come again.
    pub fn command(&mut self, bytes: &[u8], now: UnixMillis) -> Result<Verdict, DeviceError> {
        let (number, command) = match self.authentic(bytes) {
            Ok(authentic) => authentic,
            Err(refusal) => return Ok(Verdict::Ignored(refusal)),
        };
        if self.outbox.command_number()?.is_some_and(|taken| number <= taken) {
            return Ok(Verdict::Ignored(Refusal::Repeated(number)));
        }
        let work = self.prepare(&command, now)?;
        let (thing, key, signer, keep_days) = (&self.thing, &self.key, &self.signer, self.keep_days);
        let data_proxy = &mut self.data_proxy;
        self.outbox.change(|t| {
            if !t.take_command(number)? {
                return Ok(Verdict::Ignored(Refusal::Repeated(number)));
            }
            let (status, result) = match work {
                Work::Done(status, result) => (status, result),
                Work::Seal(draft) => {
                    let sealed = draft.seal(t, key, &**signer, data_proxy.as_mut())?;
                    (status::DONE, Some(Outcome::Sealed { block: sealed.number, hash: sealed.hash }))
                }
                Work::Change => carry_out(t, &command.action, keep_days)?,
            };
            let reply = Reply { command: command.id, status, result };
            t.put(MessageKind::Reply, |number| Ok(reply.seal(ReplyNumber(number), thing, &**signer)?))?;
            Ok(Verdict::Answered { action: command.action.name().to_owned(), status, result: reply.result })
        })
    }

    /// What can be done, or found impossible, before anything is changed.
    fn prepare(&mut self, command: &Command, now: UnixMillis) -> Result<Work, DeviceError> {
        if command.expires <= now.seconds() {
            return Ok(Work::Done(status::EXPIRED, None));
        }
        match &command.action {
            Action::Backfill(_) | Action::Settled { .. } => Ok(Work::Change),
            Action::Subtree { first, count, level } => Ok(match self.nodes(*first, *count, *level)? {
                Some(nodes) => Work::Done(status::DONE, Some(Outcome::Nodes(nodes))),
                None => Work::Done(status::FAILED, None),
            }),
            Action::Seal => match self.draft_interim(now) {
                Ok(draft) => Ok(Work::Seal(Box::new(draft))),
                // A clock that is behind the last block, or a zone that was changed: told, and nothing is sealed.
                Err(DeviceError::DayClosed(_) | DeviceError::Block(_)) => Ok(Work::Done(status::FAILED, None)),
                Err(e) => Err(e),
            },
            Action::Unknown(_) => Ok(Work::Done(status::UNSUPPORTED, None)),
        }
    }

    /// The nodes of a level of the tree over a stored run; nothing if the run is not there or an answer would not hold them.
    fn nodes(&self, first: u64, count: u64, level: u8) -> Result<Option<Vec<Hash>>, DeviceError> {
        let nodes = count.div_ceil(1 << level);
        if count == 0 || count > MAX_LEAVES || nodes > MAX_NODES {
            return Ok(None);
        }
        Ok(self.leaves(first, count)?.map(|leaves| merkle::nodes(&leaves, level)))
    }

    /// The number and content of a command that was signed for this device.
    fn authentic(&self, bytes: &[u8]) -> Result<(u64, Command), Refusal> {
        let envelope = Envelope::parse(bytes).map_err(|fault| Refusal::NotACommand(fault.reason()))?;
        let header = envelope.header();
        if header.kind != Kind::Command {
            return Err(Refusal::NotACommand("wrong_kind"));
        }
        let key = self.command_keys.get(&header.kid).ok_or_else(|| Refusal::UnknownKey(header.kid.clone()))?;
        let key = P256Key::new(&key.public_key).map_err(|_| Refusal::BadSignature)?;
        envelope.verify(&key).map_err(|_| Refusal::BadSignature)?;
        let command = Command::decode(envelope.payload()).map_err(|e| Refusal::Unreadable(e.to_string()))?;
        if command.thing != self.thing {
            return Err(Refusal::OtherDevice(command.thing.to_string()));
        }
        Ok((header.number, command))
    }
}

/// What is left to do of a command once it is taken.
enum Work {
    /// Nothing but the answer.
    Done(u64, Option<Outcome>),
    /// An interim block to sign.
    Seal(Box<Draft>),
    /// A change of the outbox.
    Change,
}

fn carry_out(t: &Transaction<'_>, action: &Action, keep_days: u32) -> Result<(u64, Option<Outcome>), DeviceError> {
    match action {
        Action::Backfill(ranges) => {
            let (mut asked, mut there) = (0u128, 0);
            for &(first, last) in ranges {
                asked += u128::from(last.saturating_sub(first)) + 1;
                there += t.queue_again(first, last)?;
            }
            let status = if u128::from(there) == asked { status::DONE } else { status::FAILED };
            Ok((status, Some(Outcome::Count(there))))
        }
        Action::Settled { day, block, hash } => {
            if !t.settle(*day, *block, &hash.0)? {
                return Ok((status::FAILED, None));
            }
            t.prune(keep_days)?;
            Ok((status::DONE, None))
        }
        Action::Subtree { .. } | Action::Seal | Action::Unknown(_) => Ok((status::UNSUPPORTED, None)),
    }
}

#[cfg(test)]
mod tests;
