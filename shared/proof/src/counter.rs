//! How a register counts: what the step from one reading to the next adds.

use crate::decimal::Decimal;

/// What happened between two readings of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// The register stayed or went up.
    Advance,
    /// It passed its width and started again from zero.
    Rollover,
    /// It was reset, as its sensor declares normal.
    Reset,
    /// It went down for no declared reason: adds nothing and is flagged.
    Decrease,
}

/// The step from `previous` to `value`: what kind it is and what it adds. It never adds a negative number.
///
/// A rollover is taken only where a width is declared, `previous` lies in its last tenth and `value` in its first; else a decrease
/// is a reset where the sensor declares resets normal (the register counted from zero, so it adds `value`).
#[must_use]
pub fn step(previous: &Decimal, value: &Decimal, width: Option<&Decimal>, resets_normal: bool) -> (StepKind, Decimal) {
    if value >= previous {
        return (StepKind::Advance, value - previous);
    }
    if let Some(width) = width {
        let tenth = width * &Decimal::new(1, -1);
        let last = *previous >= width - &tenth && previous < width;
        let first = !value.is_negative() && *value < tenth;
        if last && first {
            return (StepKind::Rollover, &(width - previous) + value);
        }
    }
    if resets_normal && !value.is_negative() {
        (StepKind::Reset, value.clone())
    } else {
        (StepKind::Decrease, Decimal::zero())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(previous: &str, value: &str, width: Option<&str>, resets: bool) -> (StepKind, String) {
        let width = width.map(|w| w.parse().unwrap());
        let (kind, amount) = step(&previous.parse().unwrap(), &value.parse().unwrap(), width.as_ref(), resets);
        (kind, amount.to_string())
    }

    #[test]
    fn each_rule_has_its_edge() {
        use StepKind::{Advance, Decrease, Reset, Rollover};
        assert_eq!(at("1.5", "1.5", None, false), (Advance, "0".into()));
        assert_eq!(at("1.5", "4", None, false), (Advance, "2.5".into()));
        assert_eq!(at("4.61923", "0", None, true), (Reset, "0".into()));
        assert_eq!(at("4.61923", "0.02", None, true), (Reset, "0.02".into()));
        assert_eq!(at("4.61923", "0", None, false), (Decrease, "0".into()));
        assert_eq!(at("99999", "1", Some("100000"), false), (Rollover, "2".into()));
        assert_eq!(at("90000", "9999.9", Some("100000"), true), (Rollover, "19999.9".into()));
        assert_eq!(at("89999.9", "1", Some("100000"), true), (Reset, "1".into()));
        assert_eq!(at("99999", "10000", Some("100000"), false), (Decrease, "0".into()));
        assert_eq!(at("100000", "1", Some("100000"), false), (Decrease, "0".into()), "not a value of that register");
        assert_eq!(at("5", "-1", None, true), (Decrease, "0".into()));
    }

    proptest! {
        #[test]
        fn a_step_never_adds_less_than_nothing(a in -100_000i64..200_000, b in -100_000i64..200_000, width in proptest::option::of(1i64..100_000), resets: bool) {
            let width = width.map(Decimal::from);
            let (_, amount) = step(&Decimal::from(a), &Decimal::from(b), width.as_ref(), resets);
            prop_assert!(!amount.is_negative());
        }

        #[test]
        fn a_wrapping_register_is_followed_exactly(start in 0i64..1000, steps in proptest::collection::vec(0i64..100, 1..200)) {
            let width = Decimal::from(1000);
            let (mut total, mut real) = (Decimal::zero(), start);
            for by in &steps {
                let next = real + by;
                let (_, amount) = step(&Decimal::from(real % 1000), &Decimal::from(next % 1000), Some(&width), false);
                total = &total + &amount;
                real = next;
            }
            prop_assert_eq!(total, Decimal::from(real - start));
        }
    }
}
