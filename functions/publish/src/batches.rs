//! How items share transactions.

use vitro_contract::{Item, MAX_ITEMS, Record};

/// The most bytes of items in a transaction. Managed Blockchain takes transactions of 1 MB; the rest is for the envelope, the
/// read-write set's keys and the endorsers' certificates. The contract writes each block message and each account once.
pub const MAX_BYTES: usize = 400 * 1024;

/// Splits items into runs that fit a transaction each, keeping their order. An item that is too large alone gets a transaction of its
/// own: the ledger says what it thinks of it.
pub fn batches<T>(items: Vec<(T, Item)>) -> Vec<Vec<(T, Item)>> {
    let mut batches: Vec<Vec<(T, Item)>> = Vec::new();
    let mut bytes = 0;
    for (tag, item) in items {
        let size = vec![item.clone()].encode().len();
        match batches.last_mut() {
            Some(batch) if bytes + size <= MAX_BYTES && batch.len() < MAX_ITEMS => {
                bytes += size;
                batch.push((tag, item));
            }
            _ => {
                bytes = size;
                batches.push(vec![(tag, item)]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(bytes: usize) -> Item {
        Item::interim(vec![7; bytes])
    }

    #[test]
    fn items_fill_transactions_in_their_order() {
        let items: Vec<(usize, Item)> = (0..100).map(|i| (i, item(30_000))).collect();
        let split = batches(items);
        assert!(split.len() > 1);
        for batch in &split {
            let whole: Vec<Item> = batch.iter().map(|(_, item)| item.clone()).collect();
            assert!(whole.encode().len() <= MAX_BYTES);
        }
        let order: Vec<usize> = split.into_iter().flatten().map(|(tag, _)| tag).collect();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_huge_item_is_alone_and_not_lost() {
        let sizes = |split: Vec<Vec<((), Item)>>| split.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(batches(vec![((), item(10)), ((), item(MAX_BYTES + 1)), ((), item(10))])), [1, 1, 1]);
        assert_eq!(sizes(batches(Vec::new())), Vec::<usize>::new());
    }

    #[test]
    fn a_transaction_has_no_more_items_than_the_contract_takes() {
        let split = batches((0..MAX_ITEMS + 1).map(|_| ((), item(1))).collect());
        assert_eq!(split.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_ITEMS, 1]);
    }
}
