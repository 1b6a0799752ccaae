//! `vitro device`: everything that a device needs, made in one go that can be repeated.

mod cloud;
mod command;
mod confidential;
mod folder;
mod heal;
mod publish;
mod renew;
mod renewal;
mod sensors;
mod show;
mod status;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use vitro_cloud::clock::{Clock, SystemClock};
use vitro_cloud::trust::{TrustStore, TrustedAuthority};
use vitro_contract::{MeteringPoint, Shard};
use vitro_device::config::{CommandKeys, KeyStore, SendMode};
use vitro_device::key::{PinSource, Pkcs11Key};
use vitro_proof::{Customer, DataKeyId, DeviceId, PublicKey, ZoneName};

use crate::authority::{self, Authority};
use crate::cli::Global;
use crate::commands::{command_key, data_key};
use crate::error::CliError;
use crate::instant::{ValidityArgs, show_seconds};
use crate::output;
use crate::pki::{CertificateFacts, Validity};
use crate::session::{self, Session};

pub use confidential::{Agreement, ConfidentialArgs, KeysArgs};
pub use folder::{CustomerKeys, DeviceFiles, Endpoint};
pub(crate) use sensors::read as read_sensors;
pub use status::{AfterArgs, CauseArg, ExchangeArgs, HaltArgs, ReinstateArgs};

/// A device's certificate ends before its authority's; renewal keeps the key.
const DEFAULT_DAYS: u32 = 3 * 365;
/// MQTT over TLS (IANA).
const MQTT_PORT: u16 = 8883;

/// What to do with a device.
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// Make a device: key, certificate, thing, registry entry, and the folder that its agent runs from
    New(Box<NewArgs>),
    /// Give a device a new certificate for the same key, or end the overlap with the one before
    Renew(renew::RenewArgs),
    /// Show what registry, AWS IoT Core and ledger say of a device
    Show(ShowArgs),
    /// Suspend a device: what it sends is refused, what it signed up to its last good number counts
    Suspend(HaltArgs),
    /// Let a suspended device send again
    Reinstate(ReinstateArgs),
    /// Retire a device for good
    Retire(HaltArgs),
    /// Replace the device of a metering point by another one
    Exchange(ExchangeArgs),
    /// Send a signed command to a device
    Command(command::CommandArgs),
    /// Show what a device answered to a command
    Reply(command::ReplyArgs),
    /// Have a device's day as it is now put on the ledger, and show it (the operator, or a party that may ask)
    Publish(publish::PublishArgs),
    /// Write the current data-proxy key into the folders of confidential devices, as after a rotation
    Keys(KeysArgs),
    /// Agree in the registry that a device's telemetry comes encrypted, or that it need not
    Confidential(ConfidentialArgs),
}

/// Arguments of `device new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Thing name: 1 to 64 letters, digits, `_` or `-`, unique in the account
    pub thing: DeviceId,
    /// Folder of the authority that signs the device's certificate
    #[arg(long, value_name = "DIR")]
    pub ca: PathBuf,
    /// Folder to make for the device; a key that is there already is kept
    #[arg(long, value_name = "FOLDER")]
    pub out: PathBuf,
    /// Device whose metering point it is to take over; metering point, zone and shard are that device's
    #[arg(long, value_name = "THING")]
    pub replaces: Option<DeviceId>,
    /// Metering point that the device serves
    #[arg(long, value_name = "ID", required_unless_present = "replaces")]
    pub metering_point: Option<MeteringPoint>,
    /// IANA time zone of the site; its days are closed by it
    #[arg(long, required_unless_present = "replaces")]
    pub zone: Option<ZoneName>,
    /// Group of devices that an agreement covers, such as a region
    #[arg(long, value_name = "NAME", required_unless_present = "replaces")]
    pub shard: Option<Shard>,
    /// Sensor table (JSON or TOML), or the TOML beside a recording
    #[arg(long, value_name = "FILE")]
    pub sensors: PathBuf,
    /// From when to when the certificate is good.
    #[command(flatten)]
    pub validity: ValidityArgs,
    /// Where the device connects to.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// Where its key is.
    #[command(flatten)]
    pub key: KeyArgs,
    /// Seconds between two polls of the sensors
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub poll_interval: u32,
    /// What a poll sends
    #[arg(long, value_enum, default_value_t = SendArg::Always)]
    pub send: SendArg,
    /// Make the folder alone, and `manifest.json` for `vitro manifest import`: the device announces itself at its first connection
    #[arg(long)]
    pub jitr: bool,
    /// The public command key, as `vitro command-key show --json` prints it; with --mqtt-host, and without --confidential or --replaces,
    /// AWS is not asked for anything
    #[arg(long, value_name = "FILE", requires = "jitr")]
    pub command_key: Option<PathBuf>,
    /// Its telemetry is confidential: the device encrypts it, and what comes in clear is refused
    #[arg(long)]
    pub confidential: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Where the device connects to.
#[derive(Clone, Debug, Args)]
pub struct BrokerArgs {
    /// MQTT host; default: the account's own AWS IoT endpoint
    #[arg(long, env = "VITRO_MQTT_HOST", value_name = "HOST")]
    pub mqtt_host: Option<String>,
    /// MQTT port
    #[arg(long, env = "VITRO_MQTT_PORT", value_name = "PORT", default_value_t = MQTT_PORT)]
    pub mqtt_port: u16,
    /// Authorities that the broker's certificate is checked against (PEM); default: Amazon's
    #[arg(long, env = "VITRO_MQTT_CA", value_name = "FILE")]
    pub mqtt_ca: Option<PathBuf>,
    /// Publish to plain topics instead of Basic Ingest
    #[arg(long)]
    pub no_basic_ingest: bool,
}

/// Where a device's key is: in its folder, or inside a token.
#[derive(Clone, Debug, Args)]
pub struct KeyArgs {
    /// Make the key inside a token, by this PKCS#11 library; without it, in a file of the folder
    #[arg(long, value_name = "LIBRARY", requires = "token", requires = "pin")]
    pub pkcs11: Option<PathBuf>,
    /// Label of the token
    #[arg(long, value_name = "LABEL", requires = "pkcs11")]
    pub token: Option<String>,
    /// Label of the key pair; default: the thing name
    #[arg(long, value_name = "LABEL", requires = "pkcs11")]
    pub key_label: Option<String>,
    /// Id of the key pair, in hex
    #[arg(long, value_name = "HEX", requires = "pkcs11")]
    pub key_id: Option<String>,
    /// File with the token's PIN, of mode 0600
    #[arg(long, value_name = "FILE", requires = "pkcs11", group = "pin")]
    pub pin_file: Option<PathBuf>,
    /// Environment variable with the token's PIN
    #[arg(long, value_name = "NAME", requires = "pkcs11", group = "pin")]
    pub pin_env: Option<String>,
}

impl KeyArgs {
    /// The key store that the arguments name, with paths that hold in the device's folder as well.
    fn store(&self, thing: &DeviceId) -> Result<Option<KeyStore>, CliError> {
        let (Some(module), Some(token)) = (&self.pkcs11, &self.token) else { return Ok(None) };
        let absolute =
            |path: &PathBuf| std::path::absolute(path).map_err(|e| CliError::Usage(format!("{}: {e}", path.display())));
        let pin = match (&self.pin_file, &self.pin_env) {
            (Some(path), _) => PinSource::File(absolute(path)?),
            (None, Some(name)) => PinSource::Env(name.clone()),
            (None, None) => return Err(CliError::Usage("--pkcs11 needs --pin-file or --pin-env".into())),
        };
        Ok(Some(KeyStore::Pkcs11(Pkcs11Key {
            module: absolute(module)?,
            token: token.clone(),
            label: self.key_label.clone().unwrap_or_else(|| thing.to_string()),
            id: self.key_id.clone(),
            pin,
        })))
    }
}

/// What a poll sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SendArg {
    /// Every sensor, at every poll
    Always,
    /// What changed, and what was silent for an hour
    OnChange,
}

impl From<SendArg> for SendMode {
    fn from(send: SendArg) -> Self {
        match send {
            SendArg::Always => Self::Always,
            SendArg::OnChange => Self::OnChange,
        }
    }
}

/// Arguments of `device show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Thing name
    pub thing: DeviceId,
    /// Fail where registry, AWS IoT Core and ledger disagree
    #[arg(long)]
    pub check: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A device as `device new` prints it.
#[derive(Debug, Serialize)]
struct Made<'a> {
    thing: &'a DeviceId,
    folder: String,
    certificate_id: &'a str,
    serial: &'a str,
    authority: &'a str,
    not_before: String,
    not_after: String,
    public_key: String,
    metering_point: &'a MeteringPoint,
    zone: &'a ZoneName,
    shard: &'a Shard,
    sensor_table: u64,
    mqtt: String,
    /// Whether a revocation list could end it: its authority is in the trust store, with a list's address. Not told where AWS is not
    /// asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    revocable: Option<bool>,
}

/// Runs a command on devices.
///
/// # Errors
/// [`CliError`].
pub async fn run(command: DeviceCommand, global: &Global, now: i64, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        DeviceCommand::New(args) => new(&args, global, now, out).await,
        DeviceCommand::Renew(args) => renew::run(&args, &Session::open(global).await?, now, out).await,
        DeviceCommand::Show(args) => show::show(&args, &Session::open(global).await?, out).await,
        DeviceCommand::Suspend(args) => {
            status::suspend(&args, &Session::open(global).await?, SystemClock.now(), out).await
        }
        DeviceCommand::Reinstate(args) => {
            status::reinstate(&args, &Session::open(global).await?, SystemClock.now(), out).await
        }
        DeviceCommand::Retire(args) => {
            status::retire(&args, &Session::open(global).await?, SystemClock.now(), out).await
        }
        DeviceCommand::Exchange(args) => {
            status::exchange(&args, &Session::open(global).await?, SystemClock.now(), out).await
        }
        DeviceCommand::Command(args) => command::send(&args, &Session::open(global).await?, now, out).await,
        DeviceCommand::Publish(args) => publish::run(&args, &Session::open(global).await?, &SystemClock, out).await,
        DeviceCommand::Reply(args) => command::show_reply(&args, &Session::open(global).await?, out).await,
        DeviceCommand::Keys(args) => confidential::keys(&args, &Session::open(global).await?, out).await,
        DeviceCommand::Confidential(args) => confidential::agree(&args, &Session::open(global).await?, out).await,
    }
}

/// From when to when a device's certificate is good. Left out, its end is its authority's at the latest.
fn certificate_validity(args: &ValidityArgs, authority: &dyn Authority, now: i64) -> Result<Validity, CliError> {
    let has_end = args.not_after.is_some() || args.valid_days.is_some();
    if authority.decides_validity() && (has_end || args.not_before.is_some()) {
        return Err(CliError::Usage("this authority alone decides how long a certificate is good".into()));
    }
    let mut validity = args.validity(now, DEFAULT_DAYS)?;
    if !has_end {
        validity.not_after = validity.not_after.min(authority.facts().validity.not_after);
    }
    Ok(validity)
}

/// What a new device is told of its installation.
struct Installation {
    customer: Customer,
    command_keys: CommandKeys,
    /// The data-proxy key that a confidential device encrypts for.
    data_key: Option<(DataKeyId, PublicKey)>,
    endpoint: Endpoint,
}

impl Installation {
    /// Asks AWS for what the flags do not say.
    async fn of(args: &NewArgs, session: &Session) -> Result<Self, CliError> {
        let command_keys = match &args.command_key {
            Some(path) => command_key::read(path)?,
            None => command_key::public_keys(session).await?,
        };
        let data_key = if args.confidential { Some(data_key::current(session).await?) } else { None };
        let endpoint = cloud::endpoint(&args.broker, session).await?;
        Ok(Self { customer: session.stack.customer().clone(), command_keys, data_key, endpoint })
    }

    /// What the flags say, if they say all: not the data-proxy key, nor whose place it takes.
    fn offline(args: &NewArgs, global: &Global) -> Result<Option<Self>, CliError> {
        let says_all = args.jitr && !args.confidential && args.replaces.is_none();
        match (&args.command_key, &args.broker.mqtt_host) {
            (Some(path), Some(host)) if says_all => Ok(Some(Self {
                customer: session::stack_name(global)?.customer().clone(),
                command_keys: command_key::read(path)?,
                data_key: None,
                endpoint: cloud::endpoint_at(&args.broker, host)?,
            })),
            _ => Ok(None),
        }
    }
}

/// Makes a device. Every step leaves what is there already as it is, so that a run that was cut short is simply repeated; what is
/// there and differs ends it.
async fn new(args: &NewArgs, global: &Global, now: i64, out: &mut dyn Write) -> Result<(), CliError> {
    let table = sensors::read(&args.sensors)?;
    let offline = Installation::offline(args, global)?;
    let session = if offline.is_some() { None } else { Some(Session::open(global).await?) };
    let site = cloud::site(args, session.as_ref()).await?;
    // The tz database must have the zone.
    vitro_proof::LocalDay::at(&site.zone, vitro_proof::UnixMillis(now.saturating_mul(1000)))
        .map_err(|e| CliError::Usage(e.to_string()))?;
    let authority = match &session {
        Some(session) => authority::open(&args.ca, Some(&session.aws)).await?,
        None => super::ca::open(&args.ca, global).await?,
    };
    let authority = authority.as_ref();
    let installation = match (offline, &session) {
        (Some(installation), _) => installation,
        (None, Some(session)) => Installation::of(args, session).await?,
        (None, None) => return Err(CliError::Usage("--jitr: name the broker and the command key".into())),
    };
    let validity = certificate_validity(&args.validity, authority, now)?;

    let files = DeviceFiles::with_key(&args.out, &args.thing, authority.facts(), args.key.store(&args.thing)?)?;
    let certificate = match files.certificate()? {
        Some(certificate) => certificate,
        None => {
            let issued = authority.issue(&files.request()?, &args.thing, validity).await?;
            files.add_certificate(&issued, authority)?
        }
    };
    let facts: &CertificateFacts = &certificate.facts;
    match &session {
        Some(session) if !args.jitr => {
            cloud::provision(session, &args.thing, &site, &certificate, authority, &table, now).await?;
        }
        _ => files.write_manifest(&site, facts, &table)?,
    }
    let revocable = match &session {
        Some(session) => {
            let authorities = session.trust().authorities().await?;
            let is_it = |known: &TrustedAuthority| known.key_hash == authority.facts().key_hash;
            Some(authorities.iter().any(|known| is_it(known) && (known.crl_url.is_some() || known.crl.is_some())))
        }
        None => None,
    };
    let Installation { customer, command_keys, data_key, endpoint } = installation;
    let keys = CustomerKeys { command: &command_keys, data: data_key.as_ref() };
    files.write_config(args, &site.zone, &customer, &table, &keys, &endpoint)?;

    let made = Made {
        thing: &args.thing,
        folder: args.out.display().to_string(),
        certificate_id: &facts.id,
        serial: &facts.serial,
        authority: &facts.issuer,
        not_before: show_seconds(facts.validity.not_before),
        not_after: show_seconds(facts.validity.not_after),
        public_key: facts.public_key.to_string(),
        metering_point: &site.metering_point,
        zone: &site.zone,
        shard: &site.shard,
        sensor_table: table.version(),
        mqtt: format!("{}:{}", endpoint.host, endpoint.port),
        revocable,
    };
    if args.json {
        return output::json(out, &made);
    }
    output::line(out, &format!("device       {}", made.thing))?;
    output::line(out, &format!("certificate  {} by {}", made.certificate_id, made.authority))?;
    output::line(out, &format!("valid        {} to {}", made.not_before, made.not_after))?;
    output::line(out, &format!("serves       {} in {}, {}", made.metering_point, made.shard, made.zone))?;
    output::line(out, &format!("connects to  {}", made.mqtt))?;
    if made.revocable == Some(false) {
        let told =
            "revocable    no: the trust store knows no revocation list of its authority (`vitro trust add … --crl …`)";
        output::line(out, told)?;
    }
    output::line(out, &format!("folder       {}", made.folder))
}
