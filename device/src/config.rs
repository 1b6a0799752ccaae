//! What a device's folder says: `device.toml` and the files that it names. `docs/device.md` explains every key.
//!
//! `vitro device new` writes such a folder; the agent only reads it, apart from its outbox.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vitro_proof::confidential::Recipient;
use vitro_proof::{Customer, DataKeyId, DeviceId, PublicKey, SensorTable, ZoneName};

use crate::error::DeviceError;
use crate::key::{self, Pkcs11Key};

pub use crate::input::modbus::ModbusConfig;
pub use crate::key::SharedSigner;

/// The configuration's name in the device's folder.
pub const CONFIG_FILE: &str = "device.toml";
/// The longest silence that the yellow paper allows a device, in minutes.
pub const MAX_SILENCE_MINUTES: u32 = 60;
/// What AWS IoT takes on one connection, in publishes a second.
pub const MAX_PUBLISHES_PER_SECOND: u32 = 100;

/// The content of `device.toml`. Paths are relative to the folder that it lies in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// The thing name: client id, `kid` of the envelopes, part of every topic.
    pub thing: DeviceId,
    /// The customer whose topics the device uses.
    pub customer: Customer,
    /// The site's time zone: its days are closed by it.
    pub zone: ZoneName,
    /// The sensor table in JSON, as the registry has it.
    #[serde(default = "default_sensors")]
    pub sensors: PathBuf,
    /// The public command keys in JSON: [`CommandKeys`].
    #[serde(default = "default_command_keys")]
    pub command_keys: PathBuf,
    /// Whether telemetry is confidential, by agreement with the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidential: Option<Confidential>,
    /// Where the private key is.
    #[serde(default)]
    pub key: KeyStore,
    /// Where the device connects to, and how.
    pub broker: Broker,
    /// How it samples and reports.
    #[serde(default)]
    pub sampling: Sampling,
    /// Where it keeps what it signed.
    #[serde(default)]
    pub outbox: OutboxConfig,
    /// Registers that are polled by Modbus TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modbus: Option<ModbusConfig>,
}

/// Confidential telemetry: readings and summaries are encrypted before they are signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confidential {
    /// The public data-proxy key in JSON: [`DataProxyKeys`].
    #[serde(default = "default_data_proxy_keys")]
    pub keys: PathBuf,
}

impl Default for Confidential {
    fn default() -> Self {
        Self { keys: default_data_proxy_keys() }
    }
}

/// Where the private key is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum KeyStore {
    /// A PKCS#8 key in PEM, readable by its owner alone.
    File {
        /// The file.
        path: PathBuf,
    },
    /// A key pair inside a token or secure element, which it never leaves.
    Pkcs11(Pkcs11Key),
}

impl Default for KeyStore {
    fn default() -> Self {
        Self::File { path: "key.pem".into() }
    }
}

/// The connection: MQTT 3.1.1 over mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// Host name or address; the server's certificate must carry it.
    pub host: String,
    /// 8883, or 443 with ALPN on AWS.
    pub port: u16,
    /// The authorities that the server's certificate is checked against, in PEM. No others are trusted.
    #[serde(default = "default_ca")]
    pub ca: PathBuf,
    /// The device's certificate, then its issuers, in PEM.
    #[serde(default = "default_certificate")]
    pub certificate: PathBuf,
    /// Publish by Basic Ingest, which spares AWS's charge a message; else by plain topics.
    #[serde(default = "default_true")]
    pub basic_ingest: bool,
    /// At most so many publishes a second, of which AWS takes 100 on a connection.
    #[serde(default = "default_rate")]
    pub max_publishes_per_second: u32,
    /// At most so many publishes wait for their PUBACK.
    #[serde(default = "default_in_flight")]
    pub max_in_flight: u16,
    /// MQTT keep alive; AWS allows 30 to 1200.
    #[serde(default = "default_keep_alive")]
    pub keep_alive_seconds: u16,
    /// A connection on which a PUBACK takes longer is given up, and what it did not acknowledge is sent again on the next.
    #[serde(default = "default_ack_timeout")]
    pub ack_timeout_seconds: u16,
}

/// How the device samples its sensors, and what it reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Sensors are polled at the begin of the local day and then every so many seconds.
    #[serde(default = "default_poll")]
    pub poll_interval_seconds: u32,
    /// What a poll sends.
    #[serde(default)]
    pub send: SendMode,
    /// With `on-change`, every sensor is reported at least so often although it does not change: 1 to 60.
    #[serde(default = "default_report")]
    pub report_at_least_minutes: u32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            poll_interval_seconds: default_poll(),
            send: SendMode::default(),
            report_at_least_minutes: default_report(),
        }
    }
}

/// What a poll sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SendMode {
    /// Every sensor, at every poll.
    #[default]
    Always,
    /// The sensors whose value changed, and those that were silent for `report_at_least_minutes`.
    OnChange,
}

/// Where the agent keeps what it signed, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboxConfig {
    /// The SQLite file.
    #[serde(default = "default_outbox")]
    pub path: PathBuf,
    /// The high-water mark: best on another medium, and never in the backup that the outbox is in. Without it, beside the outbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<PathBuf>,
    /// The readings of a settled day are kept until so many further days are closed. What is not settled is kept for good.
    #[serde(default = "default_keep_days")]
    pub keep_days: u32,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self { path: default_outbox(), mark: None, keep_days: default_keep_days() }
    }
}

fn default_sensors() -> PathBuf {
    "sensors.json".into()
}
fn default_command_keys() -> PathBuf {
    "command-keys.json".into()
}
fn default_data_proxy_keys() -> PathBuf {
    "data-proxy-keys.json".into()
}
fn default_ca() -> PathBuf {
    "ca.pem".into()
}
fn default_certificate() -> PathBuf {
    "cert.pem".into()
}
fn default_outbox() -> PathBuf {
    "outbox.sqlite".into()
}
fn default_true() -> bool {
    true
}
fn default_rate() -> u32 {
    50
}
fn default_in_flight() -> u16 {
    50
}
fn default_keep_alive() -> u16 {
    60
}
fn default_ack_timeout() -> u16 {
    30
}
fn default_poll() -> u32 {
    60
}
fn default_report() -> u32 {
    MAX_SILENCE_MINUTES
}
fn default_keep_days() -> u32 {
    30
}

/// A public key that commands are signed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandKey {
    /// The key's id: the `kid` of a command's envelope.
    pub id: String,
    /// The point, SEC1 uncompressed, in hex.
    pub public_key: PublicKey,
}

/// The command keys that a device takes orders from: the customer's current one, and the one it will change to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandKeys {
    /// The key in use.
    pub current: CommandKey,
    /// The key that follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<CommandKey>,
}

impl CommandKeys {
    /// The key of this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&CommandKey> {
        std::iter::once(&self.current).chain(&self.next).find(|key| key.id == id)
    }
}

/// The operator's public data-proxy key that a device encrypts for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataProxyKey {
    /// The key's id.
    pub id: DataKeyId,
    /// The point, SEC1 uncompressed, in hex.
    pub public_key: PublicKey,
}

/// What a device knows of the operator's data-proxy keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataProxyKeys {
    /// The key to encrypt for.
    pub current: DataProxyKey,
}

impl DataProxyKeys {
    /// Reads the file.
    ///
    /// # Errors
    /// [`DeviceError::File`] or [`DeviceError::Config`] names it.
    pub fn read(path: &Path) -> Result<Self, DeviceError> {
        read_json(path)
    }

    /// The key, checked to be one.
    ///
    /// # Errors
    /// [`vitro_proof::ProofError::BadKey`] if it is no point of P-256.
    pub fn recipient(self) -> Result<Recipient, vitro_proof::ProofError> {
        Recipient::new(self.current.id, self.current.public_key)
    }
}

impl DeviceConfig {
    /// A configuration with every setting at its default.
    #[must_use]
    pub fn new(thing: DeviceId, customer: Customer, zone: ZoneName, host: &str, port: u16) -> Self {
        Self {
            thing,
            customer,
            zone,
            sensors: default_sensors(),
            command_keys: default_command_keys(),
            confidential: None,
            key: KeyStore::default(),
            broker: Broker {
                host: host.to_owned(),
                port,
                ca: default_ca(),
                certificate: default_certificate(),
                basic_ingest: true,
                max_publishes_per_second: default_rate(),
                max_in_flight: default_in_flight(),
                keep_alive_seconds: default_keep_alive(),
                ack_timeout_seconds: default_ack_timeout(),
            },
            sampling: Sampling::default(),
            outbox: OutboxConfig::default(),
            modbus: None,
        }
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// [`DeviceError::Config`] names the key and what it must be.
    pub fn check(&self) -> Result<(), DeviceError> {
        let bad = |why: String| Err(DeviceError::Config(why));
        let within = |key: &str, value: u32, from: u32, to: u32| {
            if (from..=to).contains(&value) {
                Ok(())
            } else {
                bad(format!("{key} = {value}: {from} to {to} is allowed"))
            }
        };
        if let KeyStore::Pkcs11(key) = &self.key {
            key.check()?;
        }
        let broker = &self.broker;
        within("broker.max_publishes_per_second", broker.max_publishes_per_second, 1, MAX_PUBLISHES_PER_SECOND)?;
        within("broker.max_in_flight", broker.max_in_flight.into(), 1, 1000)?;
        within("broker.keep_alive_seconds", broker.keep_alive_seconds.into(), 30, 1200)?;
        within("broker.ack_timeout_seconds", broker.ack_timeout_seconds.into(), 1, 3600)?;
        let sampling = &self.sampling;
        within("sampling.report_at_least_minutes", sampling.report_at_least_minutes, 1, MAX_SILENCE_MINUTES)?;
        within(
            "sampling.poll_interval_seconds",
            sampling.poll_interval_seconds,
            1,
            sampling.report_at_least_minutes.saturating_mul(60),
        )?;
        self.modbus.as_ref().map_or(Ok(()), ModbusConfig::check)
    }

    /// The content of `device.toml`.
    ///
    /// # Errors
    /// [`DeviceError::Config`] if it cannot be written, as for a path that is no Unicode.
    pub fn to_toml(&self) -> Result<String, DeviceError> {
        toml::to_string(self).map_err(|e| DeviceError::Config(e.to_string()))
    }

    /// The topic that the device publishes a kind of message to: `telemetry`, `block` or `reply`.
    #[must_use]
    pub fn publish_topic(&self, kind: &str) -> String {
        let plain = format!("vitro/{}/{}/{kind}", self.customer, self.thing);
        if self.broker.basic_ingest { format!("$aws/rules/vitro_{}_{kind}/{plain}", self.customer) } else { plain }
    }

    /// The topic that the device takes commands from.
    #[must_use]
    pub fn command_topic(&self) -> String {
        format!("vitro/{}/{}/command", self.customer, self.thing)
    }
}

/// A device's folder with its configuration.
#[derive(Clone, Debug)]
pub struct DeviceFolder {
    /// Where it is.
    pub path: PathBuf,
    /// Its `device.toml`.
    pub config: DeviceConfig,
}

impl DeviceFolder {
    /// Reads and checks the folder's `device.toml`.
    ///
    /// # Errors
    /// [`DeviceError::File`] or [`DeviceError::Config`] names the file.
    pub fn open(path: &Path) -> Result<Self, DeviceError> {
        let file = path.join(CONFIG_FILE);
        let in_file = |why: &dyn std::fmt::Display| DeviceError::Config(format!("{}: {why}", file.display()));
        let config: DeviceConfig = toml::from_str(&read(&file)?).map_err(|e| in_file(&e))?;
        config.check().map_err(|e| in_file(&e))?;
        Ok(Self { path: path.to_owned(), config })
    }

    /// A path of the configuration, seen from where the process runs.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.path.join(path)
    }

    /// Where the outbox's high-water mark is.
    #[must_use]
    pub fn mark(&self) -> PathBuf {
        let outbox = &self.config.outbox;
        match &outbox.mark {
            Some(mark) => self.resolve(mark),
            None => self.resolve(&crate::disk::with_suffix(&outbox.path, ".mark")),
        }
    }

    /// The sensor table.
    ///
    /// # Errors
    /// [`DeviceError::File`] or [`DeviceError::Config`] names the file.
    pub fn sensor_table(&self) -> Result<SensorTable, DeviceError> {
        self.json(&self.config.sensors)
    }

    /// The command keys.
    ///
    /// # Errors
    /// [`DeviceError::File`] or [`DeviceError::Config`] names the file.
    pub fn command_keys(&self) -> Result<CommandKeys, DeviceError> {
        self.json(&self.config.command_keys)
    }

    fn json<T: serde::de::DeserializeOwned>(&self, path: &Path) -> Result<T, DeviceError> {
        read_json(&self.resolve(path))
    }

    /// The key, wherever it is.
    ///
    /// # Errors
    /// As [`key::open`]. The key itself is never shown.
    pub fn signer(&self) -> Result<SharedSigner, DeviceError> {
        key::open(&self.path, &self.config.key)
    }
}

fn read(path: &Path) -> Result<String, DeviceError> {
    fs::read_to_string(path).map_err(|source| DeviceError::File { path: path.to_owned(), source })
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, DeviceError> {
    serde_json::from_str(&read(path)?).map_err(|e| DeviceError::Config(format!("{}: {e}", path.display())))
}

#[cfg(test)]
mod tests;
