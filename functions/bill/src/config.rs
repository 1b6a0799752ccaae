//! What bill needs to know of its surroundings.

use vitro_cloud::CloudError;
use vitro_cloud::config::{Environment, StackName};

/// The settings of this function.
#[derive(Clone, Debug)]
pub struct Config {
    /// The stack that it belongs to.
    pub stack: StackName,
    /// The archive bucket.
    pub archive_bucket: String,
    /// The secret with the operator's connection profile.
    pub fabric_secret: String,
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// [`CloudError::Config`] names the variable.
    pub fn read(env: &Environment) -> Result<Self, CloudError> {
        Ok(Self {
            stack: env.stack()?,
            archive_bucket: env.required("VITRO_ARCHIVE_BUCKET")?,
            fabric_secret: env.required("VITRO_FABRIC_SECRET")?,
        })
    }
}
