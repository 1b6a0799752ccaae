//! Which days of a device the deadline closes without a block: pure decisions.

use std::collections::BTreeMap;

use vitro_cloud::days::DayRow;
use vitro_proof::{DayBounds, LocalDay, ProofError, UnixMillis, ZoneName};

/// How many days back the deadline looks: what it missed for longer needs an operator.
pub const WINDOW_DAYS: usize = 7;

/// The days that ended at least `deadline_hours` before `now`, the last [`WINDOW_DAYS`] of them in ascending order.
///
/// # Errors
/// [`ProofError::BadZone`].
pub fn ended(zone: &ZoneName, now: UnixMillis, deadline_hours: u32) -> Result<Vec<LocalDay>, ProofError> {
    let until = now.0.saturating_sub(i64::from(deadline_hours).saturating_mul(3_600_000));
    let mut day = LocalDay::at(zone, UnixMillis(until))?;
    // The day that `until` lies in has not ended then, unless it is its very end, which belongs to the next day.
    let mut days = Vec::with_capacity(WINDOW_DAYS);
    while days.len() < WINDOW_DAYS {
        let Some(before) = day.previous() else { break };
        day = before;
        if DayBounds::of(zone, day)?.to.saturating_mul(1000) <= until {
            days.push(day);
        }
    }
    days.reverse();
    Ok(days)
}

/// Whether a day is nobody's: no block was accepted, and it was not closed without one.
#[must_use]
pub fn is_open(row: Option<&DayRow>) -> bool {
    row.is_none_or(|row| row.block.is_none() && row.outcome.is_none())
}

/// The days to close. `rows` are the device's rows in the window; `was_known` says whether the night knew it before the window. A
/// device owes days from the first on which anything was heard of it.
#[must_use]
pub fn to_close(ended: &[LocalDay], rows: &[DayRow], was_known: bool) -> Vec<LocalDay> {
    let by_day: BTreeMap<LocalDay, &DayRow> = rows.iter().map(|row| (row.day, row)).collect();
    let first = if was_known { ended.first().copied() } else { by_day.keys().next().copied() };
    let Some(first) = first else { return Vec::new() };
    ended.iter().copied().filter(|day| *day >= first && is_open(by_day.get(day).copied())).collect()
}

#[cfg(test)]
mod tests {
    use vitro_proof::reconcile::Outcome;

    use super::*;

    fn day(text: &str) -> LocalDay {
        text.parse().unwrap()
    }

    fn row(text: &str) -> DayRow {
        DayRow::new("dev-1".parse().unwrap(), day(text))
    }

    #[test]
    fn a_day_is_due_when_the_deadline_has_passed_and_not_before() {
        let zone: ZoneName = "Etc/GMT+7".parse().unwrap();
        let end = DayBounds::of(&zone, day("2018-10-14")).unwrap().to * 1000;
        let deadline = end + 6 * 3_600_000;
        assert_eq!(ended(&zone, UnixMillis(deadline), 6).unwrap().last(), Some(&day("2018-10-14")));
        assert_eq!(ended(&zone, UnixMillis(deadline - 1), 6).unwrap().last(), Some(&day("2018-10-13")));
        let days = ended(&zone, UnixMillis(deadline), 6).unwrap();
        assert_eq!(days.len(), WINDOW_DAYS);
        assert_eq!(days[0], day("2018-10-08"));
    }

    #[test]
    fn clock_changes_move_the_deadline_with_the_day() {
        let zone: ZoneName = "Europe/Warsaw".parse().unwrap();
        for text in ["2026-03-29", "2026-10-25"] {
            let end = DayBounds::of(&zone, day(text)).unwrap().to * 1000;
            assert_eq!(ended(&zone, UnixMillis(end + 3_600_000), 1).unwrap().last(), Some(&day(text)));
            assert_ne!(ended(&zone, UnixMillis(end + 3_599_999), 1).unwrap().last(), Some(&day(text)));
        }
    }

    #[test]
    fn only_days_without_block_and_outcome_are_closed() {
        let days = [day("2026-01-01"), day("2026-01-02"), day("2026-01-03")];
        let mut closed = row("2026-01-02");
        closed.outcome = Some(Outcome::Missing);
        assert_eq!(to_close(&days, &[row("2026-01-01"), closed.clone()], false), [days[0], days[2]]);
        assert_eq!(to_close(&days, std::slice::from_ref(&closed), false), [days[2]]);
        assert_eq!(to_close(&days, &[closed], true), [days[0], days[2]]);
    }

    #[test]
    fn a_device_that_never_spoke_owes_nothing() {
        assert!(to_close(&[day("2026-01-01")], &[], false).is_empty());
        assert_eq!(to_close(&[day("2026-01-01")], &[], true), [day("2026-01-01")]);
    }
}
