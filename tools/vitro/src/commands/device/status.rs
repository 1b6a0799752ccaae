//! A device's status: changed in the registry at once, then made to hold in AWS IoT Core and on the ledger by the function `status`.

use std::io::Write;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use vitro_cloud::devices::{Cause, Device, Exchanged, Status, StatusChange, StatusStore};
use vitro_cloud::queue::{Outbox, StatusTask};
use vitro_proof::{DeviceId, LocalDay, SequenceNumber, UnixMillis};

use super::{heal, show};
use crate::error::CliError;
use crate::instant::parse_instant;
use crate::session::Session;

/// How often the registry is asked whether the rest has caught up.
const POLL: Duration = Duration::from_millis(500);

/// What `suspend` and `retire` are told.
#[derive(Debug, Args)]
pub struct HaltArgs {
    /// Thing name
    pub thing: DeviceId,
    /// Instant from which it does not count, RFC 3339; default: now
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant, allow_hyphen_values = true)]
    pub at: Option<i64>,
    /// Last number that counts; default: the highest that was stored before the instant
    #[arg(long, value_name = "NUMBER", conflicts_with = "nothing_good")]
    pub last_good: Option<u64>,
    /// No number counts
    #[arg(long)]
    pub nothing_good: bool,
    /// Why
    #[arg(long, value_enum, default_value_t = CauseArg::Operator)]
    pub cause: CauseArg,
    /// How long to wait and what to print.
    #[command(flatten)]
    pub after: AfterArgs,
}

/// A cause that an operator may find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CauseArg {
    /// The operator decided so
    Operator,
    /// It signed two envelopes under one number
    Equivocation,
    /// Signatures under its certificate kept failing
    SignatureFailures,
}

impl From<CauseArg> for Cause {
    fn from(cause: CauseArg) -> Self {
        match cause {
            CauseArg::Operator => Self::Operator,
            CauseArg::Equivocation => Self::Equivocation,
            CauseArg::SignatureFailures => Self::SignatureFailures,
        }
    }
}

/// What `reinstate` is told.
#[derive(Debug, Args)]
pub struct ReinstateArgs {
    /// Thing name
    pub thing: DeviceId,
    /// How long to wait and what to print.
    #[command(flatten)]
    pub after: AfterArgs,
}

/// What `exchange` is told.
#[derive(Debug, Args)]
pub struct ExchangeArgs {
    /// Device that serves the metering point
    pub old: DeviceId,
    /// Device that takes it over: made before by `device new NEW --replaces OLD`
    pub new: DeviceId,
    /// When it happened, RFC 3339; default: now
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant, allow_hyphen_values = true)]
    pub at: Option<i64>,
    /// Last number of the old device that counts; default: the highest that was stored before the instant
    #[arg(long, value_name = "NUMBER", conflicts_with = "nothing_good")]
    pub last_good: Option<u64>,
    /// No number of the old device counts
    #[arg(long)]
    pub nothing_good: bool,
    /// First number of the new device that counts; default: the one after the highest that was stored before the instant
    #[arg(long, value_name = "NUMBER")]
    pub first: Option<u64>,
    /// How long to wait and what to print.
    #[command(flatten)]
    pub after: AfterArgs,
}

/// How long to wait, and what to print.
#[derive(Debug, Args)]
pub struct AfterArgs {
    /// Change the registry and do not wait for AWS IoT Core and the ledger
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait for them
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub wait: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Suspends a device.
pub(super) async fn suspend(
    args: &HaltArgs,
    session: &Session,
    now: UnixMillis,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let (at, good) = halt(args, session, now).await?;
    let change = session.devices().suspend(&args.thing, at, good, args.cause.into()).await?;
    follow(change, &args.after, session, out).await
}

/// Retires a device for good.
pub(super) async fn retire(
    args: &HaltArgs,
    session: &Session,
    now: UnixMillis,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let (at, good) = halt(args, session, now).await?;
    let change = session.devices().retire(&args.thing, at, good, args.cause.into()).await?;
    follow(change, &args.after, session, out).await
}

async fn halt(
    args: &HaltArgs,
    session: &Session,
    now: UnixMillis,
) -> Result<(UnixMillis, Option<SequenceNumber>), CliError> {
    session.device(&args.thing).await?;
    let at = instant(args.at, now)?;
    Ok((at, last_good(&args.thing, at, args.last_good, args.nothing_good, session).await?))
}

/// Lets a suspended device send again.
pub(super) async fn reinstate(
    args: &ReinstateArgs,
    session: &Session,
    now: UnixMillis,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let device = session.device(&args.thing).await?;
    let change = if device.status == Status::Suspended && device.cause.is_some_and(Cause::is_revocation) {
        heal::after_revocation(&device, session, now).await?
    } else {
        session.devices().activate(&args.thing, None).await?
    };
    follow(change, &args.after, session, out).await
}

/// Replaces a metering point's device.
pub(super) async fn exchange(
    args: &ExchangeArgs,
    session: &Session,
    now: UnixMillis,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let (old, new) = (session.device(&args.old).await?, session.device(&args.new).await?);
    same_place(&old, &new)?;
    let at = instant(args.at, now)?;
    let first = match args.first {
        Some(first) => first,
        None => session.readings().highest_before(&new.id, at).await?.map_or(0, |number| number.0.saturating_add(1)),
    };
    let exchange = Exchanged {
        by: new.id.clone(),
        day: LocalDay::at(&old.zone, at)?,
        at,
        last_good: last_good(&old.id, at, args.last_good, args.nothing_good, session).await?,
        first: SequenceNumber(first),
    };
    // The same exchange again means the one that is known, whatever the time is now.
    let exchange = match &old.exchange {
        Some(known) if known.by == exchange.by && args.at.is_none() => known.clone(),
        _ => exchange,
    };
    let change = session.devices().exchange(&old.id, &exchange).await?;
    follow(change, &args.after, session, out).await
}

/// Whether the one device can follow the other.
fn same_place(old: &Device, new: &Device) -> Result<(), CliError> {
    let refused = |why: String| Err(CliError::Refused(why));
    if old.id == new.id {
        return refused(format!("{} cannot take its own place", old.id));
    }
    if (&old.metering_point, &old.zone, &old.shard) != (&new.metering_point, &new.zone, &new.shard) {
        let (point, shard) = (&old.metering_point, &old.shard);
        return refused(format!("{} was not made for {point} in {shard}, {}", new.id, old.zone));
    }
    if new.status != Status::Active {
        return refused(format!("{} is {}", new.id, new.status.as_str()));
    }
    Ok(())
}

/// The instant that was given or now, which lies in no future. Now is to the millisecond: what was received in this very second was received
/// before.
fn instant(given: Option<i64>, now: UnixMillis) -> Result<UnixMillis, CliError> {
    match given {
        None => Ok(now),
        Some(at) if at > now.seconds() => Err(CliError::Usage("--at lies in the future".into())),
        Some(at) => Ok(UnixMillis(at.saturating_mul(1000))),
    }
}

async fn last_good(
    thing: &DeviceId,
    at: UnixMillis,
    given: Option<u64>,
    nothing: bool,
    session: &Session,
) -> Result<Option<SequenceNumber>, CliError> {
    match given {
        Some(number) => Ok(Some(SequenceNumber(number))),
        None if nothing => Ok(None),
        None => Ok(session.readings().highest_before(thing, at).await?),
    }
}

/// Sends the task, waits until the rest has caught up, and prints where everything stands.
async fn follow(
    change: StatusChange,
    after: &AfterArgs,
    session: &Session,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let id = change.device.id.clone();
    // Also when nothing changed: an earlier task may have been lost or parked.
    session.status_queue().await?.status(&StatusTask { thing: id.clone() }).await?;
    let mut device = change.device;
    if !after.no_wait {
        let deadline = Instant::now() + Duration::from_secs(after.wait);
        while !device.is_status_applied() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
            device = session.device(&id).await?;
        }
    }
    let is_applied = device.is_status_applied();
    show::print(&device, after.json, session, out).await?;
    if !after.no_wait && !is_applied {
        return Err(CliError::NotYet(format!(
            "the registry says {} of {id}; AWS IoT Core and the ledger have not followed yet",
            device.status.as_str()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_now_or_before() {
        let now = UnixMillis(1_000_750);
        assert_eq!(instant(None, now).unwrap(), now);
        assert_eq!(instant(Some(-5), now).unwrap(), UnixMillis(-5_000));
        assert!(matches!(instant(Some(1_001), now), Err(CliError::Usage(_))));
    }
}
