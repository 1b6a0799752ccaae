//! What the registry, AWS IoT Core and the ledger say of a device, and where they disagree.

use std::collections::BTreeSet;
use std::io::Write;

use serde::Serialize;
use vitro_client::{Client, SecretLedger, registered};
use vitro_cloud::clock::SystemClock;
use vitro_cloud::devices::Device;
use vitro_contract::{DeviceStatus, DeviceView, History};
use vitro_proof::{DeviceId, SensorTable};

use super::ShowArgs;
use crate::error::CliError;
use crate::instant::{show_millis, show_seconds};
use crate::output;
use crate::session::Session;

/// A device as it is printed.
#[derive(Serialize)]
struct Shown<'a> {
    thing: &'a DeviceId,
    status: &'static str,
    cause: Option<&'static str>,
    since: Option<String>,
    last_good: Option<u64>,
    replaces: Option<&'a DeviceId>,
    replaced_by: Option<&'a DeviceId>,
    status_revision: u64,
    status_applied: u64,
    certificate_id: &'a str,
    certificate_ids: &'a BTreeSet<String>,
    enrolled: Option<String>,
    public_key: String,
    metering_point: &'a str,
    zone: String,
    shard: &'a str,
    confidential: bool,
    sensor_tables: &'a [SensorTable],
    newest_number: Option<u64>,
    newest_received: Option<String>,
    head_block: Option<u64>,
    closed_through: Option<u64>,
    silent_since: Option<String>,
    certificates: &'a [Certificate],
    ledger: Option<&'a OnLedger>,
    /// Why the ledger could not be asked.
    ledger_error: Option<&'a str>,
    disagreements: &'a [String],
}

/// A certificate in AWS IoT.
#[derive(Serialize)]
struct Certificate {
    id: String,
    /// What AWS IoT says; nothing if it has none of this id.
    status: Option<String>,
    /// Where it belongs by the registry's entry.
    wanted: &'static str,
}

/// A device on the ledger.
#[derive(Serialize)]
struct OnLedger {
    status: DeviceStatus,
    serves: bool,
    approved: bool,
    history: History,
}

/// All that is known of a device's status.
struct Places {
    certificates: Vec<Certificate>,
    ledger: Option<OnLedger>,
    ledger_error: Option<CliError>,
    disagreements: Vec<String>,
}

/// Shows a device; with `--check` it also fails where the three disagree.
///
/// # Errors
/// [`CliError::NotFound`] if it is not registered; [`CliError::Refused`] where `--check` finds a disagreement; what the ledger said if
/// `--check` could not ask it.
pub(super) async fn show(args: &ShowArgs, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let device = session.device(&args.thing).await?;
    let places = print(&device, args.json, session, out).await?;
    match (args.check, places.ledger_error) {
        (true, _) if !places.disagreements.is_empty() => Err(CliError::Refused(places.disagreements.join("; "))),
        (true, Some(error)) => Err(error),
        _ => Ok(()),
    }
}

/// Prints a device and gives what was found.
pub(super) async fn print(
    device: &Device,
    json: bool,
    session: &Session,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    let places = places(device, session).await?;
    let ledger_error = places.ledger_error.as_ref().map(ToString::to_string);
    let shown = Shown {
        thing: &device.id,
        status: device.status.as_str(),
        cause: device.cause.map(vitro_cloud::devices::Cause::as_str),
        since: device.suspended_at.map(|at| show_millis(at.0)),
        last_good: device.last_good.map(|number| number.0),
        replaces: device.replaces.as_ref(),
        replaced_by: device.exchange.as_ref().map(|exchange| &exchange.by),
        status_revision: device.status_revision,
        status_applied: device.status_applied,
        certificate_id: &device.certificate_id,
        certificate_ids: &device.certificate_ids,
        enrolled: device.enrolled_at.map(|at| show_millis(at.0)),
        public_key: device.public_key.to_string(),
        metering_point: &device.metering_point,
        zone: device.zone.to_string(),
        shard: &device.shard,
        confidential: device.confidential,
        sensor_tables: &device.sensor_tables,
        newest_number: device.mark.map(|mark| mark.number.0),
        newest_received: device.mark.map(|mark| show_millis(mark.received.0)),
        head_block: device.head.map(|head| head.block.0),
        closed_through: device.closed_through.map(|number| number.0),
        silent_since: device.gap_since.map(|since| show_millis(since.0)),
        certificates: &places.certificates,
        ledger: places.ledger.as_ref(),
        ledger_error: ledger_error.as_deref(),
        disagreements: &places.disagreements,
    };
    if json {
        output::json(out, &shown)?;
    } else {
        text(&shown, out)?;
    }
    Ok(Outcome { disagreements: places.disagreements, ledger_error: places.ledger_error })
}

/// What printing found out.
pub(super) struct Outcome {
    disagreements: Vec<String>,
    ledger_error: Option<CliError>,
}

fn text(shown: &Shown<'_>, out: &mut dyn Write) -> Result<(), CliError> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let mut line = |name: &str, value: &str| output::line(out, &format!("{name:<13} {value}"));
    line("device", shown.thing.as_str())?;
    line("status", &status_line(shown))?;
    line("serves", &format!("{} in {}, {}", shown.metering_point, shown.shard, shown.zone))?;
    for (name, other) in [("replaces", shown.replaces), ("replaced by", shown.replaced_by)] {
        if let Some(other) = other {
            line(name, other.as_str())?;
        }
    }
    line("enrolled", &or_none(shown.enrolled.clone()))?;
    line("telemetry", if shown.confidential { "encrypted only" } else { "in clear or encrypted" })?;
    line("sensor table", &or_none(shown.sensor_tables.last().map(|table| table.version().to_string())))?;
    line("newest", &or_none(shown.newest_received.clone()))?;
    line("head block", &or_none(shown.head_block.map(|n| n.to_string())))?;
    line("silent since", &or_none(shown.silent_since.clone()))?;
    for certificate in shown.certificates {
        let status = certificate.status.as_deref().unwrap_or("not there");
        line("certificate", &format!("{} {status}", certificate.id))?;
    }
    match (shown.ledger, shown.ledger_error) {
        (Some(ledger), _) => {
            let approved = if ledger.approved { "approved" } else { "not approved by RC and DV" };
            let serves = if ledger.serves { "serves" } else { "serves nothing" };
            line("ledger", &format!("{}, {serves}, {approved}", ledger.status.standing))?;
            for change in &ledger.history.changes {
                line("", &format!("{} {}", show_seconds(change.time), change_line(change)))?;
            }
            for view in ledger.history.services.iter().flat_map(|service| [&service.since, &service.until]).flatten() {
                let exchange = &view.exchange;
                let what = format!("{} took {} over from {}", exchange.new, view.point, exchange.old);
                line("", &format!("{} {what} on {}, transaction {}", show_seconds(view.time), exchange.day, view.tx))?;
            }
        }
        (None, Some(error)) => line("ledger", &format!("cannot be asked: {error}"))?,
        (None, None) => line("ledger", "does not know it")?,
    }
    shown.disagreements.iter().try_for_each(|what| line("DISAGREES", what))
}

fn status_line(shown: &Shown<'_>) -> String {
    let Some(since) = &shown.since else { return shown.status.to_owned() };
    let good = shown.last_good.map_or_else(|| "no number counts".to_owned(), |n| format!("numbers up to {n} count"));
    format!("{} since {since} ({}), {good}", shown.status, shown.cause.unwrap_or("no cause"))
}

fn change_line(change: &DeviceStatus) -> String {
    let detail = change.halt.as_ref().map_or_else(String::new, |halt| {
        let good = halt.last_good.map_or_else(|| "none".to_owned(), |good| good.to_string());
        format!(" as of {}, last good number {good} ({})", show_millis(halt.at), halt.reason)
    });
    format!("{}{detail}, transaction {}", change.standing, change.tx)
}

async fn places(device: &Device, session: &Session) -> Result<Places, CliError> {
    let mut disagreements = Vec::new();
    if !device.is_status_applied() {
        let (revision, applied) = (device.status_revision, device.status_applied);
        disagreements.push(format!("change {revision} of the status is not applied, {applied} is"));
    }
    let mut certificates = Vec::new();
    for id in device.all_certificates() {
        let wanted = device.connection_of(id).as_str();
        let status = certificate_status(session, id).await?;
        // A revoked one stays revoked; one that is not there connects nobody.
        let fits = match status.as_deref() {
            Some("REVOKED") => wanted != "ACTIVE",
            Some(status) => status == wanted,
            None => wanted != "ACTIVE",
        };
        if !fits {
            let status = status.as_deref().unwrap_or("not there");
            disagreements.push(format!("the certificate {id} is {status} in AWS IoT and should be {wanted}"));
        }
        certificates.push(Certificate { id: id.to_owned(), status, wanted });
    }
    let (ledger, ledger_error) = match on_ledger(device, session).await {
        Ok(found) => (found, None),
        Err(error) => (None, Some(error)),
    };
    if let Some(ledger) = &ledger {
        if !registered::agrees(device, &ledger.status) {
            let standing = ledger.status.standing;
            disagreements.push(format!("the ledger says {standing}, or for another reason or number"));
        }
        let replaced = ledger.history.services.iter().find_map(|service| service.until.as_ref());
        if registered::exchange(device).as_ref() != replaced.map(|view| &view.exchange) {
            disagreements.push("registry and ledger differ on who took its metering point over".into());
        }
    }
    Ok(Places { certificates, ledger, ledger_error, disagreements })
}

/// What AWS IoT says of a certificate; nothing if it has none of this id.
///
/// # Errors
/// [`CliError::Aws`].
pub(super) async fn certificate_status(session: &Session, id: &str) -> Result<Option<String>, CliError> {
    match session.iot().describe_certificate().certificate_id(id).send().await {
        Ok(found) => {
            Ok(found.certificate_description.and_then(|one| one.status).map(|status| status.as_str().to_owned()))
        }
        Err(error) => match CliError::aws("DescribeCertificate", &error) {
            error if error.aws_code() == Some("ResourceNotFoundException") => Ok(None),
            error => Err(error),
        },
    }
}

/// What the ledger has of it, asked as the operator; nothing if it does not know it.
async fn on_ledger(device: &Device, session: &Session) -> Result<Option<OnLedger>, CliError> {
    let client = Client::new(SecretLedger::new(session.secrets(), session.stack.resource("fabric"), SystemClock));
    let view: DeviceView = match client.device(&device.id).await {
        Ok(view) => view,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let history = client.device_history(&device.id).await?;
    Ok(Some(OnLedger { status: view.status, serves: view.serves, approved: view.counts, history }))
}
