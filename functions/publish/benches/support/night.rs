//! The function between stores in memory and a ledger, and what became of its transactions there.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use vitro_client::Client;
use vitro_cloud::Clock;
use vitro_cloud::CloudError;
use vitro_cloud::archive::Archive;
use vitro_cloud::clock::SystemClock;
use vitro_cloud::config::Environment;
use vitro_cloud::days::{self, DayBlock, DayState};
use vitro_cloud::memory::{Fuse, MemoryArchive, MemoryDays, MemoryHours, MemoryParked};
use vitro_contract::{DeviceApproval, Item, Record, Roles, Verdict};
use vitro_ledger::{ConnectionProfile, Ledger, TxValidationCode};
use vitro_proof::UnixMillis;
use vitro_proof::reconcile::Outcome;
use vitro_publish::{Config, Publish, Stores};

use super::fleet::{Device, Settled};

/// Devices that are registered in a transaction.
const REGISTERED_AT_ONCE: usize = 100;
/// Devices that are approved in a transaction.
const APPROVED_AT_ONCE: usize = 250;

/// The folder with the profiles of the four parties' admins.
pub struct Profiles(pub PathBuf);

impl Profiles {
    /// A party's client, with the limits of production.
    pub fn client(&self, name: &str) -> Client<Arc<Ledger>> {
        let path = self.0.join(format!("{name}.json"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let profile = ConnectionProfile::from_json(&text).expect("a connection profile");
        Client::new(Arc::new(Ledger::from_profile(&profile).expect("a client of the ledger")))
    }

    /// Configures the roles if nobody did yet, registers the devices, and has the parties approve them.
    pub async fn prepare(&self, devices: &[Device]) {
        let operator = self.client("operator");
        let parties = ["rc", "dv", "sp"].map(|name| self.client(name));
        if operator.roles().await.expect("an answer").in_force.is_none() {
            let [rc, dv, sp] = parties.each_ref().map(|party| party.channel().msp().parse().expect("an MSP id"));
            let roles = Roles { operator: operator.channel().msp().parse().expect("an MSP id"), rc, dv, sp };
            for party in parties.iter().chain([&operator]) {
                party.configure(&roles).await.expect("the roles are taken");
            }
        }
        for some in devices.chunks(REGISTERED_AT_ONCE) {
            let entries: Vec<_> = some.iter().map(|device| device.entry.clone()).collect();
            operator.register_devices(&entries).await.expect("the devices are registered");
        }
        for some in devices.chunks(APPROVED_AT_ONCE) {
            let list = some.iter();
            let list =
                list.map(|device| DeviceApproval { thing: device.entry.thing.clone(), entry: device.entry.hash() });
            let list = list.collect();
            // RC and DV are those whose word a device counts by.
            for party in &parties[..2] {
                party.approve_devices(&list).await.expect("the devices are approved");
            }
        }
    }
}

/// The function, with stores in memory.
pub struct Night {
    ledger: Arc<Ledger>,
    days: MemoryDays,
    archive: MemoryArchive,
    parked: MemoryParked,
    publish: Publish<Arc<Ledger>, MemoryDays, MemoryArchive, MemoryParked, SystemClock>,
}

/// A transaction with published days.
#[derive(Debug)]
pub struct Transaction {
    /// The bytes of its signed envelope, as the ledger's block has it.
    pub bytes: usize,
    /// The verdicts, one a day.
    pub verdicts: Vec<Verdict>,
}

impl Night {
    /// The function as the operator.
    pub fn new(profiles: &Profiles) -> Self {
        let env = Environment::of(&[
            ("VITRO_CUSTOMER", "acme"),
            ("VITRO_STAGE", "bench"),
            ("VITRO_DAYS_TABLE", "days"),
            ("VITRO_HOURS_TABLE", "hours"),
            ("VITRO_PARKED_TABLE", "parked"),
            ("VITRO_ARCHIVE_BUCKET", "archive"),
            ("VITRO_FABRIC_SECRET", "fabric"),
        ]);
        let ledger = Arc::clone(profiles.client("operator").channel());
        let (days, archive) = (MemoryDays::new(Fuse::default()), MemoryArchive::new(Fuse::default()));
        let parked = MemoryParked::default();
        let hours = Box::new(MemoryHours::default());
        let stores = Stores { days: days.clone(), archive: archive.clone(), parked: parked.clone(), hours };
        let config = Config::read(&env).expect("the settings");
        let publish = Publish::new(Arc::clone(&ledger), stores, SystemClock, &config);
        Self { ledger, days, archive, parked, publish }
    }

    /// What the night leaves of a day before it is published.
    pub async fn settle(&self, settled: &Settled) {
        let account = &settled.account;
        let key = format!("blocks/{}/{:010}.cbor", account.thing, settled.number.0);
        let object = self.archive.put(&key, settled.message.clone(), "application/cbor").await.expect("it is archived");
        days::edit::<CloudError>(&self.days, &account.thing, account.day, |row| {
            row.block = Some(DayBlock {
                number: settled.number,
                hash: settled.hash,
                object: object.clone(),
                first: account.first,
                count: account.count,
                previous_daily: None,
            });
            row.account = Some(account.encode());
            row.accounts += 1;
            row.outcome = Some(Outcome::Matched);
            row.state = DayState::Reconciled;
            Ok(true)
        })
        .await
        .expect("the day is written");
    }

    /// Publishes days that were settled, as one batch of messages from the queue.
    pub async fn publish(&self, days: &[Settled]) {
        let records: Vec<_> = days
            .iter()
            .enumerate()
            .map(|(index, settled)| {
                let body = json!({ "thing": settled.account.thing, "day": settled.account.day }).to_string();
                json!({ "messageId": format!("m{index}"), "body": body })
            })
            .collect();
        let event = serde_json::from_value(json!({ "Records": records })).expect("an event");
        let deadline = UnixMillis(SystemClock.now().0 + 900_000);
        let (response, metrics) = self.publish.handle(event, deadline).await;
        assert!(response.is_done(), "every message is done: {metrics:?}");
        assert!(self.parked.rows().is_empty(), "no day is parked");
        for settled in days {
            let row = self.days.row(&settled.account.thing, settled.account.day).expect("the day's row");
            assert_eq!(row.state, DayState::Published);
        }
    }

    /// How long the chain is.
    pub async fn height(&self) -> u64 {
        self.ledger.chain_info().await.expect("the chain's length").height
    }

    /// The transactions that published days, in the ledger's blocks from `from` to before `to`.
    pub async fn transactions(&self, from: u64, to: u64) -> Vec<Transaction> {
        let mut found = Vec::new();
        for number in from..to {
            let block = self.ledger.block(number).await.expect("a block");
            for transaction in block.transactions.into_iter().filter(|one| one.function == "data:publish") {
                assert_eq!(transaction.code, TxValidationCode::Valid);
                let verdicts = Vec::<Verdict>::decode(&transaction.payload).expect("verdicts");
                let items = Vec::<Item>::decode(&transaction.args[0]).expect("items");
                assert_eq!(items.len(), verdicts.len());
                found.push(Transaction { bytes: transaction.bytes, verdicts });
            }
        }
        found
    }

    /// What the channel is configured to.
    pub async fn channel(&self) -> vitro_ledger::ChannelConfig {
        self.ledger.channel_config().await.expect("the channel's configuration")
    }
}
