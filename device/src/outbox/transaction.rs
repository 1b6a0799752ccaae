//! Changes of the outbox.

use rusqlite::{OptionalExtension, params};
use vitro_proof::{BlockNumber, LocalDay, UnixMillis};

use super::{MessageKind, SealedBlock, from_sql, to_sql};
use crate::error::DeviceError;

/// A change in progress: nothing of it is there until it is committed.
pub struct Transaction<'a>(rusqlite::Transaction<'a>);

impl<'a> Transaction<'a> {
    pub(super) fn new(db: rusqlite::Transaction<'a>) -> Self {
        Self(db)
    }

    pub(super) fn commit(self) -> Result<(), DeviceError> {
        Ok(self.0.commit()?)
    }

    /// Takes the next number of a kind. It is used by [`Transaction::put`] in the same transaction, or not used at all.
    fn take_number(&self, kind: MessageKind) -> Result<u64, DeviceError> {
        let number: i64 = self.0.query_row(
            "UPDATE counters SET next = next + 1 WHERE kind = ?1 RETURNING next - 1",
            [kind.code()],
            |row| row.get(0),
        )?;
        from_sql(number)
    }

    /// Stores a message under the next number of its kind and queues it. `seal` signs it for that number.
    ///
    /// # Errors
    /// Those of `seal`, and [`DeviceError::Outbox`]: then the number is free again.
    pub fn put(
        &self,
        kind: MessageKind,
        seal: impl FnOnce(u64) -> Result<Vec<u8>, DeviceError>,
    ) -> Result<u64, DeviceError> {
        let number = self.take_number(kind)?;
        let bytes = seal(number)?;
        self.0.prepare_cached("INSERT INTO messages (kind, number, bytes) VALUES (?1, ?2, ?3)")?.execute(params![
            kind.code(),
            to_sql(number)?,
            bytes
        ])?;
        self.enqueue(kind, number)?;
        Ok(number)
    }

    /// Stores an envelope of readings under the next sequence number, with its day and the time of its readings. A dropped one is
    /// stored as if it had been sent and lost on the way. `seal` signs it for its number, and says whether it is dropped.
    ///
    /// # Errors
    /// Those of `seal`, and [`DeviceError::Outbox`]: then the number is free again.
    pub fn put_telemetry(
        &self,
        day: LocalDay,
        time: UnixMillis,
        seal: impl FnOnce(u64) -> Result<(Vec<u8>, bool), DeviceError>,
    ) -> Result<u64, DeviceError> {
        let kind = MessageKind::Telemetry;
        let number = self.take_number(kind)?;
        let (bytes, dropped) = seal(number)?;
        self.0
            .prepare_cached(
                "INSERT INTO messages (kind, number, bytes, day, time, dropped) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![kind.code(), to_sql(number)?, bytes, day.to_string(), time.0, dropped])?;
        if !dropped {
            self.enqueue(kind, number)?;
        }
        Ok(number)
    }

    /// Keeps what a message of this transaction says in clear.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn put_clear(&self, kind: MessageKind, number: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.0.prepare_cached("INSERT INTO clear (kind, number, bytes) VALUES (?1, ?2, ?3)")?.execute(params![
            kind.code(),
            to_sql(number)?,
            bytes
        ])?;
        Ok(())
    }

    fn enqueue(&self, kind: MessageKind, number: u64) -> Result<(), DeviceError> {
        self.0
            .prepare_cached("INSERT INTO queue (kind, number) VALUES (?1, ?2)")?
            .execute(params![kind.code(), to_sql(number)?])?;
        Ok(())
    }

    /// Remembers a block whose message was stored in the same transaction.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`], also where the day has a daily block.
    pub fn put_block(&self, block: &SealedBlock) -> Result<(), DeviceError> {
        self.0.execute(
            "INSERT INTO blocks (number, hash, daily, day, ends, first, count) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                to_sql(block.number.0)?,
                block.hash.0,
                block.daily,
                block.day.to_string(),
                block.to,
                to_sql(block.first)?,
                to_sql(block.count)?
            ],
        )?;
        Ok(())
    }

    /// Queues the stored envelopes of these numbers, from first to last, once more; those that still wait are not queued twice. Gives
    /// how many of them are there.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn queue_again(&self, first: u64, last: u64) -> Result<u64, DeviceError> {
        // No number is stored above what SQLite counts to.
        let range = params![i64::try_from(first).unwrap_or(i64::MAX), i64::try_from(last).unwrap_or(i64::MAX)];
        self.0.execute(
            "INSERT OR IGNORE INTO queue (kind, number)
             SELECT 0, number FROM messages WHERE kind = 0 AND number BETWEEN ?1 AND ?2 ORDER BY number",
            range,
        )?;
        let there = "SELECT COUNT(*) FROM messages WHERE kind = 0 AND number BETWEEN ?1 AND ?2";
        from_sql(self.0.query_row(there, range, |row| row.get(0))?)
    }

    /// Takes a command's number if it is higher than every one before.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn take_command(&self, number: u64) -> Result<bool, DeviceError> {
        let taken = self.0.execute(
            "UPDATE device SET command_number = ?1 WHERE one = 1 AND (command_number IS NULL OR command_number < ?1)",
            [to_sql(number)?],
        )?;
        Ok(taken == 1)
    }

    /// Marks the daily block of this day, number and hash as settled; whether there is such a block.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn settle(&self, day: LocalDay, number: BlockNumber, hash: &[u8; 32]) -> Result<bool, DeviceError> {
        let settled = self.0.execute(
            "UPDATE blocks SET settled = 1 WHERE daily = 1 AND day = ?1 AND number = ?2 AND hash = ?3",
            params![day.to_string(), i64::try_from(number.0).unwrap_or(-1), hash],
        )?;
        Ok(settled == 1)
    }

    /// Takes away the envelopes of settled days after which at least `keep_days` further days were closed, unless they wait to be
    /// sent. Gives how many went.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn prune(&self, keep_days: u32) -> Result<u64, DeviceError> {
        let bound: Option<i64> = self
            .0
            .query_row(
                "SELECT number FROM blocks WHERE daily = 1 ORDER BY number DESC LIMIT 1 OFFSET ?1",
                [keep_days],
                |row| row.get(0),
            )
            .optional()?;
        let Some(bound) = bound else { return Ok(0) };
        let pruned = self.0.execute(
            "DELETE FROM messages WHERE kind = 0 AND rowid IN (
                 SELECT m.rowid FROM blocks b JOIN messages m
                 ON m.kind = 0 AND m.number >= b.first AND m.number < b.first + b.count
                 WHERE b.daily = 1 AND b.settled = 1 AND b.number <= ?1
                 AND NOT EXISTS (SELECT 1 FROM queue q WHERE q.kind = 0 AND q.number = m.number))",
            [bound],
        )?;
        self.0.execute(
            "DELETE FROM clear WHERE kind = 0
             AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.kind = 0 AND m.number = clear.number)",
            [],
        )?;
        Ok(pruned as u64)
    }

    pub(super) fn acknowledge(&self, places: &[i64]) -> Result<(), DeviceError> {
        let mut take = self.0.prepare_cached("DELETE FROM queue WHERE place = ?1 RETURNING kind, number")?;
        let mut mark = self.0.prepare_cached("UPDATE messages SET acknowledged = 1 WHERE kind = ?1 AND number = ?2")?;
        for place in places {
            let message: Option<(i64, i64)> =
                take.query_row([place], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            if let Some(message) = message {
                mark.execute(message)?;
            }
        }
        Ok(())
    }
}
