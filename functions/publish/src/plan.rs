//! Which days and blocks go together into one transaction. Pure.

use vitro_cloud::days::DayRow;
use vitro_contract::{Item, MAX_ITEMS};
use vitro_proof::{DeviceId, LocalDay};

pub use crate::interim::Interim;

/// The most bytes of a transaction: Managed Blockchain takes 1 MB, of which a tenth is left for what is not counted here.
pub const MAX_TRANSACTION_BYTES: usize = 900_000;
/// What every transaction holds beside its items: headers, and four endorsements with their certificates.
const FRAME_BYTES: usize = 16_000;
/// What an item costs beside its own bytes: keys, references, its verdict, its part of the event.
const ITEM_BYTES: usize = 1_500;

/// What an item is about.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A day, by its row as it was read.
    Day(Box<DayRow>),
    /// An interim block.
    Interim(Interim),
}

impl Subject {
    /// Where it belongs among all others: by device, then as the device's chain has it. A day without a block comes after the day's
    /// blocks.
    #[must_use]
    pub fn place(&self) -> (&DeviceId, LocalDay, u64) {
        match self {
            Self::Day(row) => (&row.thing, row.day, row.block.as_ref().map_or(u64::MAX, |block| block.number.0)),
            Self::Interim(interim) => (&interim.thing, interim.day, interim.number.0),
        }
    }
}

/// A day or block that is to be published.
#[derive(Clone, Debug)]
pub struct Due {
    /// The messages that asked for it.
    pub messages: Vec<String>,
    /// What it is.
    pub subject: Subject,
    /// What goes to the ledger.
    pub item: Item,
}

impl Due {
    /// The bytes that it adds to a transaction: an item stands in it twice, as an argument and as what is written.
    #[must_use]
    pub fn cost(&self) -> usize {
        let bytes = |part: &Option<vitro_contract::Bytes>| part.as_ref().map_or(0, |bytes| bytes.0.len());
        2 * (bytes(&self.item.block) + bytes(&self.item.account)) + ITEM_BYTES
    }
}

/// Divides items, in their order, into as few transactions as hold them. One that is too large for any is alone in one: the
/// ledger then says so itself.
#[must_use]
pub fn batches(items: Vec<Due>) -> Vec<Vec<Due>> {
    let mut batches: Vec<Vec<Due>> = Vec::new();
    let mut size = FRAME_BYTES;
    for item in items {
        let cost = item.cost();
        match batches.last_mut() {
            Some(batch) if size + cost <= MAX_TRANSACTION_BYTES && batch.len() < MAX_ITEMS => {
                size += cost;
                batch.push(item);
            }
            _ => {
                size = FRAME_BYTES + cost;
                batches.push(vec![item]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use vitro_contract::Bytes;

    use super::*;

    fn due(number: usize, bytes: usize) -> Due {
        let row = DayRow::new(format!("dev-{number}").parse().unwrap(), "2026-01-02".parse().unwrap());
        Due {
            messages: vec![],
            subject: Subject::Day(Box::new(row)),
            item: Item { block: Some(Bytes(vec![0; bytes])), account: None, number: None },
        }
    }

    #[test]
    fn no_transaction_is_too_large_and_the_order_stays() {
        for bytes in [0, 200, 3_000, 100_000] {
            let days: Vec<Due> = (0..2_500).map(|number| due(number, bytes)).collect();
            let names: Vec<_> = days.iter().map(|day| day.subject.place().0.clone()).collect();
            let batches = batches(days);
            for batch in &batches {
                let size: usize = batch.iter().map(Due::cost).sum();
                assert!(size + FRAME_BYTES <= MAX_TRANSACTION_BYTES && batch.len() <= MAX_ITEMS);
            }
            let after: Vec<_> = batches.into_iter().flatten().map(|day| day.subject.place().0.clone()).collect();
            assert_eq!(after, names);
        }
    }

    #[test]
    fn as_few_as_hold_them() {
        let count = |sizes: &[usize]| batches(sizes.iter().map(|bytes| due(0, *bytes)).collect()).len();
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&[100, 100]), 1);
        assert_eq!(count(&[400_000, 100]), 1);
        assert_eq!(count(&[400_000, 50_000]), 2);
        assert_eq!(count(&[900_000, 10, 900_000]), 3);
    }
}
