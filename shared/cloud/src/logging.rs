//! Logs: one JSON line an event on standard output. Nobody logs message bytes or secrets.

use tracing_subscriber::EnvFilter;

/// Sets up logging for this process; a second call changes nothing. `VITRO_LOG` holds a filter as `tracing-subscriber` reads it,
/// for example `info,vitro_ingest=debug`; the default is `info`.
pub fn init() {
    let filter = EnvFilter::try_from_env("VITRO_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let set = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_target(true).try_init();
    if set.is_err() {
        tracing::debug!("logging was set up before");
    }
}
