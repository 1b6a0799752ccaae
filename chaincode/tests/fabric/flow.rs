//! What the parties do first, who is refused, and a chaincode that is killed.

use std::time::Duration;

use vitro_contract::testing::{TestDevice, roles};
use vitro_contract::{DayOutcome, DeviceApproval, Item, OuRole, Role, calls, code_of};
use vitro_ledger::{Committed, Ledger, LedgerError, TxValidationCode};
use vitro_proof::Decimal;

use crate::network::{Network, alone, plan};

async fn submit<T: vitro_contract::Record>(ledger: &Ledger, call: &calls::Call<T>) -> (T, Committed) {
    let done =
        ledger.submit(call.function, &call.args).await.unwrap_or_else(|error| panic!("{}: {error}", call.function));
    (call.read(&done.payload).unwrap(), done)
}

/// The four agree on their roles; it stands after the last.
pub(crate) async fn configured(network: &Network, chaincode: &str) {
    let call = calls::configure(&roles().unwrap());
    for role in Role::ALL {
        let admin = network.client(chaincode, role, OuRole::Admin, plan());
        submit(&admin, &call).await;
    }
    let user = network.client(chaincode, Role::Sp, OuRole::Client, plan());
    let roles = calls::roles();
    assert!(roles.read(&user.query(roles.function, &roles.args).await.unwrap()).unwrap().in_force.is_some());
}

/// From nothing to a signed day on the ledger, with what must be refused on the way.
pub(crate) async fn whole(network: &Network, chaincode: &str) {
    let client = |role, ou| network.client(chaincode, role, ou, plan());
    configured(network, chaincode).await;
    let operator = client(Role::Operator, OuRole::Client);
    let mut device = TestDevice::new("flow-1", 77, "2026-03-01".parse().unwrap()).unwrap();
    let register = calls::register_devices(&[device.entry.clone()]);

    let refused = client(Role::Rc, OuRole::Admin).submit(register.function, &register.args).await;
    let Err(LedgerError::Refused { status: 500, message }) = refused else { panic!("{refused:?}") };
    assert_eq!(code_of(&message), Some("forbidden"));
    let by_itself = network.client(chaincode, Role::Operator, OuRole::Client, alone());
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

    network.script("peer-down.sh", &["rc"]).unwrap();
    let (verdicts, _) = submit(&operator, &publish).await;
    assert_eq!(verdicts[0].code, "unchanged", "with a party's peer away");
    network.script("peer-up.sh", &["rc"]).unwrap();

    let ask = calls::day(device.thing(), day);
    let sp = client(Role::Sp, OuRole::Client);
    let view = ask.read(&sp.query(ask.function, &ask.args).await.unwrap()).unwrap();
    assert_eq!((view.outcome, view.accounts.len()), (DayOutcome::Agrees, 1));
}

/// Kills the chaincode at several points of a call that takes it some time. Either the call is answered or it fails as one that may be tried again;
/// tried again, it succeeds, and each day is there once.
pub(crate) async fn killed(network: &Network, chaincode: &str, mut kill: impl FnMut(&Network)) {
    let operator = network.client(chaincode, Role::Operator, OuRole::Client, plan());
    let mut device = TestDevice::new("killed-1", 78, "2025-01-01".parse().unwrap()).unwrap();
    submit(&operator, &calls::register_devices(&[device.entry.clone()])).await;
    let mut broke_off = 0;
    for round in 0..4_u64 {
        let items: Vec<_> = (0..60)
            .map(|_| {
                let sealed = device.seal_day(Some(&Decimal::from(1))).unwrap();
                Item::day(sealed.message, &sealed.account)
            })
            .collect();
        let publish = calls::publish(&items);
        let submitted = operator.submit(publish.function, &publish.args);
        let killing = async {
            tokio::time::sleep(Duration::from_millis(15 + 60 * round)).await;
            kill(network);
        };
        let (submitted, ()) = tokio::join!(submitted, killing);
        if let Err(error) = submitted {
            broke_off += 1;
            println!("  killed: {error}");
            assert!(error.retryable(), "{error:?}");
        }
        let until = tokio::time::Instant::now() + Duration::from_secs(120);
        let again = loop {
            match operator.submit(publish.function, &publish.args).await {
                Ok(done) => break publish.read(&done.payload).unwrap(),
                // The peers start it again, or connect again, when they are next asked.
                Err(error) => assert!(error.retryable() && tokio::time::Instant::now() < until, "{error:?}"),
            }
        };
        assert!(again.iter().all(|verdict| verdict.accepted));
        let chain = calls::chain(device.thing());
        let view = chain.read(&operator.query(chain.function, &chain.args).await.unwrap()).unwrap();
        assert_eq!(view.known, [(0, 60 * (round + 1) - 1)]);
    }
    println!("  {broke_off} of 4 calls broke off");
}
