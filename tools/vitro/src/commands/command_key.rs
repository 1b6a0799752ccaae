//! `vitro command-key`: the key that commands to devices are signed with. The private key lies in Secrets Manager alone; its public
//! key stands beside it in the secret's tags, so that whoever provisions devices needs no right to read the secret.

use std::io::Write;
use std::path::Path;

use aws_sdk_secretsmanager::types::Tag;
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use vitro_proof::PublicKey;
use vitro_proof::command::key_id;
use zeroize::Zeroizing;

use crate::error::CliError;
use crate::files;
use crate::output;
use crate::pki;
use crate::session::Session;

/// The tag that holds the public key, in hex.
const PUBLIC_KEY_TAG: &str = "vitro:public-key";

/// What to do with the command key.
#[derive(Debug, Subcommand)]
pub enum CommandKeyCommand {
    /// Make a P-256 key and store it in Secrets Manager; an existing key is never replaced
    New(CommandKeyArgs),
    /// Show the public key
    Show(CommandKeyArgs),
}

/// Arguments of both.
#[derive(Debug, Args)]
pub struct CommandKeyArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The public part of the command key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicCommandKey {
    /// Its id, the `kid` of commands.
    pub id: String,
    /// The point, SEC1 uncompressed, in hex.
    pub public_key: PublicKey,
}

impl PublicCommandKey {
    fn of(public_key: PublicKey) -> Self {
        Self { id: key_id(&public_key), public_key }
    }
}

/// Runs `command-key new` or `command-key show`.
///
/// # Errors
/// [`CliError`].
pub async fn run(command: &CommandKeyCommand, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let (key, args) = match command {
        CommandKeyCommand::New(args) => (create(session).await?, args),
        CommandKeyCommand::Show(args) => (public_key(session).await?, args),
    };
    if args.json {
        return output::json(out, &key);
    }
    output::line(out, &format!("id          {}", key.id))?;
    output::line(out, &format!("public key  {}", key.public_key))
}

/// A public command key in a file, as `command-key show --json` prints it.
///
/// # Errors
/// [`CliError::File`]; [`CliError::Malformed`] if it is none, or its id is another key's.
pub fn read(path: &Path) -> Result<PublicCommandKey, CliError> {
    let what = || path.display().to_string();
    let key: PublicCommandKey =
        serde_json::from_str(&files::read(path)?).map_err(|e| CliError::malformed(what(), e))?;
    if key != PublicCommandKey::of(key.public_key) {
        return Err(CliError::malformed(what(), "the id is not this key's"));
    }
    Ok(key)
}

/// The public command key of an installation, from the secret's tags.
///
/// # Errors
/// [`CliError::NotFound`] if there is no key yet.
pub async fn public_key(session: &Session) -> Result<PublicCommandKey, CliError> {
    let name = session.stack.resource("command-key");
    let secret = session.secrets().describe_secret().secret_id(&name).send().await;
    let secret = secret.map_err(|e| CliError::aws("DescribeSecret", &e)).map_err(|error| missing(error, &name))?;
    let tag = secret.tags().iter().find(|tag| tag.key() == Some(PUBLIC_KEY_TAG)).and_then(Tag::value);
    let hex = tag.ok_or_else(|| {
        CliError::NotFound(format!("{name} holds no command key yet: make one with `vitro command-key new`"))
    })?;
    Ok(PublicCommandKey::of(hex.parse()?))
}

async fn create(session: &Session) -> Result<PublicCommandKey, CliError> {
    let name = session.stack.resource("command-key");
    let secrets = session.secrets();
    let tagged = match public_key(session).await {
        Ok(key) => Some(key),
        Err(CliError::NotFound(why)) => {
            // Without the secret itself there is nothing to put a key into.
            secrets
                .describe_secret()
                .secret_id(&name)
                .send()
                .await
                .map_err(|e| missing(CliError::aws("DescribeSecret", &e), &name))
                .map_err(
                    |error| if matches!(error, CliError::NotFound(_)) { CliError::NotFound(why) } else { error },
                )?;
            None
        }
        Err(error) => return Err(error),
    };
    if let Some(stored) = stored_key(&secrets, &name).await? {
        let stored = PublicCommandKey::of(stored);
        if tagged.as_ref() == Some(&stored) {
            return Err(CliError::Refused(format!(
                "{name} holds command key {} already, which devices in the field trust; `vitro command-key show` shows it",
                stored.id
            )));
        }
        // An earlier run ended between storing the key and writing its tag.
        tag(&secrets, &name, &stored).await?;
        return Ok(stored);
    }
    let key = pki::new_key()?;
    let public = PublicCommandKey::of(pki::public_key(&key)?);
    let pem = pki::key_pem(&key);
    secrets
        .put_secret_value()
        .secret_id(&name)
        .secret_string(pem.as_str())
        .send()
        .await
        .map_err(|e| CliError::aws("PutSecretValue", &e))?;
    tag(&secrets, &name, &public).await?;
    Ok(public)
}

async fn tag(secrets: &aws_sdk_secretsmanager::Client, name: &str, key: &PublicCommandKey) -> Result<(), CliError> {
    let tag = Tag::builder().key(PUBLIC_KEY_TAG).value(key.public_key.to_string()).build();
    let sent = secrets.tag_resource().secret_id(name).tags(tag).send().await;
    sent.map(|_| ()).map_err(|e| CliError::aws("TagResource", &e))
}

/// The public key of the private key that a secret holds. A secret that was made without a value has no current version, or an
/// empty one.
async fn stored_key(secrets: &aws_sdk_secretsmanager::Client, name: &str) -> Result<Option<PublicKey>, CliError> {
    let value = match secrets.get_secret_value().secret_id(name).send().await {
        Ok(value) => value.secret_string.map(Zeroizing::new),
        Err(error) => match CliError::aws("GetSecretValue", &error) {
            error if error.aws_code() == Some("ResourceNotFoundException") => None,
            error => return Err(error),
        },
    };
    match value {
        Some(pem) if !pem.is_empty() => pki::public_key(&pki::read_key(&pem)?).map(Some),
        _ => Ok(None),
    }
}

fn missing(error: CliError, name: &str) -> CliError {
    if error.aws_code() == Some("ResourceNotFoundException") {
        CliError::NotFound(format!("there is no secret {name}: is the installation deployed here?"))
    } else {
        error
    }
}
