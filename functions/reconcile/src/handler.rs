//! A batch of one of the queues.

use vitro_cloud::CloudError;
use vitro_cloud::batch::{BatchResponse, SqsEvent, SqsRecord, each};
use vitro_cloud::queue::{AskTask, ReconcileTask};
use vitro_cloud::rule_event::{RuleEvent, TopicLevel};

use crate::ports::Ports;

/// A message of one of the two queues that our own functions and rules write to.
#[derive(Debug)]
pub enum Message {
    /// From `reconcile`.
    Task(ReconcileTask),
    /// From `blocks`.
    Event(RuleEvent),
}

impl Message {
    /// Reads a message's body. The two kinds have no field in common but `thing`, and only our own functions and rules write them.
    ///
    /// # Errors
    /// [`CloudError::BadMessage`] if it is neither.
    pub fn parse(body: String) -> Result<Self, CloudError> {
        match serde_json::from_str(&body) {
            Ok(task) => Ok(Self::Task(task)),
            Err(_) => RuleEvent::parse(body).map(Self::Event),
        }
    }
}

impl Ports {
    /// Handles a batch; what fails comes again alone.
    pub async fn handle(&self, event: SqsEvent) -> BatchResponse {
        each(event, |record| self.handle_one(record)).await
    }

    async fn handle_one(&self, record: SqsRecord) -> Result<(), CloudError> {
        // Others than our own functions and rules write to this queue: what comes from it is an ask, whatever it looks like.
        if record.is_from(&format!("{}-{}", self.stack, AskTask::QUEUE)) {
            return self.take_ask(&record).await.map(|_| ());
        }
        match Message::parse(record.body)? {
            Message::Task(task) => self.settle(&task).await.map(|_| ()),
            Message::Event(event) => match event.level() {
                Some(TopicLevel::Block) => self.take_block(&event).await.map(|_| ()),
                Some(TopicLevel::Reply) => self.take_reply(&event).await.map(|_| ()),
                _ => Err(CloudError::BadMessage {
                    what: "rule event",
                    detail: format!("nothing is done here with the topic {}", event.topic),
                }),
            },
        }
    }
}
