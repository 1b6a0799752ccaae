//! What the outbox tells.

use rusqlite::{OptionalExtension, Row, params};
use vitro_proof::{BlockNumber, DeviceId, Hash, LocalDay, PublicKey, UnixMillis};

use super::{Fate, MessageKind, Newest, Numbers, Outbox, SealedBlock, Size, Waiting, from_sql, to_sql};
use crate::error::DeviceError;

const BLOCK: &str = "SELECT number, hash, daily, day, ends, first, count, settled FROM blocks";

impl Outbox {
    pub(super) fn owner(&self) -> Result<Option<(String, Vec<u8>)>, DeviceError> {
        let owner = self
            .db
            .query_row("SELECT thing, public_key FROM device WHERE one = 1", [], |row| Ok((row.get(0)?, row.get(1)?)));
        Ok(owner.optional()?)
    }

    /// Whose outbox this is: the thing and its public key.
    ///
    /// # Errors
    /// [`DeviceError::Damaged`] if it says nothing of it.
    pub fn identity(&self) -> Result<(DeviceId, PublicKey), DeviceError> {
        let (thing, key) = self.owner()?.ok_or_else(|| DeviceError::Damaged("it belongs to nobody".into()))?;
        Ok((thing.parse()?, PublicKey::from_sec1(&key)?))
    }

    /// Every daily block, in order.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn days(&self) -> Result<Vec<SealedBlock>, DeviceError> {
        let mut statement = self.db.prepare(&format!("{BLOCK} WHERE daily = 1 ORDER BY number"))?;
        let rows = statement.query_map([], read_block)?;
        rows.map(|row| row?.sealed()).collect()
    }

    /// The next number of a kind: how many there ever were.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn next_number(&self, kind: MessageKind) -> Result<u64, DeviceError> {
        from_sql(self.db.query_row("SELECT next FROM counters WHERE kind = ?1", [kind.code()], |row| row.get(0))?)
    }

    /// The next number of each kind.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`]; [`DeviceError::Damaged`] if a message has a number that was not given out yet.
    pub fn next_numbers(&self) -> Result<Numbers, DeviceError> {
        let next = |kind: MessageKind| -> Result<u64, DeviceError> {
            let next = self.next_number(kind)?;
            let sql = "SELECT MAX(number) FROM messages WHERE kind = ?1";
            let last: Option<i64> = self.db.prepare_cached(sql)?.query_row([kind.code()], |row| row.get(0))?;
            match last.map(from_sql).transpose()? {
                Some(last) if last >= next => {
                    Err(DeviceError::Damaged(format!("{} {last} is there, and {next} is the next", kind.topic())))
                }
                _ => Ok(next),
            }
        };
        Ok(Numbers {
            telemetry: next(MessageKind::Telemetry)?,
            block: next(MessageKind::Block)?,
            reply: next(MessageKind::Reply)?,
        })
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

    /// What a message says in clear, if it was encrypted.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn clear(&self, kind: MessageKind, number: u64) -> Result<Option<Vec<u8>>, DeviceError> {
        let sql = "SELECT bytes FROM clear WHERE kind = ?1 AND number = ?2";
        let row = self.db.prepare_cached(sql)?.query_row(params![kind.code(), to_sql(number)?], |row| row.get(0));
        Ok(row.optional()?)
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
        let row = self.db.query_row(&format!("{BLOCK} {which}"), params, read_block).optional()?;
        row.map(BlockRow::sealed).transpose()
    }

    /// How many messages wait to be sent, or for their acknowledgement.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn unacknowledged(&self) -> Result<u64, DeviceError> {
        from_sql(self.db.prepare_cached("SELECT COUNT(*) FROM queue")?.query_row([], |row| row.get(0))?)
    }

    /// How much lies in the outbox.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn size(&self) -> Result<Size, DeviceError> {
        let sql = "SELECT COUNT(*), COALESCE(SUM(LENGTH(bytes)), 0) FROM messages";
        let (messages, bytes) = self.db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let unacknowledged = self.unacknowledged()?;
        Ok(Size { messages: from_sql(messages)?, bytes: from_sql(bytes)?, unacknowledged })
    }
}

/// A row of the blocks as SQLite has it.
struct BlockRow {
    number: i64,
    hash: Vec<u8>,
    daily: bool,
    day: String,
    ends: i64,
    first: i64,
    count: i64,
    settled: bool,
}

fn read_block(row: &Row<'_>) -> rusqlite::Result<BlockRow> {
    Ok(BlockRow {
        number: row.get(0)?,
        hash: row.get(1)?,
        daily: row.get(2)?,
        day: row.get(3)?,
        ends: row.get(4)?,
        first: row.get(5)?,
        count: row.get(6)?,
        settled: row.get(7)?,
    })
}

impl BlockRow {
    fn sealed(self) -> Result<SealedBlock, DeviceError> {
        Ok(SealedBlock {
            number: BlockNumber(from_sql(self.number)?),
            hash: Hash::from_slice(&self.hash)?,
            daily: self.daily,
            day: self.day.parse()?,
            to: self.ends,
            first: from_sql(self.first)?,
            count: from_sql(self.count)?,
            settled: self.settled,
        })
    }
}
