//! What the parties do first, and who is refused.

use vitro_contract::testing::{TestDevice, roles};
use vitro_contract::{DayOutcome, DeviceApproval, Item, OuRole, Role, calls, code_of};
use vitro_ledger::{LedgerError, TxValidationCode};
use vitro_proof::Decimal;

use super::{Stage, ask, client, client_by, only, submit};

/// The four agree on their roles; it stands after the last.
pub(crate) async fn configured(stage: &impl Stage) {
    let call = calls::configure(&roles().unwrap());
    for role in Role::ALL {
        submit(&client(stage, role, OuRole::Admin), &call).await;
    }
    let user = client(stage, Role::Sp, OuRole::Client);
    assert!(ask(&user, &calls::roles()).await.in_force.is_some());
}

/// From nothing to a signed day on the ledger, with what must be refused on the way.
pub(crate) async fn whole(stage: &impl Stage) {
    let client = |role, ou| client(stage, role, ou);
    configured(stage).await;
    let operator = client(Role::Operator, OuRole::Client);
    let mut device = TestDevice::new("flow-1", 77, "2026-03-01".parse().unwrap()).unwrap();
    let register = calls::register_devices(&[device.entry.clone()]);

    let refused = client(Role::Rc, OuRole::Admin).submit(register.function, &register.args).await;
    let Err(LedgerError::Refused { status: 500, message }) = refused else { panic!("{refused:?}") };
    assert_eq!(code_of(&message), Some("forbidden"));
    let by_itself = client_by(stage, Role::Operator, OuRole::Client, only(&[Role::Operator]));
    let invalid = by_itself.submit(register.function, &register.args).await;
    let Err(LedgerError::Invalid { code, .. }) = invalid else { panic!("{invalid:?}") };
    assert_eq!(code, TxValidationCode::EndorsementPolicyFailure);

    let (page, _) = submit(&operator, &register).await;
    let approval = DeviceApproval { thing: device.thing().clone(), entry: page.devices[0].hash };
    let approve = calls::approve_devices(&[approval]);
    for role in [Role::Rc, Role::Dv] {
        submit(&client(role, OuRole::Admin), &approve).await;
    }
    let day = device.day();
    let sealed = device.seal_day(Some(&Decimal::from(3))).unwrap();
    let publish = calls::publish(&[Item::day(sealed.message, &sealed.account)]);
    let (verdicts, done) = submit(&operator, &publish).await;
    assert!(verdicts[0].accepted, "{verdicts:?}");
    let block = operator.block(done.block_number).await.unwrap();
    let published = block.transactions.iter().find(|transaction| transaction.tx_id == done.tx_id).unwrap();
    assert_eq!((published.event.as_str(), published.endorsers.len()), (vitro_contract::PUBLISHED_EVENT, 3));

    tokio::task::block_in_place(|| stage.peer_down(Role::Rc));
    // For who was connected to it, and for who comes now.
    for operator in [operator, client(Role::Operator, OuRole::Client)] {
        let (verdicts, _) = submit(&operator, &publish).await;
        assert_eq!(verdicts[0].code, "unchanged", "with a party's peer away");
    }
    tokio::task::block_in_place(|| stage.peer_up(Role::Rc));

    let view = ask(&client(Role::Sp, OuRole::Client), &calls::day(device.thing(), day)).await;
    assert_eq!((view.outcome, view.accounts.len()), (DayOutcome::Agrees, 1));
}
