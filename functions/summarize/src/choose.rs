//! Which envelope counts where the cloud holds several under one number.
//!
//! The first received does. If the signed block then has another root, the alternatives are tried, a bounded number of them: the one
//! that meets the block's root is what the device signed for. The likely ones come first: the last received everywhere, then each
//! single change of both, then all combinations in turn. The others stay as evidence either way.

use std::collections::BTreeMap;

use vitro_cloud::CloudError;
use vitro_cloud::readings::Reading;
use vitro_proof::confidential::DataKeys;
use vitro_proof::reconcile::{CloudDay, DayFrame, Stored};
use vitro_proof::{Hash, Leaf, merkle};

/// How many combinations of alternatives are tried in turn.
pub const MAX_COMBINATIONS: usize = 64;
/// How many single changes are tried of the first received everywhere, and as many of the last.
pub const MAX_CHANGES: usize = 256;

/// A day with the choice made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The cloud's day.
    pub day: CloudDay,
    /// The leaf taken for each number that has several.
    pub leaves: BTreeMap<u64, Leaf>,
}

/// What is stored under one number: the readings and their leaves, the first received first.
struct Slot<'a> {
    number: u64,
    readings: &'a [Reading],
    leaves: Vec<Leaf>,
    taken: usize,
}

/// Sums up a day. `readings` are of the frame's run, by number and then by received time; `root` is the block's, if there is one;
/// `keys` open what is confidential.
///
/// # Errors
/// [`CloudError::Damaged`] if stored bytes are no envelope.
pub fn sum_up(
    frame: &DayFrame<'_>,
    readings: &[Reading],
    root: Option<Hash>,
    keys: &dyn DataKeys,
) -> Result<Chosen, CloudError> {
    let mut slots = Vec::new();
    for of_number in readings.chunk_by(|a, b| a.number() == b.number()) {
        let leaves = of_number.iter().map(|r| Ok(r.parse()?.leaf())).collect::<Result<Vec<_>, CloudError>>()?;
        slots.push(Slot { number: of_number[0].number().0, readings: of_number, leaves, taken: 0 });
    }
    if let Some(root) = root.filter(|_| slots.len() as u64 == frame.count) {
        meet(&mut slots, root);
    }
    let in_order = slots.iter().flat_map(|slot| {
        let others = slot.readings.iter().enumerate().filter(|(index, _)| *index != slot.taken).map(|(_, r)| r);
        std::iter::once(&slot.readings[slot.taken]).chain(others)
    });
    let stored = in_order.map(|reading| Stored { number: reading.number(), envelope: &reading.envelope });
    let day = CloudDay::compute(frame, stored, keys)
        .map_err(|fault| CloudError::damaged(format!("a reading of {} {}", frame.thing, frame.day), fault))?;
    let several = slots.iter().filter(|slot| slot.leaves.len() > 1);
    let leaves = several.map(|slot| (slot.number, slot.leaves[slot.taken])).collect();
    Ok(Chosen { day, leaves })
}

/// Takes the first combination that meets the root; the first received of each if none of those tried does.
fn meet(slots: &mut [Slot<'_>], root: Hash) {
    let mut leaves: Vec<Leaf> = slots.iter().map(|slot| slot.leaves[0]).collect();
    if merkle::root(&leaves) == root {
        return;
    }
    for from_last in [true, false] {
        take_all(slots, &mut leaves, from_last);
        if merkle::root(&leaves) == root || meet_by_one_change(slots, &mut leaves, root) {
            return;
        }
    }
    for _ in 0..MAX_COMBINATIONS {
        if !next_combination(slots, &mut leaves) {
            break;
        }
        if merkle::root(&leaves) == root {
            return;
        }
    }
    take_all(slots, &mut leaves, false);
}

/// Takes the last received everywhere, or the first.
fn take_all(slots: &mut [Slot<'_>], leaves: &mut [Leaf], last: bool) {
    for (slot, leaf) in slots.iter_mut().zip(leaves) {
        slot.taken = if last { slot.leaves.len() - 1 } else { 0 };
        *leaf = slot.leaves[slot.taken];
    }
}

/// Tries every other leaf of one number at a time, up to [`MAX_CHANGES`], and says whether one meets the root. What is taken stays as
/// it was if none does.
fn meet_by_one_change(slots: &mut [Slot<'_>], leaves: &mut [Leaf], root: Hash) -> bool {
    let several = slots.iter().enumerate().filter(|(_, slot)| slot.leaves.len() > 1);
    let changes = several.flat_map(|(at, slot)| (0..slot.leaves.len()).map(move |taken| (at, taken)));
    let changes: Vec<(usize, usize)> =
        changes.filter(|(at, taken)| slots[*at].taken != *taken).take(MAX_CHANGES).collect();
    for (at, taken) in changes {
        leaves[at] = slots[at].leaves[taken];
        if merkle::root(leaves) == root {
            slots[at].taken = taken;
            return true;
        }
        leaves[at] = slots[at].leaves[slots[at].taken];
    }
    false
}

/// Counts on, the first slot fastest; says whether there was another combination.
fn next_combination(slots: &mut [Slot<'_>], leaves: &mut [Leaf]) -> bool {
    for (slot, leaf) in slots.iter_mut().zip(leaves).filter(|(slot, _)| slot.leaves.len() > 1) {
        slot.taken = (slot.taken + 1) % slot.leaves.len();
        *leaf = slot.leaves[slot.taken];
        if slot.taken > 0 {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use vitro_cloud::readings::ReadingKey;
    use vitro_proof::confidential::NoKeys;
    use vitro_proof::crypto::SoftwareSigner;
    use vitro_proof::envelope::seal;
    use vitro_proof::{ContentType, DayBounds, DeviceId, Header, Kind, SensorTable, SequenceNumber, UnixMillis};

    use super::*;

    fn reading(number: u64, payload: u8, received: i64) -> Reading {
        let header = Header { kind: Kind::Telemetry, content: ContentType::Senml, kid: "dev-1".into(), number };
        let envelope = seal(&header, &[payload], &SoftwareSigner::from_scalar(&[5; 32]).unwrap()).unwrap();
        let leaf = vitro_proof::Envelope::parse(&envelope).unwrap().leaf();
        Reading {
            device: "dev-1".parse().unwrap(),
            key: ReadingKey::new(SequenceNumber(number), &leaf),
            envelope,
            time: None,
            received: UnixMillis(received),
            flags: BTreeSet::new(),
            expires: None,
        }
    }

    fn leaf(reading: &Reading) -> Leaf {
        reading.parse().unwrap().leaf()
    }

    fn with_frame<T>(count: u64, work: impl FnOnce(&DayFrame<'_>) -> T) -> T {
        let thing: DeviceId = "dev-1".parse().unwrap();
        let table: SensorTable =
            serde_json::from_str(r#"{"version":1,"sensors":[{"name":"t","unit":"Cel","kind":"gauge"}]}"#).unwrap();
        let openings = BTreeMap::new();
        work(&DayFrame {
            thing: &thing,
            day: "2026-01-02".parse().unwrap(),
            bounds: DayBounds { from: 1_767_312_000, to: 1_767_398_400 },
            first: 0,
            count,
            table: &table,
            openings: &openings,
        })
    }

    #[test]
    fn the_first_received_counts() {
        let readings = [reading(0, 1, 5), reading(0, 2, 9), reading(1, 3, 6)];
        let chosen = with_frame(2, |frame| sum_up(frame, &readings, None, &NoKeys)).unwrap();
        assert_eq!(chosen.day.equivocal, [0]);
        assert_eq!(chosen.leaves, BTreeMap::from([(0, leaf(&readings[0]))]));
        assert_eq!(chosen.day.root, merkle::root(&[leaf(&readings[0]), leaf(&readings[2])]));
    }

    #[test]
    fn what_the_block_signed_for_is_found() {
        let readings = [reading(0, 1, 5), reading(0, 2, 9), reading(1, 3, 6), reading(2, 4, 1), reading(2, 5, 2)];
        let signed = [1, 2, 4].map(|index: usize| leaf(&readings[index]));
        let chosen = with_frame(3, |frame| sum_up(frame, &readings, Some(merkle::root(&signed)), &NoKeys)).unwrap();
        assert_eq!(chosen.day.root, merkle::root(&signed));
        assert_eq!(chosen.leaves, BTreeMap::from([(0, signed[0]), (2, signed[2])]));
        assert_eq!(chosen.day.equivocal, [0, 2]);
    }

    #[test]
    fn an_unknown_root_leaves_the_first_received() {
        let readings = [reading(0, 1, 5), reading(0, 2, 9), reading(1, 3, 6)];
        let chosen = with_frame(2, |frame| sum_up(frame, &readings, Some(Hash([7; 32])), &NoKeys)).unwrap();
        assert_eq!(chosen.leaves, BTreeMap::from([(0, leaf(&readings[0]))]));
    }

    /// So many numbers with two envelopes each, and the root over the second ones of `second`, else the first ones.
    fn twice(count: u64, second: impl Fn(u64) -> bool) -> (Vec<Reading>, Hash) {
        let readings: Vec<Reading> = (0..count).flat_map(|n| [reading(n, 1, 1), reading(n, 2, 2)]).collect();
        let signed: Vec<Leaf> =
            readings.chunks(2).zip(0..).map(|(two, n)| leaf(&two[usize::from(second(n))])).collect();
        (readings, merkle::root(&signed))
    }

    #[test]
    fn however_many_numbers_the_likely_choices_are_found() {
        let likely: [&dyn Fn(u64) -> bool; 4] = [&|_| false, &|_| true, &|n| n == 11, &|n| n != 7];
        for second in likely {
            let (readings, root) = twice(12, second);
            let chosen = with_frame(12, |frame| sum_up(frame, &readings, Some(root), &NoKeys)).unwrap();
            assert_eq!(chosen.day.root, root);
            assert_eq!(chosen.leaves[&11], leaf(&readings[22 + usize::from(second(11))]));
        }
    }

    #[test]
    fn the_search_is_bounded() {
        let (readings, root) = twice(12, |n| n % 2 == 1);
        let chosen = with_frame(12, |frame| sum_up(frame, &readings, Some(root), &NoKeys)).unwrap();
        assert_ne!(chosen.day.root, root, "2^12 combinations are not all tried");
        assert_eq!(chosen.leaves[&11], leaf(&readings[22]), "the first received stays");
    }

    proptest! {
        #[test]
        fn any_single_substitution_is_found(count in 1u64..12, at in any::<prop::sample::Index>(), others in 1u8..6) {
            let at = at.index(usize::try_from(count).unwrap()) as u64;
            let mut readings = Vec::new();
            let mut signed = Vec::new();
            for number in 0..count {
                let alternatives = if number == at { others } else { 0 };
                let of_number: Vec<Reading> = (0..=alternatives).map(|n| reading(number, n, n.into())).collect();
                signed.push(leaf(of_number.last().unwrap()));
                readings.extend(of_number);
            }
            let root = merkle::root(&signed);
            let chosen = with_frame(count, |frame| sum_up(frame, &readings, Some(root), &NoKeys)).unwrap();
            prop_assert_eq!(chosen.day.root, root);
        }
    }
}
