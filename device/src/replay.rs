//! Replays one recorded day as a local day of the site, as fast as it may be sent. A replay that was killed goes on where it was: what
//! is stored stays as it is, the rest follows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use vitro_proof::LocalDay;

use crate::agent::Agent;
use crate::clock::Clock;
use crate::config::DeviceFolder;
use crate::error::DeviceError;
use crate::link::{Link, Progress, Shared};
use crate::recording::RecordedDay;
use crate::report::ReplayReport;
use crate::sampling::{Poll, Reporter, polls};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// What is replayed, and how.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The recorded day; cut off where the device dies.
    pub recording: RecordedDay,
    /// The local day that it becomes.
    pub day: LocalDay,
    /// Whether the day is closed by a block at its end. A device that died closes nothing.
    pub close: bool,
    /// Publishes a second, if not as the configuration has it.
    pub rate: Option<u32>,
    /// Sequence numbers whose first publish is lost on the way.
    pub lose: BTreeSet<u64>,
    /// How long to stay connected once everything is sent.
    pub stay: Stay,
    /// When to give up, from the start.
    pub deadline: Duration,
}

/// How long a replay stays connected once everything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// So long, for commands.
    For(Duration),
    /// Until the cloud says that it has the day for good.
    UntilSettled,
}

/// What a replay ended with.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The facts.
    pub report: ReplayReport,
    /// Whether everything that was waited for came before the deadline.
    pub complete: bool,
}

/// Replays. `stop` ends the waiting early.
///
/// # Errors
/// [`DeviceError`]; what only the network did is tried again until the deadline instead.
pub async fn replay(
    folder: DeviceFolder,
    replay: Replay,
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
) -> Result<Outcome, DeviceError> {
    let started = Instant::now();
    let mut agent = Agent::open(&folder)?;
    check_table(&agent, &replay.recording)?;
    agent.lose(replay.lose.clone());
    let shared = Shared::new(agent);
    let rate = replay.rate.unwrap_or(folder.config.broker.max_publishes_per_second);
    let sampling = folder.config.sampling.clone();
    let link = Link::new(folder, shared.clone(), clock, rate)?;
    let progress = link.progress();
    let (end, ended) = watch::channel(false);
    let link = link.run(ended);
    tokio::pin!(link);
    let work = async {
        produce(&shared, &replay, &Reporter::new(&sampling), sampling.poll_interval_seconds).await?;
        wait(&shared, &replay, progress, started).await
    };
    let complete = tokio::select! {
        complete = work => complete?,
        failed = &mut link => { failed?; false }
        _ = stop.wait_for(|stop| *stop) => false,
    };
    end.send_replace(true);
    // A broker that does not take the goodbye does not keep us.
    if let Ok(ended) = tokio::time::timeout(Duration::from_secs(5), link).await {
        ended?;
    }
    let report = ReplayReport::of(&shared.agent(), replay.day)?;
    Ok(Outcome { report, complete })
}

/// A recording with other sensors than the registry knows would be flagged from the first to the last record.
pub(crate) fn check_table(agent: &Agent, recording: &RecordedDay) -> Result<(), DeviceError> {
    if agent.table() == recording.table() {
        Ok(())
    } else {
        Err(DeviceError::Config("the recording's sensors are not those of the device's sensor table".into()))
    }
}

/// Stores what of the day is not stored yet, and closes it.
async fn produce(shared: &Shared, replay: &Replay, reporter: &Reporter, interval: u32) -> Result<(), DeviceError> {
    let mut reporter = reporter.clone();
    let zone = shared.agent().zone().clone();
    let bounds = vitro_proof::DayBounds::of(&zone, replay.day)?;
    let polls = polls(replay.recording.on(&zone, replay.day)?, bounds, interval);
    {
        let mut agent = shared.agent();
        if let Some(sealed) = agent.outbox().daily(replay.day)? {
            tracing::info!(day = %replay.day, block = %sealed.number, "the day is closed already");
            return Ok(());
        }
        for sealed in agent.close_before(replay.day)? {
            tracing::info!(day = %sealed.day, block = %sealed.number, "closed a day that was open");
        }
    }
    let stored = shared.agent().outbox().ends()?.map(|(_, newest)| newest.time);
    let mut count = 0u64;
    for Poll { sample, .. } in polls {
        // The reporter sees the whole day, so that it chooses as it did before a kill.
        let readings = reporter.choose(&sample);
        if readings.is_empty() || stored.is_some_and(|stored| sample.time <= stored) {
            continue;
        }
        shared.agent().record(sample.time, &readings)?;
        shared.wake();
        count += 1;
        // The link runs in this thread as well.
        tokio::task::yield_now().await;
    }
    tracing::info!(day = %replay.day, envelopes = count, resumed = stored.is_some(), "signed and stored");
    if replay.close {
        let sealed = shared.agent().close(replay.day)?;
        shared.wake();
        tracing::info!(day = %replay.day, block = %sealed.number, hash = %sealed.hash, "closed the day");
    }
    Ok(())
}

/// Waits for what the replay stays for; whether it came.
async fn wait(
    shared: &Shared,
    replay: &Replay,
    mut progress: watch::Receiver<Progress>,
    started: Instant,
) -> Result<bool, DeviceError> {
    let deadline = started + replay.deadline;
    let mut tell = Instant::now() + TELL_EVERY;
    let mut stay_until = None;
    loop {
        let (waiting, settled) = {
            let agent = shared.agent();
            let settled = agent.outbox().daily(replay.day)?.is_some_and(|block| block.settled);
            (agent.outbox().unacknowledged()?, settled)
        };
        let now = Instant::now();
        let sent = waiting == 0;
        let wake = match replay.stay {
            Stay::UntilSettled if sent && settled => return Ok(true),
            Stay::UntilSettled => deadline,
            Stay::For(time) => {
                if sent {
                    stay_until.get_or_insert(now + time);
                }
                match stay_until {
                    Some(until) if sent && now >= until => return Ok(true),
                    Some(until) if sent => until,
                    _ => deadline,
                }
            }
        };
        if now >= deadline && wake == deadline {
            tracing::warn!(waiting, settled, "gave up at the deadline");
            return Ok(false);
        }
        if now >= tell {
            tell = now + TELL_EVERY;
            let Progress { acknowledged, connected, .. } = *progress.borrow();
            tracing::info!(connected, acknowledged, waiting, settled, "sending");
        }
        tokio::select! {
            changed = progress.changed() => if changed.is_err() { return Ok(false) },
            () = tokio::time::sleep_until(wake.min(tell)) => {}
        }
    }
}
