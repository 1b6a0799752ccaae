//! The tables of the outbox.

use rusqlite::Connection;

use crate::error::DeviceError;

/// The version of the tables, kept in SQLite's `user_version`.
const VERSION: i64 = 1;
/// The version from which on there is a high-water mark beside the tables, which are the same.
pub(super) const MARKED: i64 = 2;

const TABLES: &str = "
-- Whose outbox this is, and the highest command number that was ever carried out.
CREATE TABLE device (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    thing TEXT NOT NULL,
    public_key BLOB NOT NULL,
    command_number INTEGER
) STRICT;

-- The next number of each kind. Pruning takes messages away, never these.
CREATE TABLE counters (
    kind INTEGER PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT;
INSERT INTO counters (kind, next) VALUES (0, 0), (1, 0), (2, 0);

-- Every message as it was signed. Telemetry has its local day and the time of its readings in Unix milliseconds.
CREATE TABLE messages (
    kind INTEGER NOT NULL,
    number INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    day TEXT,
    time INTEGER,
    acknowledged INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, number)
) STRICT;
CREATE INDEX messages_by_day ON messages (day, number) WHERE kind = 0;

-- What is to be sent, in this order. A row goes away with its acknowledgement.
CREATE TABLE queue (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    kind INTEGER NOT NULL,
    number INTEGER NOT NULL,
    UNIQUE (kind, number)
) STRICT;

-- The chain of blocks. Their messages are kept for good: the next block needs them.
CREATE TABLE blocks (
    number INTEGER PRIMARY KEY,
    hash BLOB NOT NULL,
    daily INTEGER NOT NULL,
    day TEXT NOT NULL,
    ends INTEGER NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    settled INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX blocks_by_day ON blocks (day) WHERE daily = 1;
";

/// What a confidential device encrypted, in clear: its own day is summed up from this. Added to the tables later; an outbox without it
/// has no such messages.
const CLEAR: &str = "
CREATE TABLE IF NOT EXISTS clear (
    kind INTEGER NOT NULL,
    number INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (kind, number)
) STRICT;
";

/// Sets durability, and makes the tables where there are none. Gives the version that was found, 0 for none.
pub(super) fn prepare(db: &mut Connection) -> Result<i64, DeviceError> {
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    // FULL: a committed transaction is on the disk, not only in the operating system's memory.
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
    let transaction = db.transaction()?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    if version <= MARKED {
        transaction.execute_batch(CLEAR)?;
    }
    transaction.commit()?;
    check(db)?;
    Ok(version)
}

/// Notes that the high-water mark is there: from now on an outbox without it is refused.
pub(super) fn marked(db: &Connection) -> Result<(), DeviceError> {
    Ok(db.pragma_update(None, "user_version", MARKED)?)
}

/// Refuses tables of another version.
pub(super) fn check(db: &Connection) -> Result<(), DeviceError> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if (VERSION..=MARKED).contains(&version) {
        Ok(())
    } else {
        Err(DeviceError::Damaged(format!("it has version {version} of the tables, this agent knows {MARKED}")))
    }
}
