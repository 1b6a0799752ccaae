//! Devices that count by the chain of their certificates.

use vitro_proof::{Decimal, LocalDay};

use super::pki::{Authority, days};
use super::{activate, agreement, approve, day, device, first_day, ledger, publish, register};
use crate::calendar::{utc_end, utc_midnight};
use crate::calls::{self, Call};
use crate::testing::{MemoryLedger, TestDevice, admin, client};
use crate::{
    Agreement, AuditDay, Basis, Bytes, ContractError, DeviceChain, DeviceView, Item, Record, Role, Simulation,
    StatementView, SummaryPage, Unbilled,
};

fn run<T: Record>(ledger: &mut MemoryLedger, call: &Call<T>) -> Result<T, ContractError> {
    ledger.call(&client(Role::Operator), call.function, &call.args)
}

fn ask<T: Record>(ledger: &MemoryLedger, call: &Call<T>) -> T {
    ledger.ask(&client(Role::Sp), call.function, &call.args).unwrap()
}

fn always() -> (i64, i64) {
    days(day("2020-01-01"), day("2039-12-31"))
}

/// The agreement, with these authorities pinned.
fn pinning(authorities: &[&Authority]) -> Agreement {
    let mut terms = agreement();
    terms.authorities = authorities.iter().map(|authority| Bytes(authority.der.clone())).collect();
    terms.authorities.sort();
    terms
}

/// A ledger with a registered device, approved by nobody, and an agreement that pins authorities; `count` days are published.
fn world(dev: &mut TestDevice, authorities: &[&Authority], count: usize) -> MemoryLedger {
    let mut ledger = ledger();
    register(&mut ledger, &[dev]);
    activate(&mut ledger, &pinning(authorities));
    for _ in 0..count {
        let sealed = dev.seal_day(Some(&Decimal::from(4))).unwrap();
        publish(&mut ledger, &[Item::day(sealed.message, &sealed.account)]);
    }
    ledger
}

fn certify(ledger: &mut MemoryLedger, dev: &TestDevice, chain: &[Vec<u8>]) -> Result<Vec<DeviceChain>, ContractError> {
    run(ledger, &calls::certify(dev.thing(), chain))
}

/// The days that would be billed, and what every other answer says of the same days.
fn billed(ledger: &MemoryLedger, dev: &TestDevice) -> Vec<LocalDay> {
    let last = dev.day().previous().unwrap();
    let call = calls::close(&agreement().id, first_day(), last);
    let closed = ledger.simulate(&client(Role::Operator), call.function, &call.args).unwrap();
    let statement = call.read(&closed.response.payload).unwrap().statement;
    assert!(statement.unbilled.iter().all(|left| left.reason == Unbilled::NotApproved));
    let billed: Vec<LocalDay> = statement.lines.iter().map(|line| line.day).collect();
    let page: SummaryPage = ask(ledger, &calls::summaries(&agreement().id, first_day(), last, None));
    let counted: Vec<LocalDay> = page.rows.iter().filter(|row| row.counts).map(|row| row.day).collect();
    assert_eq!(counted, billed, "summaries and statement count the same days");
    let terms = ask(ledger, &calls::agreement(&agreement().id, None)).agreement;
    let simulated: Simulation = ask(ledger, &calls::simulate(&terms, first_day(), last));
    assert_eq!(simulated.periods[0].lines, billed.len() as u64);
    for row in &page.rows {
        let audit: AuditDay = ask(ledger, &calls::audit_day(dev.thing(), row.day));
        assert_eq!(audit.agreements[0].counts, row.counts, "{}", row.day);
    }
    billed
}

#[test]
fn a_chain_to_the_pinned_authority_makes_a_device_count() {
    let (root, stranger) = (Authority::root("Customer", always()), Authority::root("Other", always()));
    let between = root.below("Plant", always());
    let mut dev = device("dev-1", 1);
    let mut ledger = world(&mut dev, &[&root, &stranger], 2);
    assert!(billed(&ledger, &dev).is_empty(), "a device of which there is no chain");
    let leaf = between.certify("dev-1", &dev.entry.public_key, always());
    // Without the authority between, it leads nowhere.
    certify(&mut ledger, &dev, std::slice::from_ref(&leaf)).unwrap();
    assert!(billed(&ledger, &dev).is_empty());
    let chains = certify(&mut ledger, &dev, &[leaf.clone(), between.der.clone()]).unwrap();
    assert_eq!(chains.len(), 2);
    assert_eq!(billed(&ledger, &dev).len(), 2);
    // The same again changes nothing, and what the parties approved of it is still nothing.
    let before = ledger.contents().len();
    assert_eq!(certify(&mut ledger, &dev, &[leaf.clone(), between.der.clone()]).unwrap(), chains);
    assert_eq!(ledger.contents().len(), before);
    assert_eq!(ask(&ledger, &calls::chains(dev.thing())), chains);
    let view: DeviceView = ask(&ledger, &calls::device(dev.thing()));
    assert!(!view.counts && view.approvals.is_empty());

    // An auditor gets all that he needs to say the same.
    let audit: AuditDay = ask(&ledger, &calls::audit_day(dev.thing(), first_day()));
    let covered = &audit.agreements[0];
    let hash = |der: &[u8]| vitro_proof::crypto::sha256(&[der]);
    assert_eq!((covered.by, covered.certificate), (Some(Basis::Chain), Some(hash(&leaf))));
    assert_eq!(covered.authority, Some(hash(&root.der)));
    assert_eq!((&covered.authorities, &audit.chains), (&pinning(&[&root, &stranger]).authorities, &chains));
    let verified =
        vitro_proof::chain::verify_lasting(&leaf, &[&between.der], &[&root.der], &Default::default()).unwrap();
    assert_eq!(verified[0].chain.public_key, audit.entries[0].entry.public_key);

    // Approvals still count for all, and are what is told then.
    approve(&mut ledger, Role::Rc, &[&dev]).unwrap();
    approve(&mut ledger, Role::Dv, &[&dev]).unwrap();
    let audit: AuditDay = ask(&ledger, &calls::audit_day(dev.thing(), first_day()));
    assert_eq!((audit.agreements[0].by, audit.agreements[0].certificate), (Some(Basis::Approvals), None));
}

#[test]
fn the_operator_cannot_invent_a_meter_under_an_authority_of_its_own() {
    let (root, own) = (Authority::root("Customer", always()), Authority::root("Customer", always()));
    let mut dev = device("dev-1", 1);
    let mut ledger = world(&mut dev, &[&root], 2);
    let leaf = own.certify("dev-1", &dev.entry.public_key, always());
    certify(&mut ledger, &dev, &[leaf.clone(), own.der.clone()]).unwrap();
    // Nor by the customer's certificate put beside it, nor by one that the customer's authority never signed.
    certify(&mut ledger, &dev, &[leaf, own.der.clone(), root.der.clone()]).unwrap();
    let below = own.below("Plant", always());
    let leaf = below.certify("dev-1", &dev.entry.public_key, always());
    certify(&mut ledger, &dev, &[leaf, below.der, root.der.clone()]).unwrap();
    assert!(billed(&ledger, &dev).is_empty());
    // RC's word alone does not help.
    approve(&mut ledger, Role::Rc, &[&dev]).unwrap();
    assert!(billed(&ledger, &dev).is_empty());
    // And an agreement that pins nothing counts no chain, however good.
    let good = root.certify("dev-1", &dev.entry.public_key, always());
    certify(&mut ledger, &dev, &[good]).unwrap();
    assert_eq!(billed(&ledger, &dev).len(), 2);
    let unpinned = ask(&ledger, &calls::simulate(&agreement(), first_day(), day("2026-03-02")));
    assert_eq!(unpinned.periods[0].lines, 0);
}

#[test]
fn a_chain_is_of_this_device_and_its_key() {
    let root = Authority::root("Customer", always());
    let (mut dev, other) = (device("dev-1", 1), device("dev-2", 2));
    let mut ledger = world(&mut dev, &[&root], 1);
    let certificates = [
        ("of another name", root.certify("dev-2", &dev.entry.public_key, always())),
        ("of another key", root.certify("dev-1", &other.entry.public_key, always())),
        ("not readable", b"nonsense".to_vec()),
        ("at most", vec![0; 5_000]),
    ];
    for (told, leaf) in certificates {
        let refused = certify(&mut ledger, &dev, &[leaf]).unwrap_err();
        assert_eq!(refused.code(), "bad_device");
        assert!(refused.to_string().contains(told), "{refused}");
    }
    let leaf = root.certify("dev-1", &dev.entry.public_key, always());
    for chain in [vec![], vec![leaf.clone(); 9], vec![leaf.clone(), leaf.clone()], vec![leaf.clone(), b"x".to_vec()]] {
        assert_eq!(certify(&mut ledger, &dev, &chain).unwrap_err().code(), "bad_device");
    }
    let call = calls::certify(dev.thing(), std::slice::from_ref(&leaf));
    for role in [Role::Rc, Role::Dv, Role::Sp] {
        let refused = ledger.submit(&admin(role), call.function, &call.args).unwrap_err();
        assert_eq!(refused.code(), "forbidden");
    }
    // So many that a day cannot be billed for them are not taken; those that are there can be said again.
    let chain = |n: usize| {
        let until = days(first_day(), day("2030-01-01"));
        vec![root.certify("dev-1", &dev.entry.public_key, (until.0, until.1 + i64::try_from(n).unwrap()))]
    };
    let taken: Vec<_> = (0..64).map(chain).collect();
    for chain in &taken {
        certify(&mut ledger, &dev, chain).unwrap();
    }
    assert_eq!(certify(&mut ledger, &dev, &chain(64)).unwrap_err().code(), "bad_device");
    assert_eq!(certify(&mut ledger, &dev, &taken[0]).unwrap().len(), 64);
    let unknown = calls::certify(other.thing(), &[leaf]);
    assert_eq!(run(&mut ledger, &unknown).unwrap_err().code(), "unknown_device");
}

#[test]
fn a_day_counts_if_all_of_the_chain_was_good_when_it_ended() {
    let root = Authority::root("Customer", days(day("2026-03-02"), day("2026-03-30")));
    let between = root.below("Plant", days(day("2026-03-01"), day("2026-03-05")));
    for (from, to, first, last) in [
        // The root begins with the second day, the authority between ends with the fifth.
        (utc_midnight(day("2026-02-01")), utc_end(day("2026-12-01")), Some("2026-03-02"), "2026-03-05"),
        // Begun within a day: the day counts. Ended within a day: that day does not.
        (
            utc_midnight(day("2026-03-03")) + 50_000,
            utc_midnight(day("2026-03-05")) + 50_000,
            Some("2026-03-03"),
            "2026-03-04",
        ),
        // The last second of the day is what matters, to the second.
        (utc_end(day("2026-03-03")) - 1, utc_end(day("2026-03-03")) - 1, Some("2026-03-03"), "2026-03-03"),
        (utc_end(day("2026-03-03")), utc_end(day("2026-03-04")) - 2, None, ""),
    ] {
        let mut dev = device("dev-1", 1);
        let mut ledger = world(&mut dev, &[&root], 7);
        let leaf = between.certify("dev-1", &dev.entry.public_key, (from, to));
        certify(&mut ledger, &dev, &[leaf, between.der.clone()]).unwrap();
        let counted = billed(&ledger, &dev);
        assert_eq!(counted.first().copied(), first.map(day));
        if first.is_some() {
            assert_eq!(counted.last().copied(), Some(day(last)));
        }
    }
}

#[test]
fn a_renewed_certificate_goes_on_where_the_old_one_ended() {
    let root = Authority::root("Customer", always());
    let mut dev = device("dev-1", 1);
    let mut ledger = world(&mut dev, &[&root], 6);
    let old = root.certify("dev-1", &dev.entry.public_key, days(first_day(), day("2026-03-02")));
    let new = root.certify("dev-1", &dev.entry.public_key, days(day("2026-03-04"), day("2026-12-31")));
    certify(&mut ledger, &dev, &[old]).unwrap();
    assert_eq!(billed(&ledger, &dev), ["2026-03-01", "2026-03-02"].map(day));
    certify(&mut ledger, &dev, &[new]).unwrap();
    let all = ["2026-03-01", "2026-03-02", "2026-03-04", "2026-03-05", "2026-03-06"].map(day);
    assert_eq!(billed(&ledger, &dev), all, "the day between has no certificate");
    // The entry is the same revision: nobody has to approve anything anew.
    let view: DeviceView = ask(&ledger, &calls::device(dev.thing()));
    assert_eq!(view.revision, 0);
}

#[test]
fn a_pinned_authority_goes_with_an_amendment() {
    let (root, next) = (Authority::root("Customer", always()), Authority::root("Successor", always()));
    let mut dev = device("dev-1", 1);
    let mut ledger = world(&mut dev, &[&root], 4);
    let leaf = root.certify("dev-1", &dev.entry.public_key, always());
    certify(&mut ledger, &dev, &[leaf]).unwrap();
    let mut terms = pinning(&[&next]);
    terms.term.from = day("2026-03-03");
    let amendment = crate::Amendment { replaces: pinning(&[&root]).hash(), terms };
    let call = calls::amend(&amendment);
    ledger.submit(&admin(Role::Rc), call.function, &call.args).unwrap();
    for role in Role::ALL {
        let call = calls::approve(&amendment.terms.id, amendment.hash());
        ledger.submit(&admin(role), call.function, &call.args).unwrap();
    }
    let page: SummaryPage = ask(&ledger, &calls::summaries(&agreement().id, first_day(), day("2026-03-04"), None));
    let counts: Vec<bool> = page.rows.iter().map(|row| row.counts).collect();
    assert_eq!(counts, [true, true, false, false], "each day by the version that holds on it");
    let close = calls::close(&agreement().id, day("2026-03-03"), day("2026-03-04"));
    let view: StatementView = run(&mut ledger, &close).unwrap();
    assert_eq!(view.statement.unbilled[0].reason, Unbilled::NotApproved);
}

#[test]
fn what_is_pinned_is_an_authority_and_an_agreement_without_one_keeps_its_bytes() {
    let root = Authority::root("Customer", always());
    let good = pinning(&[&root]);
    good.check().unwrap();
    assert_eq!(Agreement::decode(&good.encode()).unwrap(), good);
    let json = serde_json::to_string(&good).unwrap();
    assert_eq!(serde_json::from_str::<Agreement>(&json).unwrap(), good);
    let leaf = root.certify("dev-1", &device("dev-1", 1).entry.public_key, always());
    let twice = vec![good.authorities[0].clone(); 2];
    for authorities in [vec![Bytes(leaf)], vec![Bytes(b"nonsense".to_vec())], vec![Bytes(vec![0x30; 5_000])], twice] {
        let bad = Agreement { authorities, ..good.clone() };
        assert_eq!(bad.check().unwrap_err().code(), "bad_agreement");
    }
    let nine: Vec<Authority> = (0..9).map(|n| Authority::root(&format!("CA {n}"), always())).collect();
    assert_eq!(pinning(&nine.iter().collect::<Vec<_>>()).check().unwrap_err().code(), "bad_agreement");

    // Version 1 as it was written before there was another: the hash of an agreement on a ledger stays.
    let old = agreement();
    let bytes = old.encode();
    assert_eq!(&bytes[..4], [0xaa, 0x00, 0x01, 0x01], "a map of ten, version 1");
    assert_eq!(old.hash().to_string(), "5a41e2b9b0027e827e02fcd4a9f3da128f94a3d6121c2e99ae2fdd693c15c2d6");
    assert!(!serde_json::to_string(&old).unwrap().contains("authorities"));
    // Version 2 with nothing new is another encoding of the same, and refused.
    let mut padded = bytes.clone();
    (padded[0], padded[2]) = (0xab, 0x02);
    padded.extend([0x0a, 0x80]);
    let refused = Agreement::decode(&padded).unwrap_err();
    assert_eq!(refused.code(), "malformed");
    // Version 1 with a key too many, version 2 without it, version 3.
    for (fields, version) in [(0xab, 0x01), (0xaa, 0x02), (0xaa, 0x03)] {
        let mut other = bytes.clone();
        (other[0], other[2]) = (fields, version);
        assert!(Agreement::decode(&other).is_err());
    }
}
