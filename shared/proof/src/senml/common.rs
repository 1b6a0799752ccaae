//! Packs of the shape that devices write, read in one pass: maps of the labels `bn`, `bt`, `n`, `u`, `v`, `t`, each once, whose numbers
//! are integers or decimal fractions. Every other pack is left to the general reader, which alone says what is wrong with one; of what
//! both read, they say the same.

use super::label;
use super::lines::{Base, Fields};
use super::quantity::{EXPONENTS, Quantity};

/// What is left of the bytes.
pub(super) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// At the beginning of a payload.
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    /// Whether nothing is left.
    pub(super) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// How many records the payload has.
    pub(super) fn count(&mut self) -> Option<u64> {
        match self.head()? {
            (4, count) => Some(count),
            _ => None,
        }
    }

    /// The next record's fields.
    pub(super) fn fields(&mut self, base: &mut Base<'a>) -> Option<Fields<'a>> {
        let (5, pairs) = self.head()? else { return None };
        let mut fields = Fields::default();
        // A label that comes twice is no CBOR map: a bit a label.
        let mut seen = 0u32;
        for _ in 0..pairs {
            let label = self.integer()?;
            let bit = 1u32.checked_shl(u32::try_from(label + 8).ok()?)?;
            if seen & bit != 0 {
                return None;
            }
            seen |= bit;
            match label {
                label::BASE_NAME => base.name = self.text()?,
                label::BASE_TIME => base.set_time(Ok(self.number()?)),
                label::NAME => fields.name = Some(self.text()?),
                label::UNIT => fields.unit = Some(self.text()?),
                label::VALUE => fields.value = Some(Ok(self.number()?)),
                label::TIME => fields.time = Some(Ok(self.number()?)),
                _ => return None,
            }
        }
        Some(fields)
    }

    /// An item's major type and argument.
    fn head(&mut self) -> Option<(u8, u64)> {
        let (first, rest) = self.0.split_first()?;
        let (major, info) = (first >> 5, first & 0x1f);
        let (argument, rest) = match info {
            0..=23 => (u64::from(info), rest),
            24 => rest.split_first().map(|(byte, rest)| (u64::from(*byte), rest))?,
            25 => rest.split_first_chunk().map(|(bytes, rest)| (u16::from_be_bytes(*bytes).into(), rest))?,
            26 => rest.split_first_chunk().map(|(bytes, rest)| (u32::from_be_bytes(*bytes).into(), rest))?,
            27 => rest.split_first_chunk().map(|(bytes, rest)| (u64::from_be_bytes(*bytes), rest))?,
            _ => return None,
        };
        self.0 = rest;
        Some((major, argument))
    }

    /// An integer below 2^62 in size, which every number of a meter is.
    fn integer(&mut self) -> Option<i64> {
        let (major, argument) = self.head()?;
        let argument = i64::try_from(argument).ok().filter(|argument| *argument < 1 << 62)?;
        match major {
            0 => Some(argument),
            1 => Some(-1 - argument),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<&'a str> {
        let (3, length) = self.head()? else { return None };
        let (text, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn number(&mut self) -> Option<Quantity> {
        // A tag's head is one byte here, and so is that of its array of two.
        let Some(rest) = self.0.strip_prefix(&[0xc4, 0x82]) else {
            return Some(Quantity::Words { mantissa: self.integer()?, exponent: 0 });
        };
        self.0 = rest;
        let exponent = i8::try_from(self.integer()?).ok().filter(|exponent| EXPONENTS.contains(exponent))?;
        Some(Quantity::Words { mantissa: self.integer()?, exponent })
    }
}
