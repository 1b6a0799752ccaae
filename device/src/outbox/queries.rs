//! What the outbox tells.

use rusqlite::{OptionalExtension, Row, params};
use vitro_proof::{BlockNumber, Hash, LocalDay, UnixMillis};

use super::{Fate, MessageKind, Newest, Outbox, SealedBlock, Size, Waiting, from_sql, to_sql};
use crate::error::DeviceError;

const BLOCK: &str = "SELECT number, hash, daily, day, ends, first, count, settled FROM blocks";

impl Outbox {
    pub(super) fn owner(&self) -> Result<Option<(String, Vec<u8>)>, DeviceError> {
        let owner = self
            .db
            .query_row("SELECT thing, public_key FROM device WHERE one = 1", [], |row| Ok((row.get(0)?, row.get(1)?)));
        Ok(owner.optional()?)
    }

    /// The next number of a kind: how many there ever were.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn next_number(&self, kind: MessageKind) -> Result<u64, DeviceError> {
        from_sql(self.db.query_row("SELECT next FROM counters WHERE kind = ?1", [kind.code()], |row| row.get(0))?)
    }

    /// The highest command number that was carried out.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn command_number(&self) -> Result<Option<u64>, DeviceError> {
        let number: Option<Option<i64>> =
            self.db.query_row("SELECT command_number FROM device WHERE one = 1", [], |row| row.get(0)).optional()?;
        number.flatten().map(from_sql).transpose()
    }

    /// What is to be sent after a place of the queue, in order, at most `limit` messages.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn waiting(&self, after: i64, limit: usize) -> Result<Vec<Waiting>, DeviceError> {
        let mut statement = self.db.prepare_cached(
            "SELECT q.place, q.kind, q.number, m.bytes FROM queue q
             JOIN messages m ON m.kind = q.kind AND m.number = q.number
             WHERE q.place > ?1 ORDER BY q.place LIMIT ?2",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map([after, limit], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, Vec<u8>>(3)?))
        })?;
        rows.map(|row| {
            let (place, kind, number, bytes) = row?;
            let kind =
                MessageKind::of(kind).ok_or_else(|| DeviceError::Damaged(format!("a message of kind {kind}")))?;
            Ok(Waiting { place, kind, number: from_sql(number)?, bytes })
        })
        .collect()
    }

    /// The stored bytes of a message, unless it was pruned.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn message(&self, kind: MessageKind, number: u64) -> Result<Option<Vec<u8>>, DeviceError> {
        let bytes = self.db.query_row(
            "SELECT bytes FROM messages WHERE kind = ?1 AND number = ?2",
            params![kind.code(), to_sql(number)?],
            |row| row.get(0),
        );
        Ok(bytes.optional()?)
    }

    /// The stored envelopes of a run, in order: exactly `count`.
    ///
    /// # Errors
    /// [`DeviceError::Damaged`] if one is not there.
    pub fn run(&self, first: u64, count: u64) -> Result<Vec<Vec<u8>>, DeviceError> {
        let mut statement = self.db.prepare_cached(
            "SELECT bytes FROM messages WHERE kind = 0 AND number >= ?1 AND number < ?2 ORDER BY number",
        )?;
        let rows = statement.query_map([to_sql(first)?, to_sql(first + count)?], |row| row.get(0))?;
        let run = rows.collect::<Result<Vec<Vec<u8>>, _>>()?;
        if run.len() as u64 == count {
            Ok(run)
        } else {
            Err(DeviceError::Damaged(format!("{} of {count} envelopes are there from number {first} on", run.len())))
        }
    }

    /// How many envelopes a day has.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn count_of(&self, day: LocalDay) -> Result<u64, DeviceError> {
        let sql = "SELECT COUNT(*) FROM messages WHERE kind = 0 AND day = ?1";
        from_sql(self.db.query_row(sql, [day.to_string()], |row| row.get(0))?)
    }

    /// What became of a day's envelopes, in order of number.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn fates(&self, day: LocalDay) -> Result<Vec<Fate>, DeviceError> {
        let mut statement = self.db.prepare_cached(
            "SELECT number, acknowledged, dropped FROM messages WHERE kind = 0 AND day = ?1 ORDER BY number",
        )?;
        let rows =
            statement.query_map([day.to_string()], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?)))?;
        rows.map(|row| {
            let (number, acknowledged, dropped) = row?;
            Ok(Fate { number: from_sql(number)?, acknowledged, dropped })
        })
        .collect()
    }

    /// The oldest telemetry message's day, and the newest message.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn ends(&self) -> Result<Option<(LocalDay, Newest)>, DeviceError> {
        let sql = |order: &str| {
            format!("SELECT number, day, time FROM messages WHERE kind = 0 ORDER BY number {order} LIMIT 1")
        };
        let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?));
        let oldest = self.db.query_row(&sql("ASC"), [], read).optional()?;
        let newest = self.db.query_row(&sql("DESC"), [], read).optional()?;
        let (Some((_, oldest, _)), Some((number, day, time))) = (oldest, newest) else { return Ok(None) };
        let newest = Newest { number: from_sql(number)?, day: day.parse()?, time: UnixMillis(time) };
        Ok(Some((oldest.parse()?, newest)))
    }

    /// The newest block: what the next one names.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn head(&self) -> Result<Option<SealedBlock>, DeviceError> {
        self.block("ORDER BY number DESC LIMIT 1", params![])
    }

    /// The newest daily block: what the next day continues.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn last_daily(&self) -> Result<Option<SealedBlock>, DeviceError> {
        self.block("WHERE daily = 1 ORDER BY number DESC LIMIT 1", params![])
    }

    /// A day's daily block.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn daily(&self, day: LocalDay) -> Result<Option<SealedBlock>, DeviceError> {
        self.block("WHERE daily = 1 AND day = ?1", params![day.to_string()])
    }

    fn block(&self, which: &str, params: &[&dyn rusqlite::ToSql]) -> Result<Option<SealedBlock>, DeviceError> {
        let row = self.db.query_row(&format!("{BLOCK} {which}"), params, |row| {
            let numbers = (row.get::<_, i64>(0)?, row.get::<_, i64>(5)?, row.get::<_, i64>(6)?);
            let day: String = row.get(3)?;
            Ok((numbers, row.get::<_, Vec<u8>>(1)?, row.get(2)?, day, row.get(4)?, row.get(7)?))
        });
        let Some((numbers, hash, daily, day, to, settled)) = row.optional()? else { return Ok(None) };
        Ok(Some(SealedBlock {
            number: BlockNumber(from_sql(numbers.0)?),
            hash: Hash::from_slice(&hash)?,
            daily,
            day: day.parse()?,
            to,
            first: from_sql(numbers.1)?,
            count: from_sql(numbers.2)?,
            settled,
        }))
    }

    /// How much lies in the outbox.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn size(&self) -> Result<Size, DeviceError> {
        let sql = "SELECT COUNT(*), COALESCE(SUM(LENGTH(bytes)), 0) FROM messages";
        let (messages, bytes) = self.db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let waiting = self.db.query_row("SELECT COUNT(*) FROM queue", [], |row| row.get(0))?;
        Ok(Size { messages: from_sql(messages)?, bytes: from_sql(bytes)?, unacknowledged: from_sql(waiting)? })
    }
}
