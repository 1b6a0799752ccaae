//! Sources that are polled by the wall clock: what was to be polled while the agent was away was not measured.

use tokio::sync::mpsc;
use vitro_proof::{DayBounds, LocalDay, UnixMillis, ZoneName};

use super::Event;
use super::modbus::Meter;
use crate::clock::Guard;
use crate::error::DeviceError;
use crate::link::Shared;
use crate::recording::{RecordedDay, Sample};
use crate::sampling::{instants, polls};

/// What is polled.
pub enum Polled {
    /// A recorded day: every day shows what it showed at the same time.
    Recording(RecordedDay),
    /// A meter's registers.
    Meter(Meter),
}

impl Polled {
    /// When the device polls on a day, with what a recording shows then.
    fn polls(
        &self,
        zone: &ZoneName,
        day: LocalDay,
        interval: u32,
    ) -> Result<Vec<(UnixMillis, Option<Sample>)>, DeviceError> {
        let bounds = DayBounds::of(zone, day)?;
        Ok(match self {
            Self::Recording(recording) => {
                let polls = polls(recording.on(zone, day)?, bounds, interval);
                polls.into_iter().map(|poll| (poll.due, Some(poll.sample))).collect()
            }
            Self::Meter(_) => instants(bounds, interval).map(|due| (due, None)).collect(),
        })
    }

    async fn take(&mut self, recorded: Option<Sample>, now: UnixMillis) -> Sample {
        match (self, recorded) {
            (Self::Recording(_), Some(sample)) => sample,
            (Self::Recording(_), None) => Sample { time: now, readings: Vec::new() },
            (Self::Meter(meter), _) => Sample { time: now, readings: meter.read().await },
        }
    }
}

/// Polls for ever. Ends when nobody listens any more.
///
/// # Errors
/// [`DeviceError`] for a zone that the tz database does not have, or a broken outbox.
pub async fn poll(
    mut source: Polled,
    shared: &Shared,
    guard: &mut Guard,
    interval: u32,
    events: &mpsc::Sender<Event>,
) -> Result<(), DeviceError> {
    let zone = shared.agent().zone().clone();
    loop {
        let start = ready(shared, guard).await?;
        let day = LocalDay::at(&zone, start)?;
        if events.send(Event::Before(day)).await.is_err() {
            return Ok(());
        }
        for (due, recorded) in source.polls(&zone, day, interval)? {
            if due < start {
                continue;
            }
            guard.sleep_until(due).await;
            let now = ready(shared, guard).await?;
            // The clock stood still or leapt meanwhile: this was not polled in its time.
            if now.0 - due.0 >= i64::from(interval) * 1000 {
                continue;
            }
            let sample = source.take(recorded, now).await;
            if events.send(Event::Measured { sample, line: None }).await.is_err() {
                return Ok(());
            }
        }
        guard.sleep_until(UnixMillis(DayBounds::of(&zone, day)?.to * 1000)).await;
        ready(shared, guard).await?;
        if events.send(Event::Over(day)).await.is_err() {
            return Ok(());
        }
    }
}

/// The time, once the clock can be believed and is not behind what was measured.
async fn ready(shared: &Shared, guard: &mut Guard) -> Result<UnixMillis, DeviceError> {
    let newest = shared.agent().outbox().ends()?.map(|(_, newest)| newest.time);
    Ok(guard.ready(newest).await)
}
