//! What the agent tells people and programs, as JSON.

use std::path::Path;

use serde::Serialize;
use vitro_proof::crypto::P256Key;
use vitro_proof::{BlockNumber, DeviceId, Hash, LocalDay, PublicKey, Summary, ZoneName};

use crate::agent::{Agent, open_block};
use crate::error::DeviceError;
use crate::outbox::{MessageKind, Outbox, SealedBlock, Size};

/// What became of a replayed day, on the device's side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplayReport {
    /// The device.
    pub thing: DeviceId,
    /// The local day.
    pub day: LocalDay,
    /// The first sequence number of the day.
    pub first: u64,
    /// How many envelopes it has.
    pub count: u64,
    /// How many of them the broker acknowledged, at once or in a backfill.
    pub sent: u64,
    /// Numbers whose first publish was lost on purpose.
    pub lost: Vec<u64>,
    /// The daily block's number; nothing if the day is open.
    pub block_number: Option<BlockNumber>,
    /// Its hash.
    pub block_hash: Option<Hash>,
    /// The Merkle root over the day.
    pub root: Option<Hash>,
    /// Whether the cloud said that it has the day for good.
    pub settled: bool,
}

impl ReplayReport {
    /// Looks a day up.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`] or [`DeviceError::Damaged`].
    pub fn of(agent: &Agent, day: LocalDay) -> Result<Self, DeviceError> {
        let outbox = agent.outbox();
        let sealed = outbox.daily(day)?;
        let fates = outbox.fates(day)?;
        let first = match (&sealed, fates.first()) {
            (Some(block), _) => block.first,
            (None, Some(fate)) => fate.number,
            (None, None) => outbox.next_number(MessageKind::Telemetry)?,
        };
        let root = sealed.as_ref().map(|block| agent.block(block)).transpose()?.map(|opened| opened.block.root);
        Ok(Self {
            thing: outbox.identity()?.0,
            day,
            first,
            count: sealed.as_ref().map_or(fates.len() as u64, |block| block.count),
            sent: fates.iter().filter(|fate| fate.acknowledged).count() as u64,
            lost: fates.iter().filter(|fate| fate.dropped).map(|fate| fate.number).collect(),
            block_number: sealed.as_ref().map(|block| block.number),
            block_hash: sealed.as_ref().map(|block| block.hash),
            root,
            settled: sealed.is_some_and(|block| block.settled),
        })
    }
}

/// How a device stands.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The device.
    pub thing: DeviceId,
    /// Its public key, SEC1 in hex.
    pub public_key: PublicKey,
    /// The numbers that the next messages get.
    pub next: NextNumbers,
    /// The highest command number that was carried out.
    pub command_number: Option<u64>,
    /// How much lies in the outbox.
    pub outbox: Size,
    /// The head of its chain.
    pub head: Option<Head>,
    /// The time of the newest reading, in Unix milliseconds.
    pub newest_reading: Option<i64>,
    /// The days that are closed.
    pub days: Vec<DayStatus>,
}

/// The numbers that the next messages get.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct NextNumbers {
    /// The next sequence number.
    pub telemetry: u64,
    /// The next block number.
    pub block: u64,
    /// The next reply number.
    pub reply: u64,
}

/// The head of a device's chain.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Head {
    /// The newest block's number.
    pub number: BlockNumber,
    /// Its hash.
    pub hash: Hash,
}

/// A closed day.
#[derive(Clone, Debug, Serialize)]
pub struct DayStatus {
    /// The local day.
    pub day: LocalDay,
    /// Its daily block.
    pub block_number: BlockNumber,
    /// The first sequence number of its run.
    pub first: u64,
    /// How many numbers the run has.
    pub count: u64,
    /// Whether the cloud said that it has the day for good.
    pub settled: bool,
}

impl Status {
    /// Looks into an outbox, whether an agent is running or not.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`] if there is none.
    pub fn read(path: &Path) -> Result<Self, DeviceError> {
        let outbox = Outbox::inspect(path)?;
        let (thing, public_key) = outbox.identity()?;
        let day = |block: SealedBlock| DayStatus {
            day: block.day,
            block_number: block.number,
            first: block.first,
            count: block.count,
            settled: block.settled,
        };
        Ok(Self {
            thing,
            public_key,
            next: NextNumbers {
                telemetry: outbox.next_number(MessageKind::Telemetry)?,
                block: outbox.next_number(MessageKind::Block)?,
                reply: outbox.next_number(MessageKind::Reply)?,
            },
            command_number: outbox.command_number()?,
            outbox: outbox.size()?,
            head: outbox.head()?.map(|block| Head { number: block.number, hash: block.hash }),
            newest_reading: outbox.ends()?.map(|(_, newest)| newest.time.0),
            days: outbox.days()?.into_iter().map(day).collect(),
        })
    }
}

/// A sealed block with its summaries.
#[derive(Clone, Debug, Serialize)]
pub struct BlockReport {
    /// The device.
    pub thing: DeviceId,
    /// The local day.
    pub day: LocalDay,
    /// The site's time zone.
    pub zone: ZoneName,
    /// Begin of the day, Unix seconds.
    pub from: i64,
    /// End of the day, Unix seconds.
    pub to: i64,
    /// The block's number.
    pub number: BlockNumber,
    /// Its hash, which the next block names.
    pub hash: Hash,
    /// The hash of the block before it; zeros for block 0.
    pub previous: Hash,
    /// The first sequence number of its run.
    pub first: u64,
    /// How many numbers the run has.
    pub count: u64,
    /// The Merkle root over the run.
    pub root: Hash,
    /// The bytes of the run's envelopes.
    pub bytes: u64,
    /// Their metered units.
    pub units: u64,
    /// The version of the sensor table.
    pub table_version: u64,
    /// The digest of the summaries.
    pub summaries_digest: Hash,
    /// Whether the cloud said that it has the day for good.
    pub settled: bool,
    /// The summaries, a sensor each.
    pub summaries: Vec<Summary>,
}

impl BlockReport {
    /// Reads a day's block from an outbox and verifies it; nothing if the day is open.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`] or [`DeviceError::Damaged`].
    pub fn read(path: &Path, day: LocalDay) -> Result<Option<Self>, DeviceError> {
        let outbox = Outbox::inspect(path)?;
        let Some(sealed) = outbox.daily(day)? else { return Ok(None) };
        let (thing, key) = outbox.identity()?;
        let opened = open_block(&outbox, &sealed, &thing, &P256Key::new(&key)?)?;
        let block = opened.block;
        Ok(Some(Self {
            thing: block.thing,
            day: block.day,
            zone: block.zone,
            from: block.bounds.from,
            to: block.bounds.to,
            number: opened.number,
            hash: opened.hash,
            previous: block.previous,
            first: block.first,
            count: block.count,
            root: block.root,
            bytes: block.bytes,
            units: block.units,
            table_version: block.table_version,
            summaries_digest: block.summaries_digest,
            settled: sealed.settled,
            summaries: opened.summaries,
        }))
    }
}
