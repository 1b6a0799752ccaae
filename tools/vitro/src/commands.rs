//! The commands, one module a subject.

pub mod ca;
pub mod command_key;
pub mod data_key;
pub mod days;
pub mod device;
pub mod ledger;
pub mod manifest;
pub mod proof;
pub mod quarantine;
pub mod readings;
pub mod trust;

use std::io::Write;

use vitro_cloud::clock::{Clock, SystemClock};

use crate::cli::{Cli, Command};
use crate::error::CliError;
use crate::session::Session;

/// Runs a command.
///
/// # Errors
/// [`CliError`] says what went wrong and whether trying again helps.
pub async fn run(cli: Cli, out: &mut dyn Write) -> Result<(), CliError> {
    let now = SystemClock.now().seconds();
    let Cli { global, command } = cli;
    match command {
        Command::Ca(command) => ca::run(command, &global, now, out).await,
        Command::Device(command) => device::run(command, &global, now, out).await,
        Command::Trust(command) => trust::run(&command, &Session::open(&global).await?, now, out).await,
        Command::Manifest(command) => manifest::run(&command, &Session::open(&global).await?, now, out).await,
        Command::Readings(args) => readings::run(&args, &Session::open(&global).await?, out).await,
        Command::Days(args) => days::list(&args, &Session::open(&global).await?, out).await,
        Command::Day(args) => days::show(&args, &Session::open(&global).await?, out).await,
        Command::Republish(args) => days::republish(&args, &Session::open(&global).await?, out).await,
        Command::Quarantine(command) => quarantine::run(&command, &Session::open(&global).await?, out).await,
        Command::Proof(command) => proof::run(command, &Session::open(&global).await?, out).await,
        Command::Ledger(args) => ledger::run(args, &global, now, out).await,
        Command::CommandKey(command) => command_key::run(&command, &global, out).await,
        Command::DataKey(command) => data_key::run(&command, &Session::open(&global).await?, out).await,
    }
}
