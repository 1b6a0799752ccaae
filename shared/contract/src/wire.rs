//! The bytes of what is stored and exchanged: deterministic CBOR, integer keys in order, the schema's version under key 0.

use std::convert::Infallible;

use minicbor::Decoder;
use minicbor::data::Type;
use vitro_proof::{
    BlockNumber, Decimal, DeviceId, Hash, LocalDay, PublicKey, Sensor, SensorKind, SensorName, SensorTable, Summary,
    ZoneName, cbor, summary,
};

use crate::error::ContractError;
use crate::ids::{AgreementId, Bytes, MeteringPoint, MspId, Role, Shard};

/// Writes into memory, which cannot fail.
pub(crate) type Encoder<'a> = minicbor::Encoder<&'a mut Vec<u8>>;
/// What writing gives.
pub(crate) type Written = Result<(), minicbor::encode::Error<Infallible>>;

/// A value with one encoding.
pub trait Wire: Sized {
    /// Writes the value.
    ///
    /// # Errors
    /// None: memory takes everything.
    fn write(&self, e: &mut Encoder<'_>) -> Written;

    /// Reads the value.
    ///
    /// # Errors
    /// [`ContractError::Malformed`].
    fn read(d: &mut Decoder<'_>) -> Result<Self, ContractError>;
}

/// A whole value as it is stored, passed as an argument or answered.
pub trait Record: Wire {
    /// What it is, for messages.
    const NAME: &'static str;

    /// The value's bytes.
    #[must_use]
    fn encode(&self) -> Vec<u8> {
        to_bytes(self)
    }

    /// Reads bytes that must be exactly what [`Record::encode`] writes: another encoding of the same value is refused, so that one
    /// value has one hash.
    ///
    /// # Errors
    /// [`ContractError::Malformed`].
    fn decode(bytes: &[u8]) -> Result<Self, ContractError> {
        let value = from_bytes::<Self>(Self::NAME, bytes)?;
        if value.encode() == bytes {
            Ok(value)
        } else {
            Err(ContractError::malformed(Self::NAME, "not deterministic CBOR"))
        }
    }
}

pub(crate) fn to_bytes(value: &impl Wire) -> Vec<u8> {
    let mut out = Vec::new();
    match value.write(&mut Encoder::new(&mut out)) {
        Ok(()) => out,
        // Cannot fail: the writer is infallible, and nothing here raises a message of its own.
        Err(error) => unreachable!("encoding into memory failed: {error}"),
    }
}

pub(crate) fn from_bytes<T: Wire>(what: &'static str, bytes: &[u8]) -> Result<T, ContractError> {
    cbor::check(bytes).map_err(|fault| ContractError::malformed(what, format!("{fault:?}")))?;
    T::read(&mut Decoder::new(bytes)).map_err(|error| match error {
        ContractError::Malformed { detail, .. } => ContractError::Malformed { what, detail },
        other => other,
    })
}

pub(crate) fn wire(error: minicbor::decode::Error) -> ContractError {
    ContractError::malformed("CBOR", error)
}

pub(crate) fn expect_fields(found: Option<u64>, expected: u64) -> Result<(), ContractError> {
    if found == Some(expected) {
        Ok(())
    } else {
        Err(ContractError::malformed("CBOR", format!("{expected} fields are expected")))
    }
}

pub(crate) fn expect_key(d: &mut Decoder<'_>, key: u64, name: &str) -> Result<(), ContractError> {
    match d.u64() {
        Ok(found) if found == key => Ok(()),
        _ => Err(ContractError::malformed("CBOR", format!("{name} (key {key}) is not in its place"))),
    }
}

/// Declares a struct with its wire form: a map with the given keys in ascending order, and the schema's version under key 0 where
/// one is given. `"what it is"` makes it a [`Record`].
///
/// Fields `since 2` stand in version 2 alone. A value in which all of them are empty is written as version 1, without them, so that
/// what was written before there was a version 2 keeps its bytes and its hash, and one value has one encoding.
macro_rules! record {
    ($(#[$doc:meta])* $vis:vis struct $name:ident, $what:literal, version $version:literal {
        $($(#[$field_doc:meta])* $key:literal => $field:ident: $type:ty),* $(,)?
    }) => {
        record!(@struct $(#[$doc])* $vis struct $name { $($(#[$field_doc])* $field: $type),* });

        impl $crate::wire::Wire for $name {
            fn write(&self, e: &mut $crate::wire::Encoder<'_>) -> $crate::wire::Written {
                e.map(1 + record!(@count $($key)*))?.u8(0)?.u64($version)?;
                $(e.u8($key)?; $crate::wire::Wire::write(&self.$field, e)?;)*
                Ok(())
            }

            fn read(d: &mut minicbor::Decoder<'_>) -> Result<Self, $crate::error::ContractError> {
                $crate::wire::expect_fields(d.map().map_err($crate::wire::wire)?, 1 + record!(@count $($key)*))?;
                $crate::wire::expect_key(d, 0, "the version")?;
                if d.u64().map_err($crate::wire::wire)? != $version {
                    return Err($crate::error::ContractError::malformed($what, "an unknown version"));
                }
                $($crate::wire::expect_key(d, $key, stringify!($field))?;
                let $field = $crate::wire::Wire::read(d)?;)*
                Ok(Self { $($field),* })
            }
        }

        impl $crate::wire::Record for $name {
            const NAME: &'static str = $what;
        }
    };
    ($(#[$doc:meta])* $vis:vis struct $name:ident, $what:literal, version 1 {
        $($(#[$field_doc:meta])* $key:literal => $field:ident: $type:ty),* $(,)?
    } since 2 {
        $($(#[$new_doc:meta])* $new_key:literal => $new_field:ident: $new_type:ty),* $(,)?
    }) => {
        record!(@struct $(#[$doc])* $vis struct $name {
            $($(#[$field_doc])* $field: $type,)*
            $($(#[$new_doc])* #[serde(default, skip_serializing_if = "crate::wire::is_empty")] $new_field: $new_type),*
        });

        impl $crate::wire::Wire for $name {
            fn write(&self, e: &mut $crate::wire::Encoder<'_>) -> $crate::wire::Written {
                let old = true $(&& $crate::wire::is_empty(&self.$new_field))*;
                let fields = if old { 1 } else { 1 + record!(@count $($new_key)*) };
                e.map(fields + record!(@count $($key)*))?.u8(0)?.u64(if old { 1 } else { 2 })?;
                $(e.u8($key)?; $crate::wire::Wire::write(&self.$field, e)?;)*
                if !old {
                    $(e.u8($new_key)?; $crate::wire::Wire::write(&self.$new_field, e)?;)*
                }
                Ok(())
            }

            fn read(d: &mut minicbor::Decoder<'_>) -> Result<Self, $crate::error::ContractError> {
                let fields = d.map().map_err($crate::wire::wire)?;
                $crate::wire::expect_key(d, 0, "the version")?;
                let old = match d.u64().map_err($crate::wire::wire)? {
                    1 => true,
                    2 => false,
                    _ => return Err($crate::error::ContractError::malformed($what, "an unknown version")),
                };
                let new = if old { 0 } else { record!(@count $($new_key)*) };
                $crate::wire::expect_fields(fields, 1 + new + record!(@count $($key)*))?;
                $($crate::wire::expect_key(d, $key, stringify!($field))?;
                let $field = $crate::wire::Wire::read(d)?;)*
                $(let $new_field = if old {
                    Default::default()
                } else {
                    $crate::wire::expect_key(d, $new_key, stringify!($new_field))?;
                    $crate::wire::Wire::read(d)?
                };)*
                Ok(Self { $($field,)* $($new_field),* })
            }
        }

        impl $crate::wire::Record for $name {
            const NAME: &'static str = $what;
        }
    };
    ($(#[$doc:meta])* $vis:vis struct $name:ident {
        $($(#[$field_doc:meta])* $key:literal => $field:ident: $type:ty),* $(,)?
    }) => {
        record!(@struct $(#[$doc])* $vis struct $name { $($(#[$field_doc])* $field: $type),* });

        impl $crate::wire::Wire for $name {
            fn write(&self, e: &mut $crate::wire::Encoder<'_>) -> $crate::wire::Written {
                e.map(record!(@count $($key)*))?;
                $(e.u8($key)?; $crate::wire::Wire::write(&self.$field, e)?;)*
                Ok(())
            }

            fn read(d: &mut minicbor::Decoder<'_>) -> Result<Self, $crate::error::ContractError> {
                $crate::wire::expect_fields(d.map().map_err($crate::wire::wire)?, record!(@count $($key)*))?;
                $($crate::wire::expect_key(d, $key, stringify!($field))?;
                let $field = $crate::wire::Wire::read(d)?;)*
                Ok(Self { $($field),* })
            }
        }
    };
    (@struct $(#[$doc:meta])* $vis:vis struct $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        $vis struct $name {
            $($(#[$field_doc])* $vis $field: $type,)*
        }
    };
    (@count) => { 0u64 };
    (@count $first:literal $($rest:literal)*) => { 1u64 + record!(@count $($rest)*) };
}
pub(crate) use record;

/// Whether a field says nothing, so that a version without it says as much.
pub(crate) fn is_empty<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Declares an enum of words: its number on the wire, its word in JSON and in keys.
macro_rules! words {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$variant_doc:meta])* $number:literal $word:literal => $variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// The word as it is shown.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl $crate::wire::Wire for $name {
            fn write(&self, e: &mut $crate::wire::Encoder<'_>) -> $crate::wire::Written {
                e.u64(match self { $(Self::$variant => $number,)* })?;
                Ok(())
            }

            fn read(d: &mut minicbor::Decoder<'_>) -> Result<Self, $crate::error::ContractError> {
                match d.u64().map_err($crate::wire::wire)? {
                    $($number => Ok(Self::$variant),)*
                    other => Err($crate::error::ContractError::malformed(stringify!($name), format!("{other} is none"))),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

macro_rules! integer {
    ($type:ty, $method:ident) => {
        impl Wire for $type {
            fn write(&self, e: &mut Encoder<'_>) -> Written {
                e.$method(*self)?;
                Ok(())
            }

            fn read(d: &mut Decoder<'_>) -> Result<Self, ContractError> {
                d.$method().map_err(wire)
            }
        }
    };
}
integer!(u64, u64);
integer!(i64, i64);
integer!(bool, bool);

impl Wire for String {
    fn write(&self, e: &mut Encoder<'_>) -> Written {
        e.str(self)?;
        Ok(())
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, ContractError> {
        d.str().map(str::to_owned).map_err(wire)
    }
}

macro_rules! text {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            fn write(&self, e: &mut Encoder<'_>) -> Written {
                e.str(&self.to_string())?;
                Ok(())
            }

            fn read(d: &mut Decoder<'_>) -> Result<Self, ContractError> {
                d.str().map_err(wire)?.parse().map_err(ContractError::from)
            }
        }
    )*};
}
text!(DeviceId, SensorName, ZoneName, LocalDay, AgreementId, Shard, MeteringPoint, MspId);

impl Wire for Bytes {
    fn write(&self, e: &mut Encoder<'_>) -> Written {
        e.bytes(&self.0)?;
        Ok(())
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, ContractError> {
        d.bytes().map(|bytes| Self(bytes.to_vec())).map_err(wire)
    }
}

impl Wire for Hash {
    fn write(&self, e: &mut Encoder<'_>) -> Written {
        e.bytes(&self.0)?;
        Ok(())
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, ContractError> {
        Ok(Self::from_slice(d.bytes().map_err(wire)?)?)
    }
}

impl Wire for PublicKey {
    fn write(&self, e: &mut Encoder<'_>) -> Written {
        e.bytes(self.as_bytes())?;
        Ok(())
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, ContractError> {
        Ok(Self::from_sec1(d.bytes().map_err(wire)?)?)
    }
}

impl Wire for BlockNumber {
    fn write(&self, e: &mut Encoder<'_>) -> Written {
        self.0.write(e)
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, ContractError> {
        u64::read(d).map(Self)
    }
}

impl Wire for Decimal {
    fn write(&self, e: &mut Encoder<'_>) -> Written {
        self.encode(e)
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, ContractError> {
        Ok(Self::decode(d)?)
    }
}

impl Wire for Role {
    fn write(&self, e: &mut Encoder<'_>) -> Written {
        e.u8(*self as u8)?;
        Ok(())
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, ContractError> {
        let number = d.u8().map_err(wire)?;
        Self::ALL.get(usize::from(number)).copied().ok_or_else(|| ContractError::malformed("a role", "no such role"))
    }
}

impl<T: Wire> Wire for Option<T> {
    fn write(&self, e: &mut Encoder<'_>) -> Written {
        match self {
            Some(value) => value.write(e),
            None => {
                e.null()?;
                Ok(())
            }
        }
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, ContractError> {
        if d.datatype().map_err(wire)? == Type::Null {
            d.null().map_err(wire)?;
            return Ok(None);
        }
        T::read(d).map(Some)
    }
}

impl Record for Vec<Bytes> {
    const NAME: &'static str = "certificates";
}

impl<T: Wire> Wire for Vec<T> {
    fn write(&self, e: &mut Encoder<'_>) -> Written {
        e.array(self.len() as u64)?;
        self.iter().try_for_each(|value| value.write(e))
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, ContractError> {
        // The count is not trusted: a list grows by what is really there.
        let count = d.array().map_err(wire)?.unwrap_or(0);
        (0..count).map(|_| T::read(d)).collect()
    }
}

impl Wire for (u64, u64) {
    fn write(&self, e: &mut Encoder<'_>) -> Written {
        e.array(2)?.u64(self.0)?.u64(self.1)?;
        Ok(())
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, ContractError> {
        expect_fields(d.array().map_err(wire)?, 2)?;
        Ok((u64::read(d)?, u64::read(d)?))
    }
}

/// `[version, [[name, unit, kind, width / null, resets normal]]]`; a gauge has no width and no resets.
impl Wire for SensorTable {
    fn write(&self, e: &mut Encoder<'_>) -> Written {
        e.array(2)?.u64(self.version())?.array(self.sensors().len() as u64)?;
        for sensor in self.sensors() {
            let (kind, width, resets) = match &sensor.kind {
                SensorKind::Gauge => (0, None, false),
                SensorKind::Counter { width, resets_normal } => (1, width.clone(), *resets_normal),
            };
            e.array(5)?.str(sensor.name.as_str())?.str(&sensor.unit)?.u8(kind)?;
            width.write(e)?;
            e.bool(resets)?;
        }
        Ok(())
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, ContractError> {
        expect_fields(d.array().map_err(wire)?, 2)?;
        let version = u64::read(d)?;
        let count = d.array().map_err(wire)?.unwrap_or(0);
        let mut sensors = Vec::new();
        for _ in 0..count {
            expect_fields(d.array().map_err(wire)?, 5)?;
            let (name, unit) = (SensorName::read(d)?, String::read(d)?);
            let kind = d.u8().map_err(wire)?;
            let (width, resets_normal) = (Option::read(d)?, bool::read(d)?);
            let kind = match (kind, &width, resets_normal) {
                (0, None, false) => SensorKind::Gauge,
                (1, _, _) => SensorKind::Counter { width, resets_normal },
                _ => return Err(ContractError::malformed("a sensor", "neither a gauge nor a counter")),
            };
            sensors.push(Sensor { name, unit, kind });
        }
        Ok(Self::new(version, sensors)?)
    }
}

/// Summaries travel in the form that devices sign: an array of maps, here wrapped in a byte string.
impl Wire for Summary {
    fn write(&self, e: &mut Encoder<'_>) -> Written {
        e.bytes(&summary::encode(std::slice::from_ref(self)))?;
        Ok(())
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, ContractError> {
        let mut one = summary::decode(d.bytes().map_err(wire)?)?;
        match (one.pop(), one.is_empty()) {
            (Some(summary), true) => Ok(summary),
            _ => Err(ContractError::malformed("a summary", "not one alone")),
        }
    }
}
