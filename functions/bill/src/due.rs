//! Which periods are due.

use vitro_contract::{Agreement, PeriodKind};
use vitro_proof::LocalDay;

/// So many days after its end a period is closed by the schedule: blocks come late, and what was lost is healed first.
pub const GRACE_DAYS: u32 = 3;

/// The most periods of an agreement that one run closes; the next run goes on.
const MAX_PERIODS: usize = 100;

/// The periods of an agreement that are to be closed `today`, given the last day of the newest closed one. Agreements over any days
/// have no periods of their own: somebody asks for them.
#[must_use]
pub fn due(agreement: &Agreement, closed_to: Option<LocalDay>, today: LocalDay) -> Vec<(LocalDay, LocalDay)> {
    let mut begin = closed_to.and_then(LocalDay::next).unwrap_or(agreement.term.from);
    let mut periods = Vec::new();
    while let Some(end) = end_of(agreement.term.period, begin) {
        let over = (0..GRACE_DAYS).try_fold(end, |day, _| day.next()).is_some_and(|graced| graced < today);
        let within = agreement.term.to.is_none_or(|last| end <= last);
        if !over || !within || periods.len() == MAX_PERIODS {
            break;
        }
        periods.push((begin, end));
        let Some(next) = end.next() else { break };
        begin = next;
    }
    periods
}

/// The last day of the period that begins on a day. A month that an agreement enters in its middle has no period by the contract's
/// rules; it is closed by hand, or the agreement begins on a first.
fn end_of(period: PeriodKind, begin: LocalDay) -> Option<LocalDay> {
    match period {
        PeriodKind::Days => None,
        PeriodKind::Day => Some(begin),
        PeriodKind::Month if begin.parts().2 == 1 => {
            let (year, month, _) = begin.parts();
            (28..=31).rev().find_map(|day| LocalDay::new(year, month, day).ok())
        }
        PeriodKind::Month => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreement(period: &str, from: &str, to: Option<&str>) -> Agreement {
        let json = serde_json::json!({
            "id": "a-1", "shard": "north", "points": null, "fields": [{"sensor": "yield", "unit": "kWh"}],
            "tariff": {"kind": "per_unit", "sensor": "yield", "unit": "kWh", "price": "0.25"},
            "currency": {"code": "EUR", "digits": 2}, "term": {"period": period, "from": from, "to": to},
            "payer": "dv", "payees": [{"role": "rc", "share": 1}],
        });
        serde_json::from_value(json).unwrap()
    }

    fn periods(agreement: &Agreement, closed_to: Option<&str>, today: &str) -> Vec<String> {
        let closed_to = closed_to.map(|day| day.parse().unwrap());
        due(agreement, closed_to, today.parse().unwrap()).iter().map(|(from, to)| format!("{from}/{to}")).collect()
    }

    #[test]
    fn months_are_closed_after_the_grace() {
        let monthly = agreement("month", "2026-01-01", None);
        assert_eq!(periods(&monthly, None, "2026-02-03"), Vec::<String>::new());
        assert_eq!(periods(&monthly, None, "2026-02-04"), ["2026-01-01/2026-01-31"]);
        assert_eq!(periods(&monthly, Some("2026-01-31"), "2026-02-20"), Vec::<String>::new());
        assert_eq!(periods(&monthly, Some("2026-01-31"), "2026-03-31"), ["2026-02-01/2026-02-28"]);
        assert_eq!(periods(&agreement("month", "2026-01-15", None), None, "2026-06-01"), Vec::<String>::new());
    }

    #[test]
    fn days_are_caught_up_with() {
        let daily = agreement("day", "2026-02-27", Some("2026-03-02"));
        assert_eq!(
            periods(&daily, Some("2026-02-27"), "2026-04-01"),
            ["2026-02-28/2026-02-28", "2026-03-01/2026-03-01", "2026-03-02/2026-03-02"]
        );
        assert_eq!(periods(&agreement("day", "2020-01-01", None), None, "2026-04-01").len(), MAX_PERIODS);
    }

    #[test]
    fn any_days_are_closed_by_hand() {
        assert_eq!(periods(&agreement("days", "2026-01-01", None), None, "2026-12-01"), Vec::<String>::new());
    }
}
