//! `vitro readings`: a day's stored envelopes, each verified again under the registered key and read.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde::Serialize;
use vitro_cloud::CloudError;
use vitro_cloud::clock::SystemClock;
use vitro_cloud::data_keys::{DataKeySource, KnownKeys, SecretDataKeys};
use vitro_cloud::days::DayStore;
use vitro_cloud::devices::Registered;
use vitro_cloud::readings::Reading;
use vitro_cloud::sources;
use vitro_proof::confidential::{self, DataKeys};
use vitro_proof::senml::{self, Value};
use vitro_proof::{ContentFault, DayBounds, DeviceId, LocalDay, Reason, ZoneName};

use crate::commands::data_key;
use crate::error::CliError;
use crate::instant::{show_millis, show_seconds};
use crate::output;
use crate::session::Session;

/// `low` of a day is written coarsely: so far below it is looked as well.
const COARSE: u64 = 1_500;

/// Arguments of `readings`.
#[derive(Debug, Args)]
pub struct ReadingsArgs {
    /// Thing name
    pub thing: DeviceId,
    /// Local day of the site, YYYY-MM-DD
    #[arg(long)]
    pub day: LocalDay,
    /// Print each stored envelope too, in base64
    #[arg(long)]
    pub envelopes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A day's envelopes as they are printed.
#[derive(Debug, Serialize)]
pub struct DayReadings {
    thing: DeviceId,
    day: LocalDay,
    zone: ZoneName,
    from: String,
    to: String,
    /// How it is known which envelopes belong to the day: the run of its block, or their time.
    found_by: &'static str,
    block: Option<u64>,
    envelopes: Vec<ShownEnvelope>,
}

/// One stored envelope as it is printed.
#[derive(Debug, Serialize)]
struct ShownEnvelope {
    number: u64,
    received: String,
    /// `good`, or `bad` if it does not verify under the device's key.
    signature: &'static str,
    leaf: String,
    flags: Vec<String>,
    records: Vec<ShownRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    envelope: Option<String>,
}

/// One record as it is printed: a value, `missing`, or the code of what is wrong with it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct ShownRecord {
    #[serde(skip_serializing_if = "Option::is_none")]
    sensor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    /// The exact decimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    missing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
}

/// Prints a day's readings.
///
/// # Errors
/// [`CliError::NotFound`] for an unknown device; [`CliError::Refused`] after printing if a stored envelope does not verify.
pub async fn run(args: &ReadingsArgs, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let device = session.device(&args.thing).await?;
    let registered = Registered::new(device)?;
    let bounds = DayBounds::of(&registered.device.zone, args.day)?;
    let row = session.days().get(&args.thing, args.day).await?;
    let block = row.as_ref().and_then(|row| row.block.as_ref());
    let readings = session.readings();
    let mut stored = match block {
        Some(block) => sources::run(&readings, &args.thing, block.first, block.count).await?,
        None => {
            let low = row.as_ref().and_then(|row| row.low).unwrap_or_default();
            sources::around_day(&readings, &args.thing, low.saturating_sub(COARSE), bounds).await?
        }
    };
    if block.is_none() {
        let seen = row.as_ref().and_then(|row| Some(row.low?..=row.high?));
        stored.retain(|reading| match reading.time {
            Some(time) => bounds.contains(time),
            // What cannot be read belongs where its number lies.
            None => seen.as_ref().is_some_and(|seen| seen.contains(&reading.number().0)),
        });
    }
    let keys = data_keys(&stored, session).await?;
    let shown = DayReadings {
        thing: args.thing.clone(),
        day: args.day,
        zone: registered.device.zone.clone(),
        from: show_seconds(bounds.from),
        to: show_seconds(bounds.to),
        found_by: if block.is_some() { "block" } else { "time" },
        block: block.map(|block| block.number.0),
        envelopes: stored
            .iter()
            .map(|reading| show(reading, &registered, &keys, args.envelopes))
            .collect::<Result<_, CliError>>()?,
    };
    let bad = shown.envelopes.iter().filter(|envelope| envelope.signature == "bad").count();
    if args.json {
        output::json(out, &shown)?
    } else {
        print(&shown, args.envelopes, out)?
    }
    if bad > 0 {
        return Err(CliError::Refused(format!("{bad} of the stored envelopes do not verify under the device's key")));
    }
    Ok(())
}

/// The data-proxy keys for what is confidential of these readings. An operator without the right to read them sees that the readings
/// are encrypted, and no more.
async fn data_keys(stored: &[Reading], session: &Session) -> Result<KnownKeys, CliError> {
    let mut ids = BTreeSet::new();
    for reading in stored {
        ids.extend(confidential::recipient(&reading.parse()?).map(str::to_owned));
    }
    let secrets = [data_key::IN_USE, data_key::RETIRED].map(|name| session.stack.resource(name));
    match SecretDataKeys::new(&session.secrets(), &secrets, SystemClock).keys(&ids).await {
        Err(CloudError::Service { code, .. }) if code.starts_with("AccessDenied") => Ok(KnownKeys::default()),
        keys => Ok(keys?),
    }
}

fn show(
    reading: &Reading,
    registered: &Registered,
    keys: &dyn DataKeys,
    with_bytes: bool,
) -> Result<ShownEnvelope, CliError> {
    let envelope = reading.parse()?;
    let good = envelope.header().kid == registered.device.id.as_str() && envelope.verify(&registered.key).is_ok();
    Ok(ShownEnvelope {
        number: envelope.header().number,
        received: show_millis(reading.received.0),
        signature: if good { "good" } else { "bad" },
        leaf: envelope.leaf().to_string(),
        flags: reading.flags.iter().cloned().collect(),
        records: records(confidential::pack(&envelope, keys), &registered.device.id),
        envelope: with_bytes.then(|| STANDARD.encode(&reading.envelope)),
    })
}

fn records(pack: Result<Cow<'_, [u8]>, ContentFault>, thing: &DeviceId) -> Vec<ShownRecord> {
    let faulty = |fault: ContentFault| ShownRecord { fault: Some(fault.reason()), ..ShownRecord::default() };
    let pack = match pack.and_then(|pack| senml::read_pack(&pack, thing)) {
        Ok(pack) => pack,
        Err(fault) => return vec![faulty(fault)],
    };
    pack.into_iter()
        .map(|record| match record {
            Err(fault) => faulty(fault),
            Ok(record) => ShownRecord {
                sensor: Some(record.sensor),
                unit: record.unit,
                time: Some(show_millis(record.time.0)),
                value: match &record.value {
                    Value::Number(number) => Some(number.to_string()),
                    Value::Missing | Value::Other => None,
                },
                missing: record.value == Value::Missing,
                fault: (record.value == Value::Other).then(|| ContentFault::NotANumber.reason()),
            },
        })
        .collect()
}

fn print(shown: &DayReadings, with_bytes: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let mut rows = Vec::new();
    for envelope in &shown.envelopes {
        for (index, record) in envelope.records.iter().enumerate() {
            let first = index == 0;
            let value = match (&record.value, record.missing, record.fault) {
                (Some(value), ..) => value.clone(),
                (None, true, _) => "missing".into(),
                (None, false, fault) => fault.unwrap_or("-").into(),
            };
            rows.push(vec![
                if first { envelope.number.to_string() } else { String::new() },
                record.time.clone().unwrap_or_default(),
                record.sensor.clone().unwrap_or_default(),
                value,
                record.unit.clone().unwrap_or_default(),
                if first { envelope.received.clone() } else { String::new() },
                if first { envelope.signature.to_owned() } else { String::new() },
                if first { envelope.flags.join(",") } else { String::new() },
            ]);
        }
        if with_bytes && let Some(bytes) = &envelope.envelope {
            rows.push(vec![String::new(), bytes.clone()]);
        }
    }
    let header = ["NUMBER", "TIME", "SENSOR", "VALUE", "UNIT", "RECEIVED", "SIGNATURE", "FLAGS"];
    output::table(out, &header, &rows)?;
    let how = match shown.block {
        Some(block) => format!("the run of block {block}"),
        None => "by time: no block came yet".into(),
    };
    output::line(out, &format!("{} envelopes of {} {} ({how})", shown.envelopes.len(), shown.thing, shown.day))
}

#[cfg(test)]
mod tests {
    use vitro_proof::UnixMillis;
    use vitro_proof::senml::{Reading as Measured, write_pack};

    use super::*;

    #[test]
    fn records_are_shown_exactly() {
        let thing: DeviceId = "dev-1".parse().unwrap();
        let pack = write_pack(
            &thing,
            UnixMillis(1_767_323_045_000),
            &[
                Measured {
                    sensor: "energy".parse().unwrap(),
                    unit: "kWh".into(),
                    value: Some("3.0903".parse().unwrap()),
                },
                Measured { sensor: "temp".parse().unwrap(), unit: "Cel".into(), value: None },
            ],
        );
        let shown = records(Ok(Cow::Borrowed(&pack)), &thing);
        let json = serde_json::to_value(&shown).unwrap();
        assert_eq!(
            json,
            serde_json::json!([
                {"sensor": "energy", "unit": "kWh", "time": "2026-01-02T03:04:05.000Z", "value": "3.0903"},
                {"sensor": "temp", "unit": "Cel", "time": "2026-01-02T03:04:05.000Z", "missing": true},
            ])
        );
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let thing: DeviceId = "dev-1".parse().unwrap();
        let fault = |pack| records(pack, &thing)[0].fault;
        assert_eq!(fault(Ok(Cow::Borrowed(b"nonsense"))), Some("unreadable_pack"));
        assert_eq!(fault(Err(ContentFault::Encrypted)), Some("encrypted"));
    }
}
