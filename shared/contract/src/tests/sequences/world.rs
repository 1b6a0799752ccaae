//! A ledger, and what is known of it from the calls that it accepted.

use std::collections::{BTreeMap, BTreeSet};

use vitro_proof::{Account, BlockNumber, Decimal, DeviceId, Hash, LocalDay, SensorTable};

use super::pool::{self, DAYS, DEVICES, Pick, Sealed, agrees, at, pool};
use super::{Attested, Caller, Step, Terms, rules};
use crate::calls::{self, Call};
use crate::testing::{MemoryLedger, creator};
use crate::{
    Agreement, AgreementId, Alive, Amendment, Bytes, Creator, DeviceApproval, DeviceEntry, Exchange, Field, Halt, Hour,
    Item, OuRole, Owed, Payee, Record, Role, Roles, Shard, SignOfLife, Statement, StatusReason, Tariff, Termination,
};

/// What all four may approve.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    Terms { terms: Box<Agreement>, replaces: Option<Hash> },
    End { ends: Hash, last: LocalDay, id: AgreementId },
}

/// How deep a sequence went.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) accepted: usize,
    pub(super) refused: usize,
    pub(super) lines: usize,
    pub(super) amended_lines: usize,
    pub(super) chain_lines: usize,
    pub(super) table_lines: usize,
    pub(super) unseen_tables: usize,
    pub(super) corrections: usize,
    pub(super) credits: usize,
    pub(super) alone: usize,
    pub(super) forks_refused: usize,
    pub(super) ended: usize,
    pub(super) exchanged: usize,
    pub(super) halted_refusals: usize,
}

impl Seen {
    pub(super) fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.lines += other.lines;
        self.amended_lines += other.amended_lines;
        self.chain_lines += other.chain_lines;
        self.table_lines += other.table_lines;
        self.unseen_tables += other.unseen_tables;
        self.corrections += other.corrections;
        self.credits += other.credits;
        self.alone += other.alone;
        self.forks_refused += other.forks_refused;
        self.ended += other.ended;
        self.exchanged += other.exchanged;
        self.halted_refusals += other.halted_refusals;
    }

    pub(super) fn is_deep(&self) -> bool {
        self.accepted > 1_000
            && self.refused > 200
            && self.lines > 60
            && self.amended_lines > 5
            && self.chain_lines > 5
            && self.table_lines > 5
            && self.unseen_tables > 2
            && self.corrections > 30
            && self.credits > 5
            && self.alone > 5
            && self.forks_refused > 20
            && self.ended > 2
            && self.exchanged > 2
            && self.halted_refusals > 2
    }
}

/// An account with the number that the operator gave it.
type Numbered = (Account, Option<u64>);

/// The ledger, and what was said to it.
pub(super) struct World {
    pub(super) ledger: MemoryLedger,
    /// Entries in force.
    pub(super) entries: BTreeMap<DeviceId, Hash>,
    /// The versions of the sensor tables in every entry that ever was.
    pub(super) tables: BTreeMap<Hash, BTreeSet<u64>>,
    /// Approvals of entries by an admin's certificate of the role's MSP.
    pub(super) device_approvals: BTreeSet<(DeviceId, Hash, Role)>,
    /// Chains that the operator registered.
    pub(super) chains: BTreeSet<(DeviceId, usize)>,
    /// All that was proposed, by hash, in the order in which it was.
    pub(super) deeds: Vec<(Hash, Deed)>,
    /// Approvals of it by an admin's certificate of the role's MSP.
    pub(super) approvals: BTreeSet<(Hash, Role)>,
    pub(super) blocks: BTreeMap<(DeviceId, u64), &'static Sealed>,
    pub(super) accounts: BTreeMap<(DeviceId, LocalDay), Vec<Numbered>>,
    pub(super) halts: BTreeMap<DeviceId, Option<u64>>,
    pub(super) exchange: Option<Exchange>,
    /// What each closed day is billed at by all statements so far, and which of them spoke last of it.
    pub(super) net: BTreeMap<(AgreementId, DeviceId, LocalDay), (Hash, Option<Owed>)>,
    pub(super) statements: Vec<(Hash, Statement)>,
    pub(super) hours: BTreeMap<(Shard, Hour), Alive>,
    pub(super) seen: Seen,
}

pub(super) fn who(by: Caller) -> Creator {
    match by.party {
        Some(role) => creator(role, by.ou),
        None => Creator { msp: "EveMSP".into(), role: by.ou, certificate_hash: Hash([0xee; 32]) },
    }
}

pub(super) fn id(n: usize) -> AgreementId {
    format!("a-{n}").parse().unwrap()
}

/// `a-0` is about the north, `a-1` about one point of it, `a-2` about the south.
fn agreement(terms: Terms) -> Agreement {
    let mut agreement = super::super::agreement();
    agreement.id = id(terms.id);
    agreement.shard = if terms.id == 2 { "south" } else { "north" }.parse().unwrap();
    agreement.points = (terms.id == 1).then(|| vec!["point-dev-0".parse().unwrap()]);
    let Tariff::PerUnit(tariff) = &mut agreement.tariff;
    tariff.price = Decimal::new(terms.price * 25, -2);
    agreement.term.from = at(terms.from);
    agreement.term.to = terms.days.map(|days| at(terms.from + days));
    if terms.sp_pays {
        agreement.payer = Role::Sp;
        agreement.payees = vec![Payee { role: Role::Rc, share: 1 }, Payee { role: Role::Dv, share: 2 }];
    }
    let [customers, operators] = pool::authorities();
    agreement.authorities = [(customers, terms.pinned.customers), (operators, terms.pinned.operators)]
        .into_iter()
        .filter(|(_, pinned)| *pinned)
        .map(|(authority, _)| Bytes(authority.der.clone()))
        .collect();
    agreement.authorities.sort();
    if terms.wide {
        agreement.fields.insert(0, Field { sensor: "temp".parse().unwrap(), unit: "Cel".into() });
    }
    agreement
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            ledger: super::super::ledger(),
            entries: BTreeMap::new(),
            tables: BTreeMap::new(),
            device_approvals: BTreeSet::new(),
            chains: BTreeSet::new(),
            deeds: Vec::new(),
            approvals: BTreeSet::new(),
            blocks: BTreeMap::new(),
            accounts: BTreeMap::new(),
            halts: BTreeMap::new(),
            exchange: None,
            net: BTreeMap::new(),
            statements: Vec::new(),
            hours: BTreeMap::new(),
            seen: Seen::default(),
        }
    }

    /// Makes a call; what was accepted is committed. Nothing that the caller may not do is ever accepted.
    pub(super) fn call<T: Record>(&mut self, by: Caller, call: &Call<T>) -> Option<T> {
        self.ledger.now += 1;
        match self.ledger.simulate(&who(by), call.function, &call.args) {
            Ok(simulation) => {
                assert!(rules::may(call.function, by), "{} by {by:?} was accepted", call.function);
                assert!(!call.is_query() || simulation.writes.is_empty(), "{} writes", call.function);
                assert!(self.ledger.commit(&simulation), "a conflict without a second transaction");
                self.seen.accepted += 1;
                Some(call.read(&simulation.response.payload).unwrap())
            }
            Err(error) => {
                assert!(!matches!(error.code(), "damaged" | "state" | "unknown_function"), "{error}");
                self.seen.refused += 1;
                None
            }
        }
    }

    /// Takes a step, by whom it is for or by somebody else.
    pub(super) fn take(&mut self, step: &Step, by: Option<Caller>) {
        let admin = |role: Role| by.unwrap_or(Caller { party: Some(role), ou: OuRole::Admin });
        let operator = by.unwrap_or(Caller { party: Some(Role::Operator), ou: OuRole::Client });
        match step {
            Step::Configure => self.configure(admin(Role::Sp)),
            Step::Register { device, revision } => self.register(operator, *device, *revision),
            Step::Succeed { device } => self.succeed(operator, *device),
            Step::Certify { device, chain } => self.certify(operator, *device, *chain),
            Step::ApproveDevice { device, role, stale } => self.approve_device(admin(*role), *device, *stale),
            Step::ApproveByBoth { device } => {
                for role in [Role::Rc, Role::Dv] {
                    self.approve_device(admin(role), *device, false);
                }
            }
            Step::Propose { terms, role } => {
                let terms = agreement(*terms);
                let call = calls::propose(&terms);
                self.propose(admin(*role), &call, terms.hash(), Deed::Terms { terms: terms.into(), replaces: None });
            }
            Step::Amend { terms, stale, role } => {
                let terms = agreement(*terms);
                let Some(replaces) = self.newest(&terms.id, *stale) else { return };
                let amendment = Amendment { replaces, terms: terms.clone() };
                let deed = Deed::Terms { terms: terms.into(), replaces: Some(replaces) };
                self.propose(admin(*role), &calls::amend(&amendment), amendment.hash(), deed);
            }
            Step::Terminate { id: n, last, stale, role } => {
                let Some(ends) = self.newest(&id(*n), *stale) else { return };
                let termination = Termination { agreement: id(*n), ends, last: at(*last) };
                let deed = Deed::End { ends, last: at(*last), id: id(*n) };
                self.propose(admin(*role), &calls::terminate(&termination), termination.hash(), deed);
            }
            Step::Approve { pick, role } => self.approve(admin(*role), *pick),
            Step::ApproveByAll { pick } => Role::ALL.into_iter().for_each(|role| self.approve(admin(role), *pick)),
            Step::Publish { items } => self.publish(operator, items),
            Step::PublishDays { device, days } => {
                let items: Vec<_> = (0..*days).map(|n| (*device, Pick::Main(n), Attested::Agrees, None)).collect();
                self.publish(operator, &items);
            }
            Step::Halt { device, last_good, for_good } => self.halt(operator, *device, *last_good, *for_good),
            Step::Reinstate { device } => {
                let thing = &pool()[*device].entry.thing;
                if self.call(operator, &calls::reinstate(thing)).is_some() {
                    self.halts.remove(thing);
                }
            }
            Step::Exchange { day, last_good, first } => self.exchange(operator, *day, *last_good, *first),
            Step::Close { id: n, from, days } => self.close(operator, *n, *from, *days),
            Step::Correct { id, version } => _ = self.correct(by, *id, *version),
            Step::Alive { south, ago, devices } => self.say(operator, *south, *ago, *devices),
            Step::Ask { what } => self.ask(by.unwrap_or(Caller { party: Some(Role::Rc), ou: OuRole::Client }), *what),
        }
    }

    fn configure(&mut self, by: Caller) {
        let in_force = crate::testing::roles().unwrap();
        let other = Roles { operator: in_force.rc.clone(), rc: in_force.operator.clone(), ..in_force };
        assert!(self.call(by, &calls::configure(&other)).is_none(), "roles never change");
    }

    fn register(&mut self, by: Caller, device: usize, revision: u8) {
        let entry = pool::entry(device, revision);
        let free = self.entries.keys().all(|thing| pool()[index(thing)].entry.metering_point != entry.metering_point);
        let known = self.entries.contains_key(&entry.thing);
        if self.call(by, &calls::register_devices(std::slice::from_ref(&entry))).is_some() {
            assert!(free || known, "two devices serve {}", entry.metering_point);
            self.is_in_force(&entry);
        }
    }

    fn is_in_force(&mut self, entry: &DeviceEntry) {
        self.entries.insert(entry.thing.clone(), entry.hash());
        self.tables.insert(entry.hash(), entry.tables.iter().map(SensorTable::version).collect());
    }

    fn succeed(&mut self, by: Caller, device: usize) {
        let entry = pool::entry(device, 0);
        if self.call(by, &calls::register_successors(std::slice::from_ref(&entry))).is_some() {
            self.is_in_force(&entry);
        }
    }

    fn certify(&mut self, by: Caller, device: usize, chain: usize) {
        let member = &pool()[device];
        let thing = &member.entry.thing;
        if self.call(by, &calls::certify(thing, &member.chains[chain].certificates)).is_some() {
            assert!(self.entries.contains_key(thing), "a chain of {thing}, which is not registered");
            self.chains.insert((thing.clone(), chain));
        }
    }

    fn approve_device(&mut self, by: Caller, device: usize, stale: bool) {
        let thing = pool()[device].entry.thing.clone();
        let entry = if stale {
            pool::entry(device, 2).hash()
        } else {
            self.entries.get(&thing).copied().unwrap_or(Hash([0; 32]))
        };
        let approval = DeviceApproval { thing: thing.clone(), entry };
        let Some(page) = self.call(by, &calls::approve_devices(std::slice::from_ref(&approval))) else { return };
        assert_eq!(self.entries.get(&thing), Some(&entry), "what is approved is what is in force");
        if let (Some(role), OuRole::Admin) = (by.party, by.ou) {
            self.device_approvals.insert((thing.clone(), entry, role));
        }
        assert_eq!(page.devices[0].counts, self.approved(&thing), "{thing} is approved by RC and DV");
    }

    fn propose(&mut self, by: Caller, call: &Call<crate::AgreementView>, hash: Hash, deed: Deed) {
        if let Some(view) = self.call(by, call) {
            assert_eq!(view.hash, hash);
            if self.deeds.iter().all(|(there, _)| *there != hash) {
                self.deeds.push((hash, deed));
            }
        }
    }

    fn approve(&mut self, by: Caller, pick: usize) {
        let Some((hash, deed)) = self.deeds.iter().rev().cycle().nth(pick).cloned() else { return };
        let (id, is_end) = match &deed {
            Deed::Terms { terms, .. } => (terms.id.clone(), false),
            Deed::End { id, .. } => (id.clone(), true),
        };
        let was = self.is_approved(hash);
        let Some(view) = self.call(by, &calls::approve(&id, hash)) else { return };
        if let (Some(role), OuRole::Admin) = (by.party, by.ou) {
            self.approvals.insert((hash, role));
        }
        assert!(!view.active || self.is_approved(hash), "active without the approval of all four");
        assert!(view.active || !self.is_approved(hash), "approved by all four, and accepted, and not active");
        if self.is_approved(hash) && !was {
            self.seen.ended += usize::from(is_end);
            self.check_new_version(hash, &deed);
        }
    }

    fn publish(&mut self, by: Caller, wanted: &[(usize, Pick, Attested, Option<u64>)]) {
        let mut items = Vec::new();
        let mut meant = Vec::new();
        for (device, pick, attested, number) in wanted {
            let sealed = pool()[*device].block(*pick);
            let mut account = sealed.day.account.clone();
            match attested {
                Attested::Differs => account.root = Hash([9; 32]),
                Attested::Misses => account.missing = vec![(account.first, account.first)],
                Attested::NoBlock => account.block = None,
                Attested::Agrees | Attested::Alone => {}
            }
            let alone = matches!(attested, Attested::Alone | Attested::NoBlock);
            let message = sealed.day.message.clone();
            let item = match (sealed.daily, alone) {
                (false, _) => Item::interim(message),
                (true, true) => Item::account(&account),
                (true, false) => Item::day(message, &account),
            };
            items.push(Item { number: *number, ..item });
            let alone = alone && sealed.daily;
            meant.push((*device, sealed, (account, *number), alone));
        }
        let Some(verdicts) = self.call(by, &calls::publish(&items)) else { return };
        assert_eq!(verdicts.len(), meant.len());
        for (verdict, (device, sealed, account, alone)) in verdicts.iter().zip(meant) {
            self.seen.forks_refused += usize::from(matches!(verdict.code.as_str(), "fork" | "broken_chain"));
            self.seen.halted_refusals += usize::from(verdict.code.starts_with("device_"));
            if !verdict.accepted {
                continue;
            }
            let thing = pool()[device].entry.thing.clone();
            assert!(self.entries.contains_key(&thing), "published of {thing}, which is not registered");
            if !alone {
                self.check_block(&thing, sealed);
                self.blocks.insert((thing.clone(), sealed.number), sealed);
            }
            if !sealed.daily {
                continue;
            }
            let accounts = self.accounts.entry((thing, sealed.at)).or_default();
            let known = match account.1 {
                None => accounts.iter().any(|there| there.0 == account.0),
                Some(number) => {
                    let newer = accounts.iter().any(|there| there.1 > Some(number));
                    let known = accounts.contains(&account);
                    assert!(known || !newer, "an older account displaced a newer one");
                    assert!(
                        accounts.iter().all(|there| there.1 != Some(number) || there.0 == account.0),
                        "one number, two accounts"
                    );
                    known || accounts.last() == Some(&(account.0.clone(), None))
                }
            };
            if !known {
                accounts.push(account);
            }
        }
    }

    fn halt(&mut self, by: Caller, device: usize, last_good: Option<u64>, for_good: bool) {
        let thing = &pool()[device].entry.thing;
        // Always of the same instant, so that only the number decides which one is stricter.
        let halt = Halt { at: 1_000, last_good, reason: StatusReason::Operator };
        let call = if for_good { calls::retire(thing, &halt) } else { calls::suspend(thing, &halt) };
        if self.call(by, &call).is_some() {
            let before = self.halts.insert(thing.clone(), last_good);
            assert!(before.is_none_or(|before| last_good <= before), "a halt became milder");
        }
    }

    fn exchange(&mut self, by: Caller, day: usize, last_good: Option<u64>, first: u64) {
        let (old, new) = (pool()[0].entry.thing.clone(), pool()[2].entry.thing.clone());
        let noon = (crate::calendar::utc_midnight(at(day)) + 43_200) * 1_000;
        let exchange = Exchange { old: old.clone(), new, day: at(day), at: noon, last_good, first };
        if self.call(by, &calls::exchange(&exchange)).is_some() && self.exchange.is_none() {
            let point = &pool()[0].entry.metering_point;
            for (_, statement) in &self.statements {
                let lines = statement.lines.iter().map(|line| &line.point);
                let about = lines.chain(statement.unbilled.iter().map(|left| &left.point)).any(|of| of == point);
                assert!(!about || statement.to < exchange.day, "another device serves days that are billed");
            }
            let before = self.halts.get(&old).copied();
            self.halts.insert(old, before.map_or(last_good, |before| before.min(last_good)));
            self.exchange = Some(exchange);
            self.seen.exchanged += 1;
        }
    }

    fn close(&mut self, by: Caller, n: usize, from: usize, days: usize) {
        let (first, last) = (at(from), at((from + days - 1).min(DAYS)));
        if let Some(view) = self.call(by, &calls::close(&id(n), first, last)) {
            assert_eq!(view.id, view.statement.id());
            match self.statements.iter().find(|(there, _)| *there == view.id) {
                Some((_, there)) => assert_eq!(*there, view.statement),
                None => self.check_statement(&id(n), (first, last), &view),
            }
        }
    }

    fn say(&mut self, by: Caller, south: bool, ago: i64, devices: usize) {
        let shard: Shard = if south { "south" } else { "north" }.parse().unwrap();
        let hour = Hour::holding(self.ledger.now - ago * 3_600).unwrap();
        let signs: Vec<SignOfLife> = (0..devices)
            .map(|n| SignOfLife {
                thing: pool()[n].entry.thing.clone(),
                alive: n % 2 == 0,
                number: None,
                heard: None,
                values: vec![],
            })
            .collect();
        let alive = Alive::of(shard.clone(), hour, &signs).unwrap();
        if self.call(by, &calls::alive(&alive)).is_some() {
            assert!(hour.end() <= self.ledger.now, "of an hour that is not over");
            let there = self.hours.entry((shard, hour)).or_insert_with(|| alive.clone());
            assert_eq!(*there, alive, "the first word stays");
        }
    }

    /// The newest version of an agreement that all four approved, or the first one.
    fn newest(&self, id: &AgreementId, stale: bool) -> Option<Hash> {
        let mut versions = self.versions(id);
        let newest = versions.pop()?.0;
        if stale { versions.first().map(|first| first.0).or(Some(Hash([3; 32]))) } else { Some(newest) }
    }

    pub(super) fn is_approved(&self, hash: Hash) -> bool {
        Role::ALL.into_iter().all(|role| self.approvals.contains(&(hash, role)))
    }

    /// Whether RC and DV approved the entry in force.
    pub(super) fn approved(&self, thing: &DeviceId) -> bool {
        let Some(entry) = self.entries.get(thing) else { return false };
        [Role::Rc, Role::Dv].into_iter().all(|role| self.device_approvals.contains(&(thing.clone(), *entry, role)))
    }

    /// A device's block of a whole day.
    pub(super) fn daily(&self, thing: &DeviceId, day: LocalDay) -> Option<&'static Sealed> {
        let mut published = self.blocks.iter().filter(|((of, _), _)| of == thing).map(|(_, sealed)| *sealed);
        published.find(|sealed| sealed.daily && sealed.at == day)
    }

    /// Whether RC and DV approved the entry in force, or one that has the table of the day's block; of a day without a block, any.
    pub(super) fn accepted(&self, thing: &DeviceId, day: LocalDay) -> bool {
        let table = self.daily(thing, day).map(|sealed| sealed.table);
        let by_dv = |entry: &Hash| self.device_approvals.contains(&(thing.clone(), *entry, Role::Dv));
        let has = |entry: &Hash| table.is_none_or(|table| self.tables[entry].contains(&table));
        let mut by_rc = self.device_approvals.iter().filter(|(of, _, role)| of == thing && *role == Role::Rc);
        self.approved(thing) || by_rc.any(|(_, entry, _)| by_dv(entry) && has(entry))
    }

    /// Whether a chain was registered that leads to an authority which the terms pin, and is good when the day ends.
    pub(super) fn certified(&self, terms: &Agreement, thing: &DeviceId, day: LocalDay) -> bool {
        let member = &pool()[index(thing)];
        let pins = |chain: &pool::Chain| {
            let authority = &pool::authorities()[usize::from(chain.operators)];
            terms.authorities.iter().any(|pinned| pinned.0 == authority.der)
        };
        let good = |chain: &pool::Chain| pins(chain) && chain.days.clone().any(|n| at(n) == day);
        member.chains.iter().enumerate().any(|(n, chain)| self.chains.contains(&(thing.clone(), n)) && good(chain))
    }

    /// Whether the parties accepted the device for a day: by their word on it, or on who vouches for it.
    pub(super) fn counts(&self, terms: &Agreement, thing: &DeviceId, day: LocalDay) -> bool {
        self.accepted(thing, day) || self.certified(terms, thing, day)
    }

    /// Whether the newest account of the block's day attests all of the block.
    pub(super) fn agreed(&self, thing: &DeviceId, sealed: &Sealed) -> bool {
        let newest = self.accounts.get(&(thing.clone(), sealed.at)).and_then(|accounts| accounts.last());
        newest.is_some_and(|(account, _)| account.block == Some(BlockNumber(sealed.number)) && agrees(account, sealed))
    }
}

/// The device of a name.
pub(super) fn index(thing: &DeviceId) -> usize {
    (0..DEVICES).find(|n| pool()[*n].entry.thing == *thing).unwrap()
}
