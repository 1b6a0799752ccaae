//! The operator's own account of a day: what the cloud found, published beside the device's block.

use minicbor::Decoder;
use minicbor::data::Type;

use crate::cbor;
use crate::day::LocalDay;
use crate::error::ProofError;
use crate::ids::{BlockNumber, DeviceId, Hash};

/// The version of the account's format.
pub const VERSION: u8 = 1;

/// An inclusive range of sequence numbers.
pub type Range = (u64, u64);

/// What the operator attests of a device's day. Deterministic CBOR, so that equal accounts are equal bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The device.
    pub thing: DeviceId,
    /// The local day.
    pub day: LocalDay,
    /// The daily block it was compared with; nothing if none came.
    pub block: Option<BlockNumber>,
    /// The first sequence number of the run.
    pub first: u64,
    /// How many numbers the run has.
    pub count: u64,
    /// The Merkle root over the envelopes that the cloud holds of the run.
    pub root: Hash,
    /// SHA-256(0x02 || salt || the cloud's own summaries), with the block's salt; with a salt of zeros if no block came.
    pub summaries_digest: Hash,
    /// Numbers that came only after the operator asked the device for them.
    pub healed: Vec<Range>,
    /// Numbers of the run that the cloud does not hold.
    pub missing: Vec<Range>,
}

impl Account {
    /// Writes the account.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(|e| {
            e.map(10)?;
            e.u8(0)?.u8(VERSION)?.u8(1)?.str(self.thing.as_str())?.u8(2)?.str(&self.day.to_string())?.u8(3)?;
            match self.block {
                Some(number) => e.u64(number.0)?,
                None => e.null()?,
            };
            e.u8(4)?.u64(self.first)?.u8(5)?.u64(self.count)?.u8(6)?.bytes(&self.root.0)?;
            e.u8(7)?.bytes(&self.summaries_digest.0)?;
            for (key, ranges) in [(8, &self.healed), (9, &self.missing)] {
                e.u8(key)?;
                encode_ranges(ranges, e)?;
            }
            Ok(())
        })
    }

    /// Reads an account.
    ///
    /// # Errors
    /// [`ProofError::Cbor`] says what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        let bad = |detail: &str| ProofError::cbor("account", detail);
        let wire = |e: minicbor::decode::Error| ProofError::cbor("account", e);
        cbor::check(bytes).map_err(|fault| ProofError::cbor("account", format!("{fault:?}")))?;
        let mut d = Decoder::new(bytes);
        if d.map().map_err(wire)? != Some(10) {
            return Err(bad("it has ten fields"));
        }
        let key = |d: &mut Decoder<'_>, expected: u64| match d.u64() {
            Ok(found) if found == expected => Ok(()),
            _ => Err(ProofError::cbor("account", format!("key {expected} is not in its place"))),
        };
        key(&mut d, 0)?;
        if d.u64().map_err(wire)? != u64::from(VERSION) {
            return Err(bad("an unknown version"));
        }
        key(&mut d, 1)?;
        let thing = d.str().map_err(wire)?.parse()?;
        key(&mut d, 2)?;
        let day = d.str().map_err(wire)?.parse()?;
        key(&mut d, 3)?;
        let block = if d.datatype().map_err(wire)? == Type::Null {
            d.null().map_err(wire)?;
            None
        } else {
            Some(BlockNumber(d.u64().map_err(wire)?))
        };
        key(&mut d, 4)?;
        let first = d.u64().map_err(wire)?;
        key(&mut d, 5)?;
        let count = d.u64().map_err(wire)?;
        key(&mut d, 6)?;
        let root = Hash::from_slice(d.bytes().map_err(wire)?)?;
        key(&mut d, 7)?;
        let summaries_digest = Hash::from_slice(d.bytes().map_err(wire)?)?;
        key(&mut d, 8)?;
        let healed = decode_ranges(&mut d)?;
        key(&mut d, 9)?;
        let missing = decode_ranges(&mut d)?;
        Ok(Self { thing, day, block, first, count, root, summaries_digest, healed, missing })
    }
}

/// Writes ranges as an array of pairs.
pub(crate) fn encode_ranges<W: minicbor::encode::Write>(
    ranges: &[Range],
    e: &mut minicbor::Encoder<W>,
) -> Result<(), minicbor::encode::Error<W::Error>> {
    e.array(ranges.len() as u64)?;
    for (from, to) in ranges {
        e.array(2)?.u64(*from)?.u64(*to)?;
    }
    Ok(())
}

/// Reads ranges: ascending, apart from each other, none backwards.
pub(crate) fn decode_ranges(d: &mut Decoder<'_>) -> Result<Vec<Range>, ProofError> {
    let wire = |e: minicbor::decode::Error| ProofError::cbor("ranges", e);
    let count = d.array().map_err(wire)?.unwrap_or(0);
    let mut ranges: Vec<Range> = Vec::new();
    for _ in 0..count {
        if d.array().map_err(wire)? != Some(2) {
            return Err(ProofError::cbor("ranges", "not a pair"));
        }
        let range = (d.u64().map_err(wire)?, d.u64().map_err(wire)?);
        if range.0 > range.1 || ranges.last().is_some_and(|last| last.1 >= range.0) {
            return Err(ProofError::cbor("ranges", "not ascending"));
        }
        ranges.push(range);
    }
    Ok(ranges)
}

/// Gathers ascending numbers into inclusive ranges.
#[must_use]
pub fn ranges_of(numbers: impl IntoIterator<Item = u64>) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(last) if last.1.checked_add(1) == Some(number) => last.1 = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_round_trips() {
        for block in [None, Some(BlockNumber(7))] {
            let account = Account {
                thing: "dev-1".parse().unwrap(),
                day: "2026-01-02".parse().unwrap(),
                block,
                first: 1440,
                count: 1440,
                root: Hash([1; 32]),
                summaries_digest: Hash([2; 32]),
                healed: vec![(1500, 1502), (1600, 1600)],
                missing: vec![],
            };
            let bytes = account.encode();
            assert_eq!(Account::decode(&bytes).unwrap(), account);
            assert!(Account::decode(&bytes[..bytes.len() - 1]).is_err());
        }
    }

    #[test]
    fn numbers_gather_into_ranges() {
        assert_eq!(ranges_of([1, 2, 3, 7, 9, 10]), vec![(1, 3), (7, 7), (9, 10)]);
        assert_eq!(ranges_of([]), vec![]);
    }
}
