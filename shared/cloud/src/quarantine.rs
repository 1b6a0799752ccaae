//! Quarantine: refused messages in S3, each as the whole rule event with its reason, so that a replay runs every check again.
//!
//! Garbage must not cost money: [`QuarantineCap`] bounds what is kept of a device's refusals in an hour. Beyond it samples are kept,
//! each of which says for how many it stands. Everything is counted in the metrics.

use std::collections::BTreeMap;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use serde::Deserialize;
use vitro_proof::{DeviceId, LocalDay, UnixMillis, ZoneName};

use crate::error::CloudError;
use crate::rule_event::RuleEvent;

/// So many refusals of a device, reason and hour are kept one by one ...
pub const KEPT_PER_HOUR: u64 = 100;
/// ... and of the others every so manieth.
pub const SAMPLE: u64 = 100;
const HOUR_MILLIS: i64 = 3_600_000;
/// The cap remembers so many devices' reasons at most.
const REMEMBERED: usize = 10_000;

/// Counts refusals by device, reason and hour of received time, in the memory of one function instance.
#[derive(Debug, Default)]
pub struct QuarantineCap {
    hour: i64,
    counts: BTreeMap<(String, &'static str), u64>,
}

impl QuarantineCap {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a refusal. Says for how many the message stands if it is to be kept, and nothing if it is not.
    pub fn admit(&mut self, thing: &str, reason: &'static str, received: UnixMillis) -> Option<u64> {
        let hour = received.0.div_euclid(HOUR_MILLIS);
        if hour > self.hour || self.counts.len() > REMEMBERED {
            self.hour = self.hour.max(hour);
            self.counts.clear();
        }
        let count = self.counts.entry((thing.to_owned(), reason)).or_default();
        *count += 1;
        match *count {
            few if few <= KEPT_PER_HOUR => Some(1),
            many if (many - KEPT_PER_HOUR).is_multiple_of(SAMPLE) => Some(SAMPLE),
            _ => None,
        }
    }

    /// Takes a count back: the message was not kept after all and comes again.
    pub fn release(&mut self, thing: &str, reason: &'static str) {
        if let Some(count) = self.counts.get_mut(&(thing.to_owned(), reason)) {
            *count = count.saturating_sub(1);
        }
    }

    /// Whether the next refusal would be kept one by one: beyond that a refusal is not worth a further look.
    #[must_use]
    pub fn is_open(&self, thing: &str, reason: &'static str) -> bool {
        self.counts.get(&(thing.to_owned(), reason)).is_none_or(|count| *count < KEPT_PER_HOUR)
    }
}

/// The key under which a refused message is kept: the same for every attempt at the same message.
#[must_use]
pub fn key(event: &RuleEvent, reason: &str) -> String {
    // A topic level may hold anything; only what is a device's name becomes part of a key.
    let thing = if event.thing.parse::<DeviceId>().is_ok() { event.thing.as_str() } else { "!" };
    format!("quarantine/{}/{reason}/{thing}/{}.json", utc_day(event.received), event.id())
}

/// The UTC day of an instant, `0` for one outside of the calendar.
fn utc_day(time: UnixMillis) -> String {
    let utc: Result<ZoneName, _> = "UTC".parse();
    utc.and_then(|utc| LocalDay::at(&utc, time)).map_or_else(|_| "0".to_owned(), |day| day.to_string())
}

/// What is stored: reason, detail, for how many it stands, and the event as it came.
#[must_use]
pub fn document(event: &RuleEvent, reason: &str, detail: &str, stands_for: u64) -> String {
    format!("{}{}}}", head(reason, detail, stands_for), event.raw())
}

/// A document up to its event.
fn head(reason: &str, detail: &str, stands_for: u64) -> String {
    // Cannot fail: a text always has a JSON form.
    let text = |value: &str| serde_json::to_string(value).unwrap_or_default();
    format!(r#"{{"reason":{},"detail":{},"stands_for":{stands_for},"event":"#, text(reason), text(detail))
}

/// A document of the quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The reason code.
    pub reason: String,
    /// For people.
    pub detail: String,
    /// For how many refusals it stands.
    pub stands_for: u64,
    /// The event's JSON, byte for byte as it was refused: its id depends on it.
    pub event: String,
}

#[derive(Deserialize)]
struct Head {
    reason: String,
    detail: String,
    stands_for: u64,
}

impl Kept {
    /// Reads a document.
    ///
    /// # Errors
    /// [`CloudError::Damaged`] if it is not one that [`document`] wrote.
    pub fn parse(key: &str, text: &str) -> Result<Self, CloudError> {
        let Head { reason, detail, stands_for } =
            serde_json::from_str(text).map_err(|error| CloudError::damaged(key, error))?;
        let event = text
            .strip_prefix(&head(&reason, &detail, stands_for))
            .and_then(|rest| rest.strip_suffix('}'))
            .ok_or_else(|| CloudError::damaged(key, "it is not in the form in which it was written"))?
            .to_owned();
        Ok(Self { reason, detail, stands_for, event })
    }
}

/// The quarantine bucket.
#[derive(Clone, Debug)]
pub struct Quarantine {
    client: Client,
    bucket: String,
}

impl Quarantine {
    /// The bucket by its name.
    #[must_use]
    pub fn new(client: Client, bucket: impl Into<String>) -> Self {
        Self { client, bucket: bucket.into() }
    }

    /// The bucket's name.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Keeps a refused message and gives its key. The same message again is the same object.
    ///
    /// # Errors
    /// [`CloudError::Service`]: the message must not be taken from its queue then.
    pub async fn put(
        &self,
        event: &RuleEvent,
        reason: &str,
        detail: &str,
        stands_for: u64,
    ) -> Result<String, CloudError> {
        let key = key(event, reason);
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(&key)
            .content_type("application/json")
            .body(ByteStream::from(document(event, reason, detail, stands_for).into_bytes()))
            .send()
            .await
            .map_err(|error| CloudError::service("s3", "PutObject", error))?;
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule_event::NewRuleEvent;

    fn event(thing: &str) -> RuleEvent {
        let topic = format!("vitro/acme/{thing}/telemetry");
        let body = NewRuleEvent {
            envelope: b"garbage",
            thing,
            topic: &topic,
            client: Some("c"),
            principal: None,
            received: 1_700_000_000_000,
        };
        RuleEvent::parse(body.to_body()).unwrap()
    }

    #[test]
    fn a_document_holds_the_whole_event() {
        let event = event("dev-1");
        let document = document(&event, "bad_signature", "a \"quoted\" detail", 1);
        let json: serde_json::Value = serde_json::from_str(&document).unwrap();
        assert_eq!(json["reason"], "bad_signature");
        assert_eq!(json["detail"], "a \"quoted\" detail");
        assert_eq!(json["event"], serde_json::from_str::<serde_json::Value>(event.raw()).unwrap());
        let key = key(&event, "bad_signature");
        assert!(key.starts_with("quarantine/2023-11-14/bad_signature/dev-1/001700000000000-"), "{key}");
        let kept = Kept::parse(&key, &document).unwrap();
        assert_eq!((kept.reason.as_str(), kept.detail.as_str()), ("bad_signature", "a \"quoted\" detail"));
        assert_eq!((kept.stands_for, kept.event.as_str()), (1, event.raw()), "byte for byte");
        assert_eq!(RuleEvent::parse(kept.event).unwrap().id(), event.id());
        for damaged in ["", "{}", &document.replace("\"detail\":", "\"detail\": "), &document[1..]] {
            assert!(matches!(Kept::parse("k", damaged), Err(CloudError::Damaged { .. })), "{damaged}");
        }
    }

    #[test]
    fn a_strange_thing_does_not_shape_the_key() {
        let key = key(&event("../..x y"), "unknown_device");
        assert!(key.starts_with("quarantine/2023-11-14/unknown_device/!/"), "{key}");
    }

    #[test]
    fn a_time_outside_of_the_calendar_has_a_place_too() {
        assert_eq!(utc_day(UnixMillis(i64::MAX)), "0");
        assert_eq!(utc_day(UnixMillis(0)), "1970-01-01");
    }

    #[test]
    fn the_cap_keeps_some_and_then_samples() {
        let mut cap = QuarantineCap::new();
        let now = UnixMillis(7 * HOUR_MILLIS);
        let kept: Vec<u64> = (0..350).filter_map(|_| cap.admit("dev-1", "bad_signature", now)).collect();
        assert_eq!(kept.len(), 102);
        assert_eq!(kept.iter().sum::<u64>(), 300, "each kept one says for how many it stands");
        assert!(!cap.is_open("dev-1", "bad_signature"));
        assert!(cap.is_open("dev-1", "too_large") && cap.is_open("dev-2", "bad_signature"));
        assert_eq!(cap.admit("dev-1", "bad_signature", UnixMillis(8 * HOUR_MILLIS)), Some(1), "a new hour");
    }

    #[test]
    fn what_comes_again_is_not_counted_twice() {
        let mut cap = QuarantineCap::new();
        let now = UnixMillis(0);
        for _ in 0..1000 {
            assert_eq!(cap.admit("dev-1", "bad_signature", now), Some(1));
            cap.release("dev-1", "bad_signature");
        }
    }
}
