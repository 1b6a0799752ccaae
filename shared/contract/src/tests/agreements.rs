//! Agreements.

use super::{activate, agreement, approve_agreement, decimal, ledger};
use crate::testing::{admin, client};
use crate::{Agreement, AgreementPage, AgreementView, InForcePage, PerUnit, Record, Role, Tariff};

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
    let list: AgreementPage = ledger.ask(&client(Role::Sp), "agreement:list", &[vec![], vec![]]).unwrap();
    let list = list.agreements;
    assert_eq!(list.iter().filter(|view| view.active).count(), 1);
    assert_eq!(list.len(), 2);
}

#[test]
fn proposals_and_agreements_come_by_the_page() {
    let mut ledger = ledger();
    let mut ids = Vec::new();
    for n in 0..45 {
        let agreement = Agreement { id: format!("ppa-{n:02}").parse().unwrap(), ..agreement() };
        ledger.submit(&admin(Role::Sp), "agreement:propose", &[agreement.encode()]).unwrap();
        if n % 2 == 0 {
            activate(&mut ledger, &agreement);
        }
        ids.push(agreement.id);
    }
    let mut found = Vec::new();
    let mut cursor = None::<String>;
    let mut pages = 0;
    loop {
        let call = crate::calls::agreements(None, cursor.as_deref());
        let page: AgreementPage = ledger.ask(&client(Role::Rc), call.function, &call.args).unwrap();
        found.extend(page.agreements.into_iter().map(|view| view.agreement.id));
        pages += 1;
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((found, pages), (ids.clone(), 3));
    let of_one = crate::calls::agreements(Some(&ids[7]), None);
    let page: AgreementPage = ledger.ask(&client(Role::Rc), of_one.function, &of_one.args).unwrap();
    assert_eq!((page.agreements.len(), page.next), (1, None));
    // A cursor of another list leads nowhere else.
    let astray = crate::calls::agreements(Some(&ids[7]), Some("ppa-08/"));
    assert_eq!(ledger.submit(&client(Role::Rc), astray.function, &astray.args).unwrap_err().code(), "bad_arguments");

    let from = crate::calls::agreements_in_force(Some(&ids[40]));
    let page: InForcePage = ledger.ask(&client(Role::Rc), from.function, &from.args).unwrap();
    let active: Vec<_> = page.agreements.iter().map(|held| held.id.clone()).collect();
    assert_eq!(active, [ids[40].clone(), ids[42].clone(), ids[44].clone()]);
    assert_eq!(page.agreements[0].versions.len(), 1);
    assert_eq!(page.agreements[0].versions[0].held.from, agreement().term.from);
}

#[test]
fn no_agreement_names_more_points_than_a_statement_has_lines() {
    let points = |count: usize| Some((0..count).map(|n| format!("point-{n:04}").parse().unwrap()).collect());
    let most = Agreement { points: points(crate::MAX_LINES), ..agreement() };
    assert!(most.check().is_ok());
    assert!(Agreement { points: points(crate::MAX_LINES + 1), ..agreement() }.check().is_err());
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
