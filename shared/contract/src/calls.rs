//! Calls for clients: each function with its arguments in their encoding and the type of its answer.
//!
//! ```
//! use vitro_contract::{calls, Item};
//! let call = calls::publish(&[Item::interim(vec![])]);
//! assert_eq!((call.function, call.args.len()), ("data:publish", 1));
//! // What the ledger answers is read by `call.read(&payload)`.
//! ```

use std::marker::PhantomData;

use vitro_proof::{DeviceId, Hash, LocalDay};

use crate::call::is_query;
use crate::error::ContractError;
use crate::ids::{AgreementId, Bytes, MeteringPoint, Shard};
use crate::model::{
    Agreement, AgreementPage, AgreementView, Alive, AliveInclusion, AlivePage, AliveView, Amendment, AuditDay,
    BlockView, ChainView, DayView, DeviceApproval, DeviceChain, DeviceEntry, DevicePage, DeviceStatus, DeviceView,
    Exchange, ExchangeView, Halt, History, HistoryPage, Hour, InForcePage, Inclusion, Item, Path, Roles, RolesStatus,
    Settlement, SignOfLife, Simulation, StatementHead, StatementView, SummaryPage, Termination, Verdict,
};
use crate::wire::Record;

/// A call that is answered with a `T`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<T> {
    /// The function's name.
    pub function: &'static str,
    /// Its arguments.
    pub args: Vec<Vec<u8>>,
    answer: PhantomData<fn() -> T>,
}

impl<T: Record> Call<T> {
    fn new(function: &'static str, args: Vec<Vec<u8>>) -> Self {
        Self { function, args, answer: PhantomData }
    }

    /// Whether it only reads, so that nothing is to be committed.
    #[must_use]
    pub fn is_query(&self) -> bool {
        is_query(self.function)
    }

    /// Reads the answer.
    ///
    /// # Errors
    /// [`ContractError::Malformed`] if the payload is no answer to this call.
    pub fn read(&self, payload: &[u8]) -> Result<T, ContractError> {
        T::decode(payload)
    }
}

fn text(value: &impl ToString) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// `registry:configure`.
#[must_use]
pub fn configure(roles: &Roles) -> Call<RolesStatus> {
    Call::new("registry:configure", vec![roles.encode()])
}

/// `registry:roles`.
#[must_use]
pub fn roles() -> Call<RolesStatus> {
    Call::new("registry:roles", Vec::new())
}

/// `registry:register_device`.
#[must_use]
pub fn register_devices(entries: &[DeviceEntry]) -> Call<DevicePage> {
    Call::new("registry:register_device", entries.iter().map(Record::encode).collect())
}

/// `registry:certify`: the device's certificate in DER, then those above it.
#[must_use]
pub fn certify(thing: &DeviceId, chain: &[Vec<u8>]) -> Call<Vec<DeviceChain>> {
    let certificates: Vec<Bytes> = chain.iter().cloned().map(Bytes).collect();
    Call::new("registry:certify", vec![text(thing), certificates.encode()])
}

/// `registry:chains`.
#[must_use]
pub fn chains(thing: &DeviceId) -> Call<Vec<DeviceChain>> {
    Call::new("registry:chains", vec![text(thing)])
}

/// `registry:approve_devices`.
#[must_use]
pub fn approve_devices(approvals: &[DeviceApproval]) -> Call<DevicePage> {
    Call::new("registry:approve_devices", vec![approvals.to_vec().encode()])
}

/// `registry:device`.
#[must_use]
pub fn device(thing: &DeviceId) -> Call<DeviceView> {
    Call::new("registry:device", vec![text(thing)])
}

/// `registry:devices`: of a shard or all, from a device on or from the first.
#[must_use]
pub fn devices(shard: Option<&Shard>, from: Option<&DeviceId>) -> Call<DevicePage> {
    let args = vec![shard.map(text).unwrap_or_default(), from.map(text).unwrap_or_default()];
    Call::new("registry:devices", args)
}

/// `registry:register_successor`.
#[must_use]
pub fn register_successors(entries: &[DeviceEntry]) -> Call<DevicePage> {
    Call::new("registry:register_successor", entries.iter().map(Record::encode).collect())
}

/// `registry:suspend`.
#[must_use]
pub fn suspend(thing: &DeviceId, halt: &Halt) -> Call<DeviceStatus> {
    Call::new("registry:suspend", vec![text(thing), halt.encode()])
}

/// `registry:reinstate`.
#[must_use]
pub fn reinstate(thing: &DeviceId) -> Call<DeviceStatus> {
    Call::new("registry:reinstate", vec![text(thing)])
}

/// `registry:retire`.
#[must_use]
pub fn retire(thing: &DeviceId, halt: &Halt) -> Call<DeviceStatus> {
    Call::new("registry:retire", vec![text(thing), halt.encode()])
}

/// `registry:exchange`.
#[must_use]
pub fn exchange(exchange: &Exchange) -> Call<ExchangeView> {
    Call::new("registry:exchange", vec![exchange.encode()])
}

/// `registry:history` of a device.
#[must_use]
pub fn device_history(thing: &DeviceId) -> Call<History> {
    Call::new("registry:history", vec![b"device".to_vec(), text(thing)])
}

/// `registry:history` of a metering point.
#[must_use]
pub fn point_history(point: &MeteringPoint) -> Call<History> {
    Call::new("registry:history", vec![b"point".to_vec(), text(point)])
}

/// `agreement:propose`.
#[must_use]
pub fn propose(agreement: &Agreement) -> Call<AgreementView> {
    Call::new("agreement:propose", vec![agreement.encode()])
}

/// `agreement:amend`.
#[must_use]
pub fn amend(amendment: &Amendment) -> Call<AgreementView> {
    Call::new("agreement:amend", vec![amendment.encode()])
}

/// `agreement:terminate`.
#[must_use]
pub fn terminate(termination: &Termination) -> Call<AgreementView> {
    Call::new("agreement:terminate", vec![termination.encode()])
}

/// `agreement:approve`.
#[must_use]
pub fn approve(id: &AgreementId, hash: Hash) -> Call<AgreementView> {
    Call::new("agreement:approve", vec![text(id), text(&hash)])
}

/// `agreement:get`: the version that holds on a day.
#[must_use]
pub fn agreement_on(id: &AgreementId, day: LocalDay) -> Call<AgreementView> {
    Call::new("agreement:get", vec![text(id), text(&day)])
}

/// `agreement:simulate`: a draft over past days, both included.
#[must_use]
pub fn simulate(draft: &Agreement, from: LocalDay, to: LocalDay) -> Call<Simulation> {
    Call::new("agreement:simulate", vec![draft.encode(), text(&from), text(&to)])
}

/// `agreement:simulate` of a proposal.
#[must_use]
pub fn simulate_proposal(id: &AgreementId, hash: Hash, from: LocalDay, to: LocalDay) -> Call<Simulation> {
    Call::new("agreement:simulate", vec![text(id), text(&hash), text(&from), text(&to)])
}

/// `agreement:get`: the newest active version, or what has the hash.
#[must_use]
pub fn agreement(id: &AgreementId, hash: Option<Hash>) -> Call<AgreementView> {
    let mut args = vec![text(id)];
    args.extend(hash.as_ref().map(text));
    Call::new("agreement:get", args)
}

/// `agreement:list`: of an id, or all; from a page's cursor on, or from the first.
#[must_use]
pub fn agreements(id: Option<&AgreementId>, from: Option<&str>) -> Call<AgreementPage> {
    let args = vec![id.map(text).unwrap_or_default(), from.map(|from| from.as_bytes().to_vec()).unwrap_or_default()];
    Call::new("agreement:list", args)
}

/// `agreement:in_force`: from an id on, or from the first.
#[must_use]
pub fn agreements_in_force(from: Option<&AgreementId>) -> Call<InForcePage> {
    Call::new("agreement:in_force", vec![from.map(text).unwrap_or_default()])
}

/// `data:publish`.
#[must_use]
pub fn publish(items: &[Item]) -> Call<Vec<Verdict>> {
    Call::new("data:publish", vec![items.to_vec().encode()])
}

/// `data:alive`.
#[must_use]
pub fn alive(alive: &Alive) -> Call<AliveView> {
    Call::new("data:alive", vec![alive.encode()])
}

/// `data:hours`: a page of a shard's hours, both ends included.
#[must_use]
pub fn hours(shard: &Shard, from: Hour, to: Hour) -> Call<AlivePage> {
    Call::new("data:hours", vec![text(shard), text(&from), text(&to)])
}

/// `data:block`.
#[must_use]
pub fn block(thing: &DeviceId, number: u64) -> Call<BlockView> {
    Call::new("data:block", vec![text(thing), text(&number)])
}

/// `data:history`: a page of a device's days, both ends included.
#[must_use]
pub fn day_history(thing: &DeviceId, from: LocalDay, to: LocalDay) -> Call<HistoryPage> {
    Call::new("data:history", vec![text(thing), text(&from), text(&to)])
}

/// `data:day`.
#[must_use]
pub fn day(thing: &DeviceId, day: LocalDay) -> Call<DayView> {
    Call::new("data:day", vec![text(thing), text(&day)])
}

/// `data:chain`.
#[must_use]
pub fn chain(thing: &DeviceId) -> Call<ChainView> {
    Call::new("data:chain", vec![text(thing)])
}

/// `data:summaries`: a page, from the cursor of the page before on.
#[must_use]
pub fn summaries(id: &AgreementId, from: LocalDay, to: LocalDay, cursor: Option<&str>) -> Call<SummaryPage> {
    let mut args = vec![text(id), text(&from), text(&to)];
    args.extend(cursor.map(|cursor| cursor.as_bytes().to_vec()));
    Call::new("data:summaries", args)
}

/// `billing:close`: both days included.
#[must_use]
pub fn close(id: &AgreementId, from: LocalDay, to: LocalDay) -> Call<StatementView> {
    Call::new("billing:close", vec![text(id), text(&from), text(&to)])
}

/// `billing:correct`.
#[must_use]
pub fn correct(agreement: &AgreementId, version: Hash) -> Call<Settlement> {
    Call::new("billing:correct", vec![text(agreement), text(&version)])
}

/// `billing:statement`.
#[must_use]
pub fn statement(id: Hash) -> Call<StatementView> {
    Call::new("billing:statement", vec![text(&id)])
}

/// `billing:statements`.
#[must_use]
pub fn statements(id: &AgreementId) -> Call<Vec<StatementHead>> {
    Call::new("billing:statements", vec![text(id)])
}

/// `audit:day`.
#[must_use]
pub fn audit_day(thing: &DeviceId, day: LocalDay) -> Call<AuditDay> {
    Call::new("audit:day", vec![text(thing), text(&day)])
}

/// `audit:verify_alive`: what was said of a device, and its place in the hour's tree.
#[must_use]
pub fn verify_alive(shard: &Shard, hour: Hour, sign: &SignOfLife, index: u64, path: &Path) -> Call<AliveInclusion> {
    Call::new("audit:verify_alive", vec![text(shard), text(&hour), sign.encode(), text(&index), path.encode()])
}

/// `audit:verify_inclusion` in the block of a number, an interim one perhaps.
#[must_use]
pub fn verify_in_block(thing: &DeviceId, number: u64, envelope: &[u8], path: &Path) -> Call<Inclusion> {
    Call::new("audit:verify_inclusion", vec![text(thing), text(&number), envelope.to_vec(), path.encode()])
}

/// `audit:verify_inclusion` in a day's block.
#[must_use]
pub fn verify_inclusion(thing: &DeviceId, day: LocalDay, envelope: &[u8], path: &Path) -> Call<Inclusion> {
    Call::new("audit:verify_inclusion", vec![text(thing), text(&day), envelope.to_vec(), path.encode()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;
    use crate::testing::{MemoryLedger, TestDevice, admin, client};

    /// Runs a call: a query must write nothing, and the answer is of the call's type.
    fn run<T: Record>(ledger: &mut MemoryLedger, creator: &crate::Creator, call: &Call<T>) -> Result<T, ContractError> {
        let simulation = ledger.simulate(creator, call.function, &call.args)?;
        assert!(!call.is_query() || simulation.writes.is_empty(), "{}", call.function);
        assert!(ledger.commit(&simulation));
        call.read(&simulation.response.payload)
    }

    #[test]
    fn every_call_reaches_its_function() {
        let mut ledger = MemoryLedger::configured(1_790_000_000).unwrap();
        let mut dev = TestDevice::new("dev-1", 1, "2026-03-01".parse().unwrap()).unwrap();
        let (operator, rc) = (client(Role::Operator), admin(Role::Rc));
        let (thing, id) = (dev.thing().clone(), "a-1".parse::<AgreementId>().unwrap());
        let from = dev.day();
        let agreement_json = r#"{"id":"a-1","shard":"north","points":null,"fields":[{"sensor":"yield","unit":"kWh"}],
            "tariff":{"kind":"per_unit","sensor":"yield","unit":"kWh","price":"0.25"},
            "currency":{"code":"EUR","digits":2},"term":{"period":"days","from":"2026-01-01","to":null},
            "payer":"dv","payees":[{"role":"rc","share":1}]}"#;
        let wanted: Agreement = serde_json::from_str(agreement_json).unwrap();

        let names = crate::testing::roles().unwrap();
        assert!(run(&mut ledger, &rc, &configure(&names)).unwrap().in_force.is_some());
        assert!(run(&mut ledger, &rc, &roles()).unwrap().in_force.is_some());
        let page = run(&mut ledger, &operator, &register_devices(&[dev.entry.clone()])).unwrap();
        let approval = DeviceApproval { thing: thing.clone(), entry: page.devices[0].hash };
        run(&mut ledger, &rc, &approve_devices(std::slice::from_ref(&approval))).unwrap();
        run(&mut ledger, &admin(Role::Dv), &approve_devices(&[approval])).unwrap();
        assert!(run(&mut ledger, &rc, &device(&thing)).unwrap().counts);
        assert_eq!(run(&mut ledger, &rc, &devices(None, Some(&thing))).unwrap().devices.len(), 1);

        let hash = run(&mut ledger, &rc, &propose(&wanted)).unwrap().hash;
        assert_eq!(hash, wanted.hash());
        for role in Role::ALL {
            run(&mut ledger, &admin(role), &approve(&id, hash)).unwrap();
        }
        assert!(run(&mut ledger, &rc, &agreement(&id, None)).unwrap().active);
        assert!(run(&mut ledger, &rc, &agreement(&id, Some(hash))).unwrap().active);
        assert_eq!(run(&mut ledger, &rc, &agreements(None, None)).unwrap().agreements.len(), 1);
        assert_eq!(run(&mut ledger, &rc, &agreements(Some(&id), None)).unwrap().agreements.len(), 1);

        let sealed = dev.seal_day(Some(&vitro_proof::Decimal::from(1))).unwrap();
        let items = [Item::day(sealed.message, &sealed.account)];
        assert!(run(&mut ledger, &operator, &publish(&items)).unwrap()[0].accepted);
        assert_eq!(run(&mut ledger, &rc, &day(&thing, from)).unwrap().accounts.len(), 1);
        assert_eq!(run(&mut ledger, &rc, &chain(&thing)).unwrap().known, [(0, 0)]);
        let hour = crate::Hour::holding(ledger.now - 3_600).unwrap();
        let said = Alive::of("north".parse().unwrap(), hour, &[]).unwrap();
        let said = run(&mut ledger, &operator, &alive(&said)).unwrap();
        assert_eq!(
            run(&mut ledger, &rc, &hours(&said.alive.shard, hour, hour)).unwrap().hours,
            std::slice::from_ref(&said)
        );
        let sign = SignOfLife { thing: thing.clone(), alive: true, number: None, heard: None, values: vec![] };
        let path = Path { siblings: vec![] };
        let refused = run(&mut ledger, &rc, &verify_alive(&said.alive.shard, hour, &sign, 0, &path)).unwrap_err();
        assert_eq!(refused.code(), "not_included");
        assert!(run(&mut ledger, &rc, &block(&thing, 0)).unwrap().daily);
        assert_eq!(run(&mut ledger, &rc, &day_history(&thing, from, from)).unwrap().days.len(), 1);
        assert_eq!(run(&mut ledger, &rc, &audit_day(&thing, from)).unwrap().agreements.len(), 1);
        assert_eq!(run(&mut ledger, &rc, &simulate(&wanted, from, from)).unwrap().periods.len(), 1);
        assert_eq!(run(&mut ledger, &rc, &simulate_proposal(&id, hash, from, from)).unwrap().terms, hash);
        assert_eq!(run(&mut ledger, &rc, &agreement_on(&id, from)).unwrap().hash, hash);
        let change = Amendment { replaces: hash, terms: wanted.clone() };
        assert_eq!(run(&mut ledger, &rc, &amend(&change)).unwrap().hash, change.hash());
        let end = Termination { agreement: id.clone(), ends: hash, last: from };
        assert_eq!(run(&mut ledger, &rc, &terminate(&end)).unwrap().hash, end.hash());
        let refused = run(&mut ledger, &rc, &verify_in_block(&thing, 0, b"nonsense", &path)).unwrap_err();
        assert_eq!(refused.code(), "bad_evidence");
        assert_eq!(run(&mut ledger, &rc, &summaries(&id, from, from, None)).unwrap().rows.len(), 1);
        let view = run(&mut ledger, &operator, &close(&id, from, from)).unwrap();
        assert_eq!(run(&mut ledger, &rc, &statement(view.id)).unwrap(), view);
        assert_eq!(run(&mut ledger, &rc, &statements(&id)).unwrap(), [view.head()]);
        let path = Path { siblings: vec![] };
        let refused = run(&mut ledger, &rc, &verify_inclusion(&thing, from, b"nonsense", &path)).unwrap_err();
        assert_eq!(refused.code(), "bad_evidence");
    }
}
