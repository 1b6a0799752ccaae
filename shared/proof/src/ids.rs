//! Names and numbers that must not be mistaken for each other.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ProofError;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text as it is written on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ProofError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(ProofError::BadName { what: $what, text: text.chars().take(80).collect() })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = ProofError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// A device's thing name in AWS IoT: 1 to 64 letters, digits, `_` or `-`. It is also the device's client id and the `kid` of
    /// its envelopes. (AWS allows `:` as well; we do not, since the name stands in topics, keys and file names.)
    DeviceId,
    "device id",
    |t| (1..=64).contains(&t.len())
        && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
);

text_id!(
    /// A sensor's name: a SenML name (RFC 8428, section 4.5.1) without the device's prefix, 1 to 64 characters.
    SensorName,
    "sensor name",
    |t| (1..=64).contains(&t.len())
        && t.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':' | b'.' | b'_' | b'/'))
);

text_id!(
    /// A customer's short name: a lower-case letter, then 1 to 15 lower-case letters or digits. It stands in topics, rule names
    /// and the names of a stack's resources.
    Customer,
    "customer",
    |t| (2..=16).contains(&t.len())
        && t.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
);

text_id!(
    /// The id of a data-proxy key, which is the `kid` of what is encrypted for it: 1 to 64 letters, digits, `_` or `-`. Ours are the
    /// first 16 hex digits of SHA-256 over the SEC1 point ([`crate::command::key_id`]).
    DataKeyId,
    "id of a data-proxy key",
    |t| (1..=64).contains(&t.len())
        && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
);

macro_rules! counted {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The number after this one, or nothing after the last that 64 bits hold.
            #[must_use]
            pub fn next(self) -> Option<Self> {
                self.0.checked_add(1).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counted!(
    /// Counts a device's telemetry envelopes from 0 under one key; never reused.
    SequenceNumber
);
counted!(
    /// Counts a device's blocks, daily and interim, from 0 under one key.
    BlockNumber
);
counted!(
    /// Counts the commands of a customer to one device.
    CommandNumber
);
counted!(
    /// Counts a device's replies from 0 under one key.
    ReplyNumber
);

/// An instant in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// Whole seconds, rounded towards the past.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// Takes exactly 32 bytes.
            ///
            /// # Errors
            /// [`ProofError::BadLength`] for any other length.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, ProofError> {
                bytes.try_into().map(Self).map_err(|_| ProofError::BadLength {
                    what: stringify!($name),
                    expected: 32,
                    found: bytes.len(),
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ProofError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let bytes = hex::decode(text).map_err(|_| ProofError::BadName {
                    what: stringify!($name),
                    text: text.chars().take(80).collect(),
                })?;
                Self::from_slice(&bytes)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

digest!(
    /// The leaf of a telemetry envelope in the day's Merkle tree: SHA-256(0x00 || Sig_structure) (RFC 9162, section 2.1.1).
    /// It leaves the signature out, so both forms of an ECDSA signature give one leaf.
    Leaf
);
digest!(
    /// Any other SHA-256 digest: of a block, a Merkle root, a digest of summaries.
    Hash
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_ids_are_checked_at_the_edge() {
        assert!("solar-1_A".parse::<DeviceId>().is_ok());
        for bad in ["", "a/b", "a#", "a+b", "a b", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<DeviceId>("\"a/b\"").is_err());
    }

    #[test]
    fn customers_are_short_and_lower_case() {
        assert!("acme".parse::<Customer>().is_ok());
        for bad in ["", "a", "Acme", "1acme", "acme-x", "abcdefghijklmnopq"] {
            assert!(bad.parse::<Customer>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_end_without_wrapping() {
        assert_eq!(SequenceNumber(7).next(), Some(SequenceNumber(8)));
        assert_eq!(SequenceNumber(u64::MAX).next(), None);
    }

    #[test]
    fn digests_round_trip_as_hex() {
        let hash = Hash([0xab; 32]);
        assert_eq!(hash.to_string().parse::<Hash>().unwrap(), hash);
        assert!("abcd".parse::<Hash>().is_err());
    }
}
