//! What publish needs to know of its surroundings.

use vitro_cloud::CloudError;
use vitro_cloud::config::{Environment, StackName};

/// The settings of this function.
#[derive(Clone, Debug)]
pub struct Config {
    /// The stack that it belongs to.
    pub stack: StackName,
    /// The table `days`.
    pub days_table: String,
    /// The table `hours`.
    pub hours_table: String,
    /// The table `parked`.
    pub parked_table: String,
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
            days_table: env.required("VITRO_DAYS_TABLE")?,
            hours_table: env.required("VITRO_HOURS_TABLE")?,
            parked_table: env.required("VITRO_PARKED_TABLE")?,
            archive_bucket: env.required("VITRO_ARCHIVE_BUCKET")?,
            fabric_secret: env.required("VITRO_FABRIC_SECRET")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_named_when_it_is_missing() {
        let all = [
            ("VITRO_CUSTOMER", "acme"),
            ("VITRO_STAGE", "dev"),
            ("VITRO_DAYS_TABLE", "d"),
            ("VITRO_HOURS_TABLE", "h"),
            ("VITRO_PARKED_TABLE", "p"),
            ("VITRO_ARCHIVE_BUCKET", "a"),
            ("VITRO_FABRIC_SECRET", "f"),
        ];
        assert_eq!(Config::read(&Environment::of(&all)).unwrap().stack.to_string(), "vitro-acme-dev");
        for missing in all {
            let rest: Vec<_> = all.into_iter().filter(|pair| *pair != missing).collect();
            let error = Config::read(&Environment::of(&rest)).unwrap_err().to_string();
            assert!(error.starts_with(missing.0), "{error}");
        }
    }
}
