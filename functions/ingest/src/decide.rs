//! What becomes of an admitted message: the rules of numbers, of the mark and of the day it is noted under. Pure.

use vitro_cloud::admission::Refusal;
use vitro_cloud::devices::Mark;
use vitro_proof::{DayBounds, Leaf, LocalDay, ProofError, SequenceNumber, Signature, UnixMillis, ZoneName};

/// A day's range of numbers is noted in steps of this many.
pub const COVER: u64 = 64;
/// A record's time may lie this far after the message was received, in milliseconds: no local clock is further ahead.
const AHEAD_MILLIS: i64 = 26 * 3_600_000;
const DAY_MILLIS: i64 = 86_400_000;

/// An envelope that is known under a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its leaf.
    pub leaf: Leaf,
    /// Its signature as it came.
    pub signature: Signature,
    /// When it was received.
    pub received: UnixMillis,
    /// Nothing if it is in the time series; else its place in the same batch, which is about to be stored.
    pub pending: Option<usize>,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is new.
    Store,
    /// This very delivery was stored before, and what follows from it may have been cut short.
    Again,
    /// The same envelope came before in another delivery: no effect, or a replay would look like a sign of life.
    Duplicate,
    /// It is kept apart: late, or an equivocation.
    Refuse(Refusal),
}

/// The rules of numbers. `known` is everything known under the number, `closed` says that its day is closed.
#[must_use]
pub fn number(leaf: Leaf, received: UnixMillis, closed: bool, known: &[Known]) -> Verdict {
    let same = known.iter().find(|known| known.leaf == leaf);
    let other = known.iter().filter(|known| known.leaf != leaf).min_by_key(|known| (known.received, known.leaf));
    match (same, other) {
        (Some(same), _) if same.pending.is_some() || same.received != received => Verdict::Duplicate,
        // Of two that are stored, the second was the equivocation; its delivery came again.
        (Some(_), Some(other)) if (other.received, other.leaf) < (received, leaf) => equivocation(other),
        (Some(_), _) => Verdict::Again,
        (None, Some(other)) => equivocation(other),
        (None, None) if closed => Verdict::Refuse(Refusal::Late),
        (None, None) => Verdict::Store,
    }
}

fn equivocation(known: &Known) -> Verdict {
    Verdict::Refuse(Refusal::Equivocation { known: known.leaf })
}

/// When two envelopes under one number had both been received, if this delivery shows them. A delivery that comes again shows them as it
/// did, even if it is now taken for the first of the two; a replay by another delivery shows nothing new.
#[must_use]
pub fn both_received(verdict: &Verdict, leaf: Leaf, received: UnixMillis, known: &[Known]) -> Option<UnixMillis> {
    let shows = match verdict {
        Verdict::Again => true,
        Verdict::Refuse(refusal) => refusal.contradicts().is_some(),
        Verdict::Store | Verdict::Duplicate => false,
    };
    let others = known.iter().filter(|known| shows && known.leaf != leaf);
    others.map(|known| known.received.max(received)).max()
}

/// What a signature that does not verify is: nonsense, or a known envelope's with other bytes.
#[must_use]
pub fn forged(signature: &Signature, known: &[Known]) -> Refusal {
    if known.iter().any(|known| known.signature == *signature) { Refusal::AlteredCopy } else { Refusal::BadSignature }
}

/// Whether what is stored under the number has to be looked up before it is decided. `highest` is the highest number that this
/// instance has stored itself.
///
/// A number above all that were seen needs no lookup: that is the common case, and it costs nothing. What an instance hears first
/// of a device is looked up, since others may have stored it; and so is a message that would move the mark, since a replay must not.
#[must_use]
pub fn must_look_up(
    number: SequenceNumber,
    received: UnixMillis,
    mark: Option<&Mark>,
    highest: Option<SequenceNumber>,
) -> bool {
    highest.is_none_or(|highest| number <= highest)
        || mark.is_none_or(|mark| number <= mark.number || mark.is_moved_by(number, received))
}

/// The mark after these messages (number, received time, newest record's time), if they move it.
#[must_use]
pub fn moved_mark<'a>(
    mark: Option<&Mark>,
    messages: impl IntoIterator<Item = &'a (SequenceNumber, UnixMillis, Option<UnixMillis>)>,
) -> Option<Mark> {
    let mut messages: Vec<_> = messages.into_iter().copied().collect();
    // In one order, whatever the batch's: the mark's time is that of the message received last.
    messages.sort_by_key(|(number, received, _)| (*received, *number));
    let marks = messages.into_iter().map(|(number, received, time)| Mark { number, received, time });
    let newest = marks.reduce(|a, b| a.merged(&b))?;
    match mark {
        None => Some(newest),
        Some(mark) if mark.is_moved_by(newest.number, newest.received) => Some(mark.merged(&newest)),
        Some(_) => None,
    }
}

/// The range that is noted for a number: all numbers of its step of [`COVER`], so that the noted range always holds every number
/// seen and is rewritten once a step.
#[must_use]
pub fn cover(number: SequenceNumber) -> (u64, u64) {
    (number.0 & !(COVER - 1), number.0 | (COVER - 1))
}

/// The instant by which a message is put to a day: its newest record's time, or its received time if there is none or it cannot be
/// true (older than the time series, or in the future).
#[must_use]
pub fn instant_of(time: Option<UnixMillis>, received: UnixMillis, hot_days: u16) -> UnixMillis {
    let oldest = received.0.saturating_sub(i64::from(hot_days) * DAY_MILLIS);
    let newest = received.0.saturating_add(AHEAD_MILLIS);
    time.filter(|time| (oldest..=newest).contains(&time.0)).unwrap_or(received)
}

/// The local day of an instant with its interval, so that the next message of the day need not compute it.
///
/// # Errors
/// [`ProofError::BadZone`].
pub fn day_of(zone: &ZoneName, instant: UnixMillis) -> Result<(LocalDay, DayBounds), ProofError> {
    let day = LocalDay::at(zone, instant)?;
    Ok((day, DayBounds::of(zone, day)?))
}

/// When the time series may forget a reading, in Unix seconds.
#[must_use]
pub fn expires(received: UnixMillis, hot_days: u16) -> i64 {
    received.seconds().saturating_add(i64::from(hot_days) * DAY_MILLIS / 1000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn known(leaf: u8, received: i64) -> Known {
        Known { leaf: Leaf([leaf; 32]), signature: [leaf; 64], received: UnixMillis(received), pending: None }
    }

    fn decide(leaf: u8, received: i64, closed: bool, known: &[Known]) -> Verdict {
        number(Leaf([leaf; 32]), UnixMillis(received), closed, known)
    }

    fn second_to(leaf: u8) -> Verdict {
        Verdict::Refuse(Refusal::Equivocation { known: Leaf([leaf; 32]) })
    }

    #[test]
    fn a_new_number_is_stored_unless_its_day_is_closed() {
        assert_eq!(decide(1, 10, false, &[]), Verdict::Store);
        assert_eq!(decide(1, 10, true, &[]), Verdict::Refuse(Refusal::Late));
    }

    #[test]
    fn the_same_envelope_is_a_duplicate_and_the_same_delivery_comes_again() {
        for closed in [false, true] {
            assert_eq!(decide(1, 11, closed, &[known(1, 10)]), Verdict::Duplicate);
            assert_eq!(decide(1, 10, closed, &[known(1, 10)]), Verdict::Again);
        }
        let in_batch = Known { pending: Some(0), ..known(1, 10) };
        assert_eq!(decide(1, 10, false, &[in_batch]), Verdict::Duplicate);
    }

    #[test]
    fn another_envelope_is_an_equivocation_also_when_it_comes_again() {
        assert_eq!(decide(2, 20, false, &[known(1, 10)]), second_to(1));
        assert_eq!(decide(2, 20, true, &[known(1, 10)]), second_to(1), "not late: the number is taken");
        assert_eq!(decide(2, 20, false, &[known(1, 10), known(2, 20)]), second_to(1), "its delivery was cut short");
        assert_eq!(decide(2, 30, false, &[known(1, 10), known(2, 20)]), Verdict::Duplicate, "a replay of it");
        assert_eq!(decide(1, 10, false, &[known(1, 10), known(2, 20)]), Verdict::Again, "the first stays the first");
        assert_eq!(decide(3, 5, false, &[known(1, 10), known(2, 20)]), second_to(1));
    }

    #[test]
    fn an_equivocation_is_shown_by_either_delivery_and_by_no_replay() {
        let show = |leaf: u8, received: i64, known: &[Known]| {
            let verdict = decide(leaf, received, false, known);
            both_received(&verdict, Leaf([leaf; 32]), UnixMillis(received), known).map(|at| at.0)
        };
        assert_eq!(show(1, 10, &[]), None);
        assert_eq!(show(1, 10, &[known(1, 10)]), None);
        assert_eq!(show(2, 20, &[known(1, 10)]), Some(20));
        assert_eq!(show(2, 20, &[known(1, 10), known(2, 20)]), Some(20), "its delivery was cut short");
        // One that was received first and looked at second: the same, before and after it was stored.
        assert_eq!(show(1, 10, &[known(2, 20)]), Some(20));
        assert_eq!(show(1, 10, &[known(1, 10), known(2, 20)]), Some(20));
        assert_eq!(show(2, 99, &[known(1, 10), known(2, 20)]), None, "a replay");
    }

    #[test]
    fn a_known_signature_over_other_bytes_is_an_altered_copy() {
        assert_eq!(forged(&[1; 64], &[known(2, 0), known(1, 0)]), Refusal::AlteredCopy);
        assert_eq!(forged(&[3; 64], &[known(2, 0), known(1, 0)]), Refusal::BadSignature);
    }

    #[test]
    fn only_old_numbers_and_moves_of_the_mark_are_looked_up() {
        let mark = Mark { number: SequenceNumber(100), received: UnixMillis(0), time: None };
        let look = |number, received, highest: u64| {
            must_look_up(SequenceNumber(number), UnixMillis(received), Some(&mark), Some(SequenceNumber(highest)))
        };
        assert!(!look(101, 1, 99) && !look(120, 1, 119));
        assert!(look(100, 1, 99) && look(110, 1, 119));
        assert!(look(101, 600_000, 99) && look(164, 1, 99), "they move the mark");
        let first = |mark| must_look_up(SequenceNumber(120), UnixMillis(0), mark, None);
        assert!(first(None) && first(Some(&mark)), "what an instance hears first");
    }

    #[test]
    fn an_instant_that_cannot_be_true_gives_way_to_the_received_time() {
        let received = UnixMillis(1_700_000_000_000);
        let of = |time| instant_of(Some(UnixMillis(time)), received, 90);
        assert_eq!(of(received.0 - 80 * DAY_MILLIS).0, received.0 - 80 * DAY_MILLIS);
        assert_eq!(of(received.0 + 3_600_000).0, received.0 + 3_600_000);
        assert_eq!(of(253_402_300_799_999), received);
        assert_eq!(of(300_000_000_000), received);
        assert_eq!(instant_of(None, received, 90), received);
    }

    #[test]
    fn days_are_the_sites() {
        // 2018-10-14T06:53:20Z
        let (day, bounds) = day_of(&"Etc/GMT+7".parse().unwrap(), UnixMillis(1_539_500_000_000)).unwrap();
        assert_eq!(day.to_string(), "2018-10-13");
        assert!(bounds.contains(UnixMillis(1_539_500_000_000)));
        assert!(day_of(&"Nowhere/Never".parse().unwrap(), UnixMillis(0)).is_err());
    }

    proptest! {
        #[test]
        fn a_cover_holds_its_number(number: u64) {
            let (low, high) = cover(SequenceNumber(number));
            prop_assert!(low <= number && number <= high && high - low == COVER - 1);
            prop_assert_eq!(cover(SequenceNumber(high)), (low, high));
        }

        #[test]
        fn what_does_not_move_the_mark_leaves_it(
            mark in proptest::option::of((0u64..1000, 0i64..5_000_000)),
            messages in proptest::collection::vec((0u64..1000, 0i64..5_000_000), 0..10),
        ) {
            let mark = mark.map(|(number, received)| Mark { number: SequenceNumber(number), received: UnixMillis(received), time: None });
            let messages: Vec<_> = messages.into_iter().map(|(n, r)| (SequenceNumber(n), UnixMillis(r), None)).collect();
            match (moved_mark(mark.as_ref(), &messages), mark) {
                (Some(moved), Some(mark)) => {
                    prop_assert!(moved.number >= mark.number && moved.received >= mark.received);
                    prop_assert!(mark.is_moved_by(moved.number, moved.received));
                }
                (Some(_), None) => prop_assert!(!messages.is_empty()),
                (None, None) => prop_assert!(messages.is_empty()),
                (None, Some(mark)) => {
                    prop_assert!(messages.iter().all(|(number, received, _)| !mark.is_moved_by(*number, *received)));
                }
            }
        }

        /// Whatever order two envelopes of one number come in and however often, one is stored first and the other is told.
        #[test]
        fn deliveries_in_any_order_end_the_same(order in proptest::collection::vec(0usize..3, 1..20)) {
            // Two deliveries of leaf 1 and one of leaf 2, each repeated as SQS may.
            let deliveries = [(1u8, 10i64), (2, 20), (1, 30)];
            let mut store: Vec<Known> = Vec::new();
            for index in order {
                let (leaf, received) = deliveries[index];
                match decide(leaf, received, false, &store) {
                    Verdict::Store => { prop_assert!(store.is_empty()); store.push(known(leaf, received)); }
                    Verdict::Refuse(Refusal::Equivocation { known: first }) => {
                        prop_assert_ne!(first, Leaf([leaf; 32]));
                        if !store.iter().any(|k| k.leaf == Leaf([leaf; 32])) { store.push(known(leaf, received)); }
                    }
                    Verdict::Again | Verdict::Duplicate => prop_assert!(store.iter().any(|k| k.leaf == Leaf([leaf; 32]))),
                    other => prop_assert!(false, "{:?}", other),
                }
                let leaves: std::collections::BTreeSet<_> = store.iter().map(|k| k.leaf).collect();
                prop_assert_eq!(leaves.len(), store.len());
            }
        }
    }
}
