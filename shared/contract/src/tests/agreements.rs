//! Agreements.

use super::{activate, agreement, approve_agreement, decimal, ledger};
use crate::testing::{admin, client};
use crate::{Agreement, AgreementView, PerUnit, Record, Role, Tariff};

fn dearer() -> Agreement {
    let mut dearer = agreement();
    let Tariff::PerUnit(PerUnit { price, .. }) = &mut dearer.tariff;
    *price = decimal("2.5");
    dearer
}

#[test]
fn an_agreement_is_active_when_all_four_approved_the_same_bytes() {
    let mut ledger = ledger();
    let (wanted, other) = (agreement(), dearer());
    for proposal in [&wanted, &other, &wanted] {
        let view: AgreementView = ledger.call(&admin(Role::Sp), "agreement:propose", &[proposal.encode()]).unwrap();
        assert!(!view.active && view.approvals.is_empty(), "proposing is not approving");
    }
    approve_agreement(&mut ledger, Role::Operator, &other).unwrap();
    for role in [Role::Rc, Role::Dv, Role::Sp, Role::Sp] {
        assert!(!approve_agreement(&mut ledger, role, &wanted).unwrap().active);
    }
    let get = [wanted.id.as_str().as_bytes().to_vec()];
    let refused = ledger.submit(&client(Role::Rc), "agreement:get", &get).unwrap_err();
    assert_eq!(refused.code(), "agreement_not_active");
    let view = approve_agreement(&mut ledger, Role::Operator, &wanted).unwrap();
    assert!(view.active);
    let found: AgreementView = ledger.ask(&client(Role::Rc), "agreement:get", &get).unwrap();
    assert_eq!(found, view);
    assert_eq!(found.agreement, wanted);
    for role in Role::ALL {
        assert_eq!(approve_agreement(&mut ledger, role, &other).unwrap_err().code(), "agreement_active");
    }
    assert!(approve_agreement(&mut ledger, Role::Rc, &wanted).unwrap().active);
    let list: Vec<AgreementView> = ledger.ask(&client(Role::Sp), "agreement:list", &[]).unwrap();
    assert_eq!(list.iter().filter(|view| view.active).count(), 1);
    assert_eq!(list.len(), 2);
}

#[test]
fn only_admins_bind_their_organization() {
    let mut ledger = ledger();
    let proposal = [agreement().encode()];
    let refused = ledger.submit(&client(Role::Operator), "agreement:propose", &proposal).unwrap_err();
    assert_eq!(refused.code(), "wrong_identity");
    assert_eq!(approve_agreement(&mut ledger, Role::Rc, &agreement()).unwrap_err().code(), "unknown_agreement");
}

#[test]
fn one_agreement_has_one_encoding() {
    let mut ledger = ledger();
    let mut bytes = agreement().encode();
    // The version in two bytes: the same value in another encoding.
    assert_eq!(bytes[2], 1);
    bytes.splice(2..3, [0x18, 1]);
    let refused = ledger.submit(&admin(Role::Rc), "agreement:propose", &[bytes]).unwrap_err();
    assert_eq!(refused.code(), "malformed");
    assert!(refused.to_string().contains("not deterministic"), "{refused}");
}

#[test]
fn a_bad_agreement_says_why() {
    let mut ledger = ledger();
    let with = |change: fn(&mut Agreement)| {
        let mut changed = agreement();
        change(&mut changed);
        changed
    };
    let cases = [
        (with(|a| a.payees.clear()), "payees"),
        (with(|a| a.payees.reverse()), "payees"),
        (with(|a| a.payer = Role::Rc), "payer"),
        (with(|a| a.payees[0].share = 0), "share"),
        (with(|a| a.currency.digits = 3), "minor unit"),
        (with(|a| a.currency.code = "euro".into()), "currency"),
        (with(|a| a.fields.clear()), "fields"),
        (with(|a| a.fields[0].unit = "Wh".into()), "tariff"),
        (with(|a| a.points = Some(vec![])), "metering points"),
        (with(|a| a.term.to = a.term.from.previous()), "ends before"),
        (
            with(|a| {
                let Tariff::PerUnit(per_unit) = &mut a.tariff;
                per_unit.price = decimal("-1");
            }),
            "below zero",
        ),
        (
            with(|a| {
                let Tariff::PerUnit(per_unit) = &mut a.tariff;
                per_unit.price = decimal("0.0000000000001");
            }),
            "twelve digits",
        ),
    ];
    for (bad, why) in cases {
        let refused = ledger.submit(&admin(Role::Rc), "agreement:propose", &[bad.encode()]).unwrap_err();
        assert_eq!(refused.code(), "bad_agreement");
        assert!(refused.to_string().contains(why), "{refused}");
    }
    activate(&mut ledger, &agreement());
}
