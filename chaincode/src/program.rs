//! The program: finds the way in which it is run, and runs.

use std::process::ExitCode;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::Level;

use crate::contract::{MAX_CONCURRENT_CALLS, VitroChaincode};
use crate::error::ChaincodeError;
use crate::peer::join;
use crate::service::serve;
use crate::settings::Way;

/// Runs a chaincode in the way that environment and arguments tell, until it is told to stop or its peer ends the stream. Logs to standard error.
#[must_use]
pub fn run(chaincode: VitroChaincode) -> ExitCode {
    let level = std::env::var("VITRO_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(Level::INFO);
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_max_level(level).init();
    match find_and_run(chaincode) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(retryable = error.retryable(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn find_and_run(chaincode: VitroChaincode) -> Result<(), ChaincodeError> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let way = Way::find(&arguments, |name| std::env::var(name).ok(), |path| std::fs::read_to_string(path))?;
    // Beyond the calls' own threads, a few for looking up names.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(MAX_CONCURRENT_CALLS + 4)
        .enable_all()
        .build()
        .map_err(|error| ChaincodeError::Stopped(error.to_string()))?;
    let ended = runtime.block_on(async {
        let stop = stopped()?;
        let version = env!("CARGO_PKG_VERSION");
        match way {
            Way::Service(settings) => {
                let address = settings.address.clone();
                let fault = |error: std::io::Error| ChaincodeError::Listen { address, detail: error.to_string() };
                let listener = TcpListener::bind(&settings.address).await.map_err(fault)?;
                let tls = settings.tls.as_ref();
                tracing::info!(version, settings.address, tls = tls.is_some(), settings.chaincode_id, "serving");
                serve(&settings.chaincode_id, chaincode, listener, tls, stop).await
            }
            Way::Peer(settings) => {
                let tls = settings.tls.is_some();
                tracing::info!(version, settings.address, tls, settings.chaincode_id, "joining the peer");
                join(&settings, chaincode, stop).await
            }
        }
    });
    // A call that was broken off may compute on: nobody waits for its thread.
    runtime.shutdown_background();
    ended
}

/// Ends with SIGTERM or SIGINT. Both are taken over before anything is served.
fn stopped() -> Result<impl Future<Output = ()>, ChaincodeError> {
    let on = |kind| signal(kind).map_err(|error| ChaincodeError::Stopped(error.to_string()));
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    })
}
