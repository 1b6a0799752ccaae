//! The operator's command line: authorities, devices, keys, and looking at what was stored, refused and agreed on.
//!
//! Each command is a function of its arguments, a [`session::Session`] with AWS or a ledger, and a writer. Nothing here decides what
//! is valid: formats and rules are those of `vitro-proof` and `vitro-contract`. `docs/cli.md` shows the commands.
#![forbid(unsafe_code)]

pub mod authority;
pub mod cli;
pub mod commands;
pub mod error;
pub mod fabric_ca;
pub mod files;
pub mod identity;
pub mod instant;
pub mod managed_blockchain;
pub mod network;
pub mod output;
pub mod party;
pub mod pem_source;
pub mod pki;
pub mod secret_source;
pub mod session;
pub mod transport;

use std::io::{self, Write};
use std::process::ExitCode;

pub use cli::Cli;
pub use error::CliError;

/// What a shell says of a program that SIGPIPE ended: not everything was said, which may have been a fault.
const CLOSED_OUTPUT: u8 = 128 + 13;

/// Runs a parsed command line: results to standard output, one line for an error to standard error. A reader of standard output
/// that has read enough, such as `head`, ends it quietly.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let mut out = io::stdout().lock();
    let result = vitro_cloud::aws::block_on(commands::run(cli, &mut out))
        .map_err(|e| CliError::file(std::path::Path::new("event queue"), e))
        .flatten()
        .and_then(|()| out.flush().map_err(CliError::Output));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_output() => ExitCode::from(CLOSED_OUTPUT),
        Err(error) => {
            // A closed standard error leaves nothing to tell anybody.
            let _ = writeln!(io::stderr(), "vitro: {}", vitro_cloud::batch::chain(&error));
            ExitCode::from(error.exit_code())
        }
    }
}
