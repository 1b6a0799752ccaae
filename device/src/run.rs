//! The agent in real time: signs what its input says was measured, closes its days, sends.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use vitro_proof::{LocalDay, UnixMillis};

use crate::agent::Agent;
use crate::clock::{Clock, Guard};
use crate::config::{DeviceFolder, Sampling};
use crate::error::DeviceError;
use crate::input::lines::{self, Counts, Pieces, refuse};
use crate::input::live::{Polled, poll};
use crate::input::modbus::Meter;
use crate::input::{Event, Input};
use crate::link::{Link, Progress, Shared, validity};
use crate::replay::check_table;
use crate::sampling::Reporter;

/// What was measured waits here while the token or the disk does not take it.
const WAITING: usize = 4096;
/// The first pause before something is tried again that may succeed then, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Samples, sends and closes days until `stop` says true, or until an input that ends has ended and all of it is sent. Gives what became
/// of the lines, of an input of lines.
///
/// # Errors
/// [`DeviceError`]; what may succeed later is tried again for ever instead.
pub async fn run(
    folder: DeviceFolder,
    input: Input,
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
) -> Result<Option<Counts>, DeviceError> {
    let agent = Agent::open(&folder)?;
    let source = Source::of(input, &folder, &agent)?;
    let shared = Shared::new(agent);
    let sampling = folder.config.sampling.clone();
    let rate = folder.config.broker.max_publishes_per_second;
    let valid = validity(&folder)?;
    let link = Link::new(folder, shared.clone(), clock.clone(), rate)?;
    let progress = link.progress();
    let (end, ended) = watch::channel(false);
    let link = link.run(ended);
    tokio::pin!(link);
    let mut counts = Counts::default();
    let work = async {
        days(source, &shared, clock, valid, &sampling, &mut counts).await?;
        sent(&shared, progress).await
    };
    let done = tokio::select! {
        done = work => done,
        broken = &mut link => broken,
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    };
    end.send_replace(true);
    // A broker that does not take the goodbye does not keep us.
    if let Ok(said_goodbye) = tokio::time::timeout(Duration::from_secs(5), link).await {
        said_goodbye?;
    }
    done.map(|()| (counts != Counts::default()).then_some(counts))
}

/// An input that fits the device.
enum Source {
    Polled(Polled),
    Lines(Pieces),
}

impl Source {
    fn of(input: Input, folder: &DeviceFolder, agent: &Agent) -> Result<Self, DeviceError> {
        Ok(match input {
            Input::Recording(recording) => {
                check_table(agent, &recording)?;
                Self::Polled(Polled::Recording(recording))
            }
            Input::Lines(lines) => Self::Lines(lines),
            Input::Modbus => {
                let config = folder.config.modbus.as_ref();
                let config = config.ok_or_else(|| DeviceError::Config("device.toml has no [modbus]".into()))?;
                Self::Polled(Polled::Meter(Meter::new(config, agent.table())?))
            }
        })
    }
}

/// Signs what the source says, in its order, until it ends.
async fn days(
    source: Source,
    shared: &Shared,
    clock: Arc<dyn Clock>,
    valid: RangeInclusive<UnixMillis>,
    sampling: &Sampling,
    counts: &mut Counts,
) -> Result<(), DeviceError> {
    let mut guard = Guard::new(clock, valid);
    let (events, waiting) = mpsc::channel(WAITING);
    let mut said = Counts::default();
    let mut signed = Counts::default();
    let saying = async {
        // The channel ends with its source.
        let events = events;
        match source {
            Source::Polled(polled) => poll(polled, shared, &mut guard, sampling.poll_interval_seconds, &events).await,
            Source::Lines(lines) => lines::follow(lines, shared, &mut guard, &events, &mut said).await,
        }
    };
    let signing = Writer { shared, sampling, reporter: None, counts: &mut signed }.follow(waiting);
    let done = tokio::try_join!(saying, signing);
    *counts = Counts { refused: said.refused + signed.refused, lines: said.lines, ..signed };
    done.map(|_| ())
}

/// Waits until everything is sent.
async fn sent(shared: &Shared, mut progress: watch::Receiver<Progress>) -> Result<(), DeviceError> {
    while shared.agent().outbox().unacknowledged()? > 0 {
        if progress.changed().await.is_err() {
            break;
        }
    }
    Ok(())
}

struct Writer<'a> {
    shared: &'a Shared,
    sampling: &'a Sampling,
    /// Chooses what of a day's samples is reported.
    reporter: Option<(LocalDay, Reporter)>,
    counts: &'a mut Counts,
}

impl Writer<'_> {
    async fn follow(mut self, mut events: mpsc::Receiver<Event>) -> Result<(), DeviceError> {
        while let Some(event) = events.recv().await {
            match event {
                Event::Measured { sample, line } => self.measured(&sample, line).await?,
                Event::Before(day) => self.close_before(day).await?,
                Event::Over(day) => {
                    let block = patiently(|| self.shared.agent().close(day)).await?;
                    self.shared.wake();
                    tracing::info!(%day, block = %block.number, hash = %block.hash, "closed the day");
                }
            }
        }
        Ok(())
    }

    async fn close_before(&mut self, day: LocalDay) -> Result<(), DeviceError> {
        for block in patiently(|| self.shared.agent().close_before(day)).await? {
            tracing::info!(day = %block.day, block = %block.number, "closed a day that was open");
            self.shared.wake();
        }
        Ok(())
    }

    async fn measured(&mut self, sample: &crate::recording::Sample, line: Option<u64>) -> Result<(), DeviceError> {
        let day = LocalDay::at(self.shared.agent().zone(), sample.time)?;
        let newest = self.shared.agent().outbox().ends()?.map(|(_, newest)| newest.time);
        if newest.is_some_and(|newest| sample.time <= newest) {
            self.refused(line, &"it is not later than the newest reading");
            return Ok(());
        }
        self.close_before(day).await?;
        if self.reporter.as_ref().is_none_or(|(of, _)| *of != day) {
            self.reporter = Some((day, Reporter::new(self.sampling)));
        }
        let readings = self.reporter.as_mut().map(|(_, reporter)| reporter.choose(sample)).unwrap_or_default();
        if readings.is_empty() {
            self.counts.unchanged += 1;
            return Ok(());
        }
        match patiently(|| self.shared.agent().record(sample.time, &readings)).await {
            Ok(number) => {
                self.counts.stored += 1;
                self.shared.wake();
                tracing::info!(number, records = readings.len(), "signed and stored");
                // The link runs in this thread as well.
                tokio::task::yield_now().await;
                Ok(())
            }
            Err(e @ DeviceError::DayClosed(_)) => {
                self.refused(line, &e);
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    fn refused(&mut self, line: Option<u64>, why: &dyn std::fmt::Display) {
        match line {
            Some(line) => refuse(self.counts, line, why),
            None => tracing::debug!("not signed: {why}"),
        }
    }
}

/// Tries until it succeeds or fails for good: a token that is away comes back, a full disk is emptied.
async fn patiently<T>(mut attempt: impl FnMut() -> Result<T, DeviceError>) -> Result<T, DeviceError> {
    let mut pause = PAUSES.0;
    loop {
        match attempt() {
            Err(e) if e.retryable() => {
                tracing::warn!(wait_s = pause.as_secs(), "{e}; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
            done => return done,
        }
    }
}
