//! Money: whole minor units, rounded once, shared without remainder.

use bigdecimal::RoundingMode;
use vitro_proof::Decimal;

use crate::error::ContractError;

/// Currencies of ISO 4217 whose minor unit is not a hundredth.
const OTHER_DIGITS: &[(u64, &[&str])] = &[
    (
        0,
        &[
            "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF",
            "XOF", "XPF",
        ],
    ),
    (3, &["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"]),
    (4, &["CLF", "UYW"]),
];

/// How many decimal digits the minor unit of a currency has (ISO 4217).
pub(crate) fn digits_of(code: &str) -> u64 {
    OTHER_DIGITS.iter().find(|(_, codes)| codes.contains(&code)).map_or(2, |(digits, _)| *digits)
}

/// An exact amount in whole minor units: commercial rounding, to the nearest, a half away from zero.
pub(crate) fn round(exact: &Decimal, digits: u64) -> Result<i64, ContractError> {
    let scale = u32::try_from(digits).unwrap_or(0);
    let rounded = Decimal::from(exact.as_big().with_scale_round(i64::from(scale), RoundingMode::HalfUp));
    rounded
        .to_scaled(scale)
        .and_then(|minor| i64::try_from(minor).ok())
        .ok_or_else(|| ContractError::AmountTooLarge(exact.to_string()))
}

/// Splits a total by weights with the largest remainder (Hamilton's method): each gets its part rounded down, what is left goes one
/// unit each to those whose part was cut by most, the earlier first where they are equal. The parts add up to the total. A total below zero
/// is split as the same above it: what takes a bill back takes back from each what the bill gave.
pub(crate) fn split(total: i64, weights: &[u64]) -> Vec<i64> {
    let sign = if total < 0 { -1 } else { 1 };
    let sum: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
    if sum == 0 {
        return vec![0; weights.len()];
    }
    let total = i128::from(total).abs();
    let part = |weight: &u64| total * i128::from(*weight);
    let mut parts: Vec<i128> = weights.iter().map(|weight| part(weight).div_euclid(sum)).collect();
    let mut left = total - parts.iter().sum::<i128>();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|at| std::cmp::Reverse(part(&weights[*at]).rem_euclid(sum)));
    for at in by_remainder {
        if left == 0 {
            break;
        }
        parts[at] += 1;
        left -= 1;
    }
    // Cannot fail: each part lies between zero and the total.
    parts.into_iter().map(|part| i64::try_from(sign * part).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_half_goes_up_once() {
        let at = |text: &str, digits| round(&text.parse().unwrap(), digits).unwrap();
        assert_eq!(at("0.772575", 2), 77);
        assert_eq!(at("0.775", 2), 78);
        assert_eq!(at("0.765", 2), 77);
        assert_eq!(at("-0.765", 2), -77);
        assert_eq!(at("0.5", 0), 1);
        assert_eq!(at("12", 3), 12_000);
        assert!(round(&"1e30".parse().unwrap(), 2).is_err());
    }

    #[test]
    fn minor_units_are_those_of_the_standard() {
        assert_eq!((digits_of("EUR"), digits_of("JPY"), digits_of("KWD"), digits_of("CLF")), (2, 0, 3, 4));
    }

    #[test]
    fn what_is_left_goes_to_the_largest_remainder() {
        assert_eq!(split(100, &[1, 1, 1]), [34, 33, 33]);
        assert_eq!(split(77, &[7, 3]), [54, 23]);
        assert_eq!(split(1, &[1, 2]), [0, 1]);
        assert_eq!(split(5, &[0, 1]), [0, 5]);
        assert_eq!(split(5, &[0, 0]), [0, 0]);
        assert_eq!(split(-100, &[1, 1, 1]), [-34, -33, -33]);
        assert_eq!(split(i64::MIN, &[1]), [i64::MIN]);
    }

    proptest! {
        #[test]
        fn the_shares_are_the_total(total in i64::MIN + 1..=i64::MAX, weights in proptest::collection::vec(0u64..=1_000_000, 1..6)) {
            prop_assume!(weights.iter().sum::<u64>() > 0);
            let parts = split(total, &weights);
            prop_assert_eq!(parts.iter().map(|part| i128::from(*part)).sum::<i128>(), i128::from(total));
            prop_assert_eq!(split(-total, &weights), parts.iter().map(|part| -part).collect::<Vec<_>>());
            let sum: i128 = weights.iter().map(|w| i128::from(*w)).sum();
            for (part, weight) in parts.iter().zip(&weights) {
                let exact = i128::from(total) * i128::from(*weight);
                prop_assert!((i128::from(*part) * sum - exact).abs() < sum, "nobody is more than one unit off");
            }
        }
    }
}
