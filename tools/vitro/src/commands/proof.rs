//! `vitro proof`: evidence that a single statement is part of what the ledger holds, in a file that whoever doubts it can hold against the
//! ledger himself.

mod alive;
mod file;
mod reading;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::error::CliError;
use crate::instant::show_seconds;
use crate::output;
use crate::party::{AnyClient, PartyArgs};
use crate::session::Session;

use file::{Evidence, Found};

/// What to prove, or to check.
#[derive(Debug, Subcommand)]
pub enum ProofCommand {
    /// Prove that a reading is part of a block on the ledger (operator: from the time series)
    Reading(reading::ReadingArgs),
    /// Prove what was said of a device in an hour (operator: from the archive)
    Alive(alive::AliveArgs),
    /// Hold a proof that somebody else made against the ledger
    Check(CheckArgs),
}

/// Where a proof goes, and as whom the ledger is asked.
#[derive(Debug, Args)]
pub struct MadeArgs {
    /// Write the proof to this file, for somebody else to check
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// As whom to ask the ledger.
    #[command(flatten)]
    pub party: PartyArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `proof check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The proof
    pub file: PathBuf,
    /// As whom to ask the ledger.
    #[command(flatten)]
    pub party: PartyArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs a command on proofs.
///
/// # Errors
/// [`CliError`], among them the contract's refusal ([`CliError::Ledger`]) of what is not part of what the ledger holds.
pub async fn run(command: ProofCommand, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        ProofCommand::Reading(args) => {
            let (client, _) = args.made.party.client(session)?;
            let evidence = reading::make(&args, session, &client).await?;
            made(&evidence, &args.made, &client, out).await
        }
        ProofCommand::Alive(args) => {
            let (client, _) = args.made.party.client(session)?;
            let evidence = alive::make(&args, session).await?;
            made(&evidence, &args.made, &client, out).await
        }
        ProofCommand::Check(args) => {
            let (client, _) = args.party.client(session)?;
            let text = std::fs::read_to_string(&args.file).map_err(|e| CliError::file(&args.file, e))?;
            let what = || args.file.display().to_string();
            let evidence: Evidence = serde_json::from_str(&text).map_err(|e| CliError::malformed(what(), e))?;
            show(&evidence.check(&client).await?, args.json, out)
        }
    }
}

/// Has the ledger check a proof before it goes anywhere.
async fn made(evidence: &Evidence, args: &MadeArgs, client: &AnyClient, out: &mut dyn Write) -> Result<(), CliError> {
    let found = evidence.check(client).await?;
    if let Some(file) = &args.out {
        let text = serde_json::to_string_pretty(evidence).map_err(|e| CliError::malformed("a proof", e))?;
        std::fs::write(file, text + "\n").map_err(|e| CliError::file(file, e))?;
    }
    show(&found, args.json, out)
}

fn show(found: &Found, json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    if json {
        return output::json(out, found);
    }
    match found {
        Found::Reading(inclusion) => {
            let block = &inclusion.block;
            output::line(out, &format!("proven       reading {} of {}", inclusion.number, inclusion.thing))?;
            output::line(out, &format!("block        {} {}", block.number, block.hash))?;
            output::line(out, &format!("transaction  {}", block.tx))?;
            output::line(out, &format!("day          {} ({})", inclusion.day, inclusion.outcome))
        }
        Found::Alive(inclusion) => {
            let (sign, said) = (&inclusion.sign, &inclusion.hour);
            let (hour, word) = (&said.alive, if sign.alive { "alive" } else { "silent" });
            let (from, to) = (show_seconds(hour.hour.begin()), show_seconds(hour.hour.end()));
            let heard = sign.heard.map_or_else(|| "never".to_owned(), |at| show_seconds(at.div_euclid(1000)));
            let number = sign.number.map_or_else(|| "-".to_owned(), |number| number.to_string());
            output::line(out, &format!("proven       {} was {word}, {from} to {to}", sign.thing))?;
            output::line(out, &format!("heard        {heard}, number {number}"))?;
            for last in &sign.values {
                let value = last.value.as_ref().map_or_else(|| "missing".to_owned(), ToString::to_string);
                output::line(out, &format!("value        {} {value} {}", last.sensor, last.unit))?;
            }
            let (alive, silent, shard) = (hour.alive, hour.silent, &hour.shard);
            output::line(out, &format!("hour         {shard}: {alive} alive, {silent} silent, root {}", hour.root))?;
            output::line(out, &format!("transaction  {} at {}", said.tx, show_seconds(said.time)))
        }
    }
}
