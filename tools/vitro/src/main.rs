//! The `vitro` command line.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    vitro::run(vitro::Cli::parse())
}
