//! What is published, and what is answered of it.

use vitro_proof::account::Range;
use vitro_proof::block::OpenedBlock;
use vitro_proof::{Account, DeviceId, Hash, LocalDay, Summary};

use crate::ids::{AgreementId, Bytes, MeteringPoint};
use crate::wire::{Record, record, words};

record! {
    /// One thing to publish: a block that is not on the ledger yet, the operator's account of a day, or both.
    pub struct Item {
        /// The block message as it came from the device. It may be left out where the ledger has the block, or none came; an
        /// interim block comes alone.
        0 => block: Option<Bytes>,
        /// The account's bytes.
        1 => account: Option<Bytes>,
        /// Which one of the day's accounts it is, as the operator counts them. With it an account may come again after another one: what
        /// was found at first, and then not, and then after all. Without it an account that was ever there is not added again.
        2 => number: Option<u64>,
    }
}

impl Item {
    /// A device's daily block with the operator's account of that day.
    #[must_use]
    pub fn day(message: Vec<u8>, account: &Account) -> Self {
        Self { block: Some(Bytes(message)), account: Some(Bytes(account.encode())), number: None }
    }

    /// An account alone: of a day whose block is there already, or for which none came.
    #[must_use]
    pub fn account(account: &Account) -> Self {
        Self { block: None, account: Some(Bytes(account.encode())), number: None }
    }

    /// An interim block.
    #[must_use]
    pub fn interim(message: Vec<u8>) -> Self {
        Self { block: Some(Bytes(message)), account: None, number: None }
    }

    /// The same, with the operator's count of the day's accounts.
    #[must_use]
    pub fn numbered(self, number: u64) -> Self {
        Self { number: Some(number), ..self }
    }
}

impl Record for Vec<Item> {
    const NAME: &'static str = "a list of items";
}

words! {
    /// What a day's block and the operator's newest account of it say together.
    pub enum DayOutcome {
        /// The account attests the very day that the device signed.
        0 "agrees" => Agrees,
        /// It does not, or numbers are missing.
        1 "differs" => Differs,
        /// No block was published for the day.
        2 "no-block" => NoBlock,
    }
}

words! {
    /// Whether a daily block continues the daily block that it names, in numbers, time and openings.
    pub enum Continuity {
        /// It does, or it is the device's first.
        0 "continues" => Continues,
        /// The block that it names is not on the ledger yet.
        1 "hole-before" => HoleBefore,
        /// The block that it names was published later, and it does not continue it.
        2 "broken" => Broken,
    }
}

record! {
    /// What became of an item.
    pub struct Verdict {
        /// The device, as far as the item could be read.
        0 => thing: Option<DeviceId>,
        /// The day.
        1 => day: Option<LocalDay>,
        /// Whether the ledger holds the item's content now.
        2 => accepted: bool,
        /// `published`, `account_added` or `unchanged`; else why it was refused.
        3 => code: String,
        /// What exactly is wrong with a refused item.
        4 => detail: String,
        /// The day's outcome after this item.
        5 => outcome: Option<DayOutcome>,
        /// Whether the block continues the daily block before it.
        6 => continuity: Option<Continuity>,
    }
}

impl Verdict {
    /// Whether the same item may be accepted later without anybody changing it.
    #[must_use]
    pub fn retryable(&self) -> bool {
        !self.accepted && matches!(self.code.as_str(), "day_not_over" | "sealed_in_the_future")
    }
}

impl Record for Vec<Verdict> {
    const NAME: &'static str = "verdicts";
}

record! {
    /// A day that a transaction changed. The event `published` carries a list of them.
    pub struct DayChange {
        /// The device.
        0 => thing: DeviceId,
        /// The day.
        1 => day: LocalDay,
        /// `published` or `account_added`.
        2 => code: String,
        /// The outcome now; nothing for an interim block.
        3 => outcome: Option<DayOutcome>,
    }
}

impl Record for Vec<DayChange> {
    const NAME: &'static str = "changed days";
}

record! {
    /// A block's place on the ledger.
    pub struct BlockRef {
        /// Its number.
        0 => number: u64,
        /// Its hash.
        1 => hash: Hash,
        /// The transaction that published it.
        2 => tx: String,
        /// That transaction's timestamp, against which the day was over.
        3 => time: i64,
    }
}

record! {
    /// An account on the ledger.
    pub struct PublishedAccount {
        /// The account's bytes.
        0 => account: Bytes,
        /// The transaction that published it.
        1 => tx: String,
        /// Its timestamp.
        2 => time: i64,
        /// Which one of the day's accounts the operator said it is.
        3 => number: Option<u64>,
    }
}

impl PublishedAccount {
    /// Whether it attests all of this block: nothing but its own run, root and digest agrees, without a number missing.
    fn agrees(&self, block: &OpenedBlock) -> bool {
        Account::decode(&self.account.0).is_ok_and(|account| {
            account.block == Some(block.number)
                && (account.first, account.count) == (block.block.first, block.block.count)
                && account.root == block.block.root
                && account.summaries_digest == block.block.summaries_digest
                && account.missing.is_empty()
        })
    }

    /// What it and the day's block say together. One that names no block was taken when there was none.
    pub(crate) fn outcome(&self, block: Option<&OpenedBlock>) -> DayOutcome {
        match block {
            Some(block) if self.agrees(block) => DayOutcome::Agrees,
            Some(_) if Account::decode(&self.account.0).is_ok_and(|account| account.block.is_some()) => {
                DayOutcome::Differs
            }
            _ => DayOutcome::NoBlock,
        }
    }
}

record! {
    /// A device's day: its block, and a list of accounts that only grows.
    pub(crate) struct DayRecord, "a day's record", version 2 {
        /// The daily block.
        1 => block: Option<BlockRef>,
        /// The accounts, oldest first.
        2 => accounts: Vec<PublishedAccount>,
    }
}

impl DayRecord {
    /// The outcome that block and newest account give.
    pub(crate) fn outcome(&self, block: Option<&OpenedBlock>) -> DayOutcome {
        match (block, self.accounts.last()) {
            (Some(block), Some(newest)) if newest.agrees(block) => DayOutcome::Agrees,
            (Some(_), _) => DayOutcome::Differs,
            (None, _) => DayOutcome::NoBlock,
        }
    }
}

record! {
    /// A block as it is stored.
    pub(crate) struct BlockRecord, "a block's record", version 1 {
        /// The message as it came.
        1 => message: Bytes,
        /// The transaction that published it.
        2 => tx: String,
        /// Its timestamp.
        3 => time: i64,
        /// The last daily block before an interim block, where it is known.
        4 => base: Option<u64>,
    }
}

record! {
    /// Which of a device's blocks are there.
    pub(crate) struct ChainRecord, "a chain's record", version 1 {
        /// Their numbers, in inclusive ranges.
        1 => known: Vec<(u64, u64)>,
        /// The device's first daily block, which names no other.
        2 => first_daily: Option<u64>,
        /// The lowest number of a daily block.
        3 => lowest_daily: Option<u64>,
    }
}

impl ChainRecord {
    /// Whether a number is there.
    pub(crate) fn knows(&self, number: u64) -> bool {
        let at = self.known.partition_point(|range| range.1 < number);
        self.known.get(at).is_some_and(|range| range.0 <= number)
    }

    /// Adds a number to the ranges.
    pub(crate) fn add(&mut self, number: u64) {
        let at = self.known.partition_point(|range| range.1 < number);
        self.known.insert(at, (number, number));
        let mut joined: Vec<Range> = Vec::with_capacity(self.known.len());
        for range in self.known.drain(..) {
            match joined.last_mut() {
                Some(last) if last.1.checked_add(1).is_none_or(|next| next >= range.0) => last.1 = last.1.max(range.1),
                _ => joined.push(range),
            }
        }
        self.known = joined;
    }

    /// The numbers below the highest that are not there.
    pub(crate) fn holes(&self) -> Vec<Range> {
        let mut holes = Vec::new();
        let mut next = 0;
        for (from, to) in &self.known {
            if *from > next {
                holes.push((next, from - 1));
            }
            next = to.saturating_add(1);
        }
        holes
    }
}

record! {
    /// A device's chain.
    pub struct ChainView, "a chain", version 1 {
        /// The device.
        1 => thing: DeviceId,
        /// The block with the highest number.
        2 => head: Option<BlockRef>,
        /// The numbers that are there, in inclusive ranges.
        3 => known: Vec<(u64, u64)>,
        /// The numbers below the head that are not.
        4 => holes: Vec<(u64, u64)>,
    }
}

record! {
    /// Everything the ledger has of a device's day.
    pub struct DayView, "a day", version 2 {
        /// The device.
        1 => thing: DeviceId,
        /// The day.
        2 => day: LocalDay,
        /// What block and newest account say together.
        3 => outcome: DayOutcome,
        /// Whether the block continues the daily block before it.
        4 => continuity: Option<Continuity>,
        /// The daily block.
        5 => block: Option<BlockRef>,
        /// Its message, as it came from the device.
        6 => message: Option<Bytes>,
        /// The operator's accounts, oldest first.
        7 => accounts: Vec<PublishedAccount>,
    }
}

record! {
    /// A device's day within an agreement.
    pub struct SummaryRow {
        /// Where it metered.
        0 => point: MeteringPoint,
        /// The device.
        1 => thing: DeviceId,
        /// The day.
        2 => day: LocalDay,
        /// What block and newest account say together.
        3 => outcome: DayOutcome,
        /// Whether the block continues the daily block before it.
        4 => continuity: Option<Continuity>,
        /// Whether the device counts for the agreement on this day: by RC's and DV's approval, or by a chain to an authority that the
        /// agreement pins.
        5 => counts: bool,
        /// The daily block.
        6 => block: Option<BlockRef>,
        /// The agreement's sensors, as the device signed them.
        7 => summaries: Vec<Summary>,
    }
}

record! {
    /// Some of an agreement's days, by device and day.
    pub struct SummaryPage, "summaries", version 1 {
        /// The agreement.
        1 => agreement: AgreementId,
        /// The days.
        2 => rows: Vec<SummaryRow>,
        /// What to ask for the next page with; nothing on the last.
        3 => next: Option<String>,
    }
}

record! {
    /// A reading's envelope, proven to be part of a published day.
    pub struct Inclusion, "an inclusion", version 1 {
        /// The device that signed it.
        1 => thing: DeviceId,
        /// The day.
        2 => day: LocalDay,
        /// Its sequence number.
        3 => number: u64,
        /// Its leaf.
        4 => leaf: Hash,
        /// The root that the device signed in its block.
        5 => root: Hash,
        /// The block.
        6 => block: BlockRef,
        /// What block and newest account of that day say together.
        7 => outcome: DayOutcome,
    }
}

record! {
    /// The siblings from the leaf up (RFC 9162, section 2.1.3.1).
    pub struct Path, "an inclusion path", version 1 {
        /// The hashes.
        1 => siblings: Vec<Hash>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn ranges_hold_what_was_added(numbers in proptest::collection::vec(0u64..40, 0..40)) {
            let mut chain = ChainRecord { known: vec![], first_daily: None, lowest_daily: None };
            let mut all = BTreeSet::new();
            for number in numbers {
                if all.insert(number) {
                    chain.add(number);
                }
            }
            let known: Vec<u64> = chain.known.iter().flat_map(|range| range.0..=range.1).collect();
            prop_assert_eq!(&known, &all.iter().copied().collect::<Vec<_>>());
            let highest = all.last().copied().unwrap_or(0);
            prop_assert!((0..=highest + 1).all(|number| chain.knows(number) == all.contains(&number)));
            let holes: BTreeSet<u64> = chain.holes().iter().flat_map(|range| range.0..=range.1).collect();
            let head = all.last().copied().unwrap_or(0);
            prop_assert_eq!(holes, (0..head).filter(|n| !all.contains(n)).collect::<BTreeSet<_>>());
            prop_assert!(chain.known.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
        }
    }
}
