//! When a device is suspended for what it sent: a second envelope under one number, or signatures that keep failing under its own
//! certificate. Pure.
//!
//! Nobody but the device and who runs the broker can have it suspended. An equivocation is signed with its key. A signature that fails counts only if topic, `kid`,
//! client id and certificate all are the device's, and if it is not a known envelope's signature over other bytes: that was altered by
//! somebody on the way.

use std::collections::BTreeSet;

use vitro_cloud::devices::{Cause, Suspension};
use vitro_proof::{SequenceNumber, UnixMillis};

/// The digits of a received time at the beginning of an event's id ([`vitro_cloud::rule_event::RuleEvent::id`]).
const DIGITS: usize = 15;

/// What a batch shows of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// When its newest message of the batch was received, good or bad.
    pub newest: Option<UnixMillis>,
    /// Numbers with a second envelope, and when that was received.
    pub equivocations: Vec<(SequenceNumber, UnixMillis)>,
    /// Ids of the events whose signature failed.
    pub failures: BTreeSet<String>,
}

/// What the device has stored last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Newest {
    /// The highest number.
    pub number: Option<SequenceNumber>,
    /// The newest received time known.
    pub received: Option<UnixMillis>,
}

impl Evidence {
    /// Notes that a message of the device is in the batch.
    pub fn see(&mut self, received: UnixMillis) {
        self.newest = self.newest.max(Some(received));
    }

    /// The suspension that the equivocations ask for, and when the newest of them was received; nothing without any.
    ///
    /// It holds from the newest message of the batch on: what was decided together is decided the same if the batch comes again. The
    /// last number that is believed is the one before the lowest equivocal number: which of two envelopes is the device's nobody can
    /// tell by their signatures, and what came after them may be the other's.
    #[must_use]
    pub fn equivocal(&self) -> Option<(Suspension, UnixMillis)> {
        let lowest = self.equivocations.iter().map(|(number, _)| *number).min()?;
        let received = self.equivocations.iter().map(|(_, received)| *received).max()?;
        let at = self.newest.unwrap_or(received).max(received);
        let last_good = lowest.0.checked_sub(1).map(SequenceNumber);
        Some((Suspension { at, last_good, cause: Cause::Equivocation }, received))
    }

    /// The suspension that failures in a row ask for.
    #[must_use]
    pub fn failing(&self, in_a_row: &BTreeSet<String>, newest: &Newest) -> Option<(Suspension, UnixMillis)> {
        let received = in_a_row.iter().filter_map(|id| received_of(id)).max()?;
        let at = self.newest.unwrap_or(received).max(received);
        Some((Suspension { at, last_good: newest.number, cause: Cause::SignatureFailures }, received))
    }
}

/// The failures that came after the last good message: those in a row. The others are told by their ids, too.
#[must_use]
pub fn in_a_row(failures: &BTreeSet<String>, good: Option<UnixMillis>) -> (BTreeSet<String>, BTreeSet<String>) {
    failures.iter().cloned().partition(|id| received_of(id).is_some_and(|received| Some(received) > good))
}

/// When an event was received, by its id.
fn received_of(id: &str) -> Option<UnixMillis> {
    id.get(..DIGITS)?.parse().ok().map(UnixMillis)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(received: i64) -> String {
        format!("{received:015}-0123456789abcdef")
    }

    fn ids(received: &[i64]) -> BTreeSet<String> {
        received.iter().copied().map(id).collect()
    }

    #[test]
    fn an_equivocation_leaves_the_numbers_before_it() {
        let mut evidence = Evidence::default();
        assert_eq!(evidence.equivocal(), None);
        evidence.equivocations = vec![(SequenceNumber(7), UnixMillis(50)), (SequenceNumber(5), UnixMillis(40))];
        evidence.see(UnixMillis(45));
        let (suspension, received) = evidence.equivocal().unwrap();
        assert_eq!(
            (suspension.last_good, suspension.at, received),
            (Some(SequenceNumber(4)), UnixMillis(50), UnixMillis(50))
        );
        evidence.see(UnixMillis(90));
        assert_eq!(evidence.equivocal().unwrap().0.at, UnixMillis(90), "the newest message of the batch");
        evidence.equivocations = vec![(SequenceNumber(0), UnixMillis(40))];
        assert_eq!(evidence.equivocal().unwrap().0.last_good, None);
    }

    #[test]
    fn a_good_message_ends_a_row() {
        let failures = ids(&[10, 20, 30]);
        assert_eq!(in_a_row(&failures, None), (failures.clone(), BTreeSet::new()));
        assert_eq!(in_a_row(&failures, Some(UnixMillis(20))), (ids(&[30]), ids(&[10, 20])));
        let mut evidence = Evidence::default();
        evidence.see(UnixMillis(35));
        let newest = Newest { number: Some(SequenceNumber(6)), received: Some(UnixMillis(20)) };
        let (suspension, received) = evidence.failing(&ids(&[30]), &newest).unwrap();
        assert_eq!((suspension.at, received), (UnixMillis(35), UnixMillis(30)));
        assert_eq!((suspension.last_good, suspension.cause), (newest.number, Cause::SignatureFailures));
        assert_eq!(evidence.failing(&BTreeSet::new(), &newest), None);
    }

    proptest! {
        #[test]
        fn a_row_is_what_came_after_the_last_good_one(
            failures in proptest::collection::btree_set(0i64..100, 0..20), good in proptest::option::of(0i64..100),
        ) {
            let all = ids(&failures.iter().copied().collect::<Vec<_>>());
            let (row, older) = in_a_row(&all, good.map(UnixMillis));
            prop_assert_eq!(row.len(), failures.iter().filter(|at| good.is_none_or(|good| **at > good)).count());
            prop_assert_eq!(row.union(&older).cloned().collect::<BTreeSet<_>>(), all);
        }

        #[test]
        fn ids_of_any_form_are_read(id: String) {
            let _ = received_of(&id);
        }
    }
}
