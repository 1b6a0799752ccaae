//! `vitro manifest`: what the customer says about devices to come. A device that announces itself is registered as this says.

mod file;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use vitro_cloud::manifest::Expected;
use vitro_proof::{DeviceId, UnixMillis};

use crate::error::CliError;
use crate::instant::show_millis;
use crate::output;
use crate::session::Session;

/// What to do with the manifest.
#[derive(Debug, Subcommand)]
pub enum ManifestCommand {
    /// Add expected devices from a CSV, JSON or TOML file: all of it, or nothing if a line is wrong
    Import(ImportArgs),
    /// List what is expected
    List(ListArgs),
    /// Show what is expected under a name
    Show(ShowArgs),
    /// Expect a device no longer; one that is registered stays so
    Remove(RemoveArgs),
}

/// Arguments of `manifest import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The manifest; its columns or keys are thing, metering_point, shard, zone, sensors, and if wanted public_key, serial, confidential, replaces
    pub file: PathBuf,
    /// Replace entries that say something else
    #[arg(long)]
    pub replace: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `manifest list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only devices that are not registered yet
    #[arg(long)]
    pub waiting: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `manifest show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Thing name
    pub thing: DeviceId,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `manifest remove`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Thing name
    pub thing: DeviceId,
}

/// An entry as it is printed.
#[derive(Serialize)]
struct Shown<'a> {
    thing: &'a DeviceId,
    metering_point: &'a str,
    shard: &'a str,
    zone: String,
    sensor_table: &'a vitro_proof::SensorTable,
    public_key: Option<String>,
    serial: Option<&'a str>,
    confidential: bool,
    replaces: Option<&'a DeviceId>,
    imported: String,
    status: Option<&'static str>,
}

impl<'a> Shown<'a> {
    fn of(entry: &'a Expected, status: Option<&'static str>) -> Self {
        Self {
            thing: &entry.thing,
            metering_point: &entry.metering_point,
            shard: &entry.shard,
            zone: entry.zone.to_string(),
            sensor_table: &entry.sensor_table,
            public_key: entry.public_key.map(|key| key.to_string()),
            serial: entry.serial.as_deref(),
            confidential: entry.confidential,
            replaces: entry.replaces.as_ref(),
            imported: show_millis(entry.imported_at.0),
            status,
        }
    }
}

/// Runs a command on the manifest.
///
/// # Errors
/// [`CliError`].
pub async fn run(command: &ManifestCommand, session: &Session, now: i64, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        ManifestCommand::Import(args) => import(args, session, now, out).await,
        ManifestCommand::List(args) => list(args, session, out).await,
        ManifestCommand::Show(args) => show(args, session, out).await,
        ManifestCommand::Remove(args) => remove(args, session, out).await,
    }
}

async fn import(args: &ImportArgs, session: &Session, now: i64, out: &mut dyn Write) -> Result<(), CliError> {
    let entries = file::read(&args.file, UnixMillis(now.saturating_mul(1000)))?;
    let manifest = session.manifest();
    let known: BTreeMap<DeviceId, Expected> =
        manifest.list().await?.into_iter().map(|entry| (entry.thing.clone(), entry)).collect();
    let (mut new, mut changed) = (Vec::new(), Vec::new());
    for entry in &entries {
        match known.get(&entry.thing) {
            None => new.push(entry.clone()),
            Some(known) if known.says_the_same(entry) => {}
            Some(_) => changed.push(entry.clone()),
        }
    }
    if let Some(first) = changed.first().filter(|_| !args.replace) {
        let more = changed.len() - 1;
        return Err(CliError::Refused(format!(
            "{} is expected otherwise already (and {more} more): --replace, if this is what holds now",
            first.thing
        )));
    }
    let same = entries.len() - new.len() - changed.len();
    let counts = [new.len(), changed.len(), same];
    new.append(&mut changed);
    manifest.put(&new).await?;
    let [new, changed, same] = counts;
    if args.json {
        return output::json(out, &serde_json::json!({ "new": new, "replaced": changed, "unchanged": same }));
    }
    output::line(out, &format!("{new} new, {changed} replaced, {same} unchanged"))
}

async fn list(args: &ListArgs, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let entries = session.manifest().list().await?;
    let things: Vec<DeviceId> = entries.iter().map(|entry| entry.thing.clone()).collect();
    let devices = session.devices().get_many(&things).await?;
    let status = |thing: &DeviceId| {
        devices.get(thing).map(|device| device.as_ref().map_or("damaged", |device| device.status.as_str()))
    };
    let shown: Vec<Shown<'_>> = entries
        .iter()
        .map(|entry| Shown::of(entry, status(&entry.thing)))
        .filter(|entry| !args.waiting || entry.status.is_none())
        .collect();
    if args.json {
        return output::json(out, &shown);
    }
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|entry| {
            vec![
                entry.thing.to_string(),
                entry.status.unwrap_or("waiting").to_owned(),
                entry.metering_point.to_owned(),
                entry.shard.to_owned(),
                entry.zone.clone(),
                entry.sensor_table.version().to_string(),
            ]
        })
        .collect();
    output::table(out, &["THING", "STATUS", "METERING POINT", "SHARD", "ZONE", "TABLE"], &rows)
}

async fn show(args: &ShowArgs, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let found = session.manifest().get(&args.thing).await?;
    let entry = found.ok_or_else(|| CliError::NotFound(format!("the manifest does not name {}", args.thing)))?;
    let device = session.devices().get(&args.thing).await?;
    let shown = Shown::of(&entry, device.map(|device| device.status.as_str()));
    if args.json {
        return output::json(out, &shown);
    }
    for (name, value) in [
        ("device", shown.thing.to_string()),
        ("status", shown.status.unwrap_or("waiting").to_owned()),
        ("serves", format!("{} in {}, {}", shown.metering_point, shown.shard, shown.zone)),
        ("sensor table", shown.sensor_table.version().to_string()),
        ("public key", shown.public_key.unwrap_or_else(|| "any".into())),
        ("serial", shown.serial.unwrap_or("any").to_owned()),
        ("telemetry", if shown.confidential { "confidential" } else { "clear" }.to_owned()),
        ("replaces", shown.replaces.map_or_else(|| "nobody".into(), DeviceId::to_string)),
        ("imported", shown.imported),
    ] {
        output::line(out, &format!("{name:<13} {value}"))?;
    }
    Ok(())
}

async fn remove(args: &RemoveArgs, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    if session.manifest().remove(&args.thing).await? {
        output::line(out, &format!("{} is no longer expected", args.thing))
    } else {
        Err(CliError::NotFound(format!("the manifest does not name {}", args.thing)))
    }
}
