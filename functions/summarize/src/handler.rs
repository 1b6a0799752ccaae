//! What this function is invoked with: a batch of its queue, or the schedule's input.

use serde::{Deserialize, Serialize};
use vitro_cloud::CloudError;
use vitro_cloud::batch::{BatchResponse, SqsEvent, SqsRecord, each};
use vitro_cloud::queue::{DeadlineTask, SummarizeTask};

use crate::deadline::Swept;
use crate::ports::Ports;

/// The event.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Event {
    /// From the queue.
    Batch(SqsEvent),
    /// From the schedule, or by hand.
    Deadline(DeadlineTask),
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// Which messages have to come again.
    Batch(BatchResponse),
    /// What the deadline found.
    Deadline(Swept),
}

impl Ports {
    /// Handles an event.
    ///
    /// # Errors
    /// [`CloudError`] if the deadline could not be worked through; a batch answers for itself.
    pub async fn handle(&self, event: Event) -> Result<Answer, CloudError> {
        match event {
            Event::Batch(batch) => Ok(Answer::Batch(each(batch, |record| self.handle_one(record)).await)),
            Event::Deadline(task) => Ok(Answer::Deadline(self.deadline(&task).await?)),
        }
    }

    async fn handle_one(&self, record: SqsRecord) -> Result<(), CloudError> {
        match record.json("message to summarize")? {
            SummarizeTask::Day(task) => self.summarize(&task).await.map(|_| ()),
            SummarizeTask::Deadline(task) => self.deadline(&task).await.map(|_| ()),
        }
    }
}
