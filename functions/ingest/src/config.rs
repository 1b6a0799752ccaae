//! What ingest needs to know of its surroundings.

use vitro_cloud::CloudError;
use vitro_cloud::config::{Environment, StackName};

/// The settings of this function.
#[derive(Clone, Debug)]
pub struct Config {
    /// The stack that it belongs to.
    pub stack: StackName,
    /// The table `readings`.
    pub readings_table: String,
    /// The table `devices`.
    pub devices_table: String,
    /// The table `days`.
    pub days_table: String,
    /// The table `parked`.
    pub parked_table: String,
    /// The quarantine bucket.
    pub quarantine_bucket: String,
    /// The archive bucket.
    pub archive_bucket: String,
    /// The queue of devices whose status has changed.
    pub status_queue_url: String,
    /// The secret with the data-proxy keys in use.
    pub data_keys_secret: String,
    /// How many days readings stay in the time series.
    pub hot_days: u16,
    /// So many signatures that fail in a row under a device's own certificate suspend it.
    pub failures_to_suspend: usize,
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// [`CloudError::Config`] names the variable.
    pub fn read(env: &Environment) -> Result<Self, CloudError> {
        Ok(Self {
            stack: env.stack()?,
            readings_table: env.required("VITRO_READINGS_TABLE")?,
            devices_table: env.required("VITRO_DEVICES_TABLE")?,
            days_table: env.required("VITRO_DAYS_TABLE")?,
            parked_table: env.required("VITRO_PARKED_TABLE")?,
            quarantine_bucket: env.required("VITRO_QUARANTINE_BUCKET")?,
            archive_bucket: env.required("VITRO_ARCHIVE_BUCKET")?,
            status_queue_url: env.required("VITRO_STATUS_QUEUE_URL")?,
            data_keys_secret: env.required("VITRO_DATA_KEYS_SECRET")?,
            hot_days: env.parsed("VITRO_HOT_DAYS", 90)?,
            failures_to_suspend: env.parsed("VITRO_FAILURES_TO_SUSPEND", 10)?,
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
            ("VITRO_READINGS_TABLE", "r"),
            ("VITRO_DEVICES_TABLE", "d"),
            ("VITRO_DAYS_TABLE", "y"),
            ("VITRO_PARKED_TABLE", "p"),
            ("VITRO_QUARANTINE_BUCKET", "q"),
            ("VITRO_STATUS_QUEUE_URL", "u"),
            ("VITRO_ARCHIVE_BUCKET", "a"),
            ("VITRO_DATA_KEYS_SECRET", "k"),
        ];
        let config = Config::read(&Environment::of(&all)).unwrap();
        assert_eq!((config.stack.to_string().as_str(), config.hot_days), ("vitro-acme-dev", 90));
        assert_eq!(config.failures_to_suspend, 10);
        for missing in all {
            let rest: Vec<_> = all.into_iter().filter(|pair| *pair != missing).collect();
            let error = Config::read(&Environment::of(&rest)).unwrap_err();
            assert!(error.to_string().starts_with(missing.0), "{error}");
        }
    }
}
