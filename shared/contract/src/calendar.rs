//! Days of the calendar as numbers. The contract never computes a time zone: it only bounds where on Earth a local day can lie.

use vitro_proof::LocalDay;

use crate::error::ContractError;

/// Seconds of a calendar day.
const DAY: i64 = 86_400;
/// Local time is at most 14 hours ahead of UTC; an hour more for days whose midnight a clock change moves.
const EARLIEST: i64 = 15 * 3600;
/// Local time is at most 12 hours behind UTC; an hour more likewise.
const LATEST: i64 = 13 * 3600;

/// The midnight with which the day begins in UTC, in Unix seconds (days from the civil calendar, counted from a first of March).
pub(crate) fn utc_midnight(day: LocalDay) -> i64 {
    let (year, month, date) = day.parts();
    let (year, month, date) = (i64::from(year), i64::from(month), i64::from(date));
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + date - 1;
    (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468) * DAY
}

/// The instant with which the day ends in UTC.
pub(crate) fn utc_end(day: LocalDay) -> i64 {
    utc_midnight(day) + DAY
}

/// Whether a local day of this label can begin at the instant anywhere on Earth.
pub(crate) fn may_begin_at(day: LocalDay, from: i64) -> bool {
    let midnight = utc_midnight(day);
    (midnight - EARLIEST..=midnight + LATEST).contains(&from)
}

/// Whether the day is over somewhere on Earth: before that nobody can say anything about all of it.
pub(crate) fn may_be_over(day: LocalDay, now: i64) -> bool {
    now >= utc_midnight(day) + DAY - EARLIEST
}

/// Whether the day can end after the instant somewhere on Earth.
pub(crate) fn may_end_after(day: LocalDay, at: i64) -> bool {
    utc_end(day).saturating_add(LATEST) > at
}

/// Whether the instant can lie on a local day of this label somewhere on Earth.
pub(crate) fn may_hold(day: LocalDay, at: i64) -> bool {
    let midnight = utc_midnight(day);
    (midnight - EARLIEST..midnight + DAY + LATEST).contains(&at)
}

/// All days from the first to the last.
pub(crate) fn days(from: LocalDay, to: LocalDay, most: usize) -> Result<Vec<LocalDay>, ContractError> {
    let days: Vec<LocalDay> =
        std::iter::successors(Some(from), |day| day.next()).take_while(|day| *day <= to).take(most + 1).collect();
    if days.is_empty() {
        return Err(ContractError::BadPeriod(format!("{from} is after {to}")));
    }
    if days.len() > most {
        return Err(ContractError::BadPeriod(format!("more than {most} days")));
    }
    Ok(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> LocalDay {
        text.parse().unwrap()
    }

    #[test]
    fn midnights_follow_the_calendar() {
        assert_eq!(utc_midnight(day("1970-01-01")), 0);
        assert_eq!(utc_midnight(day("2018-10-14")), 1_539_475_200);
        assert_eq!(utc_midnight(day("2000-02-29")), 951_782_400);
        let mut at = day("1999-12-01");
        for _ in 0..1200 {
            let next = at.next().unwrap();
            assert_eq!(utc_midnight(next) - utc_midnight(at), DAY);
            at = next;
        }
    }

    #[test]
    fn a_local_day_begins_within_reach_of_its_label() {
        let label = day("2018-10-14");
        assert!(may_begin_at(label, 1_539_500_400), "Etc/GMT+7");
        assert!(may_begin_at(label, 1_539_475_200 - 14 * 3600), "Pacific/Kiritimati");
        assert!(!may_begin_at(label, 1_539_475_200 + DAY));
        assert!(may_hold(label, 1_539_500_400) && may_hold(label, 1_539_475_200 - 14 * 3600));
        assert!(!may_hold(label, 1_539_475_200 - 15 * 3600 - 1) && !may_hold(label, 1_539_475_200 + DAY + 13 * 3600));
        assert!(!may_be_over(label, 1_539_475_200));
        assert!(may_be_over(label, 1_539_475_200 + DAY));
    }

    #[test]
    fn a_range_of_days_has_both_ends() {
        assert_eq!(days(day("2024-02-28"), day("2024-03-01"), 9).unwrap().len(), 3);
        assert!(days(day("2024-03-01"), day("2024-02-28"), 9).is_err());
        assert!(days(day("2024-01-01"), day("2024-02-28"), 9).is_err());
    }
}
