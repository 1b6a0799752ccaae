//! Publishing on demand: somebody wants to see a device's day as it is now. The device is told to seal an interim block; what it seals is
//! published as it comes in ([`crate::intake`]).
//!
//! Parties may write to the queue `asks`, so a message from it is nothing but an ask. Who may ask is for the queue's policy to say; here
//! it is only bounded what an ask can do: a device seals once in [`crate::ports::Settings::seal_seconds`] at most, and always after the
//! last ask, so every asker sees a block that was sealed after asking.

use vitro_cloud::CloudError;
use vitro_cloud::batch::{SqsRecord, chain};
use vitro_cloud::devices::{Ask, Status, Turn};
use vitro_cloud::parked::{Parked, ParkedState};
use vitro_cloud::queue::{AskTask, MAX_DELAY_SECONDS};
use vitro_proof::command::Action;
use vitro_proof::crypto::sha256;
use vitro_proof::{DeviceId, LocalDay, UnixMillis, ZoneName};

use crate::ports::Ports;

/// An ask that could not be carried out comes again so many seconds later: the queue's visibility timeout is as long as an ask holds.
const AGAIN_SECONDS: u32 = 5;
/// So much of what an ask says of its asker is logged.
const BY_CHARACTERS: usize = 100;

/// What became of an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The device was told to seal.
    Sent,
    /// It was told after this was asked.
    Covered,
    /// The ask waits for its turn, so many seconds.
    Deferred(u32),
    /// Something failed that may go better in so many seconds; then it is tried again.
    Again(u32),
    /// Its time was over before its turn came; nobody waits for it any more.
    Expired,
    /// It is parked, for this reason.
    Refused(&'static str),
}

impl Ports {
    /// Takes a message of the queue `asks`. What fails and may go better later is tried again a few seconds later, as long as the ask holds.
    ///
    /// # Errors
    /// [`CloudError`] if the message has to come again.
    pub async fn take_ask(&self, record: &SqsRecord) -> Result<Asked, CloudError> {
        let now = self.clock.now();
        let sent = record.sent().unwrap_or(now);
        let Ok(task) = record.json::<AskTask>("ask") else {
            return self.refuse_ask(record, None, "not_an_ask", sent).await;
        };
        let id = task.id.as_ref().map_or(record.message_id.as_str(), |id| id.as_str());
        // An ask that waited for its turn says when it was asked; nobody gains by saying that it was longer ago.
        let asked = task.asked.map_or(sent, |asked| asked.min(sent));
        let thing = &task.thing;
        let done = async {
            match self.refusal_of(thing).await? {
                Some(reason) => self.refuse_ask(record, Some(thing), reason, sent).await,
                None => self.answer(&task, id, asked, now).await,
            }
        };
        let outcome = match done.await {
            Ok(outcome) => outcome,
            Err(error) => self.again(&task, id, asked, now, error).await?,
        };
        match outcome {
            Asked::Sent => self.count("SealsAsked"),
            Asked::Expired => self.count("AsksExpired"),
            _ => {}
        }
        let by: String = task.by.chars().take(BY_CHARACTERS).collect();
        tracing::info!(%thing, id, by, sender = record.sender(), outcome = ?outcome, "ask");
        Ok(outcome)
    }

    /// Why a device cannot be asked; nothing if it can.
    async fn refusal_of(&self, thing: &DeviceId) -> Result<Option<&'static str>, CloudError> {
        Ok(match self.devices.device(thing).await?.map(|device| device.status) {
            None => Some("unknown_device"),
            Some(Status::Suspended) => Some("device_suspended"),
            Some(Status::Retired) => Some("device_retired"),
            Some(Status::Active) => None,
        })
    }

    /// Puts an ask that failed into the queue anew, to come again before its time is over; else the error stands.
    async fn again(
        &self,
        task: &AskTask,
        id: &str,
        asked: UnixMillis,
        now: UnixMillis,
        error: CloudError,
    ) -> Result<Asked, CloudError> {
        let then = now.0.saturating_add(i64::from(AGAIN_SECONDS) * 1000);
        if !error.retryable() || then >= expiry(task, asked) {
            return Err(error);
        }
        tracing::warn!(thing = %task.thing, id, error = %chain(&error), "an ask has to come again");
        if let Err(second) = self.defer(task, id, asked, AGAIN_SECONDS).await {
            tracing::warn!(thing = %task.thing, id, error = %chain(&second), "an ask cannot be put into its queue anew");
            return Err(error);
        }
        Ok(Asked::Again(AGAIN_SECONDS))
    }

    /// Puts an ask into the queue anew, with its name and the instant when it was asked.
    async fn defer(&self, task: &AskTask, id: &str, asked: UnixMillis, seconds: u32) -> Result<(), CloudError> {
        let id = Some(id.to_owned().try_into().map_err(|e| CloudError::damaged("a message's id", e))?);
        self.outbox.ask(&AskTask { id, asked: Some(asked), ..task.clone() }, seconds).await
    }

    async fn answer(&self, task: &AskTask, id: &str, asked: UnixMillis, now: UnixMillis) -> Result<Asked, CloudError> {
        let thing = &task.thing;
        let expires = expiry(task, asked);
        if expires <= now.0 {
            return Ok(Asked::Expired);
        }
        let interval = i64::from(self.settings.seal_seconds) * 1000;
        match self.seals.take_turn(thing, &Ask { id, asked, now, interval }).await? {
            Turn::Covered => Ok(Asked::Covered),
            Turn::After(then) if then.0 >= expires => Ok(Asked::Expired),
            Turn::After(then) => {
                let seconds = u32::try_from((then.0 - now.0).max(0).unsigned_abs().div_ceil(1000));
                let seconds = seconds.unwrap_or(MAX_DELAY_SECONDS).clamp(1, MAX_DELAY_SECONDS);
                self.defer(task, id, asked, seconds).await?;
                Ok(Asked::Deferred(seconds))
            }
            Turn::Now => {
                // To the second in which the ask ends, and never in the past of a device whose clock is right.
                let expires = expires.div_euclid(1000).saturating_add(1);
                let command = AskTask::command_id(thing, id);
                let number = self.commands.send(thing, command, expires, Action::Seal).await?;
                self.seals.end_turn(thing, id).await?;
                tracing::info!(%thing, id, command = %number, "the device is told to seal");
                Ok(Asked::Sent)
            }
        }
    }

    /// Parks an ask that cannot be carried out: one row a device, reason and day, however often somebody asks.
    async fn refuse_ask(
        &self,
        record: &SqsRecord,
        thing: Option<&DeviceId>,
        reason: &'static str,
        sent: UnixMillis,
    ) -> Result<Asked, CloudError> {
        self.with_metrics(|metrics| metrics.count_reason("AsksRefused", reason, 1));
        let day = utc_day(sent).map_or_else(|| "0".to_owned(), |day| day.to_string());
        let who = thing.map_or_else(|| sha256(&[record.sender().as_bytes()]).to_string(), ToString::to_string);
        let said: String = record.body.chars().take(200).collect();
        tracing::warn!(sender = record.sender(), reason, said, "an ask is refused");
        self.refusals
            .park(Parked {
                reason: reason.to_owned(),
                id: format!("ask-{day}-{who}"),
                state: ParkedState::Open,
                device: thing.cloned(),
                object: None,
                detail: format!("asked for an interim block by {}: {said}", record.sender()),
                received: sent,
            })
            .await?;
        Ok(Asked::Refused(reason))
    }
}

/// When an ask is over, in Unix milliseconds.
fn expiry(task: &AskTask, asked: UnixMillis) -> i64 {
    let within = task.within.unwrap_or(AskTask::WITHIN).min(AskTask::WITHIN_AT_MOST);
    asked.0.saturating_add(i64::from(within) * 1000)
}

/// The UTC day of an instant; nothing outside of the calendar.
fn utc_day(time: UnixMillis) -> Option<LocalDay> {
    let utc: ZoneName = "UTC".parse().ok()?;
    LocalDay::at(&utc, time).ok()
}
