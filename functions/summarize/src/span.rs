//! Which run of numbers a day has when no block says so.
//!
//! A device numbers its envelopes in the order of time, so a day is a run. Single envelopes with a wrong clock must not stretch or cut
//! it: the run is taken that puts the fewest envelopes on the wrong side of its two ends. Nor must a single number far from all others:
//! where the numbers jump by more than a device uses in a day, only the side with most of the day's envelopes counts.

use vitro_proof::{DayBounds, UnixMillis};

/// An envelope: its number, and its newest record's time if it has one.
pub type Timed = (u64, Option<UnixMillis>);

/// A day has no hole larger than this: it is a day of twelve envelopes a second.
const MAX_HOLE: u64 = 1 << 20;

/// The run `[first, end)` of the day among envelopes in order of number; nothing if none of them lies in it.
#[must_use]
pub fn of_day(timed: &[Timed], bounds: DayBounds) -> Option<(u64, u64)> {
    let known: Vec<(u64, i64)> =
        timed.iter().filter_map(|(number, time)| Some((*number, time.as_ref()?.seconds()))).collect();
    let known = most_of_day(&known, bounds);
    let end = split(known, |time| time >= bounds.to);
    let begin = split(&known[..end], |time| time >= bounds.from);
    let run = &known[begin..end];
    Some((run.first()?.0, run.last()?.0.saturating_add(1)))
}

/// The part with most of the day's envelopes, the first of several, where the numbers jump.
fn most_of_day(known: &[(u64, i64)], bounds: DayBounds) -> &[(u64, i64)] {
    let within = |part: &&[(u64, i64)]| part.iter().filter(|(_, time)| (bounds.from..bounds.to).contains(time)).count();
    let parts = known.chunk_by(|a, b| b.0.saturating_sub(a.0) <= MAX_HOLE);
    parts.rev().max_by_key(within).unwrap_or_default()
}

/// The index that leaves the fewest envelopes on the wrong side: `is_after` ones before it, others from it on.
fn split(known: &[(u64, i64)], is_after: impl Fn(i64) -> bool) -> usize {
    let mut wrong = known.iter().filter(|(_, time)| !is_after(*time)).count();
    let mut best = (wrong, 0);
    for (index, (_, time)) in known.iter().enumerate() {
        if is_after(*time) {
            wrong += 1;
        } else {
            wrong -= 1;
        }
        best = best.min((wrong, index + 1));
    }
    best.1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: DayBounds = DayBounds { from: 1000, to: 2000 };

    fn timed(times: &[i64]) -> Vec<Timed> {
        times.iter().enumerate().map(|(n, time)| (n as u64, Some(UnixMillis(time * 1000)))).collect()
    }

    #[test]
    fn a_day_is_the_run_of_its_numbers() {
        assert_eq!(of_day(&timed(&[900, 1000, 1500, 1999, 2000, 2100]), BOUNDS), Some((1, 4)));
        assert_eq!(of_day(&timed(&[1000, 1500]), BOUNDS), Some((0, 2)));
        assert_eq!(of_day(&timed(&[900, 2000]), BOUNDS), None);
        assert_eq!(of_day(&[], BOUNDS), None);
        assert_eq!(of_day(&[(3, None), (4, Some(UnixMillis(1_500_000))), (9, None)], BOUNDS), Some((4, 5)));
    }

    #[test]
    fn a_wrong_clock_neither_stretches_nor_cuts_the_day() {
        assert_eq!(of_day(&timed(&[900, 1000, 9999, 1500, 1999, 2000, 1200, 2100]), BOUNDS), Some((1, 5)));
        assert_eq!(of_day(&timed(&[1500, 1000, 1100, 1200, 5, 1300, 2000, 2001]), BOUNDS), Some((0, 6)));
    }

    #[test]
    fn a_number_far_from_all_others_is_no_end_of_the_day() {
        for far in [10u64.pow(15), u64::MAX] {
            let mut timed = timed(&[900, 1000, 1500, 1999]);
            timed.push((far, Some(UnixMillis(1_700_000))));
            assert_eq!(of_day(&timed, BOUNDS), Some((1, 4)));
        }
        let jumped: Vec<Timed> =
            timed(&[1000, 1100, 1200, 1300]).into_iter().map(|(n, time)| (n + 10u64.pow(15), time)).collect();
        let all: Vec<Timed> = timed(&[999, 1000]).into_iter().chain(jumped).collect();
        assert_eq!(of_day(&all, BOUNDS), Some((10u64.pow(15), 10u64.pow(15) + 4)), "a device that goes on from there");
    }

    proptest! {
        #[test]
        fn clean_days_are_found_exactly(before in 0u64..20, within in 1u64..20, after in 0u64..20) {
            let times: Vec<i64> = (0..before).map(|_| 500).chain((0..within).map(|_| 1500)).chain((0..after).map(|_| 2500)).collect();
            prop_assert_eq!(of_day(&timed(&times), BOUNDS), Some((before, before + within)));
        }
    }
}
