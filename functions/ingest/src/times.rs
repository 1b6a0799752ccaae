//! What is wrong with the times in a message: told by the cloud alone, since a device's clock cannot tell of itself. Pure.
//!
//! These are flags and no more. What a summary counts is a function of the envelopes and the sensor table on both sides, so nothing here
//! may change it: a day with a wrong clock ends as its block says, and people know what to think of it.

use vitro_cloud::devices::Mark;
use vitro_proof::summary::Times;
use vitro_proof::{Reason, SequenceNumber, UnixMillis};

/// Clocks may differ by so much, in milliseconds: five minutes, as Kerberos and AWS's own signatures have it, and a third of the
/// 15-minute grid. Device and AWS IoT are both set by NTP; a gateway's crystal drifts by two seconds a day without it.
pub const TOLERANCE_MILLIS: i64 = 5 * 60 * 1000;

/// What is wrong with a message's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeFault {
    /// A record lies further after the message's reception than clocks differ.
    ClockAhead,
    /// A record was measured before the device was enrolled: nobody vouches for the device of that time.
    BeforeEnrolment,
    /// A higher number with an earlier time: the clock was set back, or it had been ahead.
    ClockJump,
}

impl Reason for TimeFault {
    fn reason(&self) -> &'static str {
        match self {
            Self::ClockAhead => "clock_ahead",
            Self::BeforeEnrolment => "before_enrolment",
            Self::ClockJump => "clock_jump",
        }
    }
}

/// What is wrong with them. `mark` is the newest message that the registry knows of: its time may be that of a lower number than its
/// own, so only a message with a higher number is held against it, and nothing is told that is not so.
#[must_use]
pub fn faults(
    times: Option<Times>,
    number: SequenceNumber,
    received: UnixMillis,
    enrolled_at: Option<UnixMillis>,
    mark: Option<&Mark>,
) -> Vec<TimeFault> {
    let Some(Times { oldest, newest }) = times else { return Vec::new() };
    let is_after = |time: UnixMillis, other: UnixMillis| time.0 > other.0.saturating_add(TOLERANCE_MILLIS);
    let before = mark.filter(|mark| number > mark.number).and_then(|mark| mark.time);
    [
        (is_after(newest, received), TimeFault::ClockAhead),
        (enrolled_at.is_some_and(|enrolled| is_after(enrolled, oldest)), TimeFault::BeforeEnrolment),
        (before.is_some_and(|before| is_after(before, newest)), TimeFault::ClockJump),
    ]
    .into_iter()
    .filter_map(|(is_so, fault)| is_so.then_some(fault))
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_795_176_000_000;

    fn told(
        oldest: i64,
        newest: i64,
        number: u64,
        enrolled: Option<i64>,
        mark: Option<(u64, i64)>,
    ) -> Vec<&'static str> {
        let mark = mark.map(|(number, time)| Mark {
            number: SequenceNumber(number),
            received: UnixMillis(NOW),
            time: Some(UnixMillis(NOW + time)),
        });
        let times = Some(Times { oldest: UnixMillis(NOW + oldest), newest: UnixMillis(NOW + newest) });
        let enrolled = enrolled.map(|at| UnixMillis(NOW + at));
        let faults = faults(times, SequenceNumber(number), UnixMillis(NOW), enrolled, mark.as_ref());
        faults.iter().map(Reason::reason).collect()
    }

    #[test]
    fn each_fault_begins_where_clocks_cannot_differ_by_so_much() {
        let far = TOLERANCE_MILLIS + 1;
        assert!(told(0, TOLERANCE_MILLIS, 7, Some(TOLERANCE_MILLIS), Some((6, 2 * TOLERANCE_MILLIS))).is_empty());
        assert_eq!(told(0, far, 7, None, None), ["clock_ahead"]);
        assert_eq!(told(-far, 0, 7, Some(0), None), ["before_enrolment"]);
        assert_eq!(told(-far, -far, 7, None, Some((6, 0))), ["clock_jump"]);
        assert_eq!(
            told(-9 * far, far, 7, Some(0), Some((6, 9 * far))),
            ["clock_ahead", "before_enrolment", "clock_jump"]
        );
    }

    #[test]
    fn what_is_sent_again_is_no_jump() {
        // A number at or below the mark comes from the backlog; a day offline is no jump either.
        assert!(told(-86_400_000, -86_400_000, 6, None, Some((6, 0))).is_empty());
        assert!(told(0, 0, 7, None, Some((6, -30 * 86_400_000))).is_empty());
        assert!(faults(None, SequenceNumber(7), UnixMillis(NOW), Some(UnixMillis(NOW)), None).is_empty());
    }

    proptest! {
        #[test]
        fn a_clock_that_only_goes_on_is_never_flagged(
            steps in proptest::collection::vec((1u64..100, 0i64..10_000_000), 1..30), at in any::<proptest::sample::Index>(),
        ) {
            // Numbers and times both grow; the mark is any earlier message's time under any number up to the last.
            let mut messages = vec![(0u64, 0i64)];
            for (number, time) in steps {
                let last = messages[messages.len() - 1];
                messages.push((last.0 + number, last.1 + time));
            }
            let (last, earlier) = (messages[messages.len() - 1], messages[at.index(messages.len() - 1)]);
            let mark = Mark { number: SequenceNumber(last.0 - 1), received: UnixMillis(0), time: Some(UnixMillis(earlier.1)) };
            let times = Times { oldest: UnixMillis(last.1), newest: UnixMillis(last.1) };
            let told = faults(Some(times), SequenceNumber(last.0), UnixMillis(last.1), Some(UnixMillis(0)), Some(&mark));
            prop_assert_eq!(told, vec![]);
        }

        #[test]
        fn extremes_do_not_overflow(oldest: i64, newest: i64, received: i64, enrolled: i64, before: i64) {
            let mark = Mark { number: SequenceNumber(0), received: UnixMillis(0), time: Some(UnixMillis(before)) };
            let times = Times { oldest: UnixMillis(oldest), newest: UnixMillis(newest) };
            let _ = faults(Some(times), SequenceNumber(1), UnixMillis(received), Some(UnixMillis(enrolled)), Some(&mark));
        }
    }
}
