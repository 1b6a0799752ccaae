//! Roles and devices.

use vitro_proof::{Decimal, Hash, SensorTable};

use super::{activate, agreement, approve, day, device, first_day, ledger, ledger_with, publish, register};
use crate::testing::{MemoryLedger, TestDevice, admin, client, creator, roles};
use crate::{DevicePage, DeviceView, Item, OuRole, Record, Role, Roles, RolesStatus, Unbilled, calls};

const CONFIGURE: &str = "registry:configure";

#[test]
fn roles_come_into_force_when_all_four_agreed_and_stay() {
    let mut ledger = MemoryLedger::new(1_800_000_000);
    let wanted = roles().unwrap().encode();
    for (count, role) in Role::ALL.into_iter().enumerate() {
        let refused = ledger.submit(&client(Role::Operator), "registry:register_device", &[vec![]]).unwrap_err();
        assert_eq!(refused.code(), "not_configured");
        let status: RolesStatus = ledger.call(&admin(role), CONFIGURE, std::slice::from_ref(&wanted)).unwrap();
        assert_eq!(status.agreed.len(), count + 1);
        assert_eq!(status.in_force.is_some(), role == Role::Sp);
    }
    let before = ledger.keys().len();
    let again: RolesStatus = ledger.call(&admin(Role::Rc), CONFIGURE, &[wanted]).unwrap();
    assert!(again.in_force.is_some());
    let swapped = Roles { rc: "DvMSP".parse().unwrap(), dv: "RcMSP".parse().unwrap(), ..roles().unwrap() };
    for role in Role::ALL {
        let refused = ledger.submit(&admin(role), CONFIGURE, &[swapped.encode()]).unwrap_err();
        assert_eq!(refused.code(), "already_configured");
    }
    assert_eq!(ledger.keys().len(), before);
}

#[test]
fn one_party_alone_configures_nothing() {
    let mut ledger = MemoryLedger::new(1_800_000_000);
    let operator = admin(Role::Operator);
    let alone = Roles {
        operator: "OperatorMSP".parse().unwrap(),
        rc: "OperatorMSP".parse().unwrap(),
        dv: "OperatorMSP".parse().unwrap(),
        sp: "OperatorMSP".parse().unwrap(),
    };
    assert_eq!(ledger.submit(&operator, CONFIGURE, &[alone.encode()]).unwrap_err().code(), "bad_arguments");
    let wanted = roles().unwrap();
    for _ in 0..5 {
        let status: RolesStatus = ledger.call(&operator, CONFIGURE, &[wanted.encode()]).unwrap();
        assert!(status.in_force.is_none());
    }
    let refused = ledger.submit(&client(Role::Rc), CONFIGURE, &[wanted.encode()]).unwrap_err();
    assert_eq!(refused.code(), "wrong_identity");
    // A party that wants other roles keeps them from coming into force, until it changes its mind.
    let other = Roles { sp: "OtherMSP".parse().unwrap(), ..wanted.clone() };
    ledger.submit(&admin(Role::Rc), CONFIGURE, &[other.encode()]).unwrap();
    for role in [Role::Dv, Role::Sp] {
        let status: RolesStatus = ledger.call(&admin(role), CONFIGURE, &[wanted.encode()]).unwrap();
        assert!(status.in_force.is_none());
    }
    let status: RolesStatus = ledger.call(&admin(Role::Rc), CONFIGURE, &[wanted.encode()]).unwrap();
    assert_eq!(status.in_force, Some(wanted));
}

#[test]
fn strangers_and_nodes_may_call_nothing() {
    let mut ledger = ledger_with(&[&device("dev-1", 1)]);
    let args = [b"dev-1".to_vec()];
    for ou in [OuRole::Peer, OuRole::Orderer] {
        let refused = ledger.submit(&creator(Role::Rc, ou), "registry:device", &args).unwrap_err();
        assert_eq!(refused.code(), "wrong_identity");
    }
    let mut stranger = admin(Role::Rc);
    stranger.msp = "XMSP".into();
    assert_eq!(ledger.submit(&stranger, "registry:device", &args).unwrap_err().code(), "not_a_party");
    let entry = [device("dev-2", 2).entry.encode()];
    for role in [Role::Rc, Role::Dv, Role::Sp] {
        let refused = ledger.submit(&admin(role), "registry:register_device", &entry).unwrap_err();
        assert_eq!(refused.code(), "forbidden");
    }
    assert_eq!(ledger.submit(&admin(Role::Rc), "registry:nonsense", &args).unwrap_err().code(), "unknown_function");
}

#[test]
fn the_operator_alone_cannot_make_a_device_count() {
    let dev = device("dev-1", 1);
    let mut ledger = ledger();
    register(&mut ledger, &[&dev]);
    for role in [Role::Operator, Role::Sp] {
        assert_eq!(approve(&mut ledger, role, &[&dev]).unwrap_err().code(), "forbidden");
    }
    let counts = |ledger: &MemoryLedger| -> bool {
        ledger.ask::<DeviceView>(&client(Role::Sp), "registry:device", &[b"dev-1".to_vec()]).unwrap().counts
    };
    assert!(!counts(&ledger));
    approve(&mut ledger, Role::Rc, &[&dev]).unwrap();
    approve(&mut ledger, Role::Rc, &[&dev]).unwrap();
    assert!(!counts(&ledger));
    approve(&mut ledger, Role::Dv, &[&dev]).unwrap();
    assert!(counts(&ledger));

    // Another sensor table is another entry: it has to be approved again.
    let mut more = device("dev-1", 1);
    let sensors = more.entry.tables[0].sensors()[..1].to_vec();
    more.entry.tables.push(SensorTable::new(2, sensors).unwrap());
    register(&mut ledger, &[&more]);
    assert!(!counts(&ledger));
    assert_eq!(approve(&mut ledger, Role::Rc, &[&dev]).unwrap_err().code(), "entry_mismatch");
}

#[test]
fn an_entry_that_waits_for_approval_takes_nothing_from_the_days_under_an_approved_table() {
    let mut dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    activate(&mut ledger, &agreement());
    let publish_day = |ledger: &mut MemoryLedger, dev: &mut TestDevice| {
        let sealed = dev.seal_day(Some(&Decimal::from(1))).unwrap();
        publish(ledger, &[Item::day(sealed.message, &sealed.account)]);
    };
    publish_day(&mut ledger, &mut dev);
    // A renewed certificate, and one more table, both waiting for RC and DV.
    dev.entry.certificate = Hash([3; 32]);
    register(&mut ledger, &[&dev]);
    publish_day(&mut ledger, &mut dev);
    let sensors = dev.entry.tables[0].sensors().to_vec();
    dev.entry.tables.push(SensorTable::new(2, sensors).unwrap());
    register(&mut ledger, &[&dev]);
    publish_day(&mut ledger, &mut dev);
    dev.table_version = 2;
    publish_day(&mut ledger, &mut dev);
    let lines = |ledger: &MemoryLedger| {
        let call = calls::close(&agreement().id, first_day(), day("2026-03-04"));
        let closed = ledger.simulate(&client(Role::Operator), call.function, &call.args).unwrap();
        let statement = call.read(&closed.response.payload).unwrap().statement;
        let days: Vec<String> = statement.lines.iter().map(|line| line.day.to_string()).collect();
        (days, statement.unbilled)
    };
    let (days, unbilled) = lines(&ledger);
    assert_eq!(days, ["2026-03-01", "2026-03-02", "2026-03-03"]);
    assert_eq!((unbilled.len(), unbilled[0].reason), (1, Unbilled::NotApproved), "its table was seen by nobody");
    approve(&mut ledger, Role::Rc, &[&dev]).unwrap();
    assert_eq!(lines(&ledger).0.len(), 3);
    approve(&mut ledger, Role::Dv, &[&dev]).unwrap();
    assert_eq!(lines(&ledger).0.len(), 4);
}

#[test]
fn a_device_is_its_key_and_a_metering_point_has_one() {
    let dev = device("dev-1", 1);
    let mut ledger = ledger_with(&[&dev]);
    let mut other_key = device("dev-1", 2);
    let mut other_place = device("dev-1", 1);
    other_place.entry.metering_point = "elsewhere".parse().unwrap();
    let mut fewer_tables = device("dev-1", 1);
    fewer_tables.entry.tables = vec![SensorTable::new(5, dev.entry.tables[0].sensors().to_vec()).unwrap()];
    for changed in [&other_key, &other_place, &fewer_tables] {
        let entry = [changed.entry.encode()];
        let refused = ledger.submit(&client(Role::Operator), "registry:register_device", &entry).unwrap_err();
        assert_eq!(refused.code(), "device_differs");
    }
    let before = ledger.contents().len();
    other_key.entry.thing = "dev-2".parse().unwrap();
    let both = [device("dev-3", 3).entry.encode(), other_key.entry.encode()];
    let refused = ledger.submit(&client(Role::Operator), "registry:register_device", &both).unwrap_err();
    assert_eq!(refused.code(), "metering_point_taken");
    assert_eq!(ledger.contents().len(), before, "all of the entries or none");
    // A renewed certificate is a new revision of the same device.
    let mut renewed = device("dev-1", 1);
    renewed.entry.certificate = Hash([3; 32]);
    register(&mut ledger, &[&renewed]);
    register(&mut ledger, &[&renewed]);
    let view: DeviceView = ledger.ask(&client(Role::Rc), "registry:device", &[b"dev-1".to_vec()]).unwrap();
    assert_eq!((view.revision, view.counts), (1, false));
}

#[test]
fn devices_come_in_pages() {
    let devices: Vec<_> = (0u8..120).map(|n| device(&format!("dev-{n:03}"), n + 1)).collect();
    let mut ledger = ledger();
    register(&mut ledger, &devices.iter().collect::<Vec<_>>());
    let ask = |shard: &str, from: &str| -> DevicePage {
        let args = [shard.as_bytes().to_vec(), from.as_bytes().to_vec()];
        ledger.ask(&client(Role::Dv), "registry:devices", &args).unwrap()
    };
    for shard in ["", "north"] {
        let first = ask(shard, "");
        assert_eq!(first.devices.len(), 100);
        let next = first.next.unwrap();
        assert_eq!(next.as_str(), "dev-100");
        let last = ask(shard, next.as_str());
        assert_eq!((last.devices.len(), last.next), (20, None));
    }
    assert!(ask("south", "").devices.is_empty());
}
