//! Organizations that disagree, since one runs another chaincode. The development ledger has its contract compiled in; this is for networks that
//! run a program for each peer.

use vitro_contract::testing::roles;
use vitro_contract::{DayOutcome, OuRole, Role, calls};
use vitro_ledger::{ConnectionProfile, LedgerError, TxValidationCode};
use vitro_proof::Decimal;

use crate::ledger::{Stage, ask, client_by, connect, day, msp, only, plan, registered, submit};

/// One party's peer runs another chaincode, which keeps other values than it says. The client names the party; nothing of it is written, and where
/// there are enough others nobody is held up.
pub(crate) async fn disagreement(stage: &impl Stage, contrary: Role) {
    assert_eq!(contrary, Role::Dv, "the plans below are about this one");
    let honest = client_by(stage, Role::Operator, OuRole::Client, only(&[Role::Operator, Role::Rc, Role::Sp]));
    let configure = calls::configure(&roles().unwrap());
    for role in Role::ALL {
        let plan = only(&[Role::Operator, Role::Rc, Role::Sp]);
        submit(&client_by(stage, role, OuRole::Admin, plan), &configure).await;
    }
    let mut device = registered(&honest, "disputed-1", 83).await;
    let publish = calls::publish(&[day(&device.seal_day(Some(&Decimal::from(1))).unwrap())]);
    let before = honest.chain_info().await.unwrap();
    let (operator, rc, dv, sp) = (msp(Role::Operator), msp(Role::Rc), msp(contrary), msp(Role::Sp));
    let profile = |endorsers| ConnectionProfile { endorsers, ..stage.profile(Role::Operator, OuRole::Client) };
    for (by, sides) in [
        (only(&[Role::Operator, Role::Rc, contrary]), vec![vec![operator.clone(), rc.clone()], vec![dv.clone()]]),
        (only(&[Role::Operator, contrary]), vec![vec![operator.clone()], vec![dv.clone()]]),
    ] {
        let error = connect(&profile(by), 2).submit(publish.function, &publish.args).await.unwrap_err();
        let LedgerError::Disagree { sides: found, differs, .. } = &error else { panic!("{error}") };
        let sorted = |sides: &[Vec<String>]| {
            let mut sides = sides.to_vec();
            sides.iter_mut().for_each(|side| side.sort());
            sides.sort();
            sides
        };
        assert_eq!(sorted(found), sorted(&sides));
        assert!(differs.contains("written"), "{differs}");
        assert!(error.to_string().contains(&dv) && error.retryable(), "{error}");
    }
    // By itself it commits nothing.
    let alone = client_by(stage, Role::Dv, OuRole::Admin, only(&[contrary]));
    let error = alone.submit(configure.function, &configure.args).await.unwrap_err();
    let LedgerError::Invalid { code, .. } = error else { panic!("{error}") };
    assert_eq!(code, TxValidationCode::EndorsementPolicyFailure);
    assert_eq!(honest.chain_info().await.unwrap().height, before.height + 1, "that one and nothing else");
    // Where the plan has others, they go on without it.
    let (verdicts, done) = submit(&connect(&profile(plan()), 2), &publish).await;
    assert_eq!(verdicts[0].code, "published");
    let mut endorsers = honest.transaction(&done.tx_id).await.unwrap().transaction.endorsers;
    endorsers.sort();
    let mut expected = [operator, rc, sp];
    expected.sort();
    assert_eq!(endorsers, expected);
    let view = ask(&honest, &calls::day(device.thing(), "2026-03-01".parse().unwrap())).await;
    assert_eq!(view.outcome, DayOutcome::Agrees);
}
