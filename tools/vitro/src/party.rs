//! As whom a command speaks on the ledger, where it needs the ledger beside other things.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use vitro_client::{Channel, Client, ClientError, SecretLedger};
use vitro_cloud::clock::SystemClock;
use vitro_ledger::{ConnectionProfile, Ledger};

use crate::error::CliError;
use crate::files;
use crate::session::Session;

/// As whom to speak on the ledger.
#[derive(Clone, Debug, Default, Args)]
pub struct PartyArgs {
    /// Connection profile of the calling party (JSON, readable by its owner alone); default: the operator's, as it is stored
    #[arg(long, env = "VITRO_LEDGER_PROFILE", value_name = "FILE")]
    pub profile: Option<PathBuf>,
}

/// The contract, whoever carries calls to it.
pub type AnyClient = Client<Arc<dyn Channel>>;

impl PartyArgs {
    /// The contract as this party, and the MSP that it speaks for where a profile says so.
    ///
    /// # Errors
    /// [`CliError`] if the profile cannot be read.
    pub fn client(&self, session: &Session) -> Result<(AnyClient, Option<String>), CliError> {
        let Some(path) = &self.profile else {
            let stored = SecretLedger::new(session.secrets(), session.stack.resource("fabric"), SystemClock);
            return Ok((Client::new(Arc::new(stored)), None));
        };
        let text = files::read_secret(path)?;
        let profile =
            ConnectionProfile::from_json(&text).map_err(|e| CliError::malformed(path.display().to_string(), e))?;
        let ledger = Ledger::from_profile(&profile).map_err(ClientError::from)?;
        Ok((Client::new(Arc::new(ledger)), Some(profile.identity.msp)))
    }
}
