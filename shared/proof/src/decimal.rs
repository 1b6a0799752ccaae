//! Exact decimal numbers: readings, sums and prices. Never a float.

use std::fmt;
use std::str::FromStr;

use bigdecimal::BigDecimal;
use minicbor::data::{Tag, Type};
use minicbor::{Decoder, Encoder};
use num_bigint::{BigInt, Sign};
use serde::{Deserialize, Serialize};

use crate::error::ProofError;

/// The smallest exponent that a reading may have as the shortest decimal of a float.
const MIN_FLOAT_EXPONENT: i64 = -30;
/// Readings lie below 10^31 in size: a mantissa under 2^63 with an exponent of at most 12.
const MAX_READING_DIGITS: u64 = 31;
/// Longest mantissa that we read from a block, in bytes. A day's sum of the largest readings takes 28.
const MAX_MANTISSA_BYTES: usize = 64;

/// An exact decimal number of any size, kept without trailing zeros.
///
/// On the wire (`num` in `docs/formats.md`): an integer where it is one, else a decimal fraction (RFC 8949, section 3.4.4) with a
/// negative exponent and a mantissa that does not end in zero; a mantissa beyond 64 bits is a bignum. One number has one encoding.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Decimal(BigDecimal);

impl Decimal {
    /// `mantissa` times ten to the power of `exponent`.
    #[must_use]
    pub fn new(mantissa: i64, exponent: i32) -> Self {
        if mantissa == 0 {
            return Self::zero();
        }
        // Trailing zeros go in machine words: every reading comes this way.
        let (mut mantissa, mut exponent) = (mantissa, i64::from(exponent));
        while mantissa % 10 == 0 {
            mantissa /= 10;
            exponent += 1;
        }
        Self(BigDecimal::new(BigInt::from(mantissa), -exponent))
    }

    /// Zero.
    #[must_use]
    pub fn zero() -> Self {
        Self::default()
    }

    /// Whether the number is below zero.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.0.sign() == Sign::Minus
    }

    /// Whether the number is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.sign() == Sign::NoSign
    }

    /// The shortest decimal that reads back as this double, as a reading may have it.
    ///
    /// # Errors
    /// [`ProofError::NumberOutOfRange`] if it is not finite, not below 10^31, or finer than 10^-30.
    pub fn from_float(value: f64) -> Result<Self, ProofError> {
        if !value.is_finite() {
            return Err(ProofError::NumberOutOfRange(value.to_string()));
        }
        // Rust prints the shortest digits that read back as the same double.
        let decimal: Self = format!("{value:e}").parse()?;
        let (_, exponent) = decimal.parts();
        if exponent < MIN_FLOAT_EXPONENT || decimal.0.digits().saturating_add_signed(exponent) > MAX_READING_DIGITS {
            return Err(ProofError::NumberOutOfRange(value.to_string()));
        }
        Ok(decimal)
    }

    /// The mantissa without trailing zeros, and the power of ten it is multiplied by.
    fn parts(&self) -> (BigInt, i64) {
        let (mantissa, scale) = self.0.as_bigint_and_exponent();
        (mantissa, -scale)
    }

    /// Whether it has at most so many digits before the point, and after it.
    #[must_use]
    pub fn is_within(&self, before: u64, after: u64) -> bool {
        let (mantissa, exponent) = self.parts();
        let digits = BigDecimal::from(mantissa).digits();
        digits.saturating_add_signed(exponent) <= before && exponent >= -i64::try_from(after).unwrap_or(i64::MAX)
    }

    /// The number as an integer of 10^`-digits`, if it is one. Used for money: `to_scaled(2)` of 1.25 is 125.
    #[must_use]
    pub fn to_scaled(&self, digits: u32) -> Option<i128> {
        let scaled = self.0.with_scale(i64::from(digits));
        if scaled != self.0 {
            return None;
        }
        let (mantissa, _) = scaled.as_bigint_and_exponent();
        mantissa.try_into().ok()
    }

    /// The exact big decimal, for arithmetic that this type does not offer.
    #[must_use]
    pub fn as_big(&self) -> &BigDecimal {
        &self.0
    }

    /// Writes the number in its one encoding.
    ///
    /// # Errors
    /// Only those of the writer.
    pub fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let (mantissa, exponent) = self.parts();
        if exponent < 0 {
            e.tag(Tag::new(4))?.array(2)?.i64(exponent)?;
            encode_integer(&mantissa, e)
        } else {
            let (integer, _) = self.0.with_scale(0).into_bigint_and_exponent();
            encode_integer(&integer, e)
        }
    }

    /// Reads an integer or a decimal fraction of any size that a block may hold.
    ///
    /// # Errors
    /// [`ProofError::Cbor`] for any other item, [`ProofError::NumberOutOfRange`] for an absurd exponent or more than 64 bytes of
    /// digits.
    pub fn decode(d: &mut Decoder<'_>) -> Result<Self, ProofError> {
        let bad = |detail: String| ProofError::cbor("number", detail);
        if d.datatype().map_err(|e| bad(e.to_string()))? == Type::Tag {
            let mut probe = d.clone();
            if probe.tag().map_err(|e| bad(e.to_string()))? == Tag::new(4) {
                *d = probe;
                if d.array().map_err(|e| bad(e.to_string()))? != Some(2) {
                    return Err(bad("a decimal fraction has two parts".into()));
                }
                let exponent = d.i64().map_err(|e| bad(e.to_string()))?;
                if !(-64..=64).contains(&exponent) {
                    return Err(ProofError::NumberOutOfRange(format!("exponent {exponent}")));
                }
                let mantissa = decode_integer(d)?;
                let decimal = Self(BigDecimal::new(mantissa, -exponent).normalized());
                // A large mantissa and a large exponent: what is read must be writable, since the ledger keeps it written anew.
                if exponent > 0 && bytes_of(&decimal.0.with_scale(0).into_bigint_and_exponent().0) > MAX_MANTISSA_BYTES
                {
                    return Err(ProofError::NumberOutOfRange(format!("an integer above {MAX_MANTISSA_BYTES} bytes")));
                }
                return Ok(decimal);
            }
        }
        Ok(Self(BigDecimal::new(decode_integer(d)?, 0).normalized()))
    }
}

/// Writes an integer: the shortest form that holds it (RFC 8949, section 3.4.3).
fn encode_integer<W: minicbor::encode::Write>(
    value: &BigInt,
    e: &mut Encoder<W>,
) -> Result<(), minicbor::encode::Error<W::Error>> {
    // CBOR's own integers reach from -2^64 to 2^64 - 1.
    if let Some(int) = i128::try_from(value).ok().and_then(|v| minicbor::data::Int::try_from(v).ok()) {
        e.int(int)?;
        return Ok(());
    }
    let tag = if value.sign() == Sign::Minus { 3 } else { 2 };
    e.tag(Tag::new(tag))?.bytes(&magnitude(value).to_bytes_be().1)?;
    Ok(())
}

/// The magnitude of an integer as a bignum has it: the number's own, or that of -1 - n.
fn magnitude(value: &BigInt) -> BigInt {
    if value.sign() == Sign::Minus { -value - 1u8 } else { value.clone() }
}

/// How many bytes an integer has as a bignum.
fn bytes_of(value: &BigInt) -> usize {
    magnitude(value).to_bytes_be().1.len()
}

fn decode_integer(d: &mut Decoder<'_>) -> Result<BigInt, ProofError> {
    let bad = |detail: String| ProofError::cbor("integer", detail);
    if d.datatype().map_err(|e| bad(e.to_string()))? == Type::Tag {
        let tag = d.tag().map_err(|e| bad(e.to_string()))?;
        let bytes = d.bytes().map_err(|e| bad(e.to_string()))?;
        if bytes.len() > MAX_MANTISSA_BYTES {
            return Err(ProofError::NumberOutOfRange(format!("{} bytes of mantissa", bytes.len())));
        }
        let magnitude = BigInt::from_bytes_be(Sign::Plus, bytes);
        return match tag.as_u64() {
            2 => Ok(magnitude),
            3 => Ok(-magnitude - 1u8),
            other => Err(bad(format!("tag {other} is no number"))),
        };
    }
    d.int().map(|int| BigInt::from(i128::from(int))).map_err(|e| bad(e.to_string()))
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        Self::new(value, 0)
    }
}

impl From<BigDecimal> for Decimal {
    fn from(value: BigDecimal) -> Self {
        Self(value.normalized())
    }
}

impl FromStr for Decimal {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // An exponent written out could ask for gigabytes of zeros; no reading needs more than three digits of it.
        let exponent_digits = text
            .rsplit(['e', 'E'])
            .next()
            .map_or(0, |tail| if tail.len() == text.len() { 0 } else { tail.trim_start_matches(['+', '-']).len() });
        if text.len() > 400 || exponent_digits > 3 {
            return Err(ProofError::NumberOutOfRange(text.chars().take(40).collect()));
        }
        BigDecimal::from_str(text)
            .map(Self::from)
            .map_err(|_| ProofError::BadName { what: "number", text: text.chars().take(40).collect() })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_plain_string())
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Decimal {
    /// A decimal stands in JSON as text, so that no reader rounds it to a double.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! arithmetic {
    ($trait:ident, $method:ident, $op:tt) => {
        impl std::ops::$trait<&Decimal> for &Decimal {
            type Output = Decimal;

            fn $method(self, other: &Decimal) -> Decimal {
                Decimal((&self.0 $op &other.0).normalized())
            }
        }
    };
}
arithmetic!(Add, add, +);
arithmetic!(Sub, sub, -);
arithmetic!(Mul, mul, *);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex_of(value: &Decimal) -> String {
        hex::encode(crate::cbor::encode(|e| value.encode(e)))
    }

    #[test]
    fn one_number_has_one_encoding() {
        assert_eq!(hex_of(&Decimal::new(30903, -4)), "c482231978b7");
        assert_eq!(hex_of(&Decimal::new(309_030, -5)), "c482231978b7");
        assert_eq!(hex_of(&Decimal::new(5, 3)), "191388");
        assert_eq!(hex_of(&Decimal::zero()), "00");
        assert_eq!(hex_of(&"18446744073709551616".parse().unwrap()), "c249010000000000000000");
        assert_eq!(hex_of(&"-18446744073709551617".parse().unwrap()), "c349010000000000000000");
    }

    #[test]
    fn digits_are_counted_on_both_sides_of_the_point() {
        let within = |text: &str, before, after| text.parse::<Decimal>().unwrap().is_within(before, after);
        assert!(within("999.999", 3, 3) && !within("999.999", 2, 3) && !within("999.999", 3, 2));
        assert!(within("0", 1, 0) && within("-12000", 5, 0) && !within("12000", 4, 0));
        assert!(within("0.001", 0, 3) && !within("0.001", 0, 2), "nothing stands before the point");
        assert!(!within("1e-40", 12, 12) && !within("1e13", 12, 12));
    }

    proptest! {
        #[test]
        fn a_product_within_bounds_is_read_back(a: i64, b: i64, down in 0i32..=40, up in 0i32..=12) {
            let (a, b) = (Decimal::new(a, -down), Decimal::new(b, -up));
            let product = &a * &b;
            prop_assume!(a.is_within(40, 40) && b.is_within(12, 12));
            let bytes = crate::cbor::encode(|e| product.encode(e));
            prop_assert_eq!(Decimal::decode(&mut Decoder::new(&bytes)).unwrap(), product);
        }
    }

    #[test]
    fn floats_become_their_shortest_decimal() {
        assert_eq!(Decimal::from_float(0.1).unwrap().to_string(), "0.1");
        assert_eq!(Decimal::from_float(0.1 + 0.2).unwrap().to_string(), "0.30000000000000004");
        assert_eq!(Decimal::from_float(-7.69272).unwrap().to_string(), "-7.69272");
        assert_eq!(Decimal::from_float(1e12).unwrap().to_string(), "1000000000000");
        assert_eq!(Decimal::from_float(-0.0).unwrap(), Decimal::zero());
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e31, 1e308, 5e-324, 1.5e-30] {
            assert!(Decimal::from_float(bad).is_err(), "{bad}");
        }
        assert!(Decimal::from_float(9e30).is_ok());
    }

    #[test]
    fn text_with_an_absurd_exponent_is_refused() {
        assert!("1e999999999".parse::<Decimal>().is_err());
        assert!("1e-999999999".parse::<Decimal>().is_err());
        assert_eq!("1.50e2".parse::<Decimal>().unwrap().to_string(), "150");
    }

    /// The fuzz target `block` asks for it: there were numbers that could be read and, written anew, could not be read again.
    #[test]
    fn what_is_read_can_be_written_and_read_again() {
        let fraction = |exponent: i64, tag: u64, magnitude: &[u8]| {
            crate::cbor::encode(|e| {
                e.tag(Tag::new(4))?.array(2)?.i64(exponent)?.tag(Tag::new(tag))?.bytes(magnitude)?;
                Ok(())
            })
        };
        for (exponent, tag, good) in
            [(0, 2, true), (0, 3, true), (1, 2, false), (1, 3, false), (-64, 2, true), (64, 2, false)]
        {
            let bytes = fraction(exponent, tag, &[0xff; 64]);
            let read = Decimal::decode(&mut Decoder::new(&bytes));
            assert_eq!(read.is_ok(), good, "tag {tag}, exponent {exponent}");
            if let Ok(number) = read {
                let again = crate::cbor::encode(|e| number.encode(e));
                assert_eq!(Decimal::decode(&mut Decoder::new(&again)).unwrap(), number);
            }
        }
        // Ten to the power of 64 alone is no trouble.
        assert_eq!(Decimal::decode(&mut Decoder::new(&fraction(64, 2, &[1]))).unwrap().to_string().len(), 65);
    }

    #[test]
    fn scaling_is_exact_or_nothing() {
        assert_eq!("1.25".parse::<Decimal>().unwrap().to_scaled(2), Some(125));
        assert_eq!("1.255".parse::<Decimal>().unwrap().to_scaled(2), None);
        assert_eq!(Decimal::from(-3).to_scaled(2), Some(-300));
    }

    proptest! {
        #[test]
        fn encoding_round_trips(mantissa in any::<i64>(), exponent in -12i32..=12) {
            let value = Decimal::new(mantissa, exponent);
            let bytes = crate::cbor::encode(|e| value.encode(e));
            prop_assert_eq!(crate::cbor::check(&bytes), Ok(()));
            prop_assert_eq!(&Decimal::decode(&mut Decoder::new(&bytes)).unwrap(), &value);
            prop_assert_eq!(value.to_string().parse::<Decimal>().unwrap(), value);
        }

        #[test]
        fn sums_beyond_64_bits_round_trip(a in any::<i64>(), b in any::<i64>()) {
            let value = &Decimal::new(a, 12) + &Decimal::new(b, -12);
            let bytes = crate::cbor::encode(|e| value.encode(e));
            prop_assert_eq!(&Decimal::decode(&mut Decoder::new(&bytes)).unwrap(), &value);
            prop_assert_eq!(&value - &Decimal::new(b, -12), Decimal::new(a, 12));
        }

        #[test]
        fn a_float_in_range_reads_back(value in -1e30f64..1e30) {
            if let Ok(decimal) = Decimal::from_float(value) {
                prop_assert_eq!(decimal.to_string().parse::<f64>().unwrap().to_bits(), (value + 0.0).to_bits());
            }
        }
    }
}
