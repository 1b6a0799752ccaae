//! Batches from SQS: the event that Lambda hands over, and the answer that says which messages have to come again.
//!
//! Only the fields that we read are here. The answer is the partial batch response of "Using Lambda with Amazon SQS".

use std::future::Future;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vitro_proof::UnixMillis;

use crate::error::CloudError;

/// A batch.
#[derive(Clone, Debug, Deserialize)]
pub struct SqsEvent {
    /// Its messages.
    #[serde(rename = "Records")]
    pub records: Vec<SqsRecord>,
}

/// One message of a batch.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SqsRecord {
    /// What the answer names the message by.
    pub message_id: String,
    /// The message.
    pub body: String,
    /// What SQS knows of it.
    #[serde(default)]
    pub attributes: SqsAttributes,
    /// The ARN of the queue that it came from; empty where the caller names none.
    #[serde(rename = "eventSourceARN", default)]
    pub source: String,
}

/// What SQS knows of a message.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SqsAttributes {
    approximate_receive_count: String,
    sent_timestamp: String,
    sender_id: String,
}

impl SqsRecord {
    /// How often the message was received, this time included; more than 1 says that it came before.
    #[must_use]
    pub fn receive_count(&self) -> u32 {
        self.attributes.approximate_receive_count.parse().unwrap_or(1)
    }

    /// Whether it came from the queue of this name. SQS says so, not the message.
    #[must_use]
    pub fn is_from(&self, queue: &str) -> bool {
        self.source.rsplit_once(':').is_some_and(|(_, name)| name == queue)
    }

    /// When it was put into the queue; nothing if SQS did not say.
    #[must_use]
    pub fn sent(&self) -> Option<UnixMillis> {
        self.attributes.sent_timestamp.parse().ok().map(UnixMillis)
    }

    /// Who put it into the queue, as AWS names a principal; empty if SQS did not say.
    #[must_use]
    pub fn sender(&self) -> &str {
        &self.attributes.sender_id
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    /// [`CloudError::BadMessage`] says where it breaks.
    pub fn json<T: DeserializeOwned>(&self, what: &'static str) -> Result<T, CloudError> {
        serde_json::from_str(&self.body).map_err(|error| CloudError::BadMessage { what, detail: error.to_string() })
    }
}

/// The answer: which messages have to come again. The rest is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    /// The messages that failed.
    pub batch_item_failures: Vec<BatchItemFailure>,
}

/// A message that has to come again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchItemFailure {
    /// Its message id.
    pub item_identifier: String,
}

impl BatchResponse {
    /// Everything was done.
    #[must_use]
    pub fn done() -> Self {
        Self::default()
    }

    /// Says that a message has to come again.
    pub fn fail(&mut self, message_id: &str) {
        self.batch_item_failures.push(BatchItemFailure { item_identifier: message_id.to_owned() });
    }

    /// Whether everything was done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.batch_item_failures.is_empty()
    }
}

/// Handles a batch's messages one after another. A message that fails is logged and comes again; it never stops the others. What
/// can never succeed comes again as well: the dead-letter queue is where an operator finds it.
pub async fn each<F, Fut, E>(event: SqsEvent, mut handle: F) -> BatchResponse
where
    F: FnMut(SqsRecord) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: std::error::Error,
{
    let mut response = BatchResponse::done();
    for record in event.records {
        let (id, receive_count) = (record.message_id.clone(), record.receive_count());
        if let Err(error) = handle(record).await {
            tracing::warn!(message_id = %id, receive_count, error = %chain(&error), "a message has to come again");
            response.fail(&id);
        }
    }
    response
}

/// An error with its causes, as one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Lambda hands it over (from the developer guide, shortened).
    const EVENT: &str = r#"{"Records":[
        {"messageId":"059f36b4","receiptHandle":"AQEB","body":"{\"n\":1}",
         "attributes":{"ApproximateReceiveCount":"3","SentTimestamp":"1545082649183","SenderId":"AIDA"},
         "messageAttributes":{},"md5OfBody":"e4e6","eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:q","awsRegion":"x"},
        {"messageId":"2e1424d4","body":"nonsense"}]}"#;

    #[derive(Deserialize)]
    struct Body {
        n: u32,
    }

    #[tokio::test]
    async fn a_bad_message_fails_alone() {
        let event: SqsEvent = serde_json::from_str(EVENT).unwrap();
        assert_eq!(event.records[0].receive_count(), 3);
        assert_eq!(event.records[1].receive_count(), 1);
        let [first, second] = &event.records[..] else { panic!("two messages") };
        assert!(first.is_from("q") && !first.is_from("aws:sqs:q") && !second.is_from("q") && !second.is_from(""));
        assert_eq!((first.sent(), first.sender()), (Some(UnixMillis(1_545_082_649_183)), "AIDA"));
        assert_eq!((second.sent(), second.sender()), (None, ""));
        let mut seen = Vec::new();
        let response = each(event, |record| {
            let body = record.json::<Body>("test message");
            seen.extend(body.as_ref().map(|body| body.n));
            async move { body.map(|_| ()) }
        })
        .await;
        assert_eq!(seen, [1]);
        let json = serde_json::to_string(&response).unwrap();
        assert_eq!(json, r#"{"batchItemFailures":[{"itemIdentifier":"2e1424d4"}]}"#);
        assert!(!response.is_done() && BatchResponse::done().is_done());
    }
}
