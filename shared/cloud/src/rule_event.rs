//! What the topic rules put into the queues: one published message with what AWS IoT knows of it.
//!
//! The rule's SELECT in `template.yaml` is the other end of this. The whole event is kept as it came, because quarantine stores it
//! and a replay runs every check again.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use vitro_proof::crypto::sha256;
use vitro_proof::{Kind, UnixMillis};

use crate::error::CloudError;

/// Which of a device's topics a message came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicLevel {
    /// `vitro/<customer>/<thing>/telemetry`
    Telemetry,
    /// `vitro/<customer>/<thing>/block`
    Block,
    /// `vitro/<customer>/<thing>/reply`
    Reply,
}

impl TopicLevel {
    /// The topic's last level.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Telemetry => "telemetry",
            Self::Block => "block",
            Self::Reply => "reply",
        }
    }
}

/// One published message as the rule tells it. Nothing in it was verified, but what AWS IoT says of topic, client, principal and
/// time is AWS's word and not the sender's.
#[derive(Clone, PartialEq, Eq)]
pub struct RuleEvent {
    raw: String,
    /// The published bytes.
    pub envelope: Vec<u8>,
    /// The topic's third level: the thing that the message claims to be from. It may be anything that fits into a topic.
    pub thing: String,
    /// The whole topic.
    pub topic: String,
    /// The MQTT client id; nothing if it was not published by MQTT.
    pub client: Option<String>,
    /// The id of the certificate that the connection was authenticated by; nothing if there was none.
    pub principal: Option<String>,
    /// When the rule saw it.
    pub received: UnixMillis,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    envelope: Cow<'a, str>,
    #[serde(borrow)]
    thing: Cow<'a, str>,
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(borrow, default)]
    client: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    principal: Option<Cow<'a, str>>,
    received: i64,
}

/// A rule event to be written: what tests, samples and replays put into a queue.
#[derive(Clone, Debug, Serialize)]
pub struct NewRuleEvent<'a> {
    #[serde(serialize_with = "as_base64")]
    /// The published bytes.
    pub envelope: &'a [u8],
    /// The topic's third level.
    pub thing: &'a str,
    /// The whole topic.
    pub topic: &'a str,
    /// The MQTT client id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<&'a str>,
    /// The certificate's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<&'a str>,
    /// When the rule saw it, in Unix milliseconds.
    pub received: i64,
}

fn as_base64<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

impl NewRuleEvent<'_> {
    /// The queue message's body.
    #[must_use]
    pub fn to_body(&self) -> String {
        // Cannot fail: text, numbers and base64 have no form that JSON refuses.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl RuleEvent {
    /// Reads a queue message's body.
    ///
    /// # Errors
    /// [`CloudError::BadMessage`] if it is not what our rules write. Then the rule is misconfigured or somebody else writes to the
    /// queue; it is not the device's fault.
    pub fn parse(body: String) -> Result<Self, CloudError> {
        let bad = |detail: String| CloudError::BadMessage { what: "rule event", detail };
        let wire: Wire<'_> = serde_json::from_str(&body).map_err(|error| bad(error.to_string()))?;
        let envelope = STANDARD.decode(wire.envelope.as_bytes()).map_err(|error| bad(format!("envelope: {error}")))?;
        let owned = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned).filter(|text| !text.is_empty());
        Ok(Self {
            envelope,
            thing: wire.thing.into_owned(),
            topic: wire.topic.into_owned(),
            client: owned(wire.client),
            principal: owned(wire.principal),
            received: UnixMillis(wire.received),
            raw: body,
        })
    }

    /// The event as it came: JSON.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// Which of the device's topics it came on; nothing for any other topic.
    #[must_use]
    pub fn level(&self) -> Option<TopicLevel> {
        let last = self.topic.rsplit('/').next()?;
        [TopicLevel::Telemetry, TopicLevel::Block, TopicLevel::Reply].into_iter().find(|level| level.as_str() == last)
    }

    /// Whether its topic is one of the device's own, `vitro/<customer>/<thing>/<level>`, and the level is that of the messages' kind.
    #[must_use]
    pub fn is_on(&self, thing: &str, kind: Kind) -> bool {
        let level = match kind {
            Kind::Telemetry => TopicLevel::Telemetry,
            Kind::Block => TopicLevel::Block,
            Kind::Reply => TopicLevel::Reply,
            // The customer publishes those, and no device.
            Kind::Command => return false,
        };
        let mut levels = self.topic.split('/');
        let [first, _customer, third, last] = std::array::from_fn(|_| levels.next().unwrap_or_default());
        levels.next().is_none() && first == "vitro" && third == thing && last == level.as_str()
    }

    /// A name for this very delivery: the same for every receipt of the same queue message, so that what is written under it is
    /// written once. Sorts by received time.
    #[must_use]
    pub fn id(&self) -> String {
        let digest = sha256(&[self.raw.as_bytes()]);
        format!("{:015}-{}", self.received.0.max(0), &digest.to_string()[..16])
    }
}

impl fmt::Debug for RuleEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleEvent")
            .field("topic", &self.topic)
            .field("client", &self.client)
            .field("principal", &self.principal)
            .field("received", &self.received)
            .field("bytes", &self.envelope.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODY: &str = r#"{"envelope":"0oRDoQ==","thing":"dev-1","topic":"vitro/acme/dev-1/telemetry","client":"dev-1",
        "principal":"ab12","received":1700000000000}"#;

    #[test]
    fn the_rules_output_is_read() {
        let event = RuleEvent::parse(BODY.to_owned()).unwrap();
        assert_eq!(event.envelope, [0xd2, 0x84, 0x43, 0xa1]);
        assert_eq!((event.thing.as_str(), event.client.as_deref()), ("dev-1", Some("dev-1")));
        assert_eq!(event.received, UnixMillis(1_700_000_000_000));
        assert_eq!(event.level(), Some(TopicLevel::Telemetry));
        assert_eq!(event.raw(), BODY);
        assert!(event.id().starts_with("001700000000000-"));
        assert!(!format!("{event:?}").contains("0oRDoQ"));
    }

    #[test]
    fn what_iot_leaves_out_is_nothing() {
        let body = r#"{"envelope":"","thing":"x","topic":"vitro/acme/x/other","client":null,"received":1}"#;
        let event = RuleEvent::parse(body.to_owned()).unwrap();
        assert_eq!((event.client.as_ref(), event.principal.as_ref(), event.level()), (None, None, None));
        assert!(event.envelope.is_empty());
    }

    #[test]
    fn errors_say_what_is_wrong() {
        for (body, why) in [
            ("", "EOF"),
            (r#"{"thing":"x","topic":"t","received":1}"#, "envelope"),
            (r#"{"envelope":"!","thing":"x","topic":"t","received":1}"#, "envelope"),
            (r#"{"envelope":"","thing":"x","topic":"t","received":"now"}"#, "invalid type"),
        ] {
            let error = RuleEvent::parse(body.to_owned()).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert!(!error.retryable());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(envelope in proptest::collection::vec(any::<u8>(), 0..200), thing in "\\PC{0,20}", received in 0i64..i64::MAX) {
            let topic = format!("vitro/acme/{thing}/block");
            let body = NewRuleEvent { envelope: &envelope, thing: &thing, topic: &topic, client: Some("c"), principal: None, received }.to_body();
            let event = RuleEvent::parse(body.clone()).unwrap();
            prop_assert_eq!(event.raw(), body.as_str());
            prop_assert_eq!(&event.envelope, &envelope);
            prop_assert_eq!(&event.thing, &thing);
            prop_assert_eq!(event.level(), Some(TopicLevel::Block));
            prop_assert_eq!(event.id(), RuleEvent::parse(body).unwrap().id());
        }
    }
}
