//! What AWS IoT says when a certificate that it did not know connects.

use serde::Deserialize;
use vitro_cloud::CloudError;
use vitro_cloud::rule_event::RuleEvent;

/// The topic that it says so on, but for the authority's id.
const TOPIC: &str = "$aws/events/certificates/registered/";

/// A certificate that waits for a decision ("Just-in-time registration" in the AWS IoT developer guide).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Announced {
    /// Its id.
    pub certificate_id: String,
    /// The id of the registered authority that signed it.
    pub ca_certificate_id: String,
}

impl Announced {
    /// Reads the published event that a rule event holds.
    ///
    /// # Errors
    /// [`CloudError::BadMessage`] if it is none, or is on another authority's topic: then a rule is misconfigured, or somebody else
    /// writes to the queue.
    pub fn of(event: &RuleEvent) -> Result<Self, CloudError> {
        let bad = |detail: String| CloudError::BadMessage { what: "announcement of a certificate", detail };
        let announced: Self = serde_json::from_slice(&event.envelope).map_err(|error| bad(error.to_string()))?;
        if !is_id(&announced.certificate_id) || !is_id(&announced.ca_certificate_id) {
            return Err(bad("its ids are none".into()));
        }
        if event.topic.strip_prefix(TOPIC) != Some(announced.ca_certificate_id.as_str()) {
            return Err(bad(format!("it is not of the topic {}", event.topic)));
        }
        Ok(announced)
    }
}

/// Whether a text is a certificate's id: 64 hexadecimal digits.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use vitro_cloud::rule_event::NewRuleEvent;

    use super::*;

    fn event(topic: &str, published: &str) -> RuleEvent {
        let body = NewRuleEvent {
            envelope: published.as_bytes(),
            thing: "x",
            topic,
            client: None,
            principal: None,
            received: 1_700_000_000_000,
        };
        RuleEvent::parse(body.to_body()).unwrap()
    }

    #[test]
    fn an_announcement_is_read() {
        let (certificate, ca) = ("ab".repeat(32), "cd".repeat(32));
        let published = format!(
            r#"{{"certificateId":"{certificate}","caCertificateId":"{ca}","timestamp":1700000000000,
                "certificateStatus":"PENDING_ACTIVATION","awsAccountId":"123456789012",
                "certificateRegistrationTimestamp":null,"sourceIp":"127.0.0.1"}}"#
        );
        let announced = Announced::of(&event(&format!("{TOPIC}{ca}"), &published)).unwrap();
        assert_eq!((announced.certificate_id, announced.ca_certificate_id), (certificate.clone(), ca.clone()));
        for (topic, published) in [
            (format!("{TOPIC}{certificate}"), published.clone()),
            (format!("vitro/acme/dev-1/telemetry/{ca}"), published.clone()),
            (format!("{TOPIC}{ca}"), published.replace("certificateId", "id")),
            (format!("{TOPIC}{ca}"), published.replace(&certificate, "../x")),
            (format!("{TOPIC}{ca}"), "{".into()),
        ] {
            assert!(matches!(Announced::of(&event(&topic, &published)), Err(CloudError::BadMessage { .. })), "{topic}");
        }
    }
}
