//! From the queue's messages to verdicts on the days.

use std::collections::BTreeMap;

use async_trait::async_trait;
use vitro_cloud::CloudError;
use vitro_cloud::archive::Archive;
use vitro_cloud::batch::{BatchResponse, SqsEvent, chain};
use vitro_cloud::clock::Clock;
use vitro_cloud::days::{DayRow, DayState, DayStore, edit};
use vitro_cloud::metrics::Metrics;
use vitro_cloud::parked::{Parked, ParkedState, ParkedTable};
use vitro_cloud::queue::PublishTask;
use vitro_contract::{Bytes, Item, Verdict};
use vitro_proof::{DeviceId, LocalDay};

use crate::batches::batches;
use crate::ledger::{LedgerPort, PublishError};

/// A day by its key.
type Key = (DeviceId, LocalDay);

/// Where what was refused for good is noted.
#[async_trait]
pub trait ParkedPort: Send + Sync {
    /// Parks something; if it is parked already, whatever an operator made of it stays.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn park(&self, parked: &Parked) -> Result<(), CloudError>;
}

#[async_trait]
impl ParkedPort for ParkedTable {
    async fn park(&self, parked: &Parked) -> Result<(), CloudError> {
        Self::park(self, parked).await
    }
}

/// The function with all that it stands on.
pub struct Publisher {
    /// The table `days`.
    pub days: Box<dyn DayStore>,
    /// The archive, which has the block messages.
    pub archive: Box<dyn Archive>,
    /// The ledger.
    pub ledger: Box<dyn LedgerPort>,
    /// The table `parked`.
    pub parked: Box<dyn ParkedPort>,
    /// The time at which something is parked.
    pub clock: Box<dyn Clock>,
    /// The stack's name, the dimension of its metrics.
    pub stack: String,
}

impl Publisher {
    /// Publishes the days that a batch names; messages that have to come again are in the answer. What was counted comes with it.
    pub async fn handle(&self, event: SqsEvent) -> (BatchResponse, Metrics) {
        let mut response = BatchResponse::done();
        let mut metrics = Metrics::new(&self.stack);
        let mut messages: BTreeMap<Key, Vec<String>> = BTreeMap::new();
        for record in event.records {
            match record.json::<PublishTask>("publish task") {
                Ok(task) => messages.entry((task.thing, task.day)).or_default().push(record.message_id),
                // It goes to the dead letters, where an operator finds it.
                Err(error) => fail(&mut response, [&record.message_id], &error),
            }
        }
        // In order of device and day: a device's chain goes to the ledger from its beginning.
        let mut due = Vec::new();
        for (key, ids) in &messages {
            match self.item(key).await {
                Ok(Some((row, item))) => due.push(((key, ids, row), item)),
                Ok(None) => {}
                Err(error) => fail(&mut response, ids, &error),
            }
        }
        for batch in batches(due) {
            let (days, items): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            match self.ledger.publish(&items).await {
                Err(error) => days.iter().for_each(|(_, ids, _)| fail(&mut response, *ids, &error)),
                Ok(published) => {
                    for ((key, ids, row), verdict) in days.iter().zip(&published.verdicts) {
                        if let Err(error) = self.note(key, row, &published.tx, verdict, &mut metrics).await {
                            fail(&mut response, *ids, &error);
                        }
                    }
                }
            }
        }
        (response, metrics)
    }

    /// What is to be published of a day: nothing if it is not settled, or if its newest account is on the ledger.
    async fn item(&self, (thing, day): &Key) -> Result<Option<(DayRow, Item)>, CloudError> {
        let Some(row) = self.days.get(thing, *day).await? else {
            tracing::warn!(device = %thing, %day, "nothing is known of this day");
            return Ok(None);
        };
        let Some(account) = row.account.clone().filter(|_| row.state != DayState::Published) else { return Ok(None) };
        // A block that came after this account waits for an account of its own, which brings another message.
        let block = match (&row.block, row.decoded_account()?.and_then(|account| account.block)) {
            (Some(block), Some(number)) if block.number == number => {
                Some(Bytes(self.archive.get(&block.object).await?))
            }
            _ => None,
        };
        Ok(Some((row, Item { block, account: Some(Bytes(account)) })))
    }

    /// Writes down what the contract said of a day.
    async fn note(
        &self,
        key: &Key,
        row: &DayRow,
        tx: &str,
        verdict: &Verdict,
        metrics: &mut Metrics,
    ) -> Result<(), PublishError> {
        let (thing, day) = key;
        if verdict.accepted {
            let tx = if verdict.code == "unchanged" { self.first_tx(key, row, tx).await? } else { tx.to_owned() };
            let noted = edit(&*self.days, thing, *day, |known| Ok::<_, CloudError>(known.published(row.accounts, &tx)));
            if noted.await?.1 {
                metrics.count("DaysPublished", 1);
            }
            tracing::info!(device = %thing, %day, tx, verdict = verdict.code, "published");
            return Ok(());
        }
        if verdict.retryable() {
            return Err(PublishError::NotYet(format!("{}: {}", verdict.code, verdict.detail)));
        }
        let parked = Parked {
            reason: verdict.code.clone(),
            id: format!("{day}-{thing}-{:04}", row.accounts),
            state: ParkedState::Open,
            device: Some(thing.clone()),
            object: None,
            detail: format!("the ledger refuses {day}: {}", verdict.detail),
            received: self.clock.now(),
        };
        self.parked.park(&parked).await?;
        let noted =
            edit(&*self.days, thing, *day, |known| Ok::<_, CloudError>(known.park(row.accounts, &verdict.code)));
        if noted.await?.1 {
            metrics.count("DaysParked", 1);
        }
        tracing::error!(device = %thing, %day, reason = verdict.code, detail = verdict.detail, "parked");
        Ok(())
    }

    /// The transaction that published an account which the ledger had already: an earlier run of this function was cut short
    /// between the commit and the note of it.
    async fn first_tx(&self, (thing, day): &Key, row: &DayRow, tx: &str) -> Result<String, PublishError> {
        let view = self.ledger.day(thing, *day).await?;
        let same = |published: &&vitro_contract::PublishedAccount| Some(&published.account.0) == row.account.as_ref();
        Ok(view.accounts.iter().find(same).map_or_else(|| tx.to_owned(), |published| published.tx.clone()))
    }
}

fn fail<'a>(
    response: &mut BatchResponse,
    ids: impl IntoIterator<Item = &'a String>,
    error: &(dyn std::error::Error + 'static),
) {
    for id in ids {
        tracing::warn!(message_id = %id, error = %chain(error), "a message has to come again");
        response.fail(id);
    }
}
