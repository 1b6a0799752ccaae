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
use crate::ids::{AgreementId, MeteringPoint, Shard};
use crate::model::{
    Agreement, AgreementView, ChainView, DayView, DeviceApproval, DeviceEntry, DevicePage, DeviceStatus, DeviceView,
    Exchange, ExchangeView, Halt, History, Inclusion, Item, Path, Roles, RolesStatus, StatementHead, StatementView,
    SummaryPage, Verdict,
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

/// `agreement:approve`.
#[must_use]
pub fn approve(id: &AgreementId, hash: Hash) -> Call<AgreementView> {
    Call::new("agreement:approve", vec![text(id), text(&hash)])
}

/// `agreement:get`: the active one, or the one of a hash.
#[must_use]
pub fn agreement(id: &AgreementId, hash: Option<Hash>) -> Call<AgreementView> {
    let mut args = vec![text(id)];
    args.extend(hash.as_ref().map(text));
    Call::new("agreement:get", args)
}

/// `agreement:list`: of an id, or all.
#[must_use]
pub fn agreements(id: Option<&AgreementId>) -> Call<Vec<AgreementView>> {
    Call::new("agreement:list", id.map(text).into_iter().collect())
}

/// `data:publish`.
#[must_use]
pub fn publish(items: &[Item]) -> Call<Vec<Verdict>> {
    Call::new("data:publish", vec![items.to_vec().encode()])
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

/// `audit:verify_inclusion`.
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
        assert_eq!(run(&mut ledger, &rc, &agreements(None)).unwrap().len(), 1);
        assert_eq!(run(&mut ledger, &rc, &agreements(Some(&id))).unwrap().len(), 1);

        let sealed = dev.seal_day(Some(&vitro_proof::Decimal::from(1))).unwrap();
        let items = [Item::day(sealed.message, &sealed.account)];
        assert!(run(&mut ledger, &operator, &publish(&items)).unwrap()[0].accepted);
        assert_eq!(run(&mut ledger, &rc, &day(&thing, from)).unwrap().accounts.len(), 1);
        assert_eq!(run(&mut ledger, &rc, &chain(&thing)).unwrap().known, [(0, 0)]);
        assert_eq!(run(&mut ledger, &rc, &summaries(&id, from, from, None)).unwrap().rows.len(), 1);
        let view = run(&mut ledger, &operator, &close(&id, from, from)).unwrap();
        assert_eq!(run(&mut ledger, &rc, &statement(view.id)).unwrap(), view);
        assert_eq!(run(&mut ledger, &rc, &statements(&id)).unwrap(), [view.head()]);
        let path = Path { siblings: vec![] };
        let refused = run(&mut ledger, &rc, &verify_inclusion(&thing, from, b"nonsense", &path)).unwrap_err();
        assert_eq!(refused.code(), "bad_evidence");
    }
}
