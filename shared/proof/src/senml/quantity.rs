//! A number as it stands in a record. Most fit machine words and stay there: only what is summed up becomes a [`Decimal`].

use minicbor::Decoder;
use minicbor::data::{Tag, Type};

use crate::decimal::Decimal;
use crate::error::ContentFault;
use crate::ids::UnixMillis;

/// RFC 8428, section 4.5.3: times from 2^28 on are absolute.
pub(super) const ABSOLUTE: i64 = 1 << 28;
/// The last millisecond of the year 9999.
pub(super) const LAST_MILLI: i64 = 253_402_300_799_999;
/// The exponents that a decimal fraction may have.
pub(super) const EXPONENTS: std::ops::RangeInclusive<i8> = -12..=12;

/// An exact number within the profile's range.
#[derive(Clone, Debug)]
pub(crate) enum Quantity {
    /// `mantissa` times ten to the power of `exponent`, which is -12 to 12: an integer or a decimal fraction as it was written.
    Words {
        /// Below 2^63 in size.
        mantissa: i64,
        /// See [`EXPONENTS`].
        exponent: i8,
    },
    /// A float, or a sum of a base value and a value: rare, and out of the way of the others.
    Big(Box<Decimal>),
}

/// A number as it stood in a record: it may be one that the profile does not allow.
pub(super) type Number = Result<Quantity, ContentFault>;

impl From<Quantity> for Decimal {
    fn from(quantity: Quantity) -> Self {
        match quantity {
            Quantity::Words { mantissa, exponent } => Self::new(mantissa, exponent.into()),
            Quantity::Big(decimal) => *decimal,
        }
    }
}

impl Quantity {
    /// The exact sum with a base value.
    pub(super) fn plus(self, base: &Self) -> Self {
        Self::Big(Box::new(&Decimal::from(self) + &Decimal::from(base.clone())))
    }

    /// The instant that it is as a time of SenML, in seconds.
    pub(super) fn instant(&self) -> Result<UnixMillis, ContentFault> {
        match self {
            Self::Words { mantissa, exponent } => instant_of_words((*mantissa).into(), *exponent),
            Self::Big(decimal) => instant_of(decimal),
        }
    }

    /// The instant that it is so long after a base time.
    pub(super) fn instant_after(&self, base: &Self) -> Result<UnixMillis, ContentFault> {
        sum_of_words(self, base).map_or_else(
            || instant_of(&(&Decimal::from(self.clone()) + &Decimal::from(base.clone()))),
            |(mantissa, exponent)| instant_of_words(mantissa, exponent),
        )
    }
}

/// Ten to the power of `exponent`, which may be 0 to 24 here.
fn power(exponent: i8) -> i128 {
    10i128.pow(exponent.unsigned_abs().into())
}

/// The sum of two numbers at the finer of their exponents, if machine words hold it.
fn sum_of_words(a: &Quantity, b: &Quantity) -> Option<(i128, i8)> {
    let (Quantity::Words { mantissa: m, exponent: e }, Quantity::Words { mantissa: n, exponent: f }) = (a, b) else {
        return None;
    };
    let exponent = *e.min(f);
    let at = |mantissa: i64, from: i8| i128::from(mantissa).checked_mul(power(from - exponent));
    Some((at(*m, *e)?.checked_add(at(*n, *f)?)?, exponent))
}

fn instant_of_words(mantissa: i128, exponent: i8) -> Result<UnixMillis, ContentFault> {
    let seconds_below = if exponent < 0 {
        mantissa < i128::from(ABSOLUTE) * power(exponent)
    } else {
        mantissa.saturating_mul(power(exponent)) < ABSOLUTE.into()
    };
    if seconds_below {
        return Err(ContentFault::RelativeTime);
    }
    let shift = exponent + 3;
    let millis = if shift >= 0 {
        mantissa.saturating_mul(power(shift))
    } else if mantissa % power(shift) == 0 {
        mantissa / power(shift)
    } else {
        return Err(ContentFault::BadTime);
    };
    within_years(millis)
}

fn instant_of(time: &Decimal) -> Result<UnixMillis, ContentFault> {
    if *time < Decimal::from(ABSOLUTE) {
        return Err(ContentFault::RelativeTime);
    }
    within_years(time.to_scaled(3).ok_or(ContentFault::BadTime)?)
}

fn within_years(millis: i128) -> Result<UnixMillis, ContentFault> {
    i64::try_from(millis).ok().filter(|ms| *ms <= LAST_MILLI).map(UnixMillis).ok_or(ContentFault::BadTime)
}

/// Reads a number: an integer, a decimal fraction, or a float taken as the shortest decimal of its double. The outer nothing is
/// for an item that is no number at all.
pub(super) fn number(d: &mut Decoder<'_>) -> Option<Number> {
    let float = |value: f64| {
        Decimal::from_float(value)
            .map(|decimal| Quantity::Big(Box::new(decimal)))
            .map_err(|_| ContentFault::NumberOutOfRange)
    };
    let integer = |mantissa: i64| Quantity::Words { mantissa, exponent: 0 };
    match d.datatype().ok()? {
        Type::F16 => d.f16().ok().map(|v| float(v.into())),
        Type::F32 => d.f32().ok().map(|v| float(v.into())),
        Type::F64 => d.f64().ok().map(float),
        Type::Tag => {
            let mut probe = d.clone();
            if probe.tag().ok()? != Tag::new(4) {
                return mantissa(d).map(|m| m.map(integer));
            }
            *d = probe;
            if d.array().ok()?? != 2 {
                return None;
            }
            let exponent = i8::try_from(i128::from(d.int().ok()?)).ok().filter(|e| EXPONENTS.contains(e));
            let mantissa = mantissa(d)?;
            Some(mantissa.and_then(|mantissa| match exponent {
                Some(exponent) => Ok(Quantity::Words { mantissa, exponent }),
                None => Err(ContentFault::NumberOutOfRange),
            }))
        }
        _ => mantissa(d).map(|m| m.map(integer)),
    }
}

/// A mantissa lies under 2^63 in size, so i64 holds it; its most negative number is one too large.
fn mantissa(d: &mut Decoder<'_>) -> Option<Result<i64, ContentFault>> {
    if d.datatype().ok()? == Type::Tag {
        // A bignum is a number, but always out of range.
        if !matches!(d.tag().ok()?.as_u64(), 2 | 3) {
            return None;
        }
        d.bytes().ok()?;
        return Some(Err(ContentFault::NumberOutOfRange));
    }
    let int = i128::from(d.int().ok()?);
    Some(i64::try_from(int).ok().filter(|m| *m != i64::MIN).ok_or(ContentFault::NumberOutOfRange))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Mantissas of every size, those of times among them.
    fn words() -> impl Strategy<Value = Quantity> {
        (-(i64::MAX)..=i64::MAX, 0u32..63, -12i8..=12)
            .prop_map(|(mantissa, shift, exponent)| Quantity::Words { mantissa: mantissa >> shift, exponent })
    }

    proptest! {
        #[test]
        fn machine_words_and_decimals_give_one_instant(time in words(), base in words()) {
            let decimal = Decimal::from(time.clone());
            prop_assert_eq!(time.instant(), instant_of(&decimal));
            let sum = &decimal + &Decimal::from(base.clone());
            prop_assert_eq!(time.instant_after(&base), instant_of(&sum));
            prop_assert_eq!(Decimal::from(time.plus(&base)), sum);
        }

        #[test]
        fn and_so_do_times_that_devices_write(ms in ABSOLUTE * 1000 - 5000..LAST_MILLI + 5000, digits in -12i8..=0, after in -100_000i64..100_000) {
            let time = Quantity::Words { mantissa: ms, exponent: -3 };
            let after = Quantity::Words { mantissa: after, exponent: digits };
            prop_assert_eq!(time.instant(), instant_of(&Decimal::from(time.clone())));
            prop_assert_eq!(
                after.instant_after(&time),
                instant_of(&(&Decimal::from(time.clone()) + &Decimal::from(after.clone())))
            );
        }
    }
}
