//! `vitro-devledger`: starts the ledger with Vitro's contract and serves until it is told to stop.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use vitro_devledger::{DevledgerError, Options, VitroContract, connection_profile, start};

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(retryable = error.retryable(), "{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), DevledgerError> {
    if let Some(organization) = &options.print_connection_profile {
        let profile = connection_profile(&options.data_dir, organization)?;
        return std::io::stdout().write_all(profile.as_bytes()).map_err(|e| DevledgerError::Server(e.to_string()));
    }
    let signals = |kind| signal(kind).map_err(|error| DevledgerError::Server(error.to_string()));
    let mut terminate = signals(SignalKind::terminate())?;
    let mut interrupt = signals(SignalKind::interrupt())?;
    let mut running = start(&options, Arc::new(VitroContract)).await?;
    let height = running.chain().height();
    tracing::info!(orderer = %running.addresses.orderer, height, "the ledger serves");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        error = running.failed() => return Err(error),
    }
    tracing::info!("the ledger stops");
    running.shutdown().await
}
