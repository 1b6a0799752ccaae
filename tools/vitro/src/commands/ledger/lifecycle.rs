//! `vitro ledger lifecycle`: the chaincode's way onto a channel, step by step, each organization by its own admin.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use vitro_client::{Client, ClientError};
use vitro_ledger::lifecycle::{Definition, InForce, Installed};
use vitro_ledger::{Committed, Ledger};

use super::Screen;
use crate::error::CliError;
use crate::output;

/// A step of the chaincode's way onto a channel.
#[derive(Debug, Subcommand)]
pub enum LifecycleCommand {
    /// Install a package at the organization's own peers (admin); `make chaincode` makes the packages
    Install {
        /// The package, a .tar.gz
        package: PathBuf,
    },
    /// List what is installed at the organization's own peers (admin)
    Installed,
    /// Approve a definition for the organization (admin), with the endorsement policy that the profile's plan needs
    Approve(ApproveArgs),
    /// Show which organizations have approved a definition
    Readiness(DefinitionArgs),
    /// Put a definition in force, once most organizations approved it (whoever may write to the channel)
    Commit(DefinitionArgs),
    /// Show the definition that is in force
    Show,
}

/// What the organizations agree on; its endorsement policy is the profile's plan.
#[derive(Clone, Debug, Args)]
pub struct DefinitionArgs {
    /// 1 for the chaincode's first definition on the channel, then one more each time
    #[arg(long)]
    pub sequence: u32,
    /// The chaincode's version in words, such as 0.1.0
    #[arg(long, value_name = "VERSION")]
    pub chaincode_version: String,
}

impl From<DefinitionArgs> for Definition {
    fn from(args: DefinitionArgs) -> Self {
        Self { sequence: args.sequence, version: args.chaincode_version }
    }
}

/// Arguments of `lifecycle approve`.
#[derive(Clone, Debug, Args)]
pub struct ApproveArgs {
    /// What is approved.
    #[command(flatten)]
    pub definition: DefinitionArgs,
    /// The package that the organization's own peers run: `label:sha256`, as `installed` lists it
    #[arg(long, value_name = "ID", required_unless_present = "no_package")]
    pub package_id: Option<String>,
    /// The organization's peers run none: they endorse nothing
    #[arg(long, conflicts_with = "package_id")]
    pub no_package: bool,
}

/// Who approved a definition. The policy is part of it: whose profile has another plan approved something else.
#[derive(Serialize)]
struct Readiness {
    policy: String,
    approvals: BTreeMap<String, bool>,
}

/// A step that is in the chain.
#[derive(Serialize)]
struct Step<'a> {
    chaincode: &'a str,
    sequence: u32,
    version: String,
    policy: String,
    transaction: String,
    block: u64,
}

/// Does a step.
///
/// # Errors
/// [`CliError`].
pub(super) async fn run(
    command: LifecycleCommand,
    client: &Client<Ledger>,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let ledger = client.channel();
    match command {
        LifecycleCommand::Install { package } => {
            let bytes = std::fs::read(&package).map_err(|error| CliError::file(&package, error))?;
            let installed = ledger.install(&bytes).await.map_err(ClientError::from)?;
            screen.show(&installed, |out, installed| show_installed(out, installed.iter()))
        }
        LifecycleCommand::Installed => {
            let installed = ledger.installed().await.map_err(ClientError::from)?;
            screen.show(&installed, |out, installed| show_installed(out, installed.iter()))
        }
        LifecycleCommand::Approve(args) => {
            let definition = args.definition.into();
            let done = ledger.approve_definition(&definition, args.package_id.as_deref()).await;
            step(ledger, &definition, done.map_err(ClientError::from)?, screen)
        }
        LifecycleCommand::Readiness(args) => {
            let approvals = ledger.readiness(&args.into()).await.map_err(ClientError::from)?;
            let readiness = Readiness { policy: ledger.policy_in_words(), approvals };
            screen.show(&readiness, |out, Readiness { policy, approvals }| {
                output::line(out, &format!("policy  {policy}"))?;
                let rows: Vec<Vec<String>> =
                    approvals.iter().map(|(msp, yes)| vec![msp.clone(), said(*yes).to_owned()]).collect();
                output::table(out, &["ORGANIZATION", "APPROVED"], &rows)
            })
        }
        LifecycleCommand::Commit(args) => {
            let definition = args.into();
            let done = ledger.commit_definition(&definition).await.map_err(ClientError::from)?;
            step(ledger, &definition, done, screen)
        }
        LifecycleCommand::Show => {
            let found = ledger.definition().await.map_err(ClientError::from)?;
            screen.show(&found, |out, InForce { sequence, version, policy, approvals }| {
                output::line(out, &format!("version   {version}, sequence {sequence}"))?;
                output::line(out, &format!("policy    {policy}"))?;
                let by: Vec<&str> = approvals.iter().filter(|(_, yes)| **yes).map(|(msp, _)| msp.as_str()).collect();
                output::line(out, &format!("approved  {}", by.join(", ")))
            })
        }
    }
}

fn said(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn show_installed<'a>(
    out: &mut dyn std::io::Write,
    installed: impl Iterator<Item = &'a Installed>,
) -> Result<(), CliError> {
    let rows: Vec<Vec<String>> = installed.map(|one| vec![one.peer.clone(), one.package_id.clone()]).collect();
    output::table(out, &["PEER", "PACKAGE"], &rows)
}

fn step(ledger: &Ledger, definition: &Definition, done: Committed, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let step = Step {
        chaincode: ledger.chaincode(),
        sequence: definition.sequence,
        version: definition.version.clone(),
        policy: ledger.policy_in_words(),
        transaction: done.tx_id,
        block: done.block_number,
    };
    screen.show(&step, |out, step| {
        output::line(out, &format!("chaincode    {} {}, sequence {}", step.chaincode, step.version, step.sequence))?;
        output::line(out, &format!("policy       {}", step.policy))?;
        output::line(out, &format!("transaction  {} in block {}", step.transaction, step.block))
    })
}
