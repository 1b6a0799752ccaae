//! A device's part in confidential telemetry: the agreement in the registry, and the public data-proxy key in its folder.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use vitro_device::DeviceFolder;
use vitro_device::config::{DataProxyKey, DataProxyKeys};
use vitro_proof::{DataKeyId, DeviceId, PublicKey};

use crate::commands::data_key;
use crate::error::CliError;
use crate::files;
use crate::output;
use crate::session::Session;

/// Arguments of `device keys`.
#[derive(Debug, Args)]
pub struct KeysArgs {
    /// Folders of confidential devices
    #[arg(required = true, value_name = "FOLDER")]
    pub folders: Vec<PathBuf>,
}

/// Arguments of `device confidential`.
#[derive(Debug, Args)]
pub struct ConfidentialArgs {
    /// Thing name
    pub thing: DeviceId,
    /// Whether its telemetry is confidential by agreement
    #[arg(value_enum)]
    pub agreement: Agreement,
}

/// Whether telemetry is confidential by agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Agreement {
    /// It is: what comes in clear is refused
    On,
    /// It is not
    Off,
}

/// The content of a device's `data-proxy-keys.json`.
///
/// # Errors
/// [`CliError::Malformed`] if it cannot be written as JSON.
pub(super) fn file(key: &(DataKeyId, PublicKey)) -> Result<String, CliError> {
    let keys = DataProxyKeys { current: DataProxyKey { id: key.0.clone(), public_key: key.1 } };
    serde_json::to_string_pretty(&keys).map_err(|e| CliError::malformed("JSON", e))
}

/// Writes the current data-proxy key into devices' folders; a running agent takes it from there.
///
/// # Errors
/// [`CliError::Refused`] for a folder whose device is not confidential.
pub(super) async fn keys(args: &KeysArgs, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let key = data_key::current(session).await?;
    for folder in &args.folders {
        write_key(folder, &key)?;
        output::line(out, &format!("{} encrypts for {}", folder.display(), key.0))?;
    }
    Ok(())
}

fn write_key(folder: &Path, key: &(DataKeyId, PublicKey)) -> Result<(), CliError> {
    let known = DeviceFolder::open(folder).map_err(|e| CliError::malformed(folder.display().to_string(), e))?;
    let Some(confidential) = &known.config.confidential else {
        return Err(CliError::Refused(format!(
            "the telemetry of {} is not confidential: its device.toml has no [confidential]",
            known.config.thing
        )));
    };
    files::replace(&known.resolve(&confidential.keys), &file(key)?)
}

/// Changes the agreement in the registry; ingest follows within a minute.
///
/// # Errors
/// [`CliError::NotFound`] if the device is not registered.
pub(super) async fn agree(args: &ConfidentialArgs, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let device = session.device(&args.thing).await?;
    let confidential = args.agreement == Agreement::On;
    if device.confidential != confidential {
        session.devices().set_confidential(&args.thing, confidential).await?;
    }
    let how = if confidential { "encrypted only" } else { "in clear or encrypted" };
    output::line(out, &format!("telemetry of {} is taken {how}", args.thing))
}
