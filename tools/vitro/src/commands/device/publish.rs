//! `vitro device publish`: a device's day as it is now, on the ledger within a minute (the yellow paper's first principle).
//!
//! The ask goes into a queue; the wait looks at the ledger alone, so a party sees for itself what it asked for.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use vitro_cloud::clock::Clock;
use vitro_cloud::queue::{AskId, AskTask, Outbox};
use vitro_contract::{BlockView, Standing};
use vitro_proof::crypto::P256Key;
use vitro_proof::{BlockMessage, DeviceId, PublicKey, Summary, UnixMillis};

use crate::commands::days::figures;
use crate::error::CliError;
use crate::instant::show_seconds;
use crate::output;
use crate::party::{AnyClient, PartyArgs};
use crate::session::Session;

/// How often the ledger is asked.
const POLL: Duration = Duration::from_secs(1);

/// Arguments of `device publish`.
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// Thing name
    pub thing: DeviceId,
    /// Wait so many seconds for the block; 0 asks and waits for nothing
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(..=3600))]
    pub wait: u32,
    /// By how many seconds the device's clock may be behind: a block that it sealed earlier than that before the ask is not the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub behind: u32,
    /// As whom to look at the ledger.
    #[command(flatten)]
    pub party: PartyArgs,
    /// URL of the queue that takes asks; default: the installation's, which must then be in the caller's own account
    #[arg(long, env = "VITRO_ASKS_QUEUE_URL", value_name = "URL")]
    pub queue_url: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// An ask as it is printed.
#[derive(Debug, Serialize)]
struct Asked {
    thing: DeviceId,
    ask: String,
    /// The id of the command that follows from it, by which the operator finds the device's reply.
    command: String,
    asked_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<Shown>,
}

/// An interim block as it is printed.
#[derive(Debug, Serialize)]
struct Shown {
    number: u64,
    hash: String,
    transaction: String,
    /// Seconds from the ask until it was seen on the ledger.
    seconds: f64,
    day: String,
    from: String,
    /// When it was sealed, by the device's clock: the day so far ends here.
    sealed_at: String,
    first: u64,
    count: u64,
    root: String,
    summaries: Vec<Summary>,
}

/// Asks, and waits until a block that was sealed after the ask is on the ledger.
///
/// # Errors
/// [`CliError`], among them [`CliError::NotYet`] if no such block is on the ledger in time.
pub(super) async fn run(
    args: &PublishArgs,
    session: &Session,
    clock: &dyn Clock,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let (client, msp) = args.party.client(session)?;
    let thing = &args.thing;
    let view = client.device(thing).await?;
    if view.status.standing != Standing::Active {
        return Err(CliError::Refused(format!(
            "{thing} is {} on the ledger, so it seals nothing",
            view.status.standing
        )));
    }
    let head = client.chain(thing).await?.head.map(|head| head.number);
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|e| CliError::malformed("randomness", e))?;
    let id = hex::encode(id);
    let asked = clock.now();
    let task = AskTask {
        thing: thing.clone(),
        id: Some(AskId::try_from(id.clone()).map_err(|e| CliError::malformed("an ask", e))?),
        by: msp.unwrap_or_else(|| "operator".to_owned()),
        within: Some(args.wait).filter(|seconds| *seconds > 0),
        asked: None,
    };
    session.asks_queue(args.queue_url.as_deref()).await?.ask(&task, 0).await?;
    let mut told = Asked {
        thing: thing.clone(),
        command: hex::encode(AskTask::command_id(thing, &id)),
        ask: id,
        asked_at: show_seconds(asked.seconds()),
        block: None,
    };
    if args.wait > 0 {
        let search = Search { client: &client, thing, key: &view.entry.public_key, head, asked, behind: args.behind };
        told.block = search.until(clock, args.wait, &told.command).await?.into();
    }
    show(&told, args.json, out)
}

/// A search for a block that answers an ask.
struct Search<'a> {
    client: &'a AnyClient,
    thing: &'a DeviceId,
    key: &'a PublicKey,
    /// The highest number that was there before the ask.
    head: Option<u64>,
    asked: UnixMillis,
    behind: u32,
}

impl Search<'_> {
    async fn until(&self, clock: &dyn Clock, seconds: u32, command: &str) -> Result<Shown, CliError> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(u64::from(seconds));
        let mut next = self.head.map_or(0, |head| head.saturating_add(1));
        loop {
            let mut away = String::new();
            match self.look(&mut next, clock).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                // The ledger may be back before the time is over.
                Err(error) if error.retryable() => away = format!(" (the ledger says: {error})"),
                Err(error) => return Err(error),
            }
            if tokio::time::Instant::now() >= deadline {
                let thing = self.thing;
                return Err(CliError::NotYet(format!(
                    "no block that {thing} sealed after it was asked is on the ledger after {seconds} s: the device may be away, or \
                     the ledger{away}. The operator finds the device's answer by `vitro device reply {thing} {command}`, and an ask \
                     that was refused by `vitro quarantine list --thing {thing}`"
                )));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Looks at the blocks that came since; `next` is the first that was not looked at.
    async fn look(&self, next: &mut u64, clock: &dyn Clock) -> Result<Option<Shown>, CliError> {
        let chain = self.client.chain(self.thing).await?;
        for (from, to) in chain.known {
            for number in from.max(*next)..=to {
                let view = self.client.block(self.thing, number).await?;
                *next = number.saturating_add(1);
                if let Some(found) = self.answer(&view, clock.now())? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// What a block says, verified here as well; nothing if it was sealed before the ask, or covers a whole day.
    fn answer(&self, view: &BlockView, now: UnixMillis) -> Result<Option<Shown>, CliError> {
        let what = || format!("block {} of {}", view.block.number, self.thing);
        let key = P256Key::new(self.key).map_err(|e| CliError::malformed("the device's key", e))?;
        let message = BlockMessage::decode(&view.message.0).map_err(|e| CliError::malformed(what(), e))?;
        let opened = message.open(self.thing, &key).map_err(|e| CliError::malformed(what(), e))?;
        let sealed = opened.block.bounds.to;
        let earliest = self.asked.seconds().saturating_sub(i64::from(self.behind));
        if opened.block.is_daily() || sealed < earliest {
            return Ok(None);
        }
        Ok(Some(Shown {
            number: opened.number.0,
            hash: opened.hash.to_string(),
            transaction: view.block.tx.clone(),
            seconds: seconds_between(self.asked, now),
            day: opened.block.day.to_string(),
            from: show_seconds(opened.block.bounds.from),
            sealed_at: show_seconds(sealed),
            first: opened.block.first,
            count: opened.block.count,
            root: opened.block.root.to_string(),
            summaries: opened.summaries,
        }))
    }
}

/// Seconds with one digit behind the point: enough for people.
#[allow(clippy::cast_precision_loss)] // a wait of less than an hour lies far below 2^52
fn seconds_between(from: UnixMillis, to: UnixMillis) -> f64 {
    (to.0.saturating_sub(from.0) / 100) as f64 / 10.0
}

fn show(asked: &Asked, json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    if json {
        return output::json(out, asked);
    }
    let Some(block) = &asked.block else {
        return output::line(out, &format!("asked  {} at {} by {}", asked.thing, asked.asked_at, asked.ask));
    };
    for (name, value) in [
        ("block", format!("{} {}", block.number, block.hash)),
        ("transaction", block.transaction.clone()),
        ("on ledger", format!("{} s after it was asked for", block.seconds)),
        ("day", format!("{} so far: from {} to {}", block.day, block.from, block.sealed_at)),
        ("run", format!("{} envelopes from number {}", block.count, block.first)),
    ] {
        output::line(out, &format!("{name:<12} {value}"))?;
    }
    let rows: Vec<Vec<String>> = block
        .summaries
        .iter()
        .map(|summary| {
            let last = summary.last.as_ref().map_or_else(|| "-".to_owned(), |at| at.value.to_string());
            let (values, missing) = (summary.values.to_string(), summary.missing.to_string());
            vec![summary.sensor.to_string(), summary.unit.clone(), values, missing, last, figures(summary)]
        })
        .collect();
    output::table(out, &["SENSOR", "UNIT", "VALUES", "MISSING", "LAST", "FIGURES"], &rows)
}
