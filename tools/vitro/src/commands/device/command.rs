//! `vitro device command` and `vitro device reply`: commands by hand, and what the device answered.

use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use vitro_cloud::CloudError;
use vitro_cloud::archive::{Archive, S3Archive, reply_key};
use vitro_cloud::chain::ChainStore;
use vitro_cloud::clock::SystemClock;
use vitro_cloud::command_key::{CommandSigner, KmsKey, LocalKey, current_alias};
use vitro_cloud::commands::{Delivery, IotDelivery};
use vitro_cloud::days::DayStore;
use vitro_cloud::devices::Registered;
use vitro_proof::account::Range;
use vitro_proof::command::{Action, Command, Outcome, Reply, status};
use vitro_proof::{DeviceId, Envelope, Kind, LocalDay, UnixMillis};

use crate::commands::command_key;
use crate::error::CliError;
use crate::instant::show_seconds;
use crate::output;
use crate::session::Session;

/// How often the archive is asked for a reply.
const POLL: Duration = Duration::from_secs(1);

/// Arguments of `device command`.
#[derive(Debug, Args)]
pub struct CommandArgs {
    /// Thing name
    pub thing: DeviceId,
    /// What the device is asked to do.
    #[command(subcommand)]
    pub action: ActionArg,
    /// Seconds until the command expires by the device's clock
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 3600)]
    pub expires: u32,
    /// Sign with the key in this file instead of the one in KMS
    #[arg(long, global = true, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Write the signed command to this file instead of sending it: somebody else carries it to the device
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "wait")]
    pub out: Option<PathBuf>,
    /// Wait so many seconds for the device's reply
    #[arg(long, global = true, value_name = "SECONDS")]
    pub wait: Option<u32>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What a device is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum ActionArg {
    /// Send stored envelopes again, byte for byte
    Backfill {
        /// Numbers and inclusive ranges of them, such as 3-5,9
        #[arg(value_name = "NUMBERS")]
        ranges: Ranges,
    },
    /// Tell the device that the cloud has a day for good, as its row says, so that the device may prune it
    Settled {
        /// Local day of the site, YYYY-MM-DD
        day: LocalDay,
    },
    /// Seal an interim block of the open day now
    Seal,
    /// Tell hashes of the Merkle tree over a run of numbers
    Subtree {
        /// The run, such as 1440-2879
        #[arg(value_name = "RUN")]
        run: Run,
        /// How many levels above the leaves
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=63))]
        level: u8,
    },
}

/// Ranges of numbers as they are typed: ascending, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges(pub Vec<Range>);

impl FromStr for Ranges {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut ranges: Vec<Range> = Vec::new();
        for part in text.split(',') {
            let number =
                |digits: &str| digits.parse::<u64>().map_err(|_| format!("{part:?} is no number and no range"));
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if first > last || ranges.last().is_some_and(|before| before.1 >= first) {
                return Err(format!("{part:?}: ranges ascend and do not overlap"));
            }
            ranges.push((first, last));
        }
        Ok(Self(ranges))
    }
}

/// A run of numbers as it is typed: one range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    first: u64,
    count: u64,
}

impl FromStr for Run {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<Ranges>()?.0[..] {
            [(first, last)] => {
                let count = (last - first).checked_add(1).ok_or("there are not so many numbers")?;
                Ok(Self { first, count })
            }
            _ => Err("a run is one range".into()),
        }
    }
}

/// Arguments of `device reply`.
#[derive(Debug, Args)]
pub struct ReplyArgs {
    /// Thing name
    pub thing: DeviceId,
    /// The command's id, 32 hex digits
    #[arg(value_parser = command_id)]
    pub id: [u8; 16],
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn command_id(text: &str) -> Result<[u8; 16], String> {
    let mut id = [0; 16];
    hex::decode_to_slice(text, &mut id).map(|()| id).map_err(|_| "a command's id has 32 hex digits".to_owned())
}

/// A command as it is printed.
#[derive(Debug, Serialize)]
struct Sent {
    thing: DeviceId,
    id: String,
    number: u64,
    action: String,
    expires: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<ShownReply>,
}

/// A reply as it is printed.
#[derive(Debug, Serialize)]
struct ShownReply {
    status: u64,
    says: String,
    result: Option<ShownResult>,
    number: u64,
}

/// What the device tells, as it is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum ShownResult {
    /// How many envelopes are sent again.
    Count(u64),
    /// The nodes of a tree's level, from left to right.
    Nodes(Vec<String>),
    /// An interim block.
    Sealed {
        /// Its number.
        block: u64,
        /// Its hash.
        hash: String,
    },
}

impl ShownResult {
    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Count(count) => Self::Count(count),
            Outcome::Nodes(nodes) => Self::Nodes(nodes.iter().map(ToString::to_string).collect()),
            Outcome::Sealed { block, hash } => Self::Sealed { block: block.0, hash: hash.to_string() },
        }
    }
}

/// Signs a command and sends it.
///
/// # Errors
/// [`CliError`], among them [`CliError::NotFound`] if no reply came in time and [`CliError::Refused`] if the device did not do it.
pub(super) async fn send(args: &CommandArgs, session: &Session, now: i64, out: &mut dyn Write) -> Result<(), CliError> {
    session.device(&args.thing).await?;
    let signer: Box<dyn CommandSigner> = match &args.key {
        Some(file) => Box::new(LocalKey::new(command_key::read_signer(file)?)),
        None => Box::new(KmsKey::new(session.kms(), current_alias(&session.stack), SystemClock)),
    };
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|e| CliError::malformed("randomness", e))?;
    let expires = now.saturating_add(i64::from(args.expires));
    let action = action(args, session).await?;
    let name = action.name().to_owned();
    let number = session.chains().next_command(&args.thing, UnixMillis(now.saturating_mul(1000))).await?;
    let envelope = signer.seal(&Command { thing: args.thing.clone(), id, expires, action }, number).await?;
    match &args.out {
        Some(file) => std::fs::write(file, envelope).map_err(|e| CliError::file(file, e))?,
        None => {
            let host = session.iot_data();
            IotDelivery::new(host, session.stack.customer().clone()).deliver(&args.thing, envelope).await?;
        }
    }
    let reply = match args.wait {
        Some(seconds) => Some(wait_for(session, &args.thing, &id, seconds).await?),
        None => None,
    };
    let done = reply.as_ref().is_none_or(|reply| reply.status == status::DONE);
    let says = reply.as_ref().map(|reply| reply.says.clone()).unwrap_or_default();
    let (thing, id) = (args.thing.clone(), hex::encode(id));
    let sent = Sent { thing, id, number: number.0, action: name, expires: show_seconds(expires), reply };
    if args.json {
        output::json(out, &sent)?;
    } else {
        let verb = if args.out.is_some() { "signed" } else { "sent" };
        output::line(
            out,
            &format!("{verb}  {} {} as number {}, id {}", sent.action, sent.thing, sent.number, sent.id),
        )?;
        if sent.reply.is_some() {
            output::line(out, &format!("reply  {says}"))?;
        }
    }
    if done { Ok(()) } else { Err(CliError::Refused(format!("{} answered: {says}", sent.thing))) }
}

/// Shows the first reply to a command.
///
/// # Errors
/// [`CliError::NotFound`] if there is none.
pub(super) async fn show_reply(args: &ReplyArgs, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let archive = session.archive().await?;
    let reply = read_reply(session, &archive, &args.thing, &args.id).await?;
    let reply = reply.ok_or_else(|| {
        CliError::NotFound(format!("{} has not answered the command {} yet", args.thing, hex::encode(args.id)))
    })?;
    if args.json { output::json(out, &reply) } else { output::line(out, &format!("reply  {}", reply.says)) }
}

async fn action(args: &CommandArgs, session: &Session) -> Result<Action, CliError> {
    Ok(match &args.action {
        ActionArg::Backfill { ranges } => Action::Backfill(ranges.0.clone()),
        ActionArg::Seal => Action::Seal,
        ActionArg::Subtree { run, level } => Action::Subtree { first: run.first, count: run.count, level: *level },
        ActionArg::Settled { day } => {
            let row = session.days().get(&args.thing, *day).await?;
            let row = row.filter(|row| row.outcome.is_some_and(vitro_proof::reconcile::Outcome::agrees));
            let block = row.and_then(|row| row.block).ok_or_else(|| {
                let why = "device and cloud have not agreed on it, so the device must keep it";
                CliError::Refused(format!("{} {day}: {why}", args.thing))
            })?;
            Action::Settled { day: *day, block: block.number, hash: block.hash }
        }
    })
}

async fn wait_for(session: &Session, thing: &DeviceId, id: &[u8; 16], seconds: u32) -> Result<ShownReply, CliError> {
    let archive = session.archive().await?;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(u64::from(seconds));
    loop {
        if let Some(reply) = read_reply(session, &archive, thing, id).await? {
            return Ok(reply);
        }
        if tokio::time::Instant::now() >= deadline {
            let id = hex::encode(id);
            return Err(CliError::NotFound(format!(
                "{thing} has not answered within {seconds} s; `vitro device reply {thing} {id}` shows it later"
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The archived reply, verified again.
async fn read_reply(
    session: &Session,
    archive: &S3Archive,
    thing: &DeviceId,
    id: &[u8; 16],
) -> Result<Option<ShownReply>, CliError> {
    let key = reply_key(thing, id);
    let (_, bytes) = match archive.get_newest(&key).await {
        Ok(found) => found,
        Err(CloudError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let envelope = Envelope::parse(&bytes).map_err(|fault| CliError::malformed(&*key, fault))?;
    let device = Registered::new(session.device(thing).await?)?;
    envelope.verify(&device.key).map_err(|fault| CliError::malformed(&*key, fault))?;
    if envelope.header().kind != Kind::Reply {
        return Err(CliError::malformed(&*key, "it is no reply"));
    }
    let reply = Reply::decode(envelope.payload())?;
    if reply.command != *id {
        return Err(CliError::malformed(&*key, "it answers another command"));
    }
    let says = reply.describe();
    Ok(Some(ShownReply {
        status: reply.status,
        says,
        result: reply.result.map(ShownResult::of),
        number: envelope.header().number,
    }))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command as Top};
    use crate::commands::device::DeviceCommand;

    fn parse(line: &str) -> Option<CommandArgs> {
        match Cli::try_parse_from(line.split_whitespace()).ok()?.command {
            Top::Device(DeviceCommand::Command(args)) => Some(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn numbers_are_typed_as_ranges() {
        assert_eq!("3-5,9".parse(), Ok(Ranges(vec![(3, 5), (9, 9)])));
        for bad in ["", "5-3", "3,3", "3-5,5", "x", "1-", "-1", "9,3"] {
            assert!(bad.parse::<Ranges>().is_err(), "{bad}");
        }
    }

    #[test]
    fn actions_have_their_arguments() {
        let args = parse("vitro device command dev-1 backfill 3-5,9 --key k.pem --expires 60 --wait 5").unwrap();
        assert_eq!(args.action, ActionArg::Backfill { ranges: Ranges(vec![(3, 5), (9, 9)]) });
        assert_eq!((args.expires, args.wait, args.key), (60, Some(5), Some("k.pem".into())));
        let args = parse("vitro device command dev-1 settled 2026-11-22").unwrap();
        assert_eq!(args.action, ActionArg::Settled { day: "2026-11-22".parse().unwrap() });
        assert_eq!((args.expires, args.wait), (3600, None));
        let args = parse("vitro device command dev-1 subtree 1440-2879 --level 5").unwrap();
        assert_eq!(args.action, ActionArg::Subtree { run: Run { first: 1440, count: 1440 }, level: 5 });
        assert!("0-18446744073709551615".parse::<Run>().is_err() && "1,3".parse::<Run>().is_err());
        for bad in
            ["", "dance", "subtree", "subtree 1-5 --level 64", "backfill", "settled tomorrow", "seal --out f --wait 3"]
        {
            assert!(parse(&format!("vitro device command dev-1 {bad}")).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_id_is_32_hex_digits() {
        assert_eq!(command_id(&"a5".repeat(16)), Ok([0xa5; 16]));
        assert!(command_id("a5").is_err() && command_id(&"zz".repeat(16)).is_err());
    }
}
