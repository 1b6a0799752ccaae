//! Writes settled days and interim blocks to the ledger, many in one transaction, with a verdict for each; and shards' hours, one a
//! transaction.
//!
//! What the ledger refuses for good is parked and holds nobody up; whatever may go better later goes back to the queue. The
//! same message twice changes nothing, here and on the ledger: the transaction of the first publication stays. No rule about what
//! may be published stands here; those are the contract's.
#![forbid(unsafe_code)]
// The SDK nests futures deeper than the compiler follows by default.
#![recursion_limit = "256"]

mod config;
mod day;
mod hour;
mod interim;
pub mod plan;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use vitro_client::{Channel, Client, ClientError, Published};
use vitro_cloud::archive::Archive;
use vitro_cloud::batch::{BatchResponse, SqsEvent, chain};
use vitro_cloud::days::DayStore;
use vitro_cloud::hours::HourStore;
use vitro_cloud::metrics::Metrics;
use vitro_cloud::parked::Park;
use vitro_cloud::queue::PublishTask;
use vitro_cloud::{Clock, CloudError};
use vitro_contract::{Item, Verdict};
use vitro_ledger::LedgerError;
use vitro_proof::{BlockNumber, DeviceId, LocalDay, UnixMillis};

pub use config::Config;
use hour::Said;
use plan::{Due, Subject};

/// Days and blocks that are read at once.
const READS: usize = 8;
/// Hours that are said at once.
const HOURS: usize = 16;
/// What is left of the invocation when no further transaction is begun.
const RESERVE_MILLIS: i64 = 40_000;
/// What is left of it when a transaction is given up: enough to answer the queue.
const LAST_MILLIS: i64 = 5_000;

/// The stores that days are read from and written to.
pub struct Stores<D, A, P> {
    /// The days.
    pub days: D,
    /// The archive.
    pub archive: A,
    /// What is parked.
    pub parked: P,
    /// The hours.
    pub hours: Box<dyn HourStore>,
}

/// The function.
pub struct Publish<L, D, A, P, C> {
    ledger: Client<L>,
    stores: Stores<D, A, P>,
    clock: C,
    stack: String,
    archive_bucket: String,
}

/// Why a message has to come again.
#[derive(Debug, thiserror::Error)]
enum Again {
    #[error(transparent)]
    Task(CloudError),
    #[error(transparent)]
    Cloud(#[from] CloudError),
    #[error(transparent)]
    Ledger(#[from] ClientError),
    #[error("the ledger does not take it yet: {code}: {detail}")]
    NotYet { code: String, detail: String },
    #[error("the invocation's time is over")]
    Time,
    #[error("there is no account to publish")]
    NoAccount,
    #[error("nothing is known of this hour")]
    NoHour,
}

impl Again {
    /// The reason in a word, for the metric: the contract's code, or where it failed.
    fn reason(&self) -> &str {
        match self {
            Self::Task(_) => "not_a_task",
            Self::Cloud(_) => "store",
            Self::Ledger(ClientError::Profile(_)) => "profile",
            Self::Ledger(error) => error.code().unwrap_or("ledger"),
            Self::NotYet { code, .. } => code,
            Self::Time => "time",
            Self::NoAccount => "no_account",
            Self::NoHour => "no_hour",
        }
    }
}

/// A piece of work that messages ask for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    /// A day's newest account.
    Day(DeviceId, LocalDay),
    /// An interim block.
    Interim(DeviceId, BlockNumber),
    /// A shard's hour.
    Hour(String, i64),
}

impl From<PublishTask> for Work {
    fn from(task: PublishTask) -> Self {
        match task {
            PublishTask::Day(day) => Self::Day(day.thing, day.day),
            PublishTask::Block(block) => Self::Interim(block.thing, block.block),
            PublishTask::Hour(hour) => Self::Hour(hour.shard, hour.hour),
        }
    }
}

/// What to do with a transaction that failed.
enum Way {
    /// Its items come again.
    Later,
    /// One of its items may be the cause: each half is tried by itself. A single one is parked for this reason, if one is given.
    Halve(Option<String>),
}

impl<L: Channel, D: DayStore, A: Archive, P: Park, C: Clock> Publish<L, D, A, P, C> {
    /// The function over its ledger and stores.
    pub fn new(ledger: L, stores: Stores<D, A, P>, clock: C, config: &Config) -> Self {
        Self {
            ledger: Client::new(ledger),
            stores,
            clock,
            stack: config.stack.to_string(),
            archive_bucket: config.archive_bucket.clone(),
        }
    }

    /// Handles a batch of messages. `deadline` is when the invocation ends.
    pub async fn handle(&self, event: SqsEvent, deadline: UnixMillis) -> (BatchResponse, Metrics) {
        let mut run = Run { response: BatchResponse::done(), metrics: Metrics::new(&self.stack), deadline };
        // Several messages of one day or block are one piece of work.
        let mut tasks: BTreeMap<Work, Vec<String>> = BTreeMap::new();
        for record in event.records {
            match record.json::<PublishTask>("publish task") {
                Ok(task) => tasks.entry(task.into()).or_default().push(record.message_id),
                Err(error) => run.again(&[record.message_id], &Again::Task(error)),
            }
        }
        // One a transaction each, and after the days: an hour late by a minute is on record as that.
        let hours = tasks.split_off(&Work::Hour(String::new(), i64::MIN));
        let mut loading = stream::iter(tasks)
            .map(|(work, messages)| async move {
                let loaded = match &work {
                    Work::Day(thing, day) => self.load_day(thing, *day).await,
                    Work::Interim(thing, block) => self.load_interim(thing, *block).await,
                    // They went apart from these above.
                    Work::Hour(..) => Ok(None),
                };
                (messages, loaded)
            })
            .buffered(READS);
        let mut due = Vec::new();
        while let Some((messages, loaded)) = loading.next().await {
            match loaded {
                Ok(Some((subject, item))) => due.push(Due { messages, subject, item }),
                Ok(None) => {}
                Err(error) => run.again(&messages, &error),
            }
        }
        drop(loading);
        // A device's blocks go in the order of its chain, whatever the order of the messages is.
        due.sort_by(|a, b| a.subject.place().cmp(&b.subject.place()));
        // The first of the list is taken next; halves of a failed transaction go to its front.
        let mut batches = plan::batches(due);
        batches.reverse();
        while let Some(batch) = batches.pop() {
            if let Some((first, second)) = self.transact(batch, &mut run).await {
                batches.push(second);
                batches.push(first);
            }
        }
        self.say_all(hours, &mut run).await;
        (run.response, run.metrics)
    }

    /// Says hours, some at once: each is a transaction of its own, and waits for the ledger's block.
    async fn say_all(&self, hours: BTreeMap<Work, Vec<String>>, run: &mut Run) {
        let deadline = run.deadline;
        let mut saying = stream::iter(hours)
            .map(|(work, messages)| async move {
                let said = match &work {
                    Work::Hour(shard, hour) => self.say(shard, *hour, deadline).await,
                    Work::Day(..) | Work::Interim(..) => Ok(Said::Before),
                };
                (messages, said)
            })
            .buffered(HOURS);
        while let Some((messages, said)) = saying.next().await {
            match said {
                Ok(Said::Now) => run.metrics.count("HoursSaid", 1),
                Ok(Said::Refused(code)) => run.metrics.count_reason("DaysParked", &code, 1),
                Ok(Said::Before) => {}
                Err(error) => run.again(&messages, &error),
            }
        }
    }

    /// Publishes items in one transaction. Gives halves back if they have to be tried apart.
    async fn transact(&self, batch: Vec<Due>, run: &mut Run) -> Option<(Vec<Due>, Vec<Due>)> {
        let left = run.deadline.0.saturating_sub(self.clock.now().0);
        if left < RESERVE_MILLIS {
            run.again_all(&batch, &Again::Time);
            return None;
        }
        let items: Vec<Item> = batch.iter().map(|due| due.item.clone()).collect();
        let time = Duration::from_millis((left - LAST_MILLIS).unsigned_abs());
        let result = match tokio::time::timeout(time, self.ledger.publish(&items)).await {
            Ok(result) => result,
            Err(_) => {
                run.again_all(&batch, &Again::Time);
                return None;
            }
        };
        match result {
            Ok(Published { tx, answer, .. }) if answer.len() == batch.len() => {
                tracing::info!(%tx, items = batch.len(), "a transaction is in the chain");
                for (due, verdict) in batch.iter().zip(&answer) {
                    if let Err(error) = self.settle(due, verdict, &tx, run).await {
                        run.again(&due.messages, &error);
                    }
                }
                None
            }
            Ok(Published { tx, answer, .. }) => {
                let what = format!("transaction {tx}");
                let detail = format!("{} verdicts on {} items", answer.len(), batch.len());
                run.again_all(&batch, &Again::Cloud(CloudError::damaged(what, detail)));
                None
            }
            Err(error) => match way(&error) {
                Way::Halve(_) if batch.len() > 1 => {
                    tracing::warn!(error = %chain(&error), items = batch.len(), "a transaction fails; its halves are tried apart");
                    let mut first = batch;
                    let second = first.split_off(first.len() / 2);
                    Some((first, second))
                }
                Way::Halve(Some(code)) => {
                    for due in &batch {
                        if let Err(error) = self.park(due, &code, &error.to_string(), run).await {
                            run.again(&due.messages, &error);
                        }
                    }
                    None
                }
                Way::Halve(None) | Way::Later => {
                    run.again_all(&batch, &Again::Ledger(error));
                    None
                }
            },
        }
    }

    /// Notes what became of an item.
    async fn settle(&self, due: &Due, verdict: &Verdict, tx: &str, run: &mut Run) -> Result<(), Again> {
        if verdict.retryable() {
            return Err(Again::NotYet { code: verdict.code.clone(), detail: verdict.detail.clone() });
        }
        if !verdict.accepted {
            return self.park(due, &verdict.code, &verdict.detail, run).await;
        }
        match &due.subject {
            Subject::Day(row) => self.settle_day(row, verdict, tx, run).await,
            Subject::Interim(interim) => {
                interim::settle(interim, verdict, tx, run);
                Ok(())
            }
        }
    }

    /// Sets an item aside that the ledger refuses for good.
    async fn park(&self, due: &Due, code: &str, detail: &str, run: &mut Run) -> Result<(), Again> {
        match &due.subject {
            Subject::Day(row) => self.park_day(row, code, detail, run).await,
            Subject::Interim(interim) => self.park_interim(interim, code, detail, run).await,
        }
    }
}

/// One invocation.
struct Run {
    response: BatchResponse,
    metrics: Metrics,
    deadline: UnixMillis,
}

impl Run {
    /// One day or block, asked for by these messages, has to come again.
    fn again(&mut self, messages: &[String], error: &Again) {
        self.metrics.count_reason("DaysRetried", error.reason(), 1);
        for message_id in messages {
            tracing::warn!(%message_id, error = %chain(error), "a message has to come again");
            self.response.fail(message_id);
        }
    }

    fn again_all(&mut self, batch: &[Due], error: &Again) {
        for due in batch {
            self.again(&due.messages, error);
        }
    }
}

/// What a transaction's error says about its items. Only what can come from an item's own bytes sets it apart; an identity that may
/// not publish, or a network that is away, is no item's fault.
fn way(error: &ClientError) -> Way {
    match error {
        ClientError::Refused { code, .. } => match code.as_str() {
            "malformed" | "damaged" | "bad_arguments" => Way::Halve(Some(code.clone())),
            _ => Way::Later,
        },
        // BAD_REQUEST and REQUEST_ENTITY_TOO_LARGE: larger than the channel takes.
        ClientError::Ledger(LedgerError::NotOrdered { status: 400 | 413, .. }) => {
            Way::Halve(Some("not_ordered".to_owned()))
        }
        // A panic of the contract, or an answer beyond a message's limits: perhaps the items', perhaps not.
        ClientError::Ledger(LedgerError::Refused { .. } | LedgerError::Protocol { .. }) => Way::Halve(None),
        _ => Way::Later,
    }
}

#[cfg(test)]
mod tests;
