//! A sign of life's proof, from the archive.

use clap::Args;
use vitro_cloud::CloudError;
use vitro_cloud::archive::{Archive, alive_key};
use vitro_contract::{Hour, Record, Shard, SignOfLife};
use vitro_proof::{DeviceId, Leaf, merkle};

use super::MadeArgs;
use super::file::Evidence;
use crate::error::CliError;
use crate::instant::{parse_instant, show_seconds};
use crate::session::Session;

/// Arguments of `proof alive`.
#[derive(Debug, Args)]
pub struct AliveArgs {
    /// Thing name
    pub thing: DeviceId,
    /// An instant in the hour, RFC 3339
    #[arg(long, value_parser = parse_instant)]
    pub hour: i64,
    /// Where it goes.
    #[command(flatten)]
    pub made: MadeArgs,
}

/// Makes the proof from what was archived before it was said.
pub(super) async fn make(args: &AliveArgs, session: &Session) -> Result<Evidence, CliError> {
    let thing = &args.thing;
    let hour = Hour::holding(args.hour).map_err(|e| CliError::Usage(e.to_string()))?;
    let device = session.device(thing).await?;
    let shard: Shard = device.shard.parse().map_err(|e| CliError::malformed("the device's shard", e))?;
    let key = alive_key(shard.as_str(), hour.begin());
    let from = show_seconds(hour.begin());
    let missing = |what: &str| CliError::NotFound(format!("{what} of {shard} in the hour from {from}"));
    let (_, bytes) = match session.archive().await?.get_newest(&key).await {
        Err(CloudError::NotFound(_)) => return Err(missing("nothing was said")),
        found => found?,
    };
    let signs = Vec::<SignOfLife>::decode(&bytes).map_err(|e| CliError::malformed(&*key, e))?;
    let index = signs.binary_search_by(|sign| sign.thing.cmp(thing));
    let index = index.map_err(|_| missing(&format!("nothing was said of {thing} among the devices")))?;
    let leaves: Vec<Leaf> = signs.iter().map(SignOfLife::leaf).collect();
    let path = merkle::inclusion_proof(&leaves, index).unwrap_or_default();
    let sign = signs.into_iter().nth(index).ok_or_else(|| missing("nothing was said"))?;
    Ok(Evidence::Alive { shard, hour, sign, index: index as u64, path })
}
