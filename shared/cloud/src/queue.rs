//! What the night's functions tell each other: typed messages over SQS.
//!
//! Any of them may come twice, late, or out of order; what they mean then is for [`crate::days::DayRow::standing`] to say.

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use serde::{Deserialize, Serialize};
use vitro_proof::crypto::sha256;
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
#[serde(deny_unknown_fields)]
pub struct PublishDay {
    /// The device.
    pub thing: DeviceId,
    /// The local day.
    pub day: LocalDay,
}

/// Publish an interim block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishBlock {
    /// The device.
    pub thing: DeviceId,
    /// The block's number.
    pub block: BlockNumber,
}

/// Publish a shard's hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishHour {
    /// The shard.
    pub shard: String,
    /// The Unix second with which the hour begins.
    pub hour: i64,
}

/// What comes to publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PublishTask {
    /// A day's newest account.
    Day(PublishDay),
    /// An interim block.
    Block(PublishBlock),
    /// How many of a shard's devices showed life in an hour.
    Hour(PublishHour),
}

/// Have a device seal an interim block now, and publish it. Who may put it into the queue `asks` may ask, parties too: nothing in it is
/// believed but what it asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskTask {
    /// The device.
    pub thing: DeviceId,
    /// Names the ask: the same again is the same ask. The message's own id if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<AskId>,
    /// Who asks, in their own words; for logs alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// For how many seconds the ask holds: a device that hears of it later seals nothing. [`AskTask::WITHIN`] if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<u32>,
    /// When it was asked, in Unix milliseconds; set when the ask has to wait for its turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<UnixMillis>,
}

impl AskTask {
    /// For how many seconds an ask holds that does not say.
    pub const WITHIN: u32 = 120;
    /// For how many seconds an ask holds at most.
    pub const WITHIN_AT_MOST: u32 = 3600;

    /// The name of the queue within a stack.
    pub const QUEUE: &'static str = "asks";

    /// The id of the command that an ask sends, if it is the one that sends it. It names no day, so its reply is noted on none.
    #[must_use]
    pub fn command_id(thing: &DeviceId, id: &str) -> [u8; 16] {
        let digest = sha256(&[b"vitro-ask\0", thing.as_str().as_bytes(), b"\0", id.as_bytes()]);
        let mut command = [0xff; 16];
        command[4..].copy_from_slice(&digest.0[..12]);
        command
    }
}

/// The name of an ask: up to 64 letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AskId(String);

impl AskId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AskId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if fits { Ok(Self(text)) } else { Err("an ask's id has 1 to 64 letters, digits, - or _".to_owned()) }
    }
}

impl From<AskId> for String {
    fn from(id: AskId) -> Self {
        id.0
    }
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

    /// To asks, after a delay of so many seconds, at most [`MAX_DELAY_SECONDS`].
    ///
    /// # Errors
    /// [`CloudError`].
    async fn ask(&self, task: &AskTask, delay_seconds: u32) -> Result<(), CloudError>;
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
    /// `VITRO_ASKS_QUEUE_URL`.
    pub asks: Option<String>,
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

    async fn ask(&self, task: &AskTask, delay_seconds: u32) -> Result<(), CloudError> {
        self.send("VITRO_ASKS_QUEUE_URL", self.urls.asks.as_ref(), task, delay_seconds).await
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
        let thing: DeviceId = "dev-1".parse().unwrap();
        for (task, text) in [
            (PublishTask::Day(PublishDay { thing: thing.clone(), day }), r#"{"thing":"dev-1","day":"2026-01-02"}"#),
            (PublishTask::Hour(PublishHour { shard: "west".into(), hour: 3600 }), r#"{"shard":"west","hour":3600}"#),
            (PublishTask::Block(PublishBlock { thing, block: BlockNumber(7) }), r#"{"thing":"dev-1","block":7}"#),
        ] {
            assert_eq!(serde_json::to_string(&task).unwrap(), text);
            assert_eq!(serde_json::from_str::<PublishTask>(text).unwrap(), task);
        }
        assert!(serde_json::from_str::<PublishTask>(r#"{"thing":"dev-1","day":"2026-01-02","block":7}"#).is_err());
    }

    #[test]
    fn an_ask_is_read_strictly() {
        let ask: AskTask = serde_json::from_str(r#"{"thing":"dev-1","id":"a-1_B","by":"dv","within":60}"#).unwrap();
        assert_eq!((ask.id.unwrap().as_str(), ask.within, ask.asked), ("a-1_B", Some(60), None));
        let bare: AskTask = serde_json::from_str(r#"{"thing":"dev-1"}"#).unwrap();
        assert_eq!(serde_json::to_string(&bare).unwrap(), r#"{"thing":"dev-1"}"#);
        let long = format!(r#"{{"thing":"dev-1","id":"{}"}}"#, "x".repeat(65));
        for bad in [
            r#"{"thing":"a/b"}"#,
            r#"{"thing":"dev-1","id":""}"#,
            r#"{"thing":"dev-1","id":"a b"}"#,
            &long,
            r#"{"thing":"dev-1","day":"2026-01-02"}"#,
            "{}",
            "",
        ] {
            assert!(serde_json::from_str::<AskTask>(bad).is_err(), "{bad}");
        }
    }
}
