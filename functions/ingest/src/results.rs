//! What became of each message of a batch.

use std::collections::BTreeMap;
use std::rc::Rc;

use vitro_cloud::CloudError;
use vitro_cloud::batch::{BatchResponse, SqsRecord, chain};
use vitro_cloud::metrics::Metrics;

/// Logs that messages came before (an attempt was cut short, or they had to come again), and says how many.
pub(crate) fn log_redelivered(records: &[SqsRecord]) -> u64 {
    let counts = || records.iter().map(SqsRecord::receive_count).filter(|count| *count > 1);
    let messages = counts().count() as u64;
    if let Some(receive_count) = counts().max() {
        tracing::info!(messages, receive_count, "messages came again");
    }
    messages
}

/// A message that is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// It is in the time series.
    Stored {
        /// Whether its content has faults.
        flagged: bool,
    },
    /// It was there before.
    Duplicate,
    /// It is kept apart, for this reason.
    Refused(&'static str),
}

/// A place for each message. What has no result at the end comes again: the safe side of a mistake.
#[derive(Debug)]
pub(crate) struct Results {
    ids: Vec<String>,
    results: Vec<Option<Result<Done, Rc<CloudError>>>>,
}

impl Results {
    pub(crate) fn new(ids: Vec<String>) -> Self {
        let results = ids.iter().map(|_| None).collect();
        Self { ids, results }
    }

    /// Says that a message is done with, unless it failed before.
    pub(crate) fn done(&mut self, index: usize, done: Done) {
        if let Some(slot) = self.results.get_mut(index).filter(|slot| !matches!(slot, Some(Err(_)))) {
            *slot = Some(Ok(done));
        }
    }

    /// Says that a message has to come again.
    pub(crate) fn fail(&mut self, index: usize, error: Rc<CloudError>) {
        if let Some(slot) = self.results.get_mut(index) {
            *slot = Some(Err(error));
        }
    }

    /// Why a message has to come again, if it has to.
    pub(crate) fn failure(&self, index: usize) -> Option<Rc<CloudError>> {
        match self.results.get(index) {
            Some(Some(Err(error))) => Some(Rc::clone(error)),
            _ => None,
        }
    }

    /// The answer to the queue; counts what is done with, and logs why the rest is not, once a cause.
    pub(crate) fn finish(self, metrics: &mut Metrics) -> BatchResponse {
        let mut response = BatchResponse::done();
        let mut causes: BTreeMap<String, u32> = BTreeMap::new();
        for (id, result) in self.ids.iter().zip(self.results) {
            match result {
                Some(Ok(done)) => count(done, metrics),
                failed => {
                    let cause = match failed {
                        Some(Err(error)) => chain(&*error),
                        _ => "it was left undone".to_owned(),
                    };
                    *causes.entry(cause).or_default() += 1;
                    response.fail(id);
                }
            }
        }
        for (error, messages) in causes {
            tracing::warn!(messages, error, "messages have to come again");
        }
        response
    }
}

fn count(done: Done, metrics: &mut Metrics) {
    match done {
        Done::Stored { flagged } => {
            metrics.count("MessagesStored", 1);
            if flagged {
                metrics.count("Flagged", 1);
            }
        }
        Done::Duplicate => metrics.count("Duplicates", 1),
        Done::Refused(reason) => {
            metrics.count_reason("Refused", reason, 1);
            match reason {
                "equivocation" => metrics.count("Equivocations", 1),
                "late" => metrics.count("Late", 1),
                _ => {}
            }
        }
    }
}
