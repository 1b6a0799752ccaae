//! For tests: a ledger in memory with Fabric's reads, and devices that sign real blocks.
//!
//! [`MemoryLedger`] executes a call against what is committed and records what it read and wrote; committing checks, as a peer
//! does (MVCC), that nothing read has changed since.

use std::collections::{BTreeMap, BTreeSet};

use vitro_proof::crypto::{SoftwareSigner, sha256};
use vitro_proof::summary::{self, At, Figures};
use vitro_proof::{
    Account, Block, BlockMessage, BlockNumber, DayBounds, Decimal, DeviceId, Hash, Leaf, LocalDay, Sensor, SensorKind,
    SensorTable, Signer, Span, Summary, UnixMillis, merkle,
};

use crate::calendar::utc_midnight;
use crate::call::{Context, Creator, OuRole, QUERIES, Response, State, StateError, UPDATES, invoke};
use crate::error::ContractError;
use crate::ids::Role;
use crate::model::{DeviceEntry, Roles};
use crate::wire::Record;

/// What a call read and wrote, before it is committed.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The transaction's id.
    pub tx_id: String,
    /// The keys read, with the version they had.
    pub reads: BTreeMap<String, Option<u64>>,
    /// The ranges read.
    pub ranges: Vec<RangeRead>,
    /// The keys written.
    pub writes: BTreeMap<String, Vec<u8>>,
    /// The call's answer.
    pub response: Response,
}

/// A range that a call read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRead {
    /// The first key.
    pub start: String,
    /// The key after the last.
    pub end: String,
    /// The keys it held, with their versions.
    pub found: Vec<(String, u64)>,
}

/// A ledger in memory: committed keys with a version each.
#[derive(Clone, Debug, Default)]
pub struct MemoryLedger {
    /// What is committed: the version that wrote it, and the value.
    committed: BTreeMap<String, (u64, Vec<u8>)>,
    transactions: u64,
    /// The timestamp of the next calls in Unix seconds.
    pub now: i64,
}

struct Simulator<'a> {
    ledger: &'a MemoryLedger,
    reads: BTreeMap<String, Option<u64>>,
    ranges: Vec<RangeRead>,
    writes: BTreeMap<String, Vec<u8>>,
}

impl State for Simulator<'_> {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        check_key(key)?;
        let found = self.ledger.committed.get(key);
        self.reads.insert(key.to_owned(), found.map(|found| found.0));
        Ok(found.map(|found| found.1.clone()))
    }

    fn put(&mut self, key: &str, value: Vec<u8>) -> Result<(), StateError> {
        check_key(key)?;
        if value.is_empty() {
            return Err(StateError(format!("{key}: an empty value")));
        }
        match self.writes.insert(key.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err(StateError(format!("{key} is written twice"))),
        }
    }

    fn range(&mut self, start: &str, end: &str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        check_key(start)?;
        let found: Vec<_> = self.ledger.committed.range(start.to_owned()..end.to_owned()).collect();
        let versions = found.iter().map(|(key, value)| ((*key).clone(), value.0)).collect();
        self.ranges.push(RangeRead { start: start.to_owned(), end: end.to_owned(), found: versions });
        Ok(found.into_iter().map(|(key, value)| (key.clone(), value.1.clone())).collect())
    }
}

/// What Fabric or its databases do not take, or take for something else.
fn check_key(key: &str) -> Result<(), StateError> {
    if key.is_empty() || key.starts_with(['\u{0}', '_']) || key.contains(char::is_control) {
        return Err(StateError(format!("{key:?} is no key")));
    }
    Ok(())
}

impl MemoryLedger {
    /// An empty ledger.
    #[must_use]
    pub fn new(now: i64) -> Self {
        Self { now, ..Self::default() }
    }

    /// A ledger on which the four parties of [`roles`] have agreed.
    ///
    /// # Errors
    /// None in practice.
    pub fn configured(now: i64) -> Result<Self, ContractError> {
        let mut ledger = Self::new(now);
        for role in Role::ALL {
            ledger.submit(&admin(role), "registry:configure", &[roles()?.encode()])?;
        }
        Ok(ledger)
    }

    /// Executes a call without committing it.
    ///
    /// # Errors
    /// Those of the contract.
    pub fn simulate(&self, creator: &Creator, function: &str, args: &[Vec<u8>]) -> Result<Simulation, ContractError> {
        let tx_id = sha256(&[b"tx", &self.transactions.to_be_bytes(), function.as_bytes(), creator.msp.as_bytes()]);
        let context = Context {
            tx_id: tx_id.to_string(),
            timestamp: self.now,
            channel: "mychannel".to_owned(),
            creator: creator.clone(),
        };
        let mut state = Simulator { ledger: self, reads: BTreeMap::new(), ranges: Vec::new(), writes: BTreeMap::new() };
        let response = invoke(&context, &mut state, function, args)?;
        let Simulator { reads, ranges, writes, .. } = state;
        Ok(Simulation { tx_id: context.tx_id, reads, ranges, writes, response })
    }

    /// Commits a simulation if nothing that it read has changed. Whether it did.
    pub fn commit(&mut self, simulation: &Simulation) -> bool {
        let version = |key: &String| self.committed.get(key).map(|found| found.0);
        let same_reads = simulation.reads.iter().all(|(key, read)| version(key) == *read);
        let same_ranges = simulation.ranges.iter().all(|RangeRead { start, end, found }| {
            let now = self.committed.range(start.clone()..end.clone()).map(|(key, value)| (key.clone(), value.0));
            now.eq(found.iter().cloned())
        });
        self.transactions += 1;
        if !same_reads || !same_ranges {
            return false;
        }
        for (key, value) in &simulation.writes {
            self.committed.insert(key.clone(), (self.transactions, value.clone()));
        }
        true
    }

    /// Executes a call and commits it.
    ///
    /// # Errors
    /// Those of the contract.
    pub fn submit(&mut self, creator: &Creator, function: &str, args: &[Vec<u8>]) -> Result<Response, ContractError> {
        let simulation = self.simulate(creator, function, args)?;
        // Cannot fail: nothing came between.
        let committed = self.commit(&simulation);
        debug_assert!(committed, "a conflict without a second transaction");
        Ok(simulation.response)
    }

    /// Executes a call, commits it and reads its answer.
    ///
    /// # Errors
    /// Those of the contract, and of reading the answer.
    pub fn call<T: Record>(&mut self, creator: &Creator, function: &str, args: &[Vec<u8>]) -> Result<T, ContractError> {
        T::decode(&self.submit(creator, function, args)?.payload)
    }

    /// Executes a query and reads its answer.
    ///
    /// # Errors
    /// Those of the contract, and of reading the answer.
    pub fn ask<T: Record>(&self, creator: &Creator, function: &str, args: &[Vec<u8>]) -> Result<T, ContractError> {
        T::decode(&self.simulate(creator, function, args)?.response.payload)
    }

    /// All committed keys.
    #[must_use]
    pub fn keys(&self) -> BTreeSet<&str> {
        self.committed.keys().map(String::as_str).collect()
    }

    /// All committed keys with their values.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<&str, &[u8]> {
        self.committed.iter().map(|(key, value)| (key.as_str(), value.1.as_slice())).collect()
    }
}

/// Every function of the contract: those that write, then those that only read.
pub fn functions() -> impl Iterator<Item = &'static str> {
    UPDATES.iter().chain(QUERIES).copied()
}

/// The roles of the tests: `OperatorMSP`, `RcMSP`, `DvMSP`, `SpMSP`.
///
/// # Errors
/// None in practice.
pub fn roles() -> Result<Roles, ContractError> {
    Ok(Roles { operator: "OperatorMSP".parse()?, rc: "RcMSP".parse()?, dv: "DvMSP".parse()?, sp: "SpMSP".parse()? })
}

/// Somebody of a party's MSP.
#[must_use]
pub fn creator(role: Role, ou: OuRole) -> Creator {
    let msp = match role {
        Role::Operator => "OperatorMSP",
        Role::Rc => "RcMSP",
        Role::Dv => "DvMSP",
        Role::Sp => "SpMSP",
    };
    Creator { msp: msp.to_owned(), role: ou, certificate_hash: sha256(&[msp.as_bytes()]) }
}

/// A party's admin.
#[must_use]
pub fn admin(role: Role) -> Creator {
    creator(role, OuRole::Admin)
}

/// A party's program.
#[must_use]
pub fn client(role: Role) -> Creator {
    creator(role, OuRole::Client)
}

/// A device with a counter `yield` in kWh and a gauge `temp` in Cel, in the zone `Etc/UTC`, that seals daily blocks.
#[derive(Debug)]
pub struct TestDevice {
    /// What the operator registers.
    pub entry: DeviceEntry,
    signer: SoftwareSigner,
    number: u64,
    previous: Hash,
    previous_daily: Option<Hash>,
    first: u64,
    closing: Option<Decimal>,
    next_day: LocalDay,
    /// The version of the sensor table that its blocks name.
    pub table_version: u64,
}

/// A device's daily block with the account that agrees with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestDay {
    /// The block message.
    pub message: Vec<u8>,
    /// The block's hash.
    pub hash: Hash,
    /// The operator's account that agrees.
    pub account: Account,
}

impl TestDevice {
    /// A device with a key that its seed makes, at a metering point of its own, whose first day is `first_day`.
    ///
    /// # Errors
    /// [`ContractError::Malformed`] if `name` is no name, or the seed makes no key.
    pub fn new(name: &str, seed: u8, first_day: LocalDay) -> Result<Self, ContractError> {
        let signer = SoftwareSigner::from_scalar(&[seed.max(1); 32])?;
        let table = SensorTable::new(
            1,
            vec![
                Sensor {
                    name: "yield".parse()?,
                    unit: "kWh".to_owned(),
                    kind: SensorKind::Counter { width: None, resets_normal: false },
                },
                Sensor { name: "temp".parse()?, unit: "Cel".to_owned(), kind: SensorKind::Gauge },
            ],
        )?;
        let entry = DeviceEntry {
            thing: name.parse()?,
            public_key: signer.public_key(),
            metering_point: format!("point-{name}").parse()?,
            zone: "Etc/UTC".parse()?,
            shard: "north".parse()?,
            tables: vec![table],
            certificate: sha256(&[name.as_bytes()]),
        };
        Ok(Self {
            entry,
            signer,
            number: 0,
            previous: Hash([0; 32]),
            previous_daily: None,
            first: 0,
            closing: None,
            next_day: first_day,
            table_version: 1,
        })
    }

    /// The device.
    #[must_use]
    pub fn thing(&self) -> &DeviceId {
        &self.entry.thing
    }

    /// The key it signs with.
    #[must_use]
    pub fn signer(&self) -> &SoftwareSigner {
        &self.signer
    }

    /// The day that the next block covers.
    #[must_use]
    pub fn day(&self) -> LocalDay {
        self.next_day
    }

    /// Seals the next day, in which the counter went up by `increase` in one step at noon; nothing for a day without values.
    ///
    /// # Errors
    /// [`ContractError::Malformed`] at the end of the calendar.
    pub fn seal_day(&mut self, increase: Option<&Decimal>) -> Result<TestDay, ContractError> {
        let sealed = self.sealed(increase)?;
        self.go_on(&sealed, increase)?;
        Ok(sealed)
    }

    /// Seals the next day as [`TestDevice::seal_day`] does, over the leaves of real envelopes.
    ///
    /// # Errors
    /// Those of [`TestDevice::seal_day`].
    pub fn seal_with_leaves(&mut self, increase: &Decimal, leaves: &[Leaf]) -> Result<TestDay, ContractError> {
        let sealed = self.sealed_over(Some(increase), leaves.len() as u64, merkle::root(leaves))?;
        self.go_on(&sealed, Some(increase))?;
        Ok(sealed)
    }

    fn go_on(&mut self, sealed: &TestDay, increase: Option<&Decimal>) -> Result<(), ContractError> {
        self.number += 1;
        self.previous = sealed.hash;
        self.previous_daily = Some(sealed.hash);
        self.first = sealed.account.first + sealed.account.count;
        if let Some(increase) = increase {
            self.closing = Some(&self.closing.clone().unwrap_or_default() + increase);
        }
        self.next_day = self.next_day.next().ok_or_else(|| ContractError::malformed("a day", "the calendar ends"))?;
        Ok(())
    }

    /// What [`TestDevice::seal_day`] would seal, without going on: two of them with different increases are a fork.
    ///
    /// # Errors
    /// Those of [`TestDevice::seal_day`].
    pub fn sealed(&self, increase: Option<&Decimal>) -> Result<TestDay, ContractError> {
        let leaf = Leaf(sha256(&[b"leaf", &self.number.to_be_bytes()]).0);
        let leaves: Vec<Leaf> = increase.map(|_| leaf).into_iter().collect();
        self.sealed_over(increase, leaves.len() as u64, merkle::root(&leaves))
    }

    fn sealed_over(&self, increase: Option<&Decimal>, count: u64, root: Hash) -> Result<TestDay, ContractError> {
        let from = utc_midnight(self.next_day);
        let bounds = DayBounds { from, to: from + 86_400 };
        let salt = [7; 16];
        let summaries = summary::encode(&self.summaries(bounds, increase)?);
        let block = Block {
            thing: self.entry.thing.clone(),
            previous: self.previous,
            span: Span::Daily { previous_daily: self.previous_daily },
            day: self.next_day,
            zone: self.entry.zone.clone(),
            bounds,
            first: self.first,
            count,
            root,
            bytes: 500 * count,
            units: count,
            table_version: self.table_version,
            summaries_digest: summary::digest(&salt, &summaries),
        };
        let message = BlockMessage::seal(BlockNumber(self.number), &block, salt, summaries, &self.signer)
            .map_err(|error| ContractError::malformed("a block", error))?;
        let hash = vitro_proof::Envelope::parse(&message.envelope)
            .map_err(|fault| ContractError::malformed("a block", fault))?
            .hash();
        let account = Account {
            thing: block.thing.clone(),
            day: block.day,
            block: Some(BlockNumber(self.number)),
            first: block.first,
            count,
            root,
            summaries_digest: block.summaries_digest,
            healed: vec![],
            missing: vec![],
        };
        Ok(TestDay { message: message.encode(), hash, account })
    }

    fn summaries(&self, bounds: DayBounds, increase: Option<&Decimal>) -> Result<Vec<Summary>, ContractError> {
        let noon = UnixMillis((bounds.from + 43_200) * 1000);
        let values = u64::from(increase.is_some());
        let at = |value: Decimal| increase.map(|_| At { time: noon, value });
        let closing = &self.closing.clone().unwrap_or_default() + &increase.cloned().unwrap_or_default();
        // Without an opening the counter's first value is where it starts.
        let counted = increase.map(|increase| match self.closing {
            Some(_) => increase.clone(),
            None => Decimal::zero(),
        });
        let figures = counted.map(|counted| {
            let mut grid = vec![Decimal::zero(); summary::grid_slots(bounds)];
            grid[48] = counted.clone();
            Figures::Counter {
                increase: counted.clone(),
                resets: 0,
                rollovers: 0,
                decreases: 0,
                largest_step: counted,
                grid,
            }
        });
        let mild = Decimal::from(20);
        Ok(vec![
            Summary {
                sensor: "temp".parse()?,
                unit: "Cel".to_owned(),
                counter: false,
                values,
                missing: 0,
                flagged: 0,
                first: at(mild.clone()),
                last: at(mild.clone()),
                opening: None,
                figures: increase.map(|_| Figures::Gauge { min: mild.clone(), max: mild.clone(), sum: mild.clone() }),
            },
            Summary {
                sensor: "yield".parse()?,
                unit: "kWh".to_owned(),
                counter: true,
                values,
                missing: 0,
                flagged: 0,
                first: at(closing.clone()),
                last: at(closing),
                opening: self.closing.clone(),
                figures,
            },
        ])
    }
}
