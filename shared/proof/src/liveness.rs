//! Who is silent: the 60-minute rule of the yellow paper's second principle, and the gaps of a recorded day.

use serde::{Deserialize, Serialize};

use crate::day::DayBounds;
use crate::ids::UnixMillis;

/// A device that says nothing for longer than this has a gap; it must report even when it measures 0.
pub const LIMIT_MILLIS: i64 = 60 * 60 * 1000;

/// Whether a device last heard of at `last` (received time) is silent for too long at `now`.
#[must_use]
pub fn is_silent(last: UnixMillis, now: UnixMillis) -> bool {
    now.0.saturating_sub(last.0) > LIMIT_MILLIS
}

/// A silence of more than 60 minutes by device time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The last sign of life before it, or the begin of the day.
    pub from: UnixMillis,
    /// The next sign of life, or the end of the day.
    pub to: UnixMillis,
}

/// The recorded gaps of a day, from the sorted times at which something was heard.
#[must_use]
pub fn recorded_gaps(times: &[UnixMillis], bounds: DayBounds) -> Vec<Gap> {
    let begin = UnixMillis(bounds.from.saturating_mul(1000));
    let end = UnixMillis(bounds.to.saturating_mul(1000));
    let marks = std::iter::once(begin).chain(times.iter().copied()).chain([end]);
    let marks: Vec<UnixMillis> = marks.collect();
    marks.windows(2).filter(|pair| is_silent(pair[0], pair[1])).map(|pair| Gap { from: pair[0], to: pair[1] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn sixty_minutes_are_still_fine() {
        assert!(!is_silent(UnixMillis(0), UnixMillis(60 * MINUTE)));
        assert!(is_silent(UnixMillis(0), UnixMillis(60 * MINUTE + 1)));
        assert!(!is_silent(UnixMillis(5), UnixMillis(0)));
    }

    #[test]
    fn a_day_that_stops_at_two_has_a_gap_to_its_end() {
        let bounds = DayBounds { from: 0, to: 86400 };
        let minutely: Vec<UnixMillis> = (0..=840).map(|m| UnixMillis(m * MINUTE)).collect();
        let gaps = recorded_gaps(&minutely, bounds);
        assert_eq!(gaps, vec![Gap { from: UnixMillis(840 * MINUTE), to: UnixMillis(1440 * MINUTE) }]);
        assert_eq!(recorded_gaps(&[], bounds).len(), 1);
        let hourly: Vec<UnixMillis> = (0..24).map(|h| UnixMillis(h * 60 * MINUTE)).collect();
        assert_eq!(recorded_gaps(&hourly, bounds), vec![]);
    }
}
