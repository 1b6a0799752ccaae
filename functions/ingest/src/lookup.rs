//! What is stored under a set of numbers, in few queries.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use futures_util::StreamExt;
use futures_util::stream;
use vitro_cloud::CloudError;
use vitro_cloud::readings::Reading;
use vitro_proof::{DeviceId, SequenceNumber, UnixMillis};

use crate::decide::Known;
use crate::store::Store;

/// Numbers no further apart than this are asked for together: what lies between costs less than another query.
const GAP: u64 = 4;
/// Queries in flight at once.
const PARALLEL: usize = 8;

/// What was found, or why it could not be looked up.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    found: BTreeMap<DeviceId, BTreeMap<u64, Vec<Known>>>,
    failed: BTreeMap<DeviceId, Vec<(u64, u64, Rc<CloudError>)>>,
}

impl Lookups {
    /// Looks up what is stored under the numbers.
    pub(crate) async fn of(store: &impl Store, wanted: &BTreeMap<DeviceId, BTreeSet<u64>>) -> Self {
        let ranges =
            wanted.iter().flat_map(|(device, numbers)| coalesce(numbers).into_iter().map(move |range| (device, range)));
        let answers = stream::iter(ranges)
            .map(|(device, (first, last))| async move {
                let found = store.range(device, SequenceNumber(first), SequenceNumber(last)).await;
                (device, first, last, found.and_then(|readings| readings.iter().map(known).collect()))
            })
            .buffer_unordered(PARALLEL)
            .collect::<Vec<(_, _, _, Result<Vec<(u64, Known)>, CloudError>)>>()
            .await;
        let mut lookups = Self::default();
        for (device, first, last, answer) in answers {
            match answer {
                Ok(found) => {
                    let numbers = lookups.found.entry(device.clone()).or_default();
                    for (number, known) in found {
                        numbers.entry(number).or_default().push(known);
                    }
                }
                Err(error) => {
                    lookups.failed.entry(device.clone()).or_default().push((first, last, Rc::new(error)));
                }
            }
        }
        lookups
    }

    /// What is known under a number: nothing if it was not asked for.
    ///
    /// # Errors
    /// Why the number could not be looked up.
    pub(crate) fn at(&self, device: &DeviceId, number: SequenceNumber) -> Result<&[Known], Rc<CloudError>> {
        let failed = self.failed.get(device).into_iter().flatten();
        for (first, last, error) in failed {
            if (*first..=*last).contains(&number.0) {
                return Err(Rc::clone(error));
            }
        }
        Ok(self.found.get(device).and_then(|numbers| numbers.get(&number.0)).map_or(&[], Vec::as_slice))
    }

    /// Looks up in the archive of closed days, too.
    pub(crate) async fn add_archived(&mut self, store: &impl Store, wanted: &BTreeMap<DeviceId, BTreeSet<u64>>) {
        for (device, numbers) in wanted {
            match store.archived(device, numbers).await {
                Ok(found) => {
                    for (number, envelopes) in found {
                        for (leaf, signature) in envelopes {
                            // When it was received is not archived: long before anything that comes now.
                            let received = UnixMillis(i64::MIN);
                            let known = Known { leaf, signature, received, pending: None };
                            self.note(device, SequenceNumber(number), known);
                        }
                    }
                }
                Err(error) => {
                    let error = Rc::new(error);
                    let failed = self.failed.entry(device.clone()).or_default();
                    failed.extend(numbers.iter().map(|number| (*number, *number, Rc::clone(&error))));
                }
            }
        }
    }

    /// Notes an envelope of this batch as known.
    pub(crate) fn note(&mut self, device: &DeviceId, number: SequenceNumber, known: Known) {
        if !self.found.contains_key(device) {
            self.found.insert(device.clone(), BTreeMap::new());
        }
        if let Some(numbers) = self.found.get_mut(device) {
            numbers.entry(number.0).or_default().push(known);
        }
    }
}

fn known(reading: &Reading) -> Result<(u64, Known), CloudError> {
    let envelope = reading.parse()?;
    let known =
        Known { leaf: envelope.leaf(), signature: *envelope.signature(), received: reading.received, pending: None };
    Ok((reading.number().0, known))
}

/// Inclusive ranges that hold all the numbers and little else.
fn coalesce(numbers: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if number - *last <= GAP => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_are_asked_for_together() {
        assert_eq!(coalesce(&[1, 2, 3, 8, 12, 13, u64::MAX].into()), [(1, 3), (8, 13), (u64::MAX, u64::MAX)]);
        assert!(coalesce(&BTreeSet::new()).is_empty());
    }

    proptest! {
        #[test]
        fn ranges_hold_every_number_and_do_not_touch(numbers in proptest::collection::btree_set(0u64..200, 0..60)) {
            let ranges = coalesce(&numbers);
            for number in &numbers {
                prop_assert_eq!(ranges.iter().filter(|(first, last)| (first..=last).contains(&number)).count(), 1);
            }
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 + GAP < pair[1].0));
            prop_assert!(ranges.iter().all(|(first, last)| numbers.contains(first) && numbers.contains(last)));
        }
    }
}
