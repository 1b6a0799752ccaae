//! A reading's proof, from the time series.

use clap::Args;
use vitro_cloud::sources;
use vitro_proof::crypto::P256Key;
use vitro_proof::{BlockMessage, DeviceId, Leaf, LocalDay, merkle};

use super::MadeArgs;
use super::file::Evidence;
use crate::error::CliError;
use crate::party::AnyClient;
use crate::session::Session;

/// Arguments of `proof reading`.
#[derive(Debug, Args)]
pub struct ReadingArgs {
    /// Thing name
    pub thing: DeviceId,
    /// The reading's sequence number
    pub number: u64,
    /// The number of the block that it is to be part of, such as an interim one
    #[arg(long, value_name = "NUMBER", conflicts_with = "day", required_unless_present = "day")]
    pub block: Option<u64>,
    /// The local day in whose daily block it is to be, YYYY-MM-DD
    #[arg(long)]
    pub day: Option<LocalDay>,
    /// Where it goes.
    #[command(flatten)]
    pub made: MadeArgs,
}

/// Makes the proof: the block is read from the ledger, the envelopes of its run from the time series.
pub(super) async fn make(args: &ReadingArgs, session: &Session, client: &AnyClient) -> Result<Evidence, CliError> {
    let thing = &args.thing;
    let (message, number) = match (args.block, args.day) {
        (Some(number), _) => (Some(client.block(thing, number).await?.message), number.to_string()),
        (None, Some(day)) => (client.day(thing, day).await?.message, day.to_string()),
        // The command line has asked for one of the two.
        (None, None) => return Err(CliError::Usage("name a block or a day".into())),
    };
    let message = message.ok_or_else(|| CliError::NotFound(format!("the ledger has no block of {thing} {number}")))?;
    let what = || format!("the ledger's block {number} of {thing}");
    let key =
        P256Key::new(&client.device(thing).await?.entry.public_key).map_err(|e| CliError::malformed(what(), e))?;
    let message = BlockMessage::decode(&message.0).map_err(|e| CliError::malformed(what(), e))?;
    let block = message.open(thing, &key).map_err(|e| CliError::malformed(what(), e))?.block;
    let index = args.number.checked_sub(block.first).filter(|index| *index < block.count);
    let index = index.and_then(|index| usize::try_from(index).ok()).ok_or_else(|| {
        CliError::NotFound(format!("{} holds the numbers {} to {}", what(), block.first, block.end().saturating_sub(1)))
    })?;
    let readings = sources::run(&session.readings(), thing, block.first, block.count).await?;
    let mut leaves: Vec<Leaf> = Vec::with_capacity(readings.len());
    let mut envelope = None;
    // Where several envelopes have one number, the first received is what blocks are mostly over.
    for of_number in readings.chunk_by(|a, b| a.number() == b.number()) {
        let first = &of_number[0];
        if first.number().0 == args.number {
            envelope = Some(first.envelope.clone());
        }
        leaves.push(first.parse()?.leaf());
    }
    let whole = leaves.len() as u64 == block.count && merkle::root(&leaves) == block.root;
    match (envelope, merkle::inclusion_proof(&leaves, index)) {
        (Some(envelope), Some(path)) if whole => {
            Ok(Evidence::Reading { thing: thing.clone(), block: args.block, day: args.day, envelope, path })
        }
        _ => Err(CliError::NotFound(format!(
            "the time series does not give the root of {}: {} of its {} envelopes are there",
            what(),
            leaves.len(),
            block.count
        ))),
    }
}
