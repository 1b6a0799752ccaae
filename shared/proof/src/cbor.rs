//! CBOR (RFC 8949) at the edge: a well-formedness check that runs once over foreign bytes, and helpers for our deterministic output.
//!
//! We write deterministic CBOR (section 4.2.1) and accept any well-formed CBOR of definite lengths without duplicate keys.

use std::collections::BTreeSet;

use minicbor::Encoder;

/// How deep arrays, maps and tags may nest.
pub const MAX_DEPTH: usize = 16;

/// Why bytes are not acceptable CBOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CborFault {
    /// The item ends before its bytes do; the number says how many follow.
    Trailing(usize),
    /// Not well-formed, of indefinite length, nested too deeply, not UTF-8, or with a duplicate key.
    Malformed(&'static str),
}

/// Checks that `bytes` hold exactly one acceptable CBOR item.
///
/// # Errors
/// [`CborFault`] says what is wrong; trailing bytes are told apart from the rest.
pub fn check(bytes: &[u8]) -> Result<(), CborFault> {
    let end = check_prefix(bytes)?;
    if end == bytes.len() { Ok(()) } else { Err(CborFault::Trailing(bytes.len() - end)) }
}

/// Checks the item at the start of `bytes` and returns how many bytes it takes.
///
/// # Errors
/// [`CborFault::Malformed`].
pub fn check_prefix(bytes: &[u8]) -> Result<usize, CborFault> {
    item(bytes, 0, 0)
}

/// Reads an item's head: its major type, its argument, and where it ends.
fn head(bytes: &[u8], at: usize) -> Result<(u8, u64, usize), CborFault> {
    const SHORT: CborFault = CborFault::Malformed("the bytes end in the middle of an item");
    let first = *bytes.get(at).ok_or(SHORT)?;
    let (major, info) = (first >> 5, first & 0x1f);
    let wide = |n: usize| -> Result<(u64, usize), CborFault> {
        let slice = bytes.get(at + 1..at + 1 + n).ok_or(SHORT)?;
        Ok((slice.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte)), at + 1 + n))
    };
    let (argument, end) = match info {
        0..=23 => (u64::from(info), at + 1),
        24 => wide(1)?,
        25 => wide(2)?,
        26 => wide(4)?,
        27 => wide(8)?,
        31 => return Err(CborFault::Malformed("indefinite length")),
        _ => return Err(CborFault::Malformed("reserved additional information")),
    };
    if major == 7 && info == 24 && argument < 32 {
        return Err(CborFault::Malformed("a simple value in two bytes that fits one"));
    }
    Ok((major, argument, end))
}

/// Checks the item at `at` and returns where it ends.
fn item(bytes: &[u8], at: usize, depth: usize) -> Result<usize, CborFault> {
    if depth > MAX_DEPTH {
        return Err(CborFault::Malformed("nested too deeply"));
    }
    let (major, argument, start) = head(bytes, at)?;
    match major {
        0 | 1 | 7 => Ok(start),
        2 | 3 => {
            let length = usize::try_from(argument).unwrap_or(usize::MAX);
            let end = start.checked_add(length).filter(|end| *end <= bytes.len());
            let end = end.ok_or(CborFault::Malformed("a string longer than its bytes"))?;
            if major == 3 && std::str::from_utf8(&bytes[start..end]).is_err() {
                return Err(CborFault::Malformed("text that is not UTF-8"));
            }
            Ok(end)
        }
        4 => {
            let mut end = start;
            for _ in 0..argument {
                end = item(bytes, end, depth + 1)?;
            }
            Ok(end)
        }
        5 => {
            let mut end = start;
            let mut keys = Keys::default();
            for _ in 0..argument {
                let key = end;
                end = item(bytes, key, depth + 1)?;
                // The same integer in two encodings is the same key, so integers are compared by value.
                let (kind, value, _) = head(bytes, key)?;
                let fresh = if kind <= 1 { (kind, value, &bytes[..0]) } else { (kind, 0, &bytes[key..end]) };
                if !keys.insert(fresh) {
                    return Err(CborFault::Malformed("a duplicate key"));
                }
                end = item(bytes, end, depth + 1)?;
            }
            Ok(end)
        }
        // Major type 6, a tag: its content follows. Majors are three bits, so nothing is left over.
        _ => item(bytes, start, depth + 1),
    }
}

/// A map's key: its major type and value, and its encoding where that is not an integer.
type Key<'a> = (u8, u64, &'a [u8]);

/// So many keys of a map cost no memory.
const FEW: usize = 8;

/// The keys of a map. The maps of our formats are small, and written in order: those cost a comparison a key and no memory.
#[derive(Default)]
struct Keys<'a> {
    few: [Key<'a>; FEW],
    count: usize,
    many: BTreeSet<Key<'a>>,
}

impl<'a> Keys<'a> {
    /// Whether the key is new.
    fn insert(&mut self, key: Key<'a>) -> bool {
        let few = &self.few[..self.count];
        let is_last = self.many.is_empty() && few.last().is_none_or(|last| *last < key);
        if !is_last && (few.contains(&key) || self.many.contains(&key)) {
            return false;
        }
        // In the array they stay in order, so that the last is the greatest.
        if is_last && self.count < FEW {
            self.few[self.count] = key;
            self.count += 1;
        } else {
            self.many.insert(key);
        }
        true
    }
}

/// Encodes into a fresh buffer. Writing to a `Vec` cannot fail, which spares every caller an error path that cannot be taken.
pub(crate) fn encode(
    write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Result<(), minicbor::encode::Error<std::convert::Infallible>>,
) -> Vec<u8> {
    encode_into(Vec::new(), write)
}

/// As [`encode`], into a buffer that has room already.
pub(crate) fn encode_into(
    mut out: Vec<u8>,
    write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Result<(), minicbor::encode::Error<std::convert::Infallible>>,
) -> Vec<u8> {
    match write(&mut Encoder::new(&mut out)) {
        Ok(()) => out,
        // Cannot fail: the writer is infallible, and no encoder here raises a message of its own.
        Err(error) => unreachable!("encoding into memory failed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(hex_text: &str) -> Option<CborFault> {
        check(&hex::decode(hex_text).unwrap()).err()
    }

    #[test]
    fn accepts_well_formed_items() {
        for ok in [
            "00",
            "3903e7",
            "43010203",
            "63616263",
            "83010203",
            "a201020304",
            "c11a514b67b0",
            "f6",
            "fb3ff199999999999a",
        ] {
            assert_eq!(fault(ok), None, "{ok}");
        }
    }

    #[test]
    fn tells_trailing_bytes_apart() {
        assert_eq!(fault("0001"), Some(CborFault::Trailing(1)));
    }

    #[test]
    fn refuses_what_is_not_well_formed() {
        for bad in [
            "", "18", "5f4101ff", "9f01ff", "bf0102ff", "7f6161ff", "62c328", "4301", "8301", "a101", "1c", "f818",
            "ff",
        ] {
            assert!(matches!(fault(bad), Some(CborFault::Malformed(_))), "{bad}");
        }
    }

    #[test]
    fn refuses_duplicate_keys_in_any_encoding() {
        for bad in ["a201020103", "a20102180103", "a2616101616102", "a220012001"] {
            assert_eq!(fault(bad), Some(CborFault::Malformed("a duplicate key")), "{bad}");
        }
        assert_eq!(fault("a201022003"), None, "1 and -1 differ");
    }

    proptest! {
        #[test]
        fn a_key_is_new_exactly_once(keys in proptest::collection::vec((0u8..4, 0u64..12), 0..30)) {
            let mut known = Keys::default();
            let texts: Vec<[u8; 1]> = keys.iter().map(|(_, value)| [u8::try_from(*value).unwrap()]).collect();
            let mut all = BTreeSet::new();
            for ((kind, value), text) in keys.iter().zip(&texts) {
                let key: Key<'_> = if *kind <= 1 { (*kind, *value, &[]) } else { (*kind, 0, text) };
                prop_assert_eq!(known.insert(key), all.insert(key));
            }
        }
    }

    #[test]
    fn bounds_depth_and_does_not_trust_counts() {
        assert!(fault(&format!("{}00", "81".repeat(40))).is_some());
        assert!(fault("9bffffffffffffffff").is_some());
        assert!(fault("5bffffffffffffffff").is_some());
        assert!(fault("bbffffffffffffffff").is_some());
    }
}
