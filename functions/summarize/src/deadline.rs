//! The deadline: days whose block did not come are summed up without it.
//!
//! One invocation goes through a bounded part of the registry and only sends messages; the rest is another message to itself.

use vitro_cloud::CloudError;
use vitro_cloud::devices::{Device, Status};
use vitro_cloud::queue::{DayTask, DeadlineTask, SummarizeTask};
use vitro_proof::UnixMillis;

use crate::due::{WINDOW_DAYS, ended, is_open, to_close};
use crate::ports::Ports;

/// Devices read at once.
const PAGE: u32 = 100;
/// Devices looked at in one invocation.
const DEVICES: u32 = 1000;

/// What one invocation did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Swept {
    /// The instant that days were held against, in Unix milliseconds.
    pub now: i64,
    /// Devices looked at.
    pub checked: u32,
    /// Days sent to be summed up.
    pub closed: u32,
    /// Whether there are more devices, which a message to this function's own queue goes on with.
    pub more: bool,
}

impl Ports {
    /// Looks for days that nobody closed.
    ///
    /// # Errors
    /// [`CloudError`] if the message has to come again; what was sent before comes twice then, without effect.
    pub async fn deadline(&self, task: &DeadlineTask) -> Result<Swept, CloudError> {
        let now = task.now.unwrap_or_else(|| self.clock.now());
        let mut swept = Swept { now: now.0, ..Swept::default() };
        let mut after = task.after.clone();
        loop {
            let page = self.devices.page(after.as_ref(), PAGE).await?;
            for device in &page {
                swept.closed += self.close_device(device, now).await?;
                swept.checked += 1;
            }
            let is_last = page.len() < PAGE as usize;
            after = page.into_iter().next_back().map(|device| device.id);
            if is_last {
                break;
            }
            if swept.checked >= DEVICES {
                swept.more = true;
                let rest = DeadlineTask { deadline: true, now: Some(now), after };
                self.outbox.summarize(&SummarizeTask::Deadline(rest), 0).await?;
                break;
            }
        }
        tracing::info!(now = now.0, checked = swept.checked, closed = swept.closed, more = swept.more, "deadline");
        Ok(swept)
    }

    async fn close_device(&self, device: &Device, now: UnixMillis) -> Result<u32, CloudError> {
        if device.status != Status::Active {
            return Ok(0);
        }
        let days = match ended(&device.zone, now, self.deadline_hours) {
            Ok(days) => days,
            Err(error) => {
                tracing::error!(device = %device.id, %error, "the device's zone cannot be used");
                return Ok(0);
            }
        };
        let (Some(first), Some(last)) = (days.first(), days.last()) else { return Ok(0) };
        // Days are closed in ascending order, so where the last is closed, all are.
        if !is_open(self.days.get(&device.id, *last).await?.as_ref()) {
            return Ok(0);
        }
        let limit = u32::try_from(WINDOW_DAYS * 2).unwrap_or(u32::MAX);
        let rows = self.days.list_from(&device.id, *first, limit).await?;
        // A row that only ingest wrote may be of a record with a wrong clock; it does not make a device owe days.
        let before = self.days.before_day(&device.id, *first).await?;
        let was_known = before.is_some_and(|row| row.revision > 0);
        let mut closed = 0;
        for day in to_close(&days, &rows, was_known) {
            let task = DayTask { thing: device.id.clone(), day, attempt: 0 };
            self.outbox.summarize(&SummarizeTask::Day(task), 0).await?;
            closed += 1;
            tracing::warn!(device = %device.id, %day, "no block came by the deadline");
        }
        Ok(closed)
    }
}
