//! The system chaincode that answers for the channel's configuration.

use prost::Message;

use crate::chain::Chain;
use crate::chaincode::{Answer, Refusal};

/// Its name.
pub(crate) const NAME: &str = "cscc";

/// Answers `GetConfigBlock` of the channel: its newest configuration block.
///
/// # Errors
/// [`Refusal`] of status 500, as Fabric's.
pub(crate) fn answer(chain: &Chain, function: &str, args: &[Vec<u8>]) -> Result<Answer, Refusal> {
    let refuse = |message: String| Refusal { status: 500, message };
    if function != "GetConfigBlock" {
        return Err(refuse(format!("Requested function {function} not found.")));
    }
    let channel = args.first().map(|name| String::from_utf8_lossy(name)).unwrap_or_default();
    if channel != chain.channel() {
        return Err(refuse(format!("Unknown chain ID, {channel}")));
    }
    let block = chain.config_block().map_err(|error| refuse(error.to_string()))?;
    let block = block.ok_or_else(|| refuse("the channel has no configuration".into()))?;
    Ok(Answer { payload: block.encode_to_vec(), event: None })
}
