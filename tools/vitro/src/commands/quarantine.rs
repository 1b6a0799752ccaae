//! `vitro quarantine`: what was refused or parked, why, and the whole event that it came in; what is looked at again, and what is given up.

mod origin;
mod replay;
mod selection;

use std::io::Write;

use clap::{Args, Subcommand};
use serde::Serialize;
use vitro_cloud::parked::{Entry, ParkedTable};

use crate::error::CliError;
use crate::instant::show_millis;
use crate::output;
use crate::session::Session;

/// What to do with what was refused.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List what was refused or parked, the oldest first
    List(ListArgs),
    /// Show one entry with the whole event
    Show(ShowArgs),
    /// Put entries back into the queues that they came from: every check runs again
    Replay(replay::ReplayArgs),
    /// Give entries up; they stay in the list with who, when and why
    Drop(replay::DropArgs),
}

/// Arguments of `quarantine list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only this reason code (docs/reasons.md)
    #[arg(long, value_name = "CODE")]
    pub reason: Option<String>,
    /// Only this thing
    #[arg(long, value_name = "THING")]
    pub thing: Option<String>,
    /// What was decided on, too
    #[arg(long)]
    pub all: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `quarantine show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Id as `quarantine list` shows it; with its reason (reason/id) if several reasons have it
    pub id: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// An entry as it is printed.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    reason: &'a str,
    id: &'a str,
    state: &'static str,
    thing: Option<&'a str>,
    received: String,
    bucket: Option<&'a str>,
    key: Option<&'a str>,
    detail: &'a str,
    /// How often it was replayed.
    replays: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided: Option<Decided<'a>>,
}

/// What an operator decided last.
#[derive(Debug, Serialize)]
struct Decided<'a> {
    by: &'a str,
    at: String,
    why: &'a str,
}

impl<'a> Shown<'a> {
    fn of(entry: &'a Entry) -> Self {
        let parked = &entry.parked;
        let decided = entry.decision.as_ref();
        Self {
            replays: entry.replays,
            decided: decided.map(|made| Decided { by: &made.by, at: show_millis(made.at.0), why: &made.why }),
            reason: &parked.reason,
            id: &parked.id,
            state: parked.state.as_str(),
            thing: parked.device.as_ref().map(vitro_proof::DeviceId::as_str),
            received: show_millis(parked.received.0),
            bucket: parked.object.as_ref().map(|object| object.0.as_str()),
            key: parked.object.as_ref().map(|object| object.1.as_str()),
            detail: &parked.detail,
        }
    }
}

/// Runs a command on the quarantine.
///
/// # Errors
/// [`CliError`].
pub async fn run(command: &QuarantineCommand, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        QuarantineCommand::List(args) => list(args, session, out).await,
        QuarantineCommand::Show(args) => show(args, session, out).await,
        QuarantineCommand::Replay(args) => replay::replay(args, session, out).await,
        QuarantineCommand::Drop(args) => replay::drop_entries(args, session, out).await,
    }
}

async fn list(args: &ListArgs, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let mut rows = session.parked().entries(args.reason.as_deref()).await?;
    rows.retain(|row| args.all || row.parked.state.is_waiting());
    rows.retain(|row| args.thing.is_none() || row.parked.device.as_ref().map(|d| d.as_str()) == args.thing.as_deref());
    selection::sort(&mut rows);
    let shown: Vec<Shown<'_>> = rows.iter().map(Shown::of).collect();
    if args.json {
        return output::json(out, &shown);
    }
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|row| {
            let cells = [row.reason, row.thing.unwrap_or("-"), &row.received, row.state, row.id];
            cells.map(printable).into()
        })
        .collect();
    output::table(out, &["REASON", "THING", "RECEIVED", "STATE", "ID"], &rows)
}

async fn show(args: &ShowArgs, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let found = find(&session.parked(), &args.id).await?;
    let event = match &found.parked.object {
        None => None,
        Some((bucket, key)) => {
            let body = fetch(session, bucket, key).await?;
            // A block's message is no JSON; where it is, is enough to say.
            serde_json::from_slice::<serde_json::Value>(&body).ok()
        }
    };
    if args.json {
        let mut shown = serde_json::to_value(Shown::of(&found)).map_err(|e| CliError::malformed("output", e))?;
        shown["stored"] = event.unwrap_or_default();
        return output::json(out, &shown);
    }
    let shown = Shown::of(&found);
    let object = shown.bucket.zip(shown.key).map(|(bucket, key)| format!("s3://{bucket}/{key}"));
    for (name, value) in [
        ("reason", shown.reason.to_owned()),
        ("id", shown.id.to_owned()),
        ("state", shown.state.to_owned()),
        ("thing", shown.thing.unwrap_or("-").to_owned()),
        ("received", shown.received.clone()),
        ("detail", shown.detail.to_owned()),
        ("replays", shown.replays.to_string()),
        ("decided", shown.decided.map_or("-".into(), |made| format!("{} by {} {}", made.at, made.by, made.why))),
        ("stored at", object.unwrap_or_else(|| "-".into())),
    ] {
        output::line(out, &format!("{name:<10} {}", printable(&value)))?;
    }
    match event {
        Some(event) => output::json(out, &event),
        None => Ok(()),
    }
}

/// One entry by `id` or `reason/id`.
async fn find(table: &ParkedTable, id: &str) -> Result<Entry, CliError> {
    let not_there = || CliError::NotFound(format!("nothing is parked under {id}"));
    if let Some((reason, id)) = id.split_once('/') {
        return table.entry(reason, id).await?.ok_or_else(not_there);
    }
    let mut found: Vec<Entry> = table.entries(None).await?.into_iter().filter(|row| row.parked.id == id).collect();
    match (found.pop(), found.is_empty()) {
        (Some(row), true) => Ok(row),
        (None, _) => Err(not_there()),
        (Some(_), false) => Err(CliError::Usage(format!("several reasons have {id}: name it as reason/id"))),
    }
}

async fn fetch(session: &Session, bucket: &str, key: &str) -> Result<Vec<u8>, CliError> {
    let found = vitro_cloud::aws::s3(&session.aws).get_object().bucket(bucket).key(key).send().await;
    match found {
        Ok(found) => Ok(found.body.collect().await.map_err(|e| CliError::malformed(key, e))?.to_vec()),
        Err(error) => Err(match CliError::aws("GetObject", &error) {
            error if error.aws_code() == Some("NoSuchKey") => {
                CliError::NotFound(format!("s3://{bucket}/{key} is not there any more: the quarantine expires"))
            }
            error => error,
        }),
    }
}

/// What strangers sent is never printed raw: control characters could drive the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_drives_no_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
