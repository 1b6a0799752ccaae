//! Names of the ledger that must not be mistaken for each other.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ContractError;

/// All of these stand in keys, where `/` parts the names, so they are kept to characters that sort and print plainly.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text as it is written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ContractError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if is_name(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    let shown: String = text.chars().take(80).collect();
                    Err(ContractError::malformed($what, format!("{shown:?} is not a name of 1 to 64 letters, digits, '.', '_', '-'")))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = ContractError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// An agreement's id, chosen by whoever proposes it.
    AgreementId,
    "an agreement's id"
);
name!(
    /// The group of devices (a region) that an agreement covers.
    Shard,
    "a shard"
);
name!(
    /// The place that is metered and billed.
    MeteringPoint,
    "a metering point"
);
name!(
    /// The id of a Fabric MSP.
    MspId,
    "an MSP id"
);

/// What a party is on the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs Vitro: registers devices, publishes, closes periods.
    Operator,
    /// Resource consumption.
    Rc,
    /// Data verification.
    Dv,
    /// Service provider.
    Sp,
}

impl Role {
    /// All four, in the order of their numbers on the wire.
    pub const ALL: [Self; 4] = [Self::Operator, Self::Rc, Self::Dv, Self::Sp];

    /// The word as it stands in keys and on screens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Rc => "rc",
            Self::Dv => "dv",
            Self::Sp => "sp",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Bytes that are kept as they came; hexadecimal where people read them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", hex::encode(&self.0))
    }
}

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex::decode(String::deserialize(deserializer)?).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_out_of_each_others_keys() {
        assert!("DE-00.1_x".parse::<MeteringPoint>().is_ok());
        for bad in ["", "a/b", "-a", "a b", "\u{0}a", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<Shard>().is_err(), "{bad:?}");
        }
    }
}
