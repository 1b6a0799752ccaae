//! A channel's configuration in words, from its newest configuration block.

use std::collections::BTreeMap;

use prost::Message;
use serde::Serialize;

use crate::proto::common::{Block, ChannelHeader, Envelope, HeaderType, Payload};
use crate::proto::configuration::{
    BatchSize, BatchTimeout, ConfigEnvelope, ConfigGroup, ConsensusType, FabricMspConfig, MspConfig,
};

/// What a channel is configured to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChannelConfig {
    /// The block that it stands in.
    pub block: u64,
    /// Goes up with every change.
    pub sequence: u64,
    /// The MSP ids of the organizations with peers.
    pub organizations: Vec<String>,
    /// The MSP ids of the orderers' organizations.
    pub orderers: Vec<String>,
    /// How the orderers agree.
    pub consensus: String,
    /// BatchTimeout, as Go writes a duration: how long after its first transaction a block is cut.
    pub batch_timeout: String,
    /// BatchSize.
    pub batch_size: BatchLimits,
}

/// When a block is cut before its timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BatchLimits {
    /// MaxMessageCount: transactions at most.
    pub max_message_count: u32,
    /// AbsoluteMaxBytes: a larger transaction is refused.
    pub absolute_max_bytes: u32,
    /// PreferredMaxBytes: a block grows beyond it by a single larger transaction alone.
    pub preferred_max_bytes: u32,
}

impl ChannelConfig {
    /// Reads a configuration block.
    ///
    /// # Errors
    /// What is missing, or cannot be read.
    pub fn read(block: &Block) -> Result<Self, String> {
        let number = block.header.as_ref().map(|header| header.number).unwrap_or_default();
        let config = config_of(block)?.config.ok_or("it holds no configuration")?;
        let channel = config.channel_group.ok_or("it holds no channel group")?;
        let orderer = channel.groups.get("Orderer").ok_or("it names no orderer")?;
        let application = channel.groups.get("Application").ok_or("it names no organizations")?;
        let size: BatchSize = value(orderer, "BatchSize")?;
        Ok(Self {
            block: number,
            sequence: config.sequence,
            organizations: msp_ids(&application.groups)?,
            orderers: msp_ids(&orderer.groups)?,
            consensus: value::<ConsensusType>(orderer, "ConsensusType")?.r#type,
            batch_timeout: value::<BatchTimeout>(orderer, "BatchTimeout")?.timeout,
            batch_size: BatchLimits {
                max_message_count: size.max_message_count,
                absolute_max_bytes: size.absolute_max_bytes,
                preferred_max_bytes: size.preferred_max_bytes,
            },
        })
    }
}

/// The configuration transaction of a block.
///
/// # Errors
/// What is missing, or cannot be read.
pub fn config_of(block: &Block) -> Result<ConfigEnvelope, String> {
    let envelope = block.data.as_ref().and_then(|data| data.data.first()).ok_or("the block is empty")?;
    let payload = Envelope::decode(&envelope[..]).and_then(|envelope| Payload::decode(&envelope.payload[..]));
    let payload = payload.map_err(|error| error.to_string())?;
    let header = payload.header.unwrap_or_default();
    let header = ChannelHeader::decode(&header.channel_header[..]).map_err(|error| error.to_string())?;
    if header.r#type != HeaderType::Config as i32 {
        return Err("it is no configuration block".into());
    }
    ConfigEnvelope::decode(&payload.data[..]).map_err(|error| error.to_string())
}

fn value<M: Message + Default>(group: &ConfigGroup, name: &str) -> Result<M, String> {
    let value = group.values.get(name).ok_or_else(|| format!("it has no {name}"))?;
    M::decode(&value.value[..]).map_err(|error| format!("its {name}: {error}"))
}

/// An organization's name in the tree is not its MSP id, though mostly the same.
fn msp_ids(groups: &BTreeMap<String, ConfigGroup>) -> Result<Vec<String>, String> {
    let id = |group: &ConfigGroup| {
        let msp: MspConfig = value(group, "MSP")?;
        FabricMspConfig::decode(&msp.config[..]).map(|msp| msp.name).map_err(|error| format!("its MSP: {error}"))
    };
    groups.values().map(id).collect()
}
