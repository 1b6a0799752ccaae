//! What follows from a comparison: pure decisions.

use vitro_cloud::days::DayRow;
use vitro_cloud::queue::MAX_DELAY_SECONDS;
use vitro_cloud::summaries::SummaryDocument;
use vitro_proof::account::Range;
use vitro_proof::block::OpenedBlock;
use vitro_proof::reconcile::{Comparison, Outcome, compare};

/// A command asks for so many ranges at most, which keeps it far below the 128 KB of a message.
pub const RANGES_PER_COMMAND: usize = 2000;
/// An attempt sends so many commands at most; what is left is asked for by the next.
pub const COMMANDS_PER_ATTEMPT: usize = 4;

/// What to do with a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the device for these numbers and compare again.
    Ask(Vec<Range>),
    /// The day has this outcome; the text says what differs, if something does.
    Settle(Outcome, &'static str),
}

/// Decides. `block` is the day's block, nothing if the day is closed without one; `attempts` is how often a device may be asked.
#[must_use]
pub fn decide(block: Option<&OpenedBlock>, summary: &SummaryDocument, row: &DayRow, attempts: u32) -> Step {
    let Some(block) = block else { return Step::Settle(Outcome::Missing, "") };
    match compare(block, &summary.day) {
        Comparison::Agrees if row.asked.is_empty() => Step::Settle(Outcome::Matched, ""),
        Comparison::Agrees => Step::Settle(Outcome::Backfilled, ""),
        Comparison::Lacks(ranges) if row.attempt < attempts => {
            Step::Ask(ranges.into_iter().take(RANGES_PER_COMMAND * COMMANDS_PER_ATTEMPT).collect())
        }
        Comparison::Lacks(_) => Step::Settle(Outcome::Incomplete, "envelopes are missing"),
        Comparison::Differs(what) => Step::Settle(Outcome::Mismatched, what),
    }
}

/// How long to wait, in seconds, for what a device was asked for in this attempt: the settle delay, doubled each time.
#[must_use]
pub fn wait_seconds(settle_seconds: u32, attempt: u32) -> u32 {
    settle_seconds.saturating_mul(1 << attempt.min(10)).min(MAX_DELAY_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_what_a_queue_can_delay() {
        let waits: Vec<u32> = (0..5).map(|attempt| wait_seconds(120, attempt)).collect();
        assert_eq!(waits, [120, 240, 480, 900, 900]);
        assert_eq!(wait_seconds(0, 3), 0);
        assert_eq!(wait_seconds(u32::MAX, 30), MAX_DELAY_SECONDS);
    }
}
