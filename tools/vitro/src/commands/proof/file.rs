//! A proof as it lies in a file: everything that the contract needs, and nothing that has to be believed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vitro_contract::{AliveInclusion, Hour, Inclusion, Path, Shard, SignOfLife};
use vitro_proof::{DeviceId, Hash, LocalDay};

use crate::error::CliError;
use crate::party::AnyClient;

/// A proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Evidence {
    /// A reading, as it was sent, in a block.
    Reading {
        /// The device.
        thing: DeviceId,
        /// The number of the block; nothing if the day's is meant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block: Option<u64>,
        /// The day whose daily block is meant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        day: Option<LocalDay>,
        /// The signed envelope.
        #[serde(with = "base64_bytes")]
        envelope: Vec<u8>,
        /// The siblings from the leaf up.
        path: Vec<Hash>,
    },
    /// What was said of a device in a shard's hour.
    Alive {
        /// The shard.
        shard: Shard,
        /// The Unix second with which the hour begins.
        hour: Hour,
        /// What was said.
        sign: SignOfLife,
        /// The device's place among the shard's, from 0.
        index: u64,
        /// The siblings from the leaf up.
        path: Vec<Hash>,
    },
}

/// What the ledger says of a proof that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Found {
    /// Of a reading.
    Reading(Box<Inclusion>),
    /// Of a sign of life.
    Alive(Box<AliveInclusion>),
}

impl Evidence {
    /// Holds it against the ledger.
    ///
    /// # Errors
    /// The contract's refusal, if it proves nothing.
    pub(super) async fn check(&self, client: &AnyClient) -> Result<Found, CliError> {
        match self {
            Self::Reading { thing, block, day, envelope, path } => {
                let path = Path { siblings: path.clone() };
                let inclusion = match (block, day) {
                    (Some(block), None) => client.verify_in_block(thing, *block, envelope, &path).await?,
                    (None, Some(day)) => client.verify_inclusion(thing, *day, envelope, &path).await?,
                    _ => return Err(CliError::malformed("a proof", "it names a block or a day, and not both")),
                };
                Ok(Found::Reading(Box::new(inclusion)))
            }
            Self::Alive { shard, hour, sign, index, path } => {
                let path = Path { siblings: path.clone() };
                let inclusion = client.verify_alive(shard, *hour, sign, *index, &path).await?;
                Ok(Found::Alive(Box::new(inclusion)))
            }
        }
    }
}

mod base64_bytes {
    use super::{Deserialize, Deserializer, Engine, STANDARD, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}
