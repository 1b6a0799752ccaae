//! A device's own signed account of a day, and the chain of such blocks.

mod received;

use minicbor::Decoder;
use minicbor::data::Type;

use crate::cbor;
use crate::crypto::{Signer, Verify};
use crate::day::{DayBounds, LocalDay, ZoneName};
use crate::envelope::{ContentType, Envelope, Header, Kind, seal};
use crate::error::{BlockFault, SignerError};
use crate::ids::{BlockNumber, DeviceId, Hash};
use crate::summary::{self, Figures, Summary, closings};

pub use received::ReceivedBlock;

/// The version of the block's format.
pub const VERSION: u8 = 1;
/// Keys from here on may be added by later versions; readers keep and ignore them.
const FREE_KEYS: u64 = 64;

/// What part of a day a block covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    /// A whole local day.
    Daily {
        /// The hash of the previous daily block; nothing in the device's first.
        previous_daily: Option<Hash>,
    },
    /// Part of a day, sealed on demand.
    Interim,
}

/// The payload of a block's envelope. Its number is in the envelope's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The device.
    pub thing: DeviceId,
    /// The hash of the device's previous block, daily or interim; zeros for block 0.
    pub previous: Hash,
    /// Daily or interim.
    pub span: Span,
    /// The local day.
    pub day: LocalDay,
    /// The site's time zone.
    pub zone: ZoneName,
    /// The interval in Unix seconds; an interim block's ends at the instant of sealing.
    pub bounds: DayBounds,
    /// The first sequence number of the run.
    pub first: u64,
    /// How many envelopes the run has.
    pub count: u64,
    /// The Merkle root over the run's leaves.
    pub root: Hash,
    /// The bytes of the run's envelopes.
    pub bytes: u64,
    /// The run's metered units: each envelope in steps of 5 KB.
    pub units: u64,
    /// The version of the sensor table.
    pub table_version: u64,
    /// SHA-256(0x02 || salt || summaries).
    pub summaries_digest: Hash,
}

impl Block {
    /// Whether it is a daily block.
    #[must_use]
    pub fn is_daily(&self) -> bool {
        matches!(self.span, Span::Daily { .. })
    }

    /// The first sequence number after the run.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first.saturating_add(self.count)
    }

    /// Writes the payload as deterministic CBOR.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, previous_daily) = match self.span {
            Span::Daily { previous_daily } => (0, previous_daily),
            Span::Interim => (1, None),
        };
        cbor::encode(|e| {
            e.map(15 + u64::from(previous_daily.is_some()))?;
            e.u8(0)?.u8(VERSION)?.u8(1)?.str(self.thing.as_str())?.u8(2)?.bytes(&self.previous.0)?;
            e.u8(3)?.u8(kind)?;
            if let Some(hash) = previous_daily {
                e.u8(4)?.bytes(&hash.0)?;
            }
            e.u8(5)?.str(&self.day.to_string())?.u8(6)?.str(self.zone.as_str())?;
            e.u8(7)?.i64(self.bounds.from)?.u8(8)?.i64(self.bounds.to)?;
            e.u8(9)?.u64(self.first)?.u8(10)?.u64(self.count)?.u8(11)?.bytes(&self.root.0)?;
            e.u8(12)?.u64(self.bytes)?.u8(13)?.u64(self.units)?.u8(14)?.u64(self.table_version)?;
            e.u8(15)?.bytes(&self.summaries_digest.0)?;
            Ok(())
        })
    }

    /// Reads a block's payload.
    ///
    /// # Errors
    /// [`BlockFault::NotABlock`] says which key is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockFault> {
        cbor::check(bytes).map_err(|fault| malformed(format!("{fault:?}")))?;
        let wire = |e: minicbor::decode::Error| malformed(e);
        let mut d = Decoder::new(bytes);
        let fields = d.map().map_err(wire)?.unwrap_or(0);
        let mut texts: [Option<String>; 7] = Default::default();
        let mut hashes: [Option<Hash>; 16] = [None; 16];
        let mut numbers: [Option<u64>; 15] = [None; 15];
        let mut times: [Option<i64>; 9] = [None; 9];
        for _ in 0..fields {
            let key = d.u64().map_err(|e| malformed(format!("a key: {e}")))?;
            // Cannot fail: each arm's keys are below its array's length.
            #[allow(clippy::cast_possible_truncation)]
            let at = key as usize;
            let in_key = |e: &dyn std::fmt::Display| malformed(format!("key {key}: {e}"));
            match key {
                0 | 3 | 9 | 10 | 12..=14 => numbers[at] = Some(d.u64().map_err(|e| in_key(&e))?),
                1 | 5 | 6 => texts[at] = Some(d.str().map_err(|e| in_key(&e))?.to_owned()),
                2 | 4 | 11 | 15 => {
                    let bytes = d.bytes().map_err(|e| in_key(&e))?;
                    hashes[at] = Some(Hash::from_slice(bytes).map_err(|e| in_key(&e))?);
                }
                7 | 8 => times[at] = Some(d.i64().map_err(|e| in_key(&e))?),
                FREE_KEYS.. => d.skip().map_err(|e| in_key(&e))?,
                _ => return Err(malformed(format!("unknown key {key}"))),
            }
        }
        let missing = |key: usize| move || malformed(format!("key {key} is missing"));
        let number = |key: usize| numbers[key].ok_or_else(missing(key));
        let hash = |key: usize| hashes[key].ok_or_else(missing(key));
        let time = |key: usize| times[key].ok_or_else(missing(key));
        let mut text = |key: usize| texts[key].take().ok_or_else(missing(key));
        if number(0)? != u64::from(VERSION) {
            return Err(malformed("an unknown version"));
        }
        let span = match (number(3)?, hashes[4]) {
            (0, previous_daily) => Span::Daily { previous_daily },
            (1, None) => Span::Interim,
            _ => return Err(malformed("key 3 or 4: neither a daily nor an interim block")),
        };
        let block = Self {
            thing: text(1)?.parse().map_err(malformed)?,
            previous: hash(2)?,
            span,
            day: text(5)?.parse().map_err(malformed)?,
            zone: text(6)?.parse().map_err(malformed)?,
            bounds: DayBounds { from: time(7)?, to: time(8)? },
            first: number(9)?,
            count: number(10)?,
            root: hash(11)?,
            bytes: number(12)?,
            units: number(13)?,
            table_version: number(14)?,
            summaries_digest: hash(15)?,
        };
        if block.first.checked_add(block.count).is_none() {
            return Err(malformed("key 10: the run passes the last number"));
        }
        Ok(block)
    }
}

fn malformed(detail: impl ToString) -> BlockFault {
    BlockFault::NotABlock(detail.to_string())
}

/// What a device sends: the signed envelope, the salt, and the summaries that the envelope commits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockMessage {
    /// The envelope as it was signed.
    pub envelope: Vec<u8>,
    /// Random bytes that keep the digest from being guessed.
    pub salt: [u8; 16],
    /// The summaries' CBOR as the digest is over it.
    pub summaries: Vec<u8>,
}

/// A block that was taken apart and found consistent in itself: envelope, digest and summaries belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedBlock {
    /// The block's number.
    pub number: BlockNumber,
    /// The block's hash, which the next block names.
    pub hash: Hash,
    /// The signed payload.
    pub block: Block,
    /// The summaries, readable ones only.
    pub summaries: Vec<Summary>,
}

impl BlockMessage {
    /// Signs a block over its summaries.
    ///
    /// # Errors
    /// [`SignerError`] if the key store does not sign.
    pub fn seal(
        number: BlockNumber,
        block: &Block,
        salt: [u8; 16],
        summaries: Vec<u8>,
        signer: &dyn Signer,
    ) -> Result<Self, SignerError> {
        let header =
            Header { kind: Kind::Block, content: ContentType::Block, kid: block.thing.to_string(), number: number.0 };
        Ok(Self { envelope: seal(&header, &block.encode(), signer)?, salt, summaries })
    }

    /// Writes the message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(|e| {
            e.array(3)?.bytes(&self.envelope)?.bytes(&self.salt)?.bytes(&self.summaries)?;
            Ok(())
        })
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`BlockFault::NotABlock`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockFault> {
        cbor::check(bytes).map_err(|fault| malformed(format!("{fault:?}")))?;
        let mut d = Decoder::new(bytes);
        if d.array().map_err(malformed)? != Some(3) {
            return Err(malformed("not an array of envelope, salt and summaries"));
        }
        let mut part = |what: &str| match d.datatype() {
            Ok(Type::Bytes) => d.bytes().map(<[u8]>::to_vec).map_err(malformed),
            _ => Err(malformed(format!("{what} is no byte string"))),
        };
        let envelope = part("the envelope")?;
        let salt = part("the salt")?.try_into().map_err(|_| malformed("the salt has not 16 bytes"))?;
        Ok(Self { envelope, salt, summaries: part("the summaries")? })
    }

    /// Verifies signature and digest under the device's key, and reads the summaries. The checks that need the previous block are
    /// [`check_follows`] and [`check_openings`].
    ///
    /// # Errors
    /// [`OpenError`] tells a broken form, a bad signature and a bad block apart.
    pub fn open(&self, thing: &DeviceId, key: &dyn Verify) -> Result<OpenedBlock, OpenError> {
        let envelope = Envelope::parse(&self.envelope).map_err(OpenError::Envelope)?;
        let header = envelope.header();
        if header.kind != Kind::Block {
            return Err(OpenError::Envelope(crate::error::EnvelopeFault::WrongKind));
        }
        if header.kid != thing.as_str() {
            return Err(OpenError::Block(BlockFault::OtherDevice));
        }
        envelope.verify(key).map_err(|_| OpenError::Signature)?;
        let block = Block::decode(envelope.payload()).map_err(OpenError::Block)?;
        if block.thing != *thing {
            return Err(OpenError::Block(BlockFault::OtherDevice));
        }
        if summary::digest(&self.salt, &self.summaries) != block.summaries_digest {
            return Err(OpenError::Block(BlockFault::DigestMismatch));
        }
        let summaries =
            summary::decode(&self.summaries).map_err(|e| OpenError::Block(BlockFault::BadSummaries(e.to_string())))?;
        check_summaries(&block, &summaries).map_err(OpenError::Block)?;
        Ok(OpenedBlock { number: BlockNumber(header.number), hash: envelope.hash(), block, summaries })
    }
}

/// Why a block message cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The envelope's form is broken.
    #[error("envelope: {0}")]
    Envelope(crate::error::EnvelopeFault),
    /// The device's key did not sign it.
    #[error("the signature does not verify")]
    Signature,
    /// The block is inconsistent in itself.
    #[error("block: {0}")]
    Block(BlockFault),
}

impl crate::error::Reason for OpenError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Envelope(fault) => fault.reason(),
            Self::Signature => "bad_signature",
            Self::Block(fault) => fault.reason(),
        }
    }
}

/// The rules that a block and its summaries keep without any other block.
fn check_summaries(block: &Block, summaries: &[Summary]) -> Result<(), BlockFault> {
    let bad = |sensor: &str, why: &str| Err(BlockFault::BadSummaries(format!("{sensor}: {why}")));
    match block.span {
        Span::Daily { .. } => block.bounds.check_daily()?,
        Span::Interim => block.bounds.check_interim()?,
    }
    if summaries.windows(2).any(|pair| pair[0].sensor >= pair[1].sensor) {
        return bad("sensors", "not sorted by name, or one twice");
    }
    for s in summaries {
        let name = s.sensor.as_str();
        for at in [&s.first, &s.last].into_iter().flatten() {
            if !block.bounds.contains(at.time) {
                return bad(name, "first or last lies outside of the day");
            }
        }
        if let (Some(first), Some(last)) = (&s.first, &s.last)
            && (first.time > last.time || (s.values == 1) != (first.time == last.time))
        {
            return bad(name, "first and last do not fit the count of values");
        }
        if let Some(Figures::Counter { increase, largest_step, grid, resets, rollovers, decreases }) = &s.figures {
            // What it began with is the opening, or its first value where there is none.
            let began = s.opening.as_ref().or(s.first.as_ref().map(|at| &at.value));
            if let (0, 0, 0, Some(began), Some(last)) = (resets, rollovers, decreases, began, &s.last)
                && *increase != &last.value - began
            {
                return bad(name, "the register never went down, and yet the increase is not from opening to last");
            }
            if grid.len() != summary::grid_slots(block.bounds) {
                return bad(name, "the grid has not one slot for each quarter of an hour");
            }
            if grid.iter().chain([largest_step]).any(crate::decimal::Decimal::is_negative) {
                return bad(name, "an increase below zero");
            }
            let total = grid.iter().fold(crate::decimal::Decimal::zero(), |sum, slot| &sum + slot);
            if total != *increase || largest_step > increase {
                return bad(name, "the grid does not add up to the increase");
            }
        }
    }
    Ok(())
}

/// Where a device's chain stands: what the next block has to continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainLink {
    /// The number of the block.
    pub number: BlockNumber,
    /// Its hash.
    pub hash: Hash,
}

/// What a daily block leaves for the next daily block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DailyLink {
    /// The previous daily block's hash.
    pub hash: Hash,
    /// Where its day ended.
    pub to: i64,
    /// The first sequence number after its run.
    pub end: u64,
}

/// Checks that `next` continues the chain after `before`, the block with the number just below (nothing for block 0), and the
/// days after `daily`, the daily block that it names (nothing for the first).
///
/// # Errors
/// [`BlockFault::BrokenChain`] or [`BlockFault::NotContiguous`].
pub fn check_follows(
    next: &OpenedBlock,
    before: Option<ChainLink>,
    daily: Option<DailyLink>,
) -> Result<(), BlockFault> {
    let named = match (next.number.0, before) {
        (0, None) => Hash([0; 32]),
        (n, Some(link)) if link.number.0.checked_add(1) == Some(n) => link.hash,
        _ => return Err(BlockFault::BrokenChain),
    };
    if next.block.previous != named {
        return Err(BlockFault::BrokenChain);
    }
    let (first, from) = (next.block.first, next.block.bounds.from);
    match (next.block.span, daily) {
        (Span::Daily { previous_daily }, daily) if previous_daily != daily.map(|link| link.hash) => {
            return Err(BlockFault::BrokenChain);
        }
        (_, None) if first != 0 => return Err(BlockFault::NotContiguous("the first run does not start at 0")),
        (_, Some(link)) if first != link.end => {
            return Err(BlockFault::NotContiguous("the run does not start after the previous daily run"));
        }
        (_, Some(link)) if from != link.to => {
            return Err(BlockFault::NotContiguous("the day does not start where the previous one ended"));
        }
        _ => {}
    }
    Ok(())
}

/// Checks that each counter opens with what the previous signed daily block left.
///
/// # Errors
/// [`BlockFault::BadOpening`] names the first sensor that does not.
pub fn check_openings(summaries: &[Summary], previous: &[Summary]) -> Result<(), BlockFault> {
    let left = closings(previous);
    for summary in summaries.iter().filter(|summary| summary.counter) {
        if summary.opening.as_ref() != left.get(&summary.sensor) {
            return Err(BlockFault::BadOpening(summary.sensor.to_string()));
        }
    }
    Ok(())
}

#[cfg(test)]
#[cfg(feature = "p256")]
mod tests;
