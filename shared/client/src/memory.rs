//! A ledger in memory behind a [`Channel`], for tests: it runs the contract, and fails as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use vitro_contract::Creator;
use vitro_contract::testing::MemoryLedger;
use vitro_ledger::{Committed, LedgerError};

use crate::channel::Channel;
use crate::error::ClientError;

/// How the next transactions go wrong.
#[derive(Debug)]
pub enum Trouble {
    /// Nothing is submitted.
    Before(LedgerError),
    /// The transaction commits, and the caller is told this.
    After(LedgerError),
}

/// One party's channel. Clones share the ledger and the troubles.
#[derive(Clone, Debug)]
pub struct MemoryChannel {
    ledger: Arc<Mutex<MemoryLedger>>,
    creator: Creator,
    troubles: Arc<Mutex<VecDeque<Trouble>>>,
    refused: Arc<Mutex<BTreeMap<Vec<u8>, String>>>,
    submitted: Arc<Mutex<Vec<(String, usize)>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryChannel {
    /// A party's channel to a ledger.
    #[must_use]
    pub fn new(ledger: MemoryLedger, creator: Creator) -> Self {
        Self {
            ledger: Arc::new(Mutex::new(ledger)),
            creator,
            troubles: Arc::default(),
            refused: Arc::default(),
            submitted: Arc::default(),
        }
    }

    /// The same ledger, seen by another.
    #[must_use]
    pub fn by(&self, creator: Creator) -> Self {
        Self { creator, ..self.clone() }
    }

    /// Sets the ledger's clock, Unix seconds.
    pub fn set_now(&self, now: i64) {
        lock(&self.ledger).now = now;
    }

    /// Makes the next transactions fail, one each.
    pub fn trouble(&self, troubles: impl IntoIterator<Item = Trouble>) {
        lock(&self.troubles).extend(troubles);
    }

    /// Makes every transaction fail that has this for its first argument, in these words of the contract.
    pub fn refuse(&self, argument: impl Into<Vec<u8>>, message: &str) {
        lock(&self.refused).insert(argument.into(), message.to_owned());
    }

    /// The functions submitted so far, each with the bytes of its arguments, whatever became of them.
    #[must_use]
    pub fn submitted(&self) -> Vec<(String, usize)> {
        lock(&self.submitted).clone()
    }
}

fn refused(error: &vitro_contract::ContractError) -> ClientError {
    ClientError::from(LedgerError::Refused { status: 500, message: error.to_string() })
}

#[async_trait]
impl Channel for MemoryChannel {
    async fn submit(&self, function: &str, args: &[Vec<u8>]) -> Result<Committed, ClientError> {
        lock(&self.submitted).push((function.to_owned(), args.iter().map(Vec::len).sum()));
        let message = args.first().and_then(|argument| lock(&self.refused).get(argument).cloned());
        if let Some(message) = message {
            return Err(LedgerError::Refused { status: 500, message }.into());
        }
        let after = match lock(&self.troubles).pop_front() {
            Some(Trouble::Before(error)) => return Err(error.into()),
            Some(Trouble::After(error)) => Some(error),
            None => None,
        };
        let mut ledger = lock(&self.ledger);
        let simulation = ledger.simulate(&self.creator, function, args).map_err(|e| refused(&e))?;
        ledger.commit(&simulation);
        match after {
            Some(error) => Err(error.into()),
            None => Ok(Committed { tx_id: simulation.tx_id, block_number: 0, payload: simulation.response.payload }),
        }
    }

    async fn query(&self, function: &str, args: &[Vec<u8>]) -> Result<Vec<u8>, ClientError> {
        let simulation = lock(&self.ledger).simulate(&self.creator, function, args);
        Ok(simulation.map_err(|e| refused(&e))?.response.payload)
    }
}

#[cfg(test)]
mod tests {
    use vitro_contract::testing::{TestDevice, admin, client};
    use vitro_contract::{Alive, Hour, Hours, Role};
    use vitro_contract::{DeviceApproval, Item};

    use super::*;
    use crate::Client;

    #[tokio::test]
    async fn hours_come_whole_over_pages() {
        let now = 1_767_500_000;
        let operator = MemoryChannel::new(MemoryLedger::configured(now).unwrap(), client(Role::Operator));
        let operator = Client::new(operator);
        let hour = |ago: i64| Hour::holding(now - ago * 3_600).unwrap();
        let shard: vitro_contract::Shard = "west".parse().unwrap();
        for ago in [1_000, 3] {
            operator.alive(&Alive::of(shard.clone(), hour(ago), &[]).unwrap()).await.unwrap();
        }
        let (said, missing) = operator.hours(&shard, hour(1_001), hour(1)).await.unwrap();
        assert_eq!(said.iter().map(|view| view.alive.hour).collect::<Vec<_>>(), [hour(1_000), hour(3)]);
        let gaps = [(1_001, 1_001), (999, 4), (2, 1)].map(|(from, to)| Hours { from: hour(from), to: hour(to) });
        assert_eq!(missing, gaps);
    }

    #[tokio::test]
    async fn a_day_goes_to_the_ledger_and_back() {
        let now = 1_767_500_000;
        let operator = MemoryChannel::new(MemoryLedger::configured(now).unwrap(), client(Role::Operator));
        let rc = Client::new(operator.by(admin(Role::Rc)));
        let operator = Client::new(operator);
        let mut device = TestDevice::new("dev-1", 7, "2026-01-02".parse().unwrap()).unwrap();
        operator.register_devices(std::slice::from_ref(&device.entry)).await.unwrap();
        let found = operator.device(device.thing()).await.unwrap();
        rc.approve_devices(&vec![DeviceApproval { thing: device.thing().clone(), entry: found.hash }]).await.unwrap();
        let refused = rc.register_devices(&[device.entry.clone()]).await.unwrap_err();
        assert_eq!(refused.code(), Some("forbidden"));

        let day = device.seal_day(Some(&"3.0903".parse().unwrap())).unwrap();
        let items = vec![Item::day(day.message, &day.account)];
        let published = operator.publish(&items).await.unwrap();
        assert!(published.answer[0].accepted);
        let view = operator.day(device.thing(), day.account.day).await.unwrap();
        assert_eq!(view.block.unwrap().tx, published.tx);
        let audit = rc.audit_day(device.thing(), day.account.day).await.unwrap();
        assert_eq!(audit.history.block.unwrap().tx, published.tx);
        let days = rc.day_history(device.thing(), day.account.day, day.account.day).await.unwrap();
        assert_eq!(days.len(), 1);
        assert!(rc.block(device.thing(), 0).await.unwrap().daily);
        assert_eq!(operator.devices(None).await.unwrap().len(), 1);
        assert_eq!(operator.chain(device.thing()).await.unwrap().known, [(0, 0)]);
        assert!(operator.roles().await.unwrap().in_force.is_some());
    }
}
