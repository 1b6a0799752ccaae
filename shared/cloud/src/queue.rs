//! What the night's functions tell each other: typed messages over SQS.
//!
//! Any of them may come twice, late, or out of order; what they mean then is for [`crate::days::DayRow::standing`] to say.

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use serde::{Deserialize, Serialize};
use vitro_proof::{BlockNumber, DeviceId, LocalDay, UnixMillis};

use crate::days::ObjectRef;
use crate::error::CloudError;

/// The longest delay that SQS gives a message, in seconds.
pub const MAX_DELAY_SECONDS: u32 = 900;

/// Sum up a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayTask {
    /// The device.
    pub thing: DeviceId,
    /// The local day.
    pub day: LocalDay,
    /// How many times the device was asked for what is missing.
    #[serde(default)]
    pub attempt: u32,
}

/// Look for days that nobody closed. `{"deadline":true}` is what the schedule sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadlineTask {
    /// Always true: it tells this task from the other.
    pub deadline: bool,
    /// Now, in Unix milliseconds; the clock's time if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<UnixMillis>,
    /// Go on after this device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<DeviceId>,
}

/// What comes to summarize.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SummarizeTask {
    /// Sum up a day.
    Day(DayTask),
    /// Look for days that nobody closed.
    Deadline(DeadlineTask),
}

/// Compare a day with the summary of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconcileTask {
    /// The device.
    pub thing: DeviceId,
    /// The local day.
    pub day: LocalDay,
    /// How many times the device was asked for what is missing.
    pub attempt: u32,
    /// The block that the summary is about; nothing if the day is closed without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<BlockNumber>,
    /// The summary.
    #[serde(flatten)]
    pub summary: ObjectRef,
}

/// Publish a day's newest account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishTask {
    /// The device.
    pub thing: DeviceId,
    /// The local day.
    pub day: LocalDay,
}

/// Make AWS IoT Core and the ledger agree with the registry about a device's status. It says no more: the registry's entry is what holds,
/// so the task may come late, twice or once for several changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusTask {
    /// The device.
    pub thing: DeviceId,
}

/// Where messages go out.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// To summarize, after a delay of so many seconds; more than [`MAX_DELAY_SECONDS`] are cut.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn summarize(&self, task: &SummarizeTask, delay_seconds: u32) -> Result<(), CloudError>;

    /// To reconcile.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn reconcile(&self, task: &ReconcileTask) -> Result<(), CloudError>;

    /// To publish.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn publish(&self, task: &PublishTask) -> Result<(), CloudError>;

    /// To status.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn status(&self, task: &StatusTask) -> Result<(), CloudError>;
}

/// The URLs of the queues that a function sends to; it has only those that it needs.
#[derive(Clone, Debug, Default)]
pub struct QueueUrls {
    /// `VITRO_SUMMARIZE_QUEUE_URL`.
    pub summarize: Option<String>,
    /// `VITRO_RECONCILE_QUEUE_URL`.
    pub reconcile: Option<String>,
    /// `VITRO_PUBLISH_QUEUE_URL`.
    pub publish: Option<String>,
    /// `VITRO_STATUS_QUEUE_URL`.
    pub status: Option<String>,
}

/// Messages over SQS.
#[derive(Clone, Debug)]
pub struct SqsOutbox {
    client: Client,
    urls: QueueUrls,
}

impl SqsOutbox {
    /// The queues by their URLs.
    #[must_use]
    pub fn new(client: Client, urls: QueueUrls) -> Self {
        Self { client, urls }
    }

    async fn send<T: Serialize + Sync>(
        &self,
        name: &'static str,
        url: Option<&String>,
        task: &T,
        delay_seconds: u32,
    ) -> Result<(), CloudError> {
        let url = url.ok_or(CloudError::Config { name, detail: "it is not set".into() })?;
        let body = serde_json::to_string(task)
            .map_err(|e| CloudError::BadMessage { what: "message to be sent", detail: e.to_string() })?;
        let delay = i32::try_from(delay_seconds.min(MAX_DELAY_SECONDS)).unwrap_or_default();
        self.client
            .send_message()
            .queue_url(url)
            .message_body(body)
            .delay_seconds(delay)
            .send()
            .await
            .map_err(|e| CloudError::service("sqs", "SendMessage", e))?;
        Ok(())
    }
}

#[async_trait]
impl Outbox for SqsOutbox {
    async fn summarize(&self, task: &SummarizeTask, delay_seconds: u32) -> Result<(), CloudError> {
        self.send("VITRO_SUMMARIZE_QUEUE_URL", self.urls.summarize.as_ref(), task, delay_seconds).await
    }

    async fn reconcile(&self, task: &ReconcileTask) -> Result<(), CloudError> {
        self.send("VITRO_RECONCILE_QUEUE_URL", self.urls.reconcile.as_ref(), task, 0).await
    }

    async fn publish(&self, task: &PublishTask) -> Result<(), CloudError> {
        self.send("VITRO_PUBLISH_QUEUE_URL", self.urls.publish.as_ref(), task, 0).await
    }

    async fn status(&self, task: &StatusTask) -> Result<(), CloudError> {
        self.send("VITRO_STATUS_QUEUE_URL", self.urls.status.as_ref(), task, 0).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_a_fixed_form() {
        let thing: DeviceId = "dev-1".parse().unwrap();
        let day: LocalDay = "2026-01-02".parse().unwrap();
        let task = SummarizeTask::Day(DayTask { thing: thing.clone(), day, attempt: 1 });
        let text = r#"{"thing":"dev-1","day":"2026-01-02","attempt":1}"#;
        assert_eq!(serde_json::to_string(&task).unwrap(), text);
        assert_eq!(serde_json::from_str::<SummarizeTask>(text).unwrap(), task);
        let scheduled: SummarizeTask = serde_json::from_str(r#"{"deadline":true}"#).unwrap();
        assert_eq!(scheduled, SummarizeTask::Deadline(DeadlineTask { deadline: true, now: None, after: None }));
        let task = ReconcileTask {
            thing,
            day,
            attempt: 0,
            block: Some(BlockNumber(3)),
            summary: ObjectRef { key: "k".into(), version: "v".into() },
        };
        let text = r#"{"thing":"dev-1","day":"2026-01-02","attempt":0,"block":3,"key":"k","version":"v"}"#;
        assert_eq!(serde_json::to_string(&task).unwrap(), text);
        assert_eq!(serde_json::from_str::<ReconcileTask>(text).unwrap(), task);
        let task = StatusTask { thing: "dev-1".parse().unwrap() };
        assert_eq!(serde_json::to_string(&task).unwrap(), r#"{"thing":"dev-1"}"#);
    }
}
