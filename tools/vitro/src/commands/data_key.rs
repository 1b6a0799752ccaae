//! `vitro data-key`: the keys that confidential devices encrypt for. Private keys lie in Secrets Manager alone: those in use in
//! `P-data-proxy`, which ingest and the audit path read, retired ones in `P-data-proxy-retired`, which the audit path alone reads. The
//! current public key stands in the first secret's tags, so that whoever provisions devices needs no right to read it.

use std::io::Write;

use aws_sdk_secretsmanager::types::Tag;
use clap::{Args, Subcommand};
use serde::Serialize;
use vitro_cloud::data_keys::{KeyRing, KeyState, StoredKey};
use vitro_proof::command::key_id;
use vitro_proof::confidential::PureDataKey;
use vitro_proof::{DataKeyId, PublicKey};
use zeroize::Zeroizing;

use crate::error::CliError;
use crate::output;
use crate::session::Session;

/// The secret of the keys in use, after the installation's name.
pub const IN_USE: &str = "data-proxy";
/// The secret of the retired keys.
pub const RETIRED: &str = "data-proxy-retired";
/// The tag that holds the current public key, in hex.
const PUBLIC_KEY_TAG: &str = "vitro:public-key";

/// What to do with the data-proxy keys.
#[derive(Debug, Subcommand)]
pub enum DataKeyCommand {
    /// Make the first key, and the one that will follow it; existing keys are never replaced
    New(DataKeyArgs),
    /// Make the next key the current one; the former one stays readable until it is retired
    Rotate(DataKeyArgs),
    /// Show the keys' ids, states and public halves
    Show(DataKeyArgs),
    /// Move former keys to where only the audit path reads them; what is encrypted for them is no more read when it comes in
    Retire(DataKeyArgs),
}

/// Arguments of all of them.
#[derive(Debug, Args)]
pub struct DataKeyArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The public part of a data-proxy key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublicDataKey {
    /// Its id, the `kid` of what is encrypted for it.
    pub id: DataKeyId,
    /// What it is for.
    pub state: KeyState,
    /// The point, SEC1 uncompressed, in hex.
    pub public_key: PublicKey,
}

impl PublicDataKey {
    fn of(key: &StoredKey) -> Result<Self, CliError> {
        let public_key = PureDataKey::from_scalar(&key.scalar)?.public_key();
        Ok(Self { id: key.id.clone(), state: key.state, public_key })
    }
}

/// Runs a command on the data-proxy keys.
///
/// # Errors
/// [`CliError`].
pub async fn run(command: &DataKeyCommand, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let store = Store::of(session);
    let (keys, args) = match command {
        DataKeyCommand::New(args) => (store.create().await?, args),
        DataKeyCommand::Rotate(args) => (store.rotate().await?, args),
        DataKeyCommand::Retire(args) => (store.retire().await?, args),
        DataKeyCommand::Show(args) => {
            let mut keys = store.in_use().await?;
            keys.keys.extend(store.read(&store.retired).await?.keys);
            (keys, args)
        }
    };
    let keys = keys.keys.iter().map(PublicDataKey::of).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        return output::json(out, &keys);
    }
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| vec![key.id.to_string(), key.state.as_str().to_owned(), key.public_key.to_string()])
        .collect();
    output::table(out, &["ID", "STATE", "PUBLIC KEY"], &rows)
}

/// The public key that devices shall encrypt for, from the secret's tags.
///
/// # Errors
/// [`CliError::NotFound`] if there is no key yet.
pub async fn current(session: &Session) -> Result<(DataKeyId, PublicKey), CliError> {
    let name = session.stack.resource(IN_USE);
    let secret = session.secrets().describe_secret().secret_id(&name).send().await;
    let secret = secret.map_err(|e| CliError::aws("DescribeSecret", &e)).map_err(|error| missing(error, &name))?;
    let tag = secret.tags().iter().find(|tag| tag.key() == Some(PUBLIC_KEY_TAG)).and_then(Tag::value);
    let hex = tag.ok_or_else(|| no_keys(&name))?;
    let key: PublicKey = hex.parse()?;
    Ok((key_id(&key).parse()?, key))
}

/// The two secrets.
struct Store {
    client: aws_sdk_secretsmanager::Client,
    in_use: String,
    retired: String,
}

impl Store {
    fn of(session: &Session) -> Self {
        let name = |suffix| session.stack.resource(suffix);
        Self { client: session.secrets(), in_use: name(IN_USE), retired: name(RETIRED) }
    }

    /// The keys in use.
    async fn in_use(&self) -> Result<KeyRing, CliError> {
        let keys = self.read(&self.in_use).await?;
        if keys.keys.is_empty() { Err(no_keys(&self.in_use)) } else { Ok(keys) }
    }

    async fn create(&self) -> Result<KeyRing, CliError> {
        let keys = self.read(&self.in_use).await?;
        if let Some(current) = keys.of(KeyState::Current) {
            // An earlier run may have ended before the tag was written.
            self.tag(&keys).await?;
            return Err(CliError::Refused(format!(
                "{} holds key {} already; `vitro data-key rotate` makes the next one current",
                self.in_use, current.id
            )));
        }
        let keys = KeyRing { keys: vec![draw(KeyState::Current)?, draw(KeyState::Next)?] };
        self.write_in_use(&keys).await?;
        Ok(keys)
    }

    async fn rotate(&self) -> Result<KeyRing, CliError> {
        let mut keys = self.in_use().await?;
        let next = keys.of(KeyState::Next).map(|key| key.id.clone());
        let next = next.ok_or_else(|| CliError::malformed(&self.in_use, "it holds no next key"))?;
        for key in &mut keys.keys {
            match key.state {
                KeyState::Current => key.state = KeyState::Former,
                KeyState::Next if key.id == next => key.state = KeyState::Current,
                _ => {}
            }
        }
        keys.keys.push(draw(KeyState::Next)?);
        self.write_in_use(&keys).await?;
        Ok(keys)
    }

    /// Former keys are first written to where they go, then taken from where they were: a kill in between leaves them in both.
    async fn retire(&self) -> Result<KeyRing, CliError> {
        let mut keys = self.in_use().await?;
        let (former, staying): (Vec<_>, Vec<_>) = keys.keys.into_iter().partition(|key| key.state == KeyState::Former);
        keys.keys = staying;
        if former.is_empty() {
            return Err(CliError::Refused("there is no former key; `vitro data-key rotate` makes one".to_owned()));
        }
        let mut retired = self.read(&self.retired).await?;
        retired.keys.retain(|known| former.iter().all(|key| key.id != known.id));
        retired.keys.extend(former.into_iter().map(|key| StoredKey { state: KeyState::Retired, ..key }));
        self.write(&self.retired, &retired).await?;
        self.write_in_use(&keys).await?;
        keys.keys.extend(retired.keys);
        Ok(keys)
    }

    /// The keys of a secret; none if it has no value yet.
    async fn read(&self, name: &str) -> Result<KeyRing, CliError> {
        let value = match self.client.get_secret_value().secret_id(name).send().await {
            Ok(value) => value.secret_string.map(Zeroizing::new),
            Err(error) => match CliError::aws("GetSecretValue", &error) {
                error if error.aws_code() == Some("ResourceNotFoundException") => {
                    // AWS answers so for a secret without a value, too.
                    let there = self.client.describe_secret().secret_id(name).send().await;
                    there.map_err(|e| CliError::aws("DescribeSecret", &e)).map_err(|error| missing(error, name))?;
                    None
                }
                error => return Err(error),
            },
        };
        match value {
            Some(text) if !text.trim().is_empty() => KeyRing::read(&text).map_err(|e| CliError::malformed(name, e)),
            _ => Ok(KeyRing::default()),
        }
    }

    async fn write(&self, name: &str, keys: &KeyRing) -> Result<(), CliError> {
        let text = keys.write()?;
        let sent = self.client.put_secret_value().secret_id(name).secret_string(text.as_str()).send().await;
        sent.map(|_| ()).map_err(|e| CliError::aws("PutSecretValue", &e))
    }

    async fn write_in_use(&self, keys: &KeyRing) -> Result<(), CliError> {
        self.write(&self.in_use, keys).await?;
        self.tag(keys).await
    }

    async fn tag(&self, keys: &KeyRing) -> Result<(), CliError> {
        let Some(current) = keys.of(KeyState::Current) else { return Ok(()) };
        let value = PublicDataKey::of(current)?.public_key.to_string();
        let tag = Tag::builder().key(PUBLIC_KEY_TAG).value(value).build();
        let sent = self.client.tag_resource().secret_id(&self.in_use).tags(tag).send().await;
        sent.map(|_| ()).map_err(|e| CliError::aws("TagResource", &e))
    }
}

/// Draws a private key from the operating system's randomness.
fn draw(state: KeyState) -> Result<StoredKey, CliError> {
    let mut scalar = Zeroizing::new([0; 32]);
    // One draw in 2^32 is no private key.
    loop {
        getrandom::fill(&mut *scalar).map_err(|e| CliError::malformed("the system's randomness", e))?;
        if let Ok(key) = PureDataKey::from_scalar(&scalar) {
            return Ok(StoredKey { id: key_id(&key.public_key()).parse()?, state, scalar });
        }
    }
}

fn no_keys(name: &str) -> CliError {
    CliError::NotFound(format!("{name} holds no data-proxy keys yet: make them with `vitro data-key new`"))
}

fn missing(error: CliError, name: &str) -> CliError {
    if error.aws_code() == Some("ResourceNotFoundException") {
        CliError::NotFound(format!("there is no secret {name}: is the installation deployed here?"))
    } else {
        error
    }
}
