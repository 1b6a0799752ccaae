//! Which periods of an agreement have ended and are to be closed by the schedule. Pure.

use vitro_contract::{Held, PeriodKind, StatementHead};
use vitro_proof::{LocalDay, UnixMillis, ZoneName};

/// Days of an agreement's term that are looked at, from the newest back: what is older was closed long ago, or somebody decided
/// not to close it.
const LOOK_BACK_DAYS: usize = 400;

/// The newest day of which everything may be expected on the ledger. The agreement names no time zone, so the day is over
/// everywhere on Earth only 12 hours after its end in UTC; the night's deadline and the publication need the rest.
const SETTLED_AFTER_MILLIS: i64 = (24 + 12 + 8) * 3_600_000;

/// The newest settled day at an instant; nothing at the beginning of the calendar.
#[must_use]
pub fn settled(now: UnixMillis) -> Option<LocalDay> {
    let utc: ZoneName = "UTC".parse().ok()?;
    LocalDay::at(&utc, UnixMillis(now.0.checked_sub(SETTLED_AFTER_MILLIS)?)).ok()
}

/// The periods of one version of an agreement that have ended by `last`, within the days on which it holds, and that no closed period
/// touches; oldest first. Agreements whose periods are any days are closed by whoever names the days.
#[must_use]
pub fn ended(period: PeriodKind, held: &Held, closed: &[StatementHead], last: LocalDay) -> Vec<(LocalDay, LocalDay)> {
    let last = held.to.map_or(last, |to| to.min(last));
    let days = std::iter::successors(Some(last), |day| day.previous()).take(LOOK_BACK_DAYS);
    let days: Vec<LocalDay> = days.take_while(|day| *day >= held.from).collect();
    let mut periods: Vec<(LocalDay, LocalDay)> = match period {
        PeriodKind::Days => Vec::new(),
        PeriodKind::Day | PeriodKind::Month => {
            days.into_iter().filter_map(|day| Some((period.ending(held, day)?, day))).collect()
        }
    };
    // A statement of corrections alone closes nothing.
    periods.retain(|(from, to)| closed.iter().all(|head| head.alone || head.to < *from || *to < head.from));
    periods.reverse();
    periods
}

#[cfg(test)]
pub(crate) mod tests {
    use vitro_contract::{Agreement, Record};

    use super::*;

    fn held(from: &str, to: Option<&str>) -> Held {
        Held { from: day(from), to: to.map(day) }
    }

    pub(crate) fn agreement(period: &str, from: &str, to: Option<&str>) -> Agreement {
        let agreement: Agreement = serde_json::from_value(serde_json::json!({
            "id": "a-1", "shard": "north", "points": null, "fields": [{"sensor": "yield", "unit": "kWh"}],
            "tariff": {"kind": "per_unit", "sensor": "yield", "unit": "kWh", "price": "0.25"},
            "currency": {"code": "EUR", "digits": 2}, "term": {"period": period, "from": from, "to": to},
            "payer": "dv", "payees": [{"role": "rc", "share": 7}, {"role": "sp", "share": 3}],
        }))
        .unwrap();
        agreement.check().unwrap();
        Agreement::decode(&agreement.encode()).unwrap()
    }

    fn day(text: &str) -> LocalDay {
        text.parse().unwrap()
    }

    pub(crate) fn head(from: &str, to: &str) -> StatementHead {
        StatementHead {
            id: vitro_proof::Hash([0; 32]),
            agreement: "a-1".parse().unwrap(),
            from: day(from),
            to: day(to),
            total: 0,
            currency: vitro_contract::Currency::of("EUR"),
            lines: 0,
            unbilled: 0,
            tx: String::new(),
            time: 0,
            corrections: 0,
            alone: false,
            waiting: 0,
        }
    }

    fn text(periods: Vec<(LocalDay, LocalDay)>) -> Vec<String> {
        periods.into_iter().map(|(from, to)| format!("{from}/{to}")).collect()
    }

    #[test]
    fn a_day_is_settled_when_it_is_over_everywhere_and_some_hours_more() {
        // At 06:00 UTC on the 10th, when the schedule runs, the 8th is settled since 20:00 on the 9th.
        assert_eq!(settled(UnixMillis(1_768_024_800_000)), Some(day("2026-01-08")));
        assert_eq!(settled(UnixMillis(1_767_988_800_000 - 1)), Some(day("2026-01-07")));
        assert_eq!(settled(UnixMillis(0)), None);
    }

    #[test]
    fn days_and_months_that_ended_and_are_open() {
        let daily = held("2026-01-05", None);
        let (day_by_day, months) = (PeriodKind::Day, PeriodKind::Month);
        assert_eq!(
            text(ended(day_by_day, &daily, &[head("2026-01-06", "2026-01-06")], day("2026-01-08"))),
            ["2026-01-05/2026-01-05", "2026-01-07/2026-01-07", "2026-01-08/2026-01-08"]
        );
        let alone = StatementHead { alone: true, ..head("2026-01-07", "2026-01-08") };
        assert_eq!(ended(day_by_day, &daily, &[alone], day("2026-01-08")).len(), 4);
        let monthly = held("2025-11-15", Some("2026-02-28"));
        assert_eq!(
            text(ended(months, &monthly, &[], day("2026-03-20"))),
            ["2025-11-15/2025-11-30", "2025-12-01/2025-12-31", "2026-01-01/2026-01-31", "2026-02-01/2026-02-28"],
            "the first month is not whole"
        );
        let parts = ["2025-11-15/2025-11-30", "2025-12-01/2025-12-31"];
        assert_eq!(text(ended(months, &monthly, &[], day("2026-01-30"))), parts);
        let short = held("2025-11-15", Some("2025-12-20"));
        assert_eq!(text(ended(months, &short, &[], day("2025-12-19"))), ["2025-11-15/2025-11-30"]);
        let parts = ["2025-11-15/2025-11-30", "2025-12-01/2025-12-20"];
        assert_eq!(text(ended(months, &short, &[], day("2025-12-20"))), parts);
        assert_eq!(text(ended(PeriodKind::Days, &held("2026-01-01", None), &[], day("2026-01-30"))), [""; 0]);
        assert_eq!(text(ended(day_by_day, &daily, &[], day("2026-01-04"))), [""; 0]);
    }

    #[test]
    fn only_so_far_back() {
        let daily = held("2000-01-01", None);
        assert_eq!(ended(PeriodKind::Day, &daily, &[], day("2026-01-08")).len(), LOOK_BACK_DAYS);
    }
}
