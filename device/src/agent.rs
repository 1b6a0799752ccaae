//! What a device says, signed and stored: readings, daily blocks, replies. Sending is [`crate::link`]'s business.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use vitro_proof::block::{ChainLink, DailyLink, OpenedBlock, check_follows, check_openings};
use vitro_proof::crypto::P256Key;
use vitro_proof::envelope::{metered_units, seal};
use vitro_proof::senml::{Reading, write_pack};
use vitro_proof::summary::{self, Summarizer, closings};
use vitro_proof::{
    Block, BlockMessage, BlockNumber, ContentType, DayBounds, DeviceId, Envelope, Hash, Header, Kind, Leaf, LocalDay,
    SensorTable, SequenceNumber, Signer, Span, Summary, UnixMillis, ZoneName, merkle,
};

use crate::confidential::DataProxy;
use crate::config::{CommandKeys, DeviceFolder, SharedSigner};
use crate::error::DeviceError;
use crate::outbox::{MessageKind, Outbox, SealedBlock, Transaction, Waiting};

/// How many envelopes of a long run are held in memory at a time.
const RUN_STEP: usize = 4096;

/// A device: its identity, its outbox, and the rules by which it fills it.
pub struct Agent {
    pub(crate) thing: DeviceId,
    zone: ZoneName,
    table: SensorTable,
    pub(crate) signer: SharedSigner,
    pub(crate) key: P256Key,
    pub(crate) command_keys: CommandKeys,
    pub(crate) keep_days: u32,
    pub(crate) data_proxy: Option<DataProxy>,
    /// Sequence numbers that are stored as if they were sent and lost.
    drop: BTreeSet<u64>,
    pub(crate) outbox: Outbox,
}

impl Agent {
    /// Opens the device of a folder.
    ///
    /// # Errors
    /// [`DeviceError`] says which file is not as it must be, or that another process is this device.
    pub fn open(folder: &DeviceFolder) -> Result<Self, DeviceError> {
        let signer = folder.signer()?;
        let public_key = signer.public_key();
        let config = &folder.config;
        Ok(Self {
            thing: config.thing.clone(),
            zone: config.zone.clone(),
            table: folder.sensor_table()?,
            key: P256Key::new(&public_key)?,
            command_keys: folder.command_keys()?,
            data_proxy: DataProxy::open(folder)?,
            keep_days: config.outbox.keep_days,
            drop: BTreeSet::new(),
            outbox: Outbox::open(&folder.resolve(&config.outbox.path), &folder.mark(), &config.thing, &public_key)?,
            signer,
        })
    }

    /// Lets the messages of these numbers get lost on their way the first time, to show that a backfill heals it.
    pub fn lose(&mut self, numbers: BTreeSet<u64>) {
        self.drop = numbers;
    }

    /// The site's time zone.
    #[must_use]
    pub fn zone(&self) -> &ZoneName {
        &self.zone
    }

    /// The sensor table.
    #[must_use]
    pub fn table(&self) -> &SensorTable {
        &self.table
    }

    /// The outbox.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// What is to be sent after a place of the queue, in order, at most `limit` messages.
    ///
    /// # Errors
    /// As [`Outbox::release`].
    pub fn release(&mut self, after: i64, limit: usize) -> Result<Vec<Waiting>, DeviceError> {
        self.outbox.release(after, limit)
    }

    /// Marks messages as acknowledged by the broker.
    ///
    /// # Errors
    /// [`DeviceError::Outbox`].
    pub fn acknowledge(&mut self, places: &[i64]) -> Result<(), DeviceError> {
        self.outbox.acknowledge(places)
    }

    /// Signs an envelope of readings of one instant and stores it. Gives its number.
    ///
    /// # Errors
    /// [`DeviceError::DayClosed`] if the day has its block, or if a later one has begun.
    pub fn record(&mut self, time: UnixMillis, readings: &[Reading]) -> Result<u64, DeviceError> {
        let day = LocalDay::at(&self.zone, time)?;
        let closed = self.outbox.last_daily()?.map(|block| block.day);
        let newest = self.outbox.ends()?.map(|(_, newest)| newest.day);
        if closed.is_some_and(|closed| day <= closed) || newest.is_some_and(|newest| day < newest) {
            return Err(DeviceError::DayClosed(day));
        }
        let pack = write_pack(&self.thing, time, readings);
        let (thing, signer, drop, data_proxy) = (&self.thing, &self.signer, &self.drop, &mut self.data_proxy);
        self.outbox.change(|t| {
            let is_confidential = data_proxy.is_some();
            let number = t.put_telemetry(day, time, |number| {
                let (content, payload) = match data_proxy {
                    Some(proxy) => (ContentType::Encrypted, Cow::Owned(proxy.conceal_pack(thing, number, &pack)?)),
                    None => (ContentType::Senml, Cow::Borrowed(&*pack)),
                };
                let header = Header { kind: Kind::Telemetry, content, kid: thing.to_string(), number };
                Ok((seal(&header, &payload, &**signer)?, drop.contains(&number)))
            })?;
            if is_confidential {
                t.put_clear(MessageKind::Telemetry, number, &pack)?;
            }
            Ok(number)
        })
    }

    /// Closes every day before `day` that is still open: those with envelopes, and empty ones between.
    ///
    /// # Errors
    /// As [`Agent::close`].
    pub fn close_before(&mut self, day: LocalDay) -> Result<Vec<SealedBlock>, DeviceError> {
        let mut sealed = Vec::new();
        let Some(mut next) = self.first_open_day()? else { return Ok(sealed) };
        while next < day {
            sealed.push(self.seal_day(next)?);
            next = next.next().ok_or(DeviceError::DayClosed(day))?;
        }
        Ok(sealed)
    }

    /// Closes a local day by a signed block over the envelopes that are stored for it, and the days before it that are still open.
    /// The salt comes from the operating system. A day that is closed stays as it is.
    ///
    /// # Errors
    /// [`DeviceError::DayClosed`] if a later day is closed and this one is not; [`DeviceError::Block`] if the block would not continue
    /// the chain, as after a change of the zone.
    pub fn close(&mut self, day: LocalDay) -> Result<SealedBlock, DeviceError> {
        if let Some(sealed) = self.outbox.daily(day)? {
            return Ok(sealed);
        }
        self.close_before(day)?;
        self.seal_day(day)
    }

    /// The day that the next daily block is of, once there is anything.
    fn first_open_day(&self) -> Result<Option<LocalDay>, DeviceError> {
        match self.outbox.last_daily()? {
            Some(block) => Ok(block.day.next()),
            None => Ok(self.outbox.ends()?.map(|(oldest, _)| oldest)),
        }
    }

    fn seal_day(&mut self, day: LocalDay) -> Result<SealedBlock, DeviceError> {
        let draft = self.draft(day, None)?;
        let (key, signer, data_proxy) = (&self.key, &self.signer, &mut self.data_proxy);
        self.outbox.change(|t| draft.seal(t, key, &**signer, data_proxy.as_mut()))
    }

    /// An interim block of the open day, as it stands at `now`. Days that are over are closed first.
    pub(crate) fn draft_interim(&mut self, now: UnixMillis) -> Result<Draft, DeviceError> {
        let day = LocalDay::at(&self.zone, now)?;
        self.close_before(day)?;
        // The first full second after the instant: what was recorded in this one belongs to it.
        self.draft(day, Some(now.seconds() + 1))
    }

    /// Sums up what is stored of a day: all of it for a daily block, up to an instant for an interim one.
    fn draft(&self, day: LocalDay, until: Option<i64>) -> Result<Draft, DeviceError> {
        let daily = self.outbox.last_daily()?;
        if daily.as_ref().is_some_and(|before| day <= before.day) {
            return Err(DeviceError::DayClosed(day));
        }
        let head = self.outbox.head()?;
        let before = match &daily {
            Some(block) => self.block(block)?.summaries,
            None => Vec::new(),
        };
        let openings = closings(&before);
        let first = daily.as_ref().map_or(0, |block| block.first + block.count);
        let count = self.outbox.count_of(day)?;
        let run = self.outbox.run(first, count)?;
        let whole = DayBounds::of(&self.zone, day)?;
        let bounds = DayBounds { to: until.map_or(whole.to, |until| until.min(whole.to)), ..whole };
        let (root, summaries) = self.sum_up(&run, first, bounds, &openings)?;
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|e| DeviceError::Randomness(e.to_string()))?;
        let summaries = summary::encode(&summaries);
        let block = Block {
            thing: self.thing.clone(),
            previous: head.as_ref().map_or(Hash([0; 32]), |head| head.hash),
            span: match until {
                None => Span::Daily { previous_daily: daily.as_ref().map(|block| block.hash) },
                Some(_) => Span::Interim,
            },
            day,
            zone: self.zone.clone(),
            bounds,
            first,
            count,
            root,
            bytes: run.iter().map(|envelope| envelope.len() as u64).sum(),
            units: run.iter().map(|envelope| metered_units(envelope.len())).sum(),
            table_version: self.table.version(),
            summaries_digest: summary::digest(&salt, &summaries),
        };
        Ok(Draft { block, salt, summaries, head, daily, before })
    }

    /// The leaves of a run, from the stored envelopes; nothing if one of them is not there.
    pub(crate) fn leaves(&self, first: u64, count: u64) -> Result<Option<Vec<Leaf>>, DeviceError> {
        if first.checked_add(count).is_none_or(|end| end > i64::MAX.unsigned_abs()) {
            return Ok(None);
        }
        let (mut leaves, end) = (Vec::new(), first + count);
        for from in (first..end).step_by(RUN_STEP) {
            let run = match self.outbox.run(from, (end - from).min(RUN_STEP as u64)) {
                Err(DeviceError::Damaged(_)) => return Ok(None),
                run => run?,
            };
            for (number, bytes) in (from..).zip(&run) {
                leaves.push(stored(number, bytes)?.leaf());
            }
        }
        Ok(Some(leaves))
    }

    /// The Merkle root and the summaries of a run, from what is stored alone.
    fn sum_up(
        &self,
        run: &[Vec<u8>],
        first: u64,
        bounds: DayBounds,
        openings: &BTreeMap<vitro_proof::SensorName, vitro_proof::Decimal>,
    ) -> Result<(Hash, Vec<Summary>), DeviceError> {
        let mut summarizer = Summarizer::new(&self.thing, &self.table, bounds, openings);
        let mut leaves = Vec::with_capacity(run.len());
        for (number, bytes) in (first..).zip(run) {
            let envelope = stored(number, bytes)?;
            leaves.push(envelope.leaf());
            // What was encrypted is summed up from the clear pack beside it; without that, the day would come out wrong.
            let clear = match envelope.header().content {
                ContentType::Encrypted => {
                    Some(self.outbox.clear(MessageKind::Telemetry, number)?.ok_or_else(|| {
                        DeviceError::Damaged(format!("envelope {number} is encrypted, and its clear pack is not there"))
                    })?)
                }
                _ => None,
            };
            summarizer.add(SequenceNumber(number), Ok(clear.as_deref().unwrap_or(envelope.payload())));
        }
        Ok((merkle::root(&leaves), summarizer.finish()))
    }

    /// A sealed block, opened from its stored message.
    ///
    /// # Errors
    /// [`DeviceError::Damaged`] if the message is not there or does not open.
    pub fn block(&self, block: &SealedBlock) -> Result<OpenedBlock, DeviceError> {
        open_block(&self.outbox, block, &self.thing, &self.key)
    }
}

/// A block that is not signed yet, and what it has to continue.
pub(crate) struct Draft {
    block: Block,
    salt: [u8; 16],
    summaries: Vec<u8>,
    head: Option<SealedBlock>,
    daily: Option<SealedBlock>,
    before: Vec<Summary>,
}

impl Draft {
    /// Signs the block and stores its message and its place in the chain. A confidential device sends it encrypted, and keeps it in clear
    /// for the block after it.
    pub(crate) fn seal(
        self,
        t: &Transaction<'_>,
        key: &P256Key,
        signer: &dyn Signer,
        data_proxy: Option<&mut DataProxy>,
    ) -> Result<SealedBlock, DeviceError> {
        let (mut sealed, mut clear) = (None, None);
        let number = t.put(MessageKind::Block, |number| {
            let message = BlockMessage::seal(BlockNumber(number), &self.block, self.salt, self.summaries, signer)?;
            // What the cloud would refuse is not signed away: the checks are the cloud's own.
            let refused = |e: &dyn std::fmt::Display| DeviceError::Block(e.to_string());
            let opened = message.open(&self.block.thing, key).map_err(|e| refused(&e))?;
            let chain = self.head.as_ref().map(|head| ChainLink { number: head.number, hash: head.hash });
            let link = self.daily.as_ref().map(|block| DailyLink {
                hash: block.hash,
                to: block.to,
                end: block.first + block.count,
            });
            check_follows(&opened, chain, link).map_err(|e| refused(&e))?;
            check_openings(&opened.summaries, &self.before).map_err(|e| refused(&e))?;
            sealed = Some(of(&opened));
            let Some(proxy) = data_proxy else { return Ok(message.encode()) };
            clear = Some(message.encode());
            Ok(proxy.conceal_block(&self.block.thing, &message)?.encode())
        })?;
        if let Some(clear) = clear {
            t.put_clear(MessageKind::Block, number, &clear)?;
        }
        let sealed = sealed.ok_or_else(|| DeviceError::Block("nothing was sealed".into()))?;
        t.put_block(&sealed)?;
        Ok(sealed)
    }
}

/// An envelope as it lies in the outbox under a number.
fn stored(number: u64, bytes: &[u8]) -> Result<Envelope<'_>, DeviceError> {
    let envelope = Envelope::parse(bytes).map_err(|e| DeviceError::Damaged(format!("envelope {number}: {e}")))?;
    if envelope.header().number == number {
        Ok(envelope)
    } else {
        Err(DeviceError::Damaged(format!("envelope {} lies at {number}", envelope.header().number)))
    }
}

/// A sealed block, opened from its stored message and verified under the device's key.
///
/// # Errors
/// [`DeviceError::Damaged`] if the message is not there or does not open.
pub fn open_block(
    outbox: &Outbox,
    block: &SealedBlock,
    thing: &DeviceId,
    key: &P256Key,
) -> Result<OpenedBlock, DeviceError> {
    let damaged = |why: &dyn std::fmt::Display| DeviceError::Damaged(format!("block {}: {why}", block.number));
    let bytes = match outbox.clear(MessageKind::Block, block.number.0)? {
        Some(clear) => Some(clear),
        None => outbox.message(MessageKind::Block, block.number.0)?,
    };
    let bytes = bytes.ok_or_else(|| damaged(&"it is not there"))?;
    let message = BlockMessage::decode(&bytes).map_err(|e| damaged(&e))?;
    message.open(thing, key).map_err(|e| damaged(&e))
}

fn of(opened: &OpenedBlock) -> SealedBlock {
    SealedBlock {
        number: opened.number,
        hash: opened.hash,
        daily: opened.block.is_daily(),
        day: opened.block.day,
        to: opened.block.bounds.to,
        first: opened.block.first,
        count: opened.block.count,
        settled: false,
    }
}
