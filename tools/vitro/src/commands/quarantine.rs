//! `vitro quarantine`: what was refused or parked, why, and the whole event that it came in.

use std::io::Write;

use clap::{Args, Subcommand};
use serde::Serialize;
use vitro_cloud::parked::{Parked, ParkedTable};

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
}

impl<'a> Shown<'a> {
    fn of(parked: &'a Parked) -> Self {
        Self {
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
    }
}

async fn list(args: &ListArgs, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let table = session.parked();
    let mut rows = match &args.reason {
        Some(reason) => table.of_reason(reason).await?,
        None => table.list().await?,
    };
    rows.retain(|row| args.all || row.state.as_str() == "open");
    rows.retain(|row| args.thing.is_none() || row.device.as_ref().map(|d| d.as_str()) == args.thing.as_deref());
    rows.sort_by(|a, b| (a.received, &a.id, &a.reason).cmp(&(b.received, &b.id, &b.reason)));
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
    let event = match &found.object {
        None => None,
        Some((bucket, key)) => Some(fetch(session, bucket, key).await?),
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
async fn find(table: &ParkedTable, id: &str) -> Result<Parked, CliError> {
    let (rows, wanted) = match id.split_once('/') {
        Some((reason, id)) => (table.of_reason(reason).await?, id),
        None => (table.list().await?, id),
    };
    let mut found: Vec<Parked> = rows.into_iter().filter(|row| row.id == wanted).collect();
    match (found.pop(), found.is_empty()) {
        (Some(row), true) => Ok(row),
        (None, _) => Err(CliError::NotFound(format!("nothing is parked under {id}"))),
        (Some(_), false) => Err(CliError::Usage(format!("several reasons have {wanted}: name it as reason/id"))),
    }
}

async fn fetch(session: &Session, bucket: &str, key: &str) -> Result<serde_json::Value, CliError> {
    let found = vitro_cloud::aws::s3(&session.aws).get_object().bucket(bucket).key(key).send().await;
    let body = match found {
        Ok(found) => found.body.collect().await.map_err(|e| CliError::malformed(key, e))?.into_bytes(),
        Err(error) => {
            return Err(match CliError::aws("GetObject", &error) {
                error if error.aws_code() == Some("NoSuchKey") => {
                    CliError::NotFound(format!("s3://{bucket}/{key} is not there any more: the quarantine expires"))
                }
                error => error,
            });
        }
    };
    serde_json::from_slice(&body).map_err(|e| CliError::malformed(key, e))
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
