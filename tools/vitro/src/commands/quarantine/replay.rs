//! Looking at parked entries again, and giving them up.
//!
//! A replay is noted, sent, and noted as sent, in this order: a kill in between leaves an entry that still waits, and at worst its
//! message is checked twice, which changes nothing. What is refused again is open again, under the same id.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;
use serde::Serialize;
use vitro_cloud::clock::{Clock, SystemClock};
use vitro_cloud::days::DayStore;
use vitro_cloud::parked::{Decision, Entry, Parked};
use vitro_cloud::quarantine::Kept;
use vitro_cloud::queue::{PublishBlock, PublishHour};
use vitro_cloud::rule_event::{RuleEvent, TopicLevel};

use super::origin::{self, Origin};
use super::selection::Selection;
use super::{fetch, printable};
use crate::commands::days::publish_again;
use crate::error::CliError;
use crate::output;
use crate::session::Session;

/// The topic on which AWS IoT says that a device has announced itself, but for the authority's id.
const ANNOUNCED: &str = "$aws/events/certificates/registered/";

/// Arguments of `quarantine replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Which entries.
    #[command(flatten)]
    pub(super) selection: Selection,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `quarantine drop`.
#[derive(Debug, Args)]
pub struct DropArgs {
    /// Which entries.
    #[command(flatten)]
    pub(super) selection: Selection,
    /// Why they are given up: a sentence for whoever looks later
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub why: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What became of an entry.
#[derive(Debug, Serialize)]
struct Done<'a> {
    reason: &'a str,
    id: &'a str,
    thing: Option<&'a str>,
    /// `replayed`, `refused again`, `dropped`, `kept`; in a dry run what it is now.
    outcome: &'static str,
    /// Where it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<&'static str>,
    /// For how many refusals the entry stands: the others were counted, and their bytes were not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    stands_for: Option<u64>,
    /// Why nothing was done with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<String>,
}

impl<'a> Done<'a> {
    fn of(row: &'a Parked, outcome: &'static str) -> Self {
        let thing = row.device.as_ref().map(vitro_proof::DeviceId::as_str);
        Self { reason: &row.reason, id: &row.id, thing, outcome, queue: None, stands_for: None, because: None }
    }
}

/// What is about to go where.
enum Parcel {
    Message { queue: &'static str, body: String, stands_for: u64 },
    Day(Box<vitro_cloud::days::DayRow>),
}

impl Parcel {
    fn queue(&self) -> &'static str {
        match self {
            Self::Message { queue, .. } => queue,
            Self::Day(_) => "publish",
        }
    }
}

/// Puts entries back into the queues that they came from.
///
/// # Errors
/// [`CliError::Refused`] if one that was named cannot be looked at again; in bulk such entries are passed over and told.
pub(super) async fn replay(args: &ReplayArgs, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let found = args.selection.find(session).await?;
    if args.selection.dry_run {
        return show(out, args.json, &found.iter().map(|entry| preview(&entry.parked)).collect::<Vec<_>>());
    }
    let decision = Decision { by: session.caller().await?, at: SystemClock.now(), why: String::new() };
    let mut urls = BTreeMap::new();
    let mut done = Vec::with_capacity(found.len());
    for entry in &found {
        match again(session, entry, &decision, &mut urls).await {
            Ok(made) => done.push(made),
            Err(CliError::Refused(because) | CliError::NotFound(because)) if args.selection.ids.is_empty() => {
                done.push(Done { because: Some(because), ..Done::of(&entry.parked, "kept") });
            }
            Err(error) => {
                // What was done so far is told before the run ends.
                show(out, args.json, &done)?;
                return Err(error);
            }
        }
    }
    show(out, args.json, &done)
}

/// Gives entries up.
///
/// # Errors
/// [`CliError`].
pub(super) async fn drop_entries(args: &DropArgs, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let found = args.selection.find(session).await?;
    if args.selection.dry_run {
        return show(out, args.json, &found.iter().map(|entry| preview(&entry.parked)).collect::<Vec<_>>());
    }
    let decision = Decision { by: session.caller().await?, at: SystemClock.now(), why: args.why.clone() };
    let table = session.parked();
    let mut done = Vec::with_capacity(found.len());
    for Entry { parked: row, .. } in &found {
        done.push(if table.drop_row(&row.reason, &row.id, &decision).await? {
            Done::of(row, "dropped")
        } else {
            Done { because: Some("it does not wait any more".into()), ..Done::of(row, "kept") }
        });
    }
    show(out, args.json, &done)
}

async fn again<'a>(
    session: &Session,
    entry: &'a Entry,
    decision: &Decision,
    urls: &mut BTreeMap<&'static str, String>,
) -> Result<Done<'a>, CliError> {
    let row = &entry.parked;
    // Everything that can be found wrong is found before anything is noted.
    let parcel = pack(session, row).await?;
    let table = session.parked();
    if !table.begin_replay(&row.reason, &row.id, decision).await? {
        return Err(CliError::NotFound(format!("nothing is parked under {}/{}", row.reason, row.id)));
    }
    let (queue, mut stands_for) = (parcel.queue(), None);
    match parcel {
        Parcel::Day(day) => publish_again(session, &day).await?,
        Parcel::Message { queue, body, stands_for: many } => {
            stands_for = (many > 1).then_some(many);
            let url = match urls.get(queue) {
                Some(url) => url.clone(),
                None => urls.entry(queue).or_insert(session.queue_url(queue).await?).clone(),
            };
            let sent = session.sqs().send_message().queue_url(url).message_body(body).send().await;
            sent.map_err(|e| CliError::aws("SendMessage", &e))?;
        }
    }
    let outcome = if table.end_replay(&row.reason, &row.id).await? { "replayed" } else { "refused again" };
    Ok(Done { queue: Some(queue), stands_for, ..Done::of(row, outcome) })
}

/// What goes back where; nothing is changed yet.
async fn pack(session: &Session, row: &Parked) -> Result<Parcel, CliError> {
    let name = format!("{}/{}", row.reason, row.id);
    match origin::of(row) {
        Origin::Evidence(why) => {
            Err(CliError::Refused(format!("{name} is nothing that waits: {why}; drop it once it is judged")))
        }
        Origin::Ledger(thing, day) => {
            let found = session.days().get(&thing, day).await?;
            found
                .map(|day| Parcel::Day(Box::new(day)))
                .ok_or_else(|| CliError::NotFound(format!("nothing is known of {thing} on {day}")))
        }
        Origin::Interim(thing, block) => {
            let body = serde_json::to_string(&PublishBlock { thing, block });
            let body = body.map_err(|e| CliError::malformed(&*name, e))?;
            Ok(Parcel::Message { queue: "publish", body, stands_for: 1 })
        }
        Origin::Hour(shard, hour) => {
            let body = serde_json::to_string(&PublishHour { shard, hour });
            let body = body.map_err(|e| CliError::malformed(&*name, e))?;
            Ok(Parcel::Message { queue: "publish", body, stands_for: 1 })
        }
        Origin::Status(thing) => Ok(Parcel::Message {
            queue: "status",
            body: serde_json::json!({ "thing": thing }).to_string(),
            stands_for: 1,
        }),
        Origin::Event(bucket, key) => {
            let text = String::from_utf8(fetch(session, &bucket, &key).await?);
            let kept = Kept::parse(&key, &text.map_err(|e| CliError::malformed(&*key, e))?)?;
            let event = RuleEvent::parse(kept.event)?;
            let queue = queue_of(&event)
                .ok_or_else(|| CliError::Refused(format!("{name}: no queue takes messages of {}", event.topic)))?;
            Ok(Parcel::Message { queue, body: event.raw().to_owned(), stands_for: kept.stands_for })
        }
    }
}

/// The queue that a message came from, by its topic.
fn queue_of(event: &RuleEvent) -> Option<&'static str> {
    match event.level() {
        Some(TopicLevel::Telemetry) => Some("telemetry"),
        Some(TopicLevel::Block | TopicLevel::Reply) => Some("blocks"),
        None => event.topic.starts_with(ANNOUNCED).then_some("register"),
    }
}

fn preview(row: &Parked) -> Done<'_> {
    let because = match origin::of(row) {
        Origin::Evidence(why) => Some(why.to_owned()),
        _ => None,
    };
    Done { because, ..Done::of(row, row.state.as_str()) }
}

fn show(out: &mut dyn Write, json: bool, done: &[Done<'_>]) -> Result<(), CliError> {
    if json {
        return output::json(out, &done);
    }
    let rows: Vec<Vec<String>> = done
        .iter()
        .map(|made| {
            let sample = made.stands_for.map(|many| format!("one of {many}; the others were not kept"));
            let note = made.because.clone().or(sample).unwrap_or_default();
            let cells =
                [made.outcome, made.queue.unwrap_or("-"), made.reason, made.thing.unwrap_or("-"), made.id, &note];
            cells.map(printable).into()
        })
        .collect();
    output::table(out, &["OUTCOME", "QUEUE", "REASON", "THING", "ID", "NOTE"], &rows)?;
    output::line(out, &format!("{} in all", done.len()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use vitro_cloud::rule_event::NewRuleEvent;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::commands::quarantine::QuarantineCommand;

    #[test]
    fn a_message_goes_back_where_it_came_from() {
        for (topic, queue) in [
            ("vitro/acme/dev-1/telemetry", Some("telemetry")),
            ("vitro/acme/dev-1/block", Some("blocks")),
            ("vitro/acme/dev-1/reply", Some("blocks")),
            ("$aws/events/certificates/registered/ab12", Some("register")),
            ("vitro/acme/dev-1/command", None),
        ] {
            let event =
                NewRuleEvent { envelope: b"", thing: "dev-1", topic, client: None, principal: None, received: 0 };
            assert_eq!(queue_of(&RuleEvent::parse(event.to_body()).unwrap()), queue, "{topic}");
        }
    }

    fn parse(line: &str) -> Option<QuarantineCommand> {
        match Cli::try_parse_from(line.split_whitespace()).ok()?.command {
            Command::Quarantine(command) => Some(command),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn entries_are_named_or_filtered_and_a_drop_says_why() {
        for good in [
            "replay late/1 2",
            "replay --reason device_suspended --thing dev-1 --since 2026-11-22T00:00:00Z --count 3",
            "replay --thing dev-1 --dry-run",
            "drop 1 --why noise",
        ] {
            assert!(parse(&format!("vitro quarantine {good}")).is_some(), "{good}");
        }
        for bad in [
            "replay 1 --reason late",
            "replay 1 --count 1",
            "drop 1",
            "drop 1 --why",
            "replay --since yesterday",
            "replay --thing a/b",
        ] {
            assert!(parse(&format!("vitro quarantine {bad}")).is_none(), "{bad}");
        }
    }
}
