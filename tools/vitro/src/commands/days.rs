//! `vitro days` and `vitro day`: where a device's days stand, and what each figure comes from.

use std::io::Write;

use clap::Args;
use serde::Serialize;
use vitro_cloud::archive::Archive;
use vitro_cloud::clock::{Clock, SystemClock};
use vitro_cloud::days::{DayRow, DayState, DayStore, ObjectRef};
use vitro_cloud::devices::Registered;
use vitro_cloud::parked::{Decision, Entry};
use vitro_cloud::queue::{Outbox, PublishDay, PublishTask};
use vitro_cloud::summaries::SummaryDocument;
use vitro_proof::account::Range;
use vitro_proof::summary::Figures;
use vitro_proof::{BlockMessage, DeviceId, LocalDay, Summary};

use crate::error::CliError;
use crate::output;
use crate::session::Session;

/// Arguments of `days`.
#[derive(Debug, Args)]
pub struct DaysArgs {
    /// Thing name
    pub thing: DeviceId,
    /// First local day to show, YYYY-MM-DD
    #[arg(long, default_value = "1970-01-01")]
    pub from: LocalDay,
    /// At most so many days
    #[arg(long, default_value_t = 400)]
    pub limit: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `day`.
#[derive(Debug, Args)]
pub struct DayArgs {
    /// Thing name
    pub thing: DeviceId,
    /// Local day of the site, YYYY-MM-DD
    pub day: LocalDay,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `republish`.
#[derive(Debug, Args)]
pub struct RepublishArgs {
    /// Thing name
    pub thing: DeviceId,
    /// Local day of the site, YYYY-MM-DD
    pub day: LocalDay,
}

/// Asks for a day to be published again: one that was parked, after its cause was removed. Its parked entry becomes `replayed`; if
/// the ledger refuses it again, it is open again. A day that is on the ledger stays as it is.
///
/// # Errors
/// [`CliError::NotFound`] if nothing is known of the day; [`CliError::Refused`] if it has no account yet.
pub async fn republish(args: &RepublishArgs, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let row = session.days().get(&args.thing, args.day).await?;
    let row = row.ok_or_else(|| CliError::NotFound(format!("nothing is known of {} on {}", args.thing, args.day)))?;
    let parked = session.parked();
    let mut replayed = Vec::new();
    if let Some(reason) = &row.parked {
        let decision = Decision { by: session.caller().await?, at: SystemClock.now(), why: String::new() };
        let begins = format!("{}-{}-", args.day, args.thing);
        for Entry { parked: entry, .. } in parked.entries(Some(reason)).await? {
            if entry.id.starts_with(&begins) && entry.device.as_ref() == Some(&args.thing) && entry.state.is_waiting() {
                parked.begin_replay(reason, &entry.id, &decision).await?;
                replayed.push(entry);
            }
        }
    }
    publish_again(session, &row).await?;
    for entry in replayed {
        parked.end_replay(&entry.reason, &entry.id).await?;
    }
    output::line(out, &format!("asked  {} {} ({} until now)", args.thing, args.day, row.state))
}

/// Takes a day out of its parking place and hands it to publish.
///
/// # Errors
/// [`CliError::Refused`] if it has no account yet.
pub async fn publish_again(session: &Session, row: &DayRow) -> Result<(), CliError> {
    if row.account.is_none() {
        let why = format!("{} {} is {}: there is no account to publish", row.thing, row.day, row.state);
        return Err(CliError::Refused(why));
    }
    if row.parked.is_some() {
        vitro_cloud::days::edit::<CliError>(&session.days(), &row.thing, row.day, |now| {
            let was = now.parked.take().is_some();
            if was {
                now.state = DayState::Reconciled;
            }
            Ok(was)
        })
        .await?;
    }
    let task = PublishTask::Day(PublishDay { thing: row.thing.clone(), day: row.day });
    session.publish_queue().await?.publish(&task).await?;
    Ok(())
}

/// A day's row as it is printed.
#[derive(Debug, Serialize)]
struct ShownDay<'a> {
    thing: &'a DeviceId,
    day: LocalDay,
    state: &'static str,
    outcome: Option<&'static str>,
    detail: Option<&'a str>,
    block: Option<ShownBlock<'a>>,
    summary: Option<&'a ObjectRef>,
    raw: Option<&'a ObjectRef>,
    account: Option<ShownAccount>,
    /// How many accounts the day has had.
    accounts: u64,
    asked: &'a [Range],
    reply: Option<&'a str>,
    recorded_gaps: u64,
    lowest_number: Option<u64>,
    highest_number: Option<u64>,
    transaction: Option<&'a str>,
    parked: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct ShownBlock<'a> {
    number: u64,
    hash: String,
    first: u64,
    count: u64,
    object: &'a ObjectRef,
}

#[derive(Debug, Serialize)]
struct ShownAccount {
    block: Option<u64>,
    first: u64,
    count: u64,
    root: String,
    summaries_digest: String,
    healed: Vec<Range>,
    missing: Vec<Range>,
}

/// The two sides' summaries beside the row.
#[derive(Debug, Serialize)]
struct ShownSides<'a> {
    #[serde(flatten)]
    row: ShownDay<'a>,
    /// From the block that the device signed, verified again.
    device_summaries: Option<Vec<Summary>>,
    /// The cloud's own.
    cloud_summaries: Option<Vec<Summary>>,
}

impl<'a> ShownDay<'a> {
    fn of(row: &'a DayRow) -> Result<Self, CliError> {
        Ok(Self {
            thing: &row.thing,
            day: row.day,
            state: row.state.as_str(),
            outcome: row.outcome.map(vitro_proof::reconcile::Outcome::as_str),
            detail: Some(row.detail.as_str()).filter(|detail| !detail.is_empty()),
            block: row.block.as_ref().map(|block| ShownBlock {
                number: block.number.0,
                hash: block.hash.to_string(),
                first: block.first,
                count: block.count,
                object: &block.object,
            }),
            summary: row.summary.as_ref(),
            raw: row.raw.as_ref(),
            account: row.decoded_account()?.map(|account| ShownAccount {
                block: account.block.map(|block| block.0),
                first: account.first,
                count: account.count,
                root: account.root.to_string(),
                summaries_digest: account.summaries_digest.to_string(),
                healed: account.healed,
                missing: account.missing,
            }),
            accounts: row.accounts,
            asked: &row.asked,
            reply: row.reply.as_deref(),
            recorded_gaps: row.gaps,
            lowest_number: row.low,
            highest_number: row.high,
            transaction: row.tx.as_deref(),
            parked: row.parked.as_deref(),
        })
    }
}

/// Prints a device's days.
///
/// # Errors
/// [`CliError`].
pub async fn list(args: &DaysArgs, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let rows = session.days().list_from(&args.thing, args.from, args.limit).await?;
    let shown = rows.iter().map(ShownDay::of).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        return output::json(out, &shown);
    }
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|day| {
            let run = day.block.as_ref().map_or_else(String::new, |b| format!("{} +{}", b.first, b.count));
            vec![
                day.day.to_string(),
                day.state.to_owned(),
                day.outcome.unwrap_or("-").to_owned(),
                day.block.as_ref().map_or_else(|| "-".into(), |block| block.number.to_string()),
                run,
                day.recorded_gaps.to_string(),
                day.transaction.or(day.parked).unwrap_or("-").to_owned(),
            ]
        })
        .collect();
    output::table(out, &["DAY", "STATE", "OUTCOME", "BLOCK", "RUN", "GAPS", "TRANSACTION"], &rows)
}

/// Prints one day, with the summaries of both sides.
///
/// # Errors
/// [`CliError::NotFound`] if nothing is known of the day; [`CliError::Malformed`] if an archived block does not verify.
pub async fn show(args: &DayArgs, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let row = session.days().get(&args.thing, args.day).await?;
    let row = row.ok_or_else(|| CliError::NotFound(format!("nothing is known of {} on {}", args.thing, args.day)))?;
    let archive = session.archive().await?;
    let device_summaries = match &row.block {
        None => None,
        Some(block) => {
            let registered = Registered::new(session.device(&args.thing).await?)?;
            let what = || format!("the archive's {}", block.object.key);
            let message = BlockMessage::decode(&archive.get(&block.object).await?);
            let message = message.map_err(|e| CliError::malformed(what(), e))?;
            let opened = message.open(&args.thing, &registered.key).map_err(|e| CliError::malformed(what(), e))?;
            Some(opened.summaries)
        }
    };
    let cloud_summaries = match &row.summary {
        None => None,
        Some(object) => Some(SummaryDocument::read(&archive.get(object).await?)?.day.summaries),
    };
    let shown = ShownSides { row: ShownDay::of(&row)?, device_summaries, cloud_summaries };
    if args.json { output::json(out, &shown) } else { print(&shown, out) }
}

fn print(shown: &ShownSides<'_>, out: &mut dyn Write) -> Result<(), CliError> {
    let row = &shown.row;
    let object = |object: Option<&ObjectRef>| {
        object.map_or_else(|| "-".to_owned(), |object| format!("{} (version {})", object.key, object.version))
    };
    let run = row.block.as_ref().map(|b| format!("{} envelopes from number {}", b.count, b.first));
    for (name, value) in [
        ("day", format!("{} {}", row.thing, row.day)),
        ("state", row.state.to_owned()),
        ("outcome", row.outcome.unwrap_or("-").to_owned()),
        ("detail", row.detail.unwrap_or("-").to_owned()),
        ("block", row.block.as_ref().map_or_else(|| "-".into(), |b| format!("{} {}", b.number, b.hash))),
        ("run", run.unwrap_or_else(|| "-".into())),
        ("block at", object(row.block.as_ref().map(|block| block.object))),
        ("summary at", object(row.summary)),
        ("raw at", object(row.raw)),
        ("transaction", row.transaction.unwrap_or("-").to_owned()),
        ("parked", row.parked.unwrap_or("-").to_owned()),
    ] {
        output::line(out, &format!("{name:<12} {value}"))?;
    }
    let mut rows = Vec::new();
    for (side, summaries) in [("device", &shown.device_summaries), ("cloud", &shown.cloud_summaries)] {
        for summary in summaries.iter().flatten() {
            rows.push(vec![
                side.to_owned(),
                summary.sensor.to_string(),
                summary.unit.clone(),
                summary.values.to_string(),
                summary.missing.to_string(),
                summary.flagged.to_string(),
                figures(summary),
            ]);
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    output::line(out, "")?;
    output::table(out, &["SIDE", "SENSOR", "UNIT", "VALUES", "MISSING", "FLAGGED", "FIGURES"], &rows)
}

/// A summary's figures in a line.
pub(super) fn figures(summary: &Summary) -> String {
    match &summary.figures {
        None => "-".into(),
        Some(Figures::Gauge { min, max, sum }) => format!("min {min}, max {max}, sum {sum}"),
        Some(Figures::Counter { increase, resets, rollovers, decreases, .. }) => {
            format!("increase {increase}, resets {resets}, rollovers {rollovers}, decreases {decreases}")
        }
    }
}
