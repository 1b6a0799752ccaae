//! What the device signed, on disk: an SQLite file that survives a kill and a power cut at any instant.
//!
//! A message gets its number, its signature and its place in the queue in one transaction, before anything of it is sent. Numbers are
//! counted here alone: none is used twice, none is left out. The bytes are sent as they lie here, however often. This module knows
//! nothing of MQTT; what the bytes mean is [`crate::agent`]'s business.

mod mark;
mod queries;
mod schema;
mod transaction;

use std::fs::{File, TryLockError};
use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use vitro_proof::{BlockNumber, DeviceId, Hash, LocalDay, PublicKey, UnixMillis};

use mark::Mark;
pub use mark::Numbers;
pub use transaction::Transaction;

use crate::disk;
use crate::error::DeviceError;

/// What a message is: each kind is numbered for itself, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageKind {
    /// An envelope of readings.
    Telemetry,
    /// A block message.
    Block,
    /// The answer to a command.
    Reply,
}

impl MessageKind {
    /// The last level of its topic.
    #[must_use]
    pub fn topic(self) -> &'static str {
        match self {
            Self::Telemetry => "telemetry",
            Self::Block => "block",
            Self::Reply => "reply",
        }
    }

    fn code(self) -> i64 {
        match self {
            Self::Telemetry => 0,
            Self::Block => 1,
            Self::Reply => 2,
        }
    }

    fn of(code: i64) -> Option<Self> {
        [Self::Telemetry, Self::Block, Self::Reply].into_iter().find(|kind| kind.code() == code)
    }
}

/// A message that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its place in the queue: what is to be sent first has the lowest.
    pub place: i64,
    /// What it is.
    pub kind: MessageKind,
    /// Its number within the kind.
    pub number: u64,
    /// The bytes as they were signed.
    pub bytes: Vec<u8>,
}

/// What became of a telemetry message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Its number.
    pub number: u64,
    /// The broker acknowledged it at least once.
    pub acknowledged: bool,
    /// Its first publish was left out on purpose, as if it had been lost on the way.
    pub dropped: bool,
}

/// A sealed block, as the outbox remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedBlock {
    /// Its number.
    pub number: BlockNumber,
    /// Its hash.
    pub hash: Hash,
    /// Daily, or interim.
    pub daily: bool,
    /// The local day.
    pub day: LocalDay,
    /// The end of its interval, in Unix seconds.
    pub to: i64,
    /// The first number of its run.
    pub first: u64,
    /// How many numbers the run has.
    pub count: u64,
    /// The cloud said that it has the day for good.
    pub settled: bool,
}

/// The newest telemetry message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Its number.
    pub number: u64,
    /// The day that it belongs to.
    pub day: LocalDay,
    /// The time of its readings.
    pub time: UnixMillis,
}

/// How much lies in the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Size {
    /// Messages of all kinds.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that wait to be sent, or for their acknowledgement.
    pub unacknowledged: u64,
}

/// The open outbox. Only one process at a time may write to it.
pub struct Outbox {
    db: Connection,
    /// Of an outbox that is open for writing: the mark and the lock.
    own: Option<(Mark, File)>,
}

impl Outbox {
    /// Opens the device's outbox, or makes it. It belongs to one thing and one key for good: numbers count under a key. The high-water
    /// mark lies in the file `mark`.
    ///
    /// # Errors
    /// [`DeviceError::InUse`] if another process has it open, [`DeviceError::ForeignOutbox`] if it belongs to another thing or key,
    /// [`DeviceError::Behind`] if it lacks what was sent already.
    pub fn open(path: &Path, mark: &Path, thing: &DeviceId, key: &PublicKey) -> Result<Self, DeviceError> {
        let lock = lock(path)?;
        let known = Mark::read(mark)?;
        let mut db = Connection::open(path)?;
        let version = schema::prepare(&mut db)?;
        // SQLite makes its own files durable, and the name of the database is the folder's.
        disk::sync_folder_of(path)?;
        let mut outbox = Self { db, own: None };
        match outbox.owner()? {
            None => {
                let values = (thing.as_str(), &key.as_bytes()[..]);
                outbox.db.execute("INSERT INTO device (one, thing, public_key) VALUES (1, ?1, ?2)", values)?;
            }
            Some((owner, bytes)) if owner == thing.as_str() && bytes == key.as_bytes() => {}
            Some((owner, _)) => return Err(DeviceError::ForeignOutbox { path: path.to_owned(), owner }),
        }
        let next = outbox.next_numbers()?;
        let mark = match known {
            Some(known) => {
                known.check(key, next)?;
                known
            }
            None if version < schema::MARKED => Mark::set(mark, key, next)?,
            None => return Err(DeviceError::NoMark { path: mark.to_owned() }),
        };
        schema::marked(&outbox.db)?;
        outbox.own = Some((mark, lock));
        Ok(outbox)
    }

    /// Opens an outbox to look at it, whether an agent is running or not.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`] if there is none.
    pub fn inspect(path: &Path) -> Result<Self, DeviceError> {
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        schema::check(&db)?;
        Ok(Self { db, own: None })
    }

    /// Changes the outbox: all of what `change` does, or nothing if it fails. It is on the disk when this returns.
    ///
    /// # Errors
    /// Those of `change`, and [`DeviceError::Outbox`].
    pub fn change<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let db = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let transaction = Transaction::new(db);
        let value = change(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}

impl Outbox {
    /// What is to be sent after a place of the queue, in order, at most `limit` messages. Their numbers stand in the high-water mark
    /// before anybody gets to send them.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`]; [`DeviceError::File`] if the mark cannot be raised, and then nothing may be sent.
    pub fn release(&mut self, after: i64, limit: usize) -> Result<Vec<Waiting>, DeviceError> {
        let next = self.next_numbers()?;
        if let Some((mark, _)) = &mut self.own {
            mark.raise(next)?;
        }
        self.waiting(after, limit)
    }

    /// Marks messages as acknowledged by the broker: they leave the queue. This alone may be forgotten in a power cut, since what is
    /// sent once more does no harm; so it does not wait for the disk.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn acknowledge(&mut self, places: &[i64]) -> Result<(), DeviceError> {
        self.db.pragma_update(None, "synchronous", "NORMAL")?;
        let marked = self.change(|t| t.acknowledge(places));
        self.db.pragma_update(None, "synchronous", "FULL")?;
        marked
    }
}

/// The lock lies beside the database, since SQLite opens and closes that file at will.
fn lock(path: &Path) -> Result<File, DeviceError> {
    let name = disk::with_suffix(path, ".lock");
    let in_file = |source| DeviceError::File { path: name.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&name).map_err(in_file)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DeviceError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(in_file(source)),
    }
}

/// SQLite's integers are signed.
fn to_sql(number: u64) -> Result<i64, DeviceError> {
    i64::try_from(number).map_err(|_| DeviceError::Damaged(format!("the number {number} passes what is counted")))
}

fn from_sql(number: i64) -> Result<u64, DeviceError> {
    u64::try_from(number).map_err(|_| DeviceError::Damaged(format!("a number below zero: {number}")))
}

#[cfg(test)]
mod tests;
