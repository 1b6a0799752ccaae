//! The agent in real time: each local day shows what the recorded day showed at the same time of the wall clock.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use vitro_proof::{DayBounds, LocalDay, UnixMillis};

use crate::agent::Agent;
use crate::clock::Clock;
use crate::config::DeviceFolder;
use crate::error::DeviceError;
use crate::link::{Link, Shared};
use crate::recording::RecordedDay;
use crate::replay::check_table;
use crate::sampling::{Reporter, polls};

/// The longest sleep: a clock that is set meanwhile is seen after it.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// Samples, sends and closes days until `stop` says true.
///
/// # Errors
/// [`DeviceError`]; what only the network did is tried again for ever instead.
pub async fn run(
    folder: DeviceFolder,
    recording: RecordedDay,
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), DeviceError> {
    let agent = Agent::open(&folder)?;
    check_table(&agent, &recording)?;
    let shared = Shared::new(agent);
    let sampling = folder.config.sampling.clone();
    let rate = folder.config.broker.max_publishes_per_second;
    let link = Link::new(folder, shared.clone(), clock.clone(), rate)?;
    let link = link.run(stop.clone());
    tokio::pin!(link);
    let days = async {
        let mut sampler = Sampler { shared: &shared, clock: &*clock };
        sampler.wait_for_the_clock().await?;
        loop {
            sampler.day(&recording, Reporter::new(&sampling), sampling.poll_interval_seconds).await?;
        }
    };
    let ended = tokio::select! {
        ended = days => ended,
        ended = &mut link => return ended,
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    };
    if let Ok(said_goodbye) = tokio::time::timeout(Duration::from_secs(5), link).await {
        said_goodbye?;
    }
    ended
}

struct Sampler<'a> {
    shared: &'a Shared,
    clock: &'a dyn Clock,
}

impl Sampler<'_> {
    /// A clock that shows an earlier time than the newest stored reading is not set yet: nothing is signed by it.
    async fn wait_for_the_clock(&mut self) -> Result<(), DeviceError> {
        let newest = self.shared.agent().outbox().ends()?.map(|(_, newest)| newest.time);
        if let Some(newest) = newest
            && self.clock.now() < newest
        {
            tracing::warn!("the clock is behind the newest stored reading; waiting for it");
            self.sleep_until(newest).await;
        }
        Ok(())
    }

    async fn sleep_until(&self, time: UnixMillis) {
        loop {
            let left = time.0 - self.clock.now().0;
            let Ok(left @ 1..) = u64::try_from(left) else { return };
            tokio::time::sleep(Duration::from_millis(left).min(LONGEST_SLEEP)).await;
        }
    }

    /// The rest of the local day in which the clock is, and its end.
    async fn day(&mut self, recording: &RecordedDay, mut reporter: Reporter, interval: u32) -> Result<(), DeviceError> {
        let start = self.clock.now();
        let zone = self.shared.agent().zone().clone();
        let day = LocalDay::at(&zone, start)?;
        let bounds = DayBounds::of(&zone, day)?;
        let sealed = self.shared.agent().close_before(day)?;
        for block in &sealed {
            tracing::info!(day = %block.day, block = %block.number, "closed a day that was open");
        }
        self.shared.wake();
        for poll in polls(recording.on(&zone, day)?, bounds, interval) {
            // What was to be polled while the agent was away was not measured.
            if poll.due < start {
                continue;
            }
            self.sleep_until(poll.due).await;
            let newest = self.shared.agent().outbox().ends()?.map(|(_, newest)| newest.time);
            if newest.is_some_and(|newest| poll.sample.time <= newest) {
                continue;
            }
            let readings = reporter.choose(&poll.sample);
            if !readings.is_empty() {
                let number = self.shared.agent().record(poll.sample.time, &readings)?;
                self.shared.wake();
                tracing::info!(number, records = readings.len(), "signed and stored");
            }
        }
        self.sleep_until(UnixMillis(bounds.to * 1000)).await;
        let block = self.shared.agent().close(day)?;
        self.shared.wake();
        tracing::info!(%day, block = %block.number, hash = %block.hash, "closed the day");
        Ok(())
    }
}
