//! `vitro command-key`: the keys that commands to devices are signed with. They lie in KMS, which never gives a private key away, and
//! are known by two aliases: the key in use, and the one that follows it. Devices take commands of both. A key in a file serves
//! development, and commands that are carried by hand.

mod kms;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use vitro_device::config::{CommandKey, CommandKeys, DeviceFolder};
use vitro_proof::command::key_id;
use vitro_proof::crypto::SoftwareSigner;
use vitro_proof::{PublicKey, Signer};

use crate::cli::Global;
use crate::error::CliError;
use crate::session::Session;
use crate::{files, output, pki};

/// What to do with the command keys.
#[derive(Debug, Subcommand)]
pub enum CommandKeyCommand {
    /// Make the key in use and the next one, in KMS; keys that are there stay
    New(KeyArgs),
    /// Show the public keys
    Show(KeyArgs),
    /// Sign with the next key from now on, and make a new next one; the old key is disabled in KMS
    Rotate(RotateArgs),
    /// Write the public keys into the folders of devices
    Install(InstallArgs),
}

/// Which keys are meant, and how they are shown.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// One key in this file instead of KMS: for development, and for commands that are carried by hand
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `command-key rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `command-key install`.
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Folders of devices, as `device new` makes them
    #[arg(required = true, value_name = "FOLDER")]
    pub folders: Vec<PathBuf>,
    /// The key in this file instead of those in KMS
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Runs a command on the command keys.
///
/// # Errors
/// [`CliError`].
pub async fn run(command: &CommandKeyCommand, global: &Global, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        CommandKeyCommand::New(args) => {
            let keys = match &args.file {
                Some(file) => new_in_file(file)?,
                None => kms::create(&Session::open(global).await?).await?,
            };
            show(&keys, args.json, out)
        }
        CommandKeyCommand::Show(args) => show(&keys_of(args.file.as_deref(), global).await?, args.json, out),
        CommandKeyCommand::Rotate(args) => show(&kms::rotate(&Session::open(global).await?).await?, args.json, out),
        CommandKeyCommand::Install(args) => {
            let keys = keys_of(args.file.as_deref(), global).await?;
            for folder in &args.folders {
                install(folder, &keys)?;
                output::line(out, &format!("{}  takes commands of {}", folder.display(), names(&keys)))?;
            }
            Ok(())
        }
    }
}

/// The public command keys of an installation.
///
/// # Errors
/// [`CliError::NotFound`] if there are none yet.
pub async fn public_keys(session: &Session) -> Result<CommandKeys, CliError> {
    kms::keys(session).await
}

/// A command key from a file.
///
/// # Errors
/// [`CliError::Refused`] if others can read the file, [`CliError::Proof`] if it holds no key of P-256.
pub fn read_signer(file: &Path) -> Result<SoftwareSigner, CliError> {
    Ok(SoftwareSigner::from_pkcs8_pem(&files::read_secret(file)?)?)
}

/// Public command keys in a file, as `command-key show --json` prints them.
///
/// # Errors
/// [`CliError::File`]; [`CliError::Malformed`] if it holds none, or an id is another key's.
pub fn read(path: &Path) -> Result<CommandKeys, CliError> {
    let what = || path.display().to_string();
    let keys: CommandKeys = serde_json::from_str(&files::read(path)?).map_err(|e| CliError::malformed(what(), e))?;
    if std::iter::once(&keys.current).chain(&keys.next).any(|key| *key != named(key.public_key)) {
        return Err(CliError::malformed(what(), "an id is another key's"));
    }
    Ok(keys)
}

async fn keys_of(file: Option<&Path>, global: &Global) -> Result<CommandKeys, CliError> {
    match file {
        Some(file) => Ok(CommandKeys { current: named(read_signer(file)?.public_key()), next: None }),
        None => public_keys(&Session::open(global).await?).await,
    }
}

fn new_in_file(file: &Path) -> Result<CommandKeys, CliError> {
    let key = pki::new_key()?;
    files::write_secret(file, &pki::key_pem(&key))?;
    Ok(CommandKeys { current: named(pki::public_key(&key)?), next: None })
}

fn install(folder: &Path, keys: &CommandKeys) -> Result<(), CliError> {
    let malformed = |e: vitro_device::DeviceError| CliError::malformed(folder.display().to_string(), e);
    let device = DeviceFolder::open(folder).map_err(malformed)?;
    let text = serde_json::to_string_pretty(keys).map_err(|e| CliError::malformed("JSON", e))?;
    files::replace(&folder.join(&device.config.command_keys), &text)?;
    device.command_keys().map(|_| ()).map_err(malformed)
}

pub(crate) fn named(public_key: PublicKey) -> CommandKey {
    CommandKey { id: key_id(&public_key), public_key }
}

fn names(keys: &CommandKeys) -> String {
    let next = keys.next.as_ref().map(|next| format!(" and {}", next.id)).unwrap_or_default();
    format!("{}{next}", keys.current.id)
}

fn show(keys: &CommandKeys, json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    if json {
        return output::json(out, keys);
    }
    for (name, key) in [("current", Some(&keys.current)), ("next", keys.next.as_ref())] {
        if let Some(key) = key {
            output::line(out, &format!("{name:<8} {}  {}", key.id, key.public_key))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_a_file_is_its_owners_alone_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("command.key.pem");
        let made = new_in_file(&file).unwrap();
        let read = read_signer(&file).unwrap();
        assert_eq!((made.current, made.next), (named(read.public_key()), None));
        assert!(matches!(new_in_file(&file), Err(CliError::File { .. })));
    }

    #[test]
    fn keys_are_shown_as_a_device_reads_them() {
        let key = |scalar| named(SoftwareSigner::from_scalar(&[scalar; 32]).unwrap().public_key());
        let keys = CommandKeys { current: key(1), next: Some(key(2)) };
        let mut out = Vec::new();
        show(&keys, true, &mut out).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.json");
        std::fs::write(&file, &out).unwrap();
        assert_eq!(read(&file).unwrap(), keys);
        let swapped = String::from_utf8(out).unwrap().replace(&keys.current.id, "0123456789abcdef");
        std::fs::write(&file, swapped).unwrap();
        assert!(matches!(read(&file), Err(CliError::Malformed { .. })));
        let mut out = Vec::new();
        show(&keys, false, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with(&format!("current  {}  04", keys.current.id)), "{text}");
    }
}
