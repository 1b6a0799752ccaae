//! Calls as parties make them, on a ledger in memory.

mod acceptance;
mod agreements;
mod alive;
mod amendments;
mod billing;
mod chains;
mod correction_bounds;
mod corrections;
mod docs;
mod history;
mod pki;
mod publishing;
mod registry;
mod sequences;
mod status;
mod vectors;

use vitro_proof::{Account, Decimal, LocalDay};

use crate::calendar::utc_midnight;
use crate::testing::{MemoryLedger, TestDevice, admin, client};
use crate::{
    Agreement, AgreementView, ContractError, Currency, DeviceApproval, DevicePage, Field, Item, Payee, PerUnit,
    PeriodKind, Record, Role, Tariff, Term, Verdict,
};

/// The first day of the tests' devices.
fn first_day() -> LocalDay {
    day("2026-03-01")
}

fn day(text: &str) -> LocalDay {
    text.parse().unwrap()
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// A configured ledger, half a year after the devices' first day.
fn ledger() -> MemoryLedger {
    MemoryLedger::configured(utc_midnight(day("2026-09-01"))).unwrap()
}

fn device(name: &str, seed: u8) -> TestDevice {
    TestDevice::new(name, seed, first_day()).unwrap()
}

fn register(ledger: &mut MemoryLedger, devices: &[&TestDevice]) {
    let entries: Vec<Vec<u8>> = devices.iter().map(|device| device.entry.encode()).collect();
    ledger.submit(&client(Role::Operator), "registry:register_device", &entries).unwrap();
}

fn approve(ledger: &mut MemoryLedger, role: Role, devices: &[&TestDevice]) -> Result<DevicePage, ContractError> {
    let list: Vec<DeviceApproval> = devices
        .iter()
        .map(|device| DeviceApproval { thing: device.thing().clone(), entry: device.entry.hash() })
        .collect();
    ledger.call(&admin(role), "registry:approve_devices", &[list.encode()])
}

/// A ledger on which the devices are registered and approved.
fn ledger_with(devices: &[&TestDevice]) -> MemoryLedger {
    let mut ledger = ledger();
    register(&mut ledger, devices);
    approve(&mut ledger, Role::Rc, devices).unwrap();
    approve(&mut ledger, Role::Dv, devices).unwrap();
    ledger
}

fn publish(ledger: &mut MemoryLedger, items: &[Item]) -> Vec<Verdict> {
    ledger.call(&client(Role::Operator), "data:publish", &[items.to_vec().encode()]).unwrap()
}

fn codes(verdicts: &[Verdict]) -> Vec<&str> {
    verdicts.iter().map(|verdict| verdict.code.as_str()).collect()
}

/// The same account with another root: it differs from the block.
fn differing(account: &Account) -> Account {
    Account { root: vitro_proof::Hash([9; 32]), ..account.clone() }
}

fn agreement() -> Agreement {
    Agreement {
        id: "a-1".parse().unwrap(),
        shard: "north".parse().unwrap(),
        points: None,
        fields: vec![Field { sensor: "yield".parse().unwrap(), unit: "kWh".into() }],
        tariff: Tariff::PerUnit(PerUnit {
            sensor: "yield".parse().unwrap(),
            unit: "kWh".into(),
            price: decimal("0.25"),
        }),
        currency: Currency::of("EUR"),
        term: Term { period: PeriodKind::Days, from: first_day(), to: None },
        payer: Role::Dv,
        payees: vec![Payee { role: Role::Rc, share: 7 }, Payee { role: Role::Sp, share: 3 }],
        authorities: vec![],
    }
}

fn approve_agreement(
    ledger: &mut MemoryLedger,
    role: Role,
    agreement: &Agreement,
) -> Result<AgreementView, ContractError> {
    let args = [agreement.id.as_str().as_bytes().to_vec(), agreement.hash().to_string().into_bytes()];
    ledger.call(&admin(role), "agreement:approve", &args)
}

fn activate(ledger: &mut MemoryLedger, agreement: &Agreement) {
    ledger.submit(&admin(Role::Rc), "agreement:propose", &[agreement.encode()]).unwrap();
    for role in Role::ALL {
        approve_agreement(ledger, role, agreement).unwrap();
    }
}
