//! A device's blocks in their one chain: no number is used twice, every block names the one before it, holes can be filled.

use vitro_proof::block::{ChainLink, DailyLink, OpenedBlock, check_follows, check_openings};
use vitro_proof::crypto::BadSignature;
use vitro_proof::{BlockMessage, BlockNumber, DeviceId, Hash, Reason, Signature, Span, Verify};

use crate::call::Context;
use crate::data::publish::{Fail, Refusal};
use crate::error::ContractError;
use crate::ids::Bytes;
use crate::keys;
use crate::model::{BlockRecord, BlockRef, ChainRecord, Continuity};
use crate::tx::Tx;

/// A block that is on the ledger.
pub(crate) struct Stored {
    /// What is stored of it.
    pub(crate) record: BlockRecord,
    /// Its content.
    pub(crate) opened: OpenedBlock,
}

impl Stored {
    /// How others cite it.
    pub(crate) fn reference(&self) -> BlockRef {
        BlockRef {
            number: self.opened.number.0,
            hash: self.opened.hash,
            tx: self.record.tx.clone(),
            time: self.record.time,
        }
    }

    fn is_daily_of(&self, hash: Hash) -> bool {
        self.opened.hash == hash && self.opened.block.is_daily()
    }

    fn daily_link(&self) -> DailyLink {
        let block = &self.opened.block;
        DailyLink { hash: self.opened.hash, to: block.bounds.to, end: block.end() }
    }
}

/// A stored block's signature was verified before it was stored.
struct Verified;

impl Verify for Verified {
    fn verify(&self, _: &[u8], _: &Signature) -> Result<(), BadSignature> {
        Ok(())
    }
}

/// The block under a number.
pub(crate) fn by_number(tx: &mut Tx<'_>, thing: &DeviceId, number: u64) -> Result<Option<Stored>, ContractError> {
    let key = keys::block(thing, number);
    let Some(record) = tx.load::<BlockRecord>(&key)? else { return Ok(None) };
    let opened = BlockMessage::decode(&record.message.0)
        .map_err(|fault| fault.to_string())
        .and_then(|message| message.open(thing, &Verified).map_err(|fault| fault.to_string()))
        .map_err(|fault| ContractError::Damaged(format!("{key}: {fault}")))?;
    Ok(Some(Stored { record, opened }))
}

/// The daily block of a hash.
pub(crate) fn daily_by_hash(tx: &mut Tx<'_>, thing: &DeviceId, hash: Hash) -> Result<Option<Stored>, ContractError> {
    match number(tx, &keys::daily_by_hash(thing, hash))? {
        Some(number) => by_number(tx, thing, number),
        None => Ok(None),
    }
}

/// The block under a number, if the chain's record has it. What it does not have is not asked for: each question is a message to the
/// peer and back, of which a transaction with many blocks has thousands.
fn known(tx: &mut Tx<'_>, thing: &DeviceId, chain: &ChainRecord, number: u64) -> Result<Option<Stored>, ContractError> {
    if chain.knows(number) { by_number(tx, thing, number) } else { Ok(None) }
}

/// The daily block that block `n` names. Mostly it is the one just before, which was asked for already.
fn daily_named(tx: &mut Tx<'_>, thing: &DeviceId, n: u64, hash: Hash) -> Result<Option<Stored>, ContractError> {
    if let Some(number) = n.checked_sub(1)
        && let Some(before) = by_number(tx, thing, number)?
        && before.is_daily_of(hash)
    {
        return Ok(Some(before));
    }
    daily_by_hash(tx, thing, hash)
}

/// The number of the daily block that names a hash as the one before it.
pub(crate) fn following(tx: &mut Tx<'_>, thing: &DeviceId, hash: Hash) -> Result<Option<u64>, ContractError> {
    number(tx, &keys::daily_after(thing, Some(hash)))
}

fn number(tx: &mut Tx<'_>, key: &str) -> Result<Option<u64>, ContractError> {
    let Some(bytes) = tx.get(key)? else { return Ok(None) };
    let bytes = bytes.try_into().map_err(|_| ContractError::Damaged(key.to_owned()))?;
    Ok(Some(u64::from_be_bytes(bytes)))
}

/// Whether a stored daily block continues the daily block that it names. A hole before it may have been filled since it came, so
/// this is computed when it is asked for.
pub(crate) fn continuity(
    tx: &mut Tx<'_>,
    thing: &DeviceId,
    opened: &OpenedBlock,
) -> Result<Option<Continuity>, ContractError> {
    Ok(match opened.block.span {
        Span::Interim => None,
        Span::Daily { previous_daily: None } => Some(Continuity::Continues),
        Span::Daily { previous_daily: Some(hash) } => Some(match daily_named(tx, thing, opened.number.0, hash)? {
            None => Continuity::HoleBefore,
            Some(previous) if follows(opened, Some(&previous)).is_ok() => Continuity::Continues,
            Some(_) => Continuity::Broken,
        }),
    })
}

/// Checks numbers, time and openings against the daily block before, whatever lies between the two in the chain.
fn follows(next: &OpenedBlock, daily: Option<&Stored>) -> Result<(), vitro_proof::BlockFault> {
    check_follows(next, named_before(next), daily.map(Stored::daily_link))?;
    if next.block.is_daily() {
        check_openings(&next.summaries, daily.map_or(&[], |daily| &daily.opened.summaries))?;
    }
    Ok(())
}

/// The predecessor that a block names: what it is checked against is decided by number, in [`place`].
fn named_before(next: &OpenedBlock) -> Option<ChainLink> {
    let number = next.number.0.checked_sub(1)?;
    Some(ChainLink { number: BlockNumber(number), hash: next.block.previous })
}

/// Puts a block, whose signature and form are verified, into the device's chain. Whether it is new.
pub(crate) fn place(
    ctx: &Context,
    tx: &mut Tx<'_>,
    thing: &DeviceId,
    opened: &OpenedBlock,
    message: &[u8],
) -> Result<bool, Fail> {
    let n = opened.number.0;
    let mut chain = tx.load::<ChainRecord>(&keys::chain(thing))?.unwrap_or(ChainRecord {
        known: Vec::new(),
        first_daily: None,
        lowest_daily: None,
    });
    if let Some(there) = known(tx, thing, &chain, n)? {
        if there.opened.hash == opened.hash {
            return Ok(false);
        }
        return Err(refuse("fork", format!("another block has the number {n}: {}", there.opened.hash)));
    }
    let before = match n.checked_sub(1) {
        Some(number) => known(tx, thing, &chain, number)?,
        None => None,
    };
    if let Some(before) = &before
        && before.opened.hash != opened.block.previous
    {
        return Err(refuse("broken_chain", format!("block {} has the hash {}", n - 1, before.opened.hash)));
    }
    if let Some(next) = n.checked_add(1)
        && let Some(after) = known(tx, thing, &chain, next)?
        && after.opened.block.previous != opened.hash
    {
        let named = after.opened.block.previous;
        return Err(refuse("broken_chain", format!("block {next} names {named} as the one before it")));
    }
    let mut base = None;
    match opened.block.span {
        Span::Daily { previous_daily } => {
            place_daily(tx, thing, opened, previous_daily, before, &mut chain)?;
        }
        Span::Interim => {
            base = match &before {
                Some(before) if before.opened.block.is_daily() => Some(n - 1),
                Some(before) => before.record.base,
                None => None,
            };
            let daily = match base {
                Some(number) => by_number(tx, thing, number)?,
                None => None,
            };
            check_against_known(opened, daily.as_ref(), n == 0)?;
        }
    }
    chain.add(n);
    tx.store(&keys::chain(thing), &chain);
    let record = BlockRecord { message: Bytes(message.to_vec()), tx: ctx.tx_id.clone(), time: ctx.timestamp, base };
    tx.store(&keys::block(thing, n), &record);
    Ok(true)
}

/// The rules of days: each daily block is followed by one other at most, the first names none and has none before it.
fn place_daily(
    tx: &mut Tx<'_>,
    thing: &DeviceId,
    opened: &OpenedBlock,
    previous: Option<Hash>,
    before: Option<Stored>,
    chain: &mut ChainRecord,
) -> Result<(), Fail> {
    let n = opened.number.0;
    let after_key = keys::daily_after(thing, previous);
    if let Some(other) = number(tx, &after_key)? {
        return Err(refuse("fork", format!("block {other} follows the same daily block")));
    }
    match (previous, chain.first_daily, chain.lowest_daily) {
        (None, _, Some(lowest)) if lowest < n => {
            return Err(refuse("broken_chain", format!("there is a daily block before it: {lowest}")));
        }
        (Some(_), Some(first), _) if n < first => {
            return Err(refuse("broken_chain", format!("the first daily block is {first}")));
        }
        _ => {}
    }
    let daily = match previous {
        Some(hash) => match before.filter(|before| before.is_daily_of(hash)) {
            Some(before) => Some(before),
            None => daily_by_hash(tx, thing, hash)?,
        },
        None => None,
    };
    if daily.as_ref().is_some_and(|daily| daily.opened.number.0 >= n) {
        return Err(refuse("broken_chain", "the daily block that it names has a higher number".into()));
    }
    check_against_known(opened, daily.as_ref(), previous.is_none())?;
    if previous.is_none() {
        chain.first_daily = Some(n);
    }
    chain.lowest_daily = Some(chain.lowest_daily.map_or(n, |lowest| lowest.min(n)));
    tx.put(&after_key, n.to_be_bytes().to_vec());
    tx.put(&keys::daily_by_hash(thing, opened.hash), n.to_be_bytes().to_vec());
    Ok(())
}

/// Checks a block against the daily block before it. Where that is not on the ledger yet (`first` says that there is none), what
/// can be said is said by [`continuity`] once it is.
fn check_against_known(opened: &OpenedBlock, daily: Option<&Stored>, first: bool) -> Result<(), Fail> {
    if daily.is_some() || first {
        follows(opened, daily).map_err(|fault| refuse(fault.reason(), fault.to_string()))?;
    } else if opened.number.0 == 0 {
        return Err(refuse("broken_chain", "block 0 names a daily block before it".into()));
    }
    Ok(())
}

fn refuse(code: &'static str, detail: String) -> Fail {
    Fail::Refused(Refusal { code, detail })
}
