//! What collides, what is too large, and what is lost.

use std::sync::Arc;

use vitro_contract::testing::TestDevice;
use vitro_contract::{Bytes, DeviceApproval, Item, OuRole, Role, calls};
use vitro_ledger::{LedgerError, TxValidationCode};
use vitro_proof::Decimal;

use super::orderer::hand_in;
use super::{Stage, ask, client, day, endorsed, registered, submit, verdicts};

/// A call is simulated anew after a conflict; so many at once conflict for certain.
const AT_ONCE: usize = 6;

/// More than any channel here takes in a transaction: 10 MB.
const TOO_LARGE: usize = 11 << 20;

/// Two transactions that were endorsed on the same state: the second changes nothing and says so. The client simulates anew, and of many
/// equal submissions one publishes.
pub(crate) async fn conflicts(stage: &impl Stage) {
    let profile = stage.profile(Role::Operator, OuRole::Client);
    let operator = Arc::new(client(stage, Role::Operator, OuRole::Client));
    let mut device = TestDevice::new("conflict-1", 80, "2026-03-01".parse().unwrap()).unwrap();
    let register = calls::register_devices(&[device.entry.clone()]);
    let first = endorsed(&operator, &profile, &register).await;
    let second = endorsed(&operator, &profile, &register).await;
    operator.commit(&first).await.unwrap();
    let error = operator.commit(&second).await.unwrap_err();
    let LedgerError::Invalid { code, .. } = &error else { panic!("{error}") };
    assert!(*code == TxValidationCode::MvccReadConflict && error.retryable(), "{error}");
    let known = ask(&operator, &calls::device(device.thing())).await;
    let approval = DeviceApproval { thing: device.thing().clone(), entry: known.hash };

    // Two parties' approvals of one device at the same time, and of each the same twice.
    let approve = Arc::new(calls::approve_devices(&[approval]));
    let mut approving = Vec::new();
    for role in [Role::Rc, Role::Dv, Role::Rc, Role::Dv] {
        let (admin, approve) = (client(stage, role, OuRole::Admin), Arc::clone(&approve));
        approving.push(tokio::spawn(async move { admin.submit(approve.function, &approve.args).await }));
    }
    for approval in approving {
        approval.await.unwrap().unwrap();
    }

    let publish = Arc::new(calls::publish(&[day(&device.seal_day(Some(&Decimal::from(2))).unwrap())]));
    let before = operator.chain_info().await.unwrap().height;
    let submissions = [(); AT_ONCE].map(|()| {
        let (operator, publish) = (Arc::clone(&operator), Arc::clone(&publish));
        tokio::spawn(async move { operator.submit(publish.function, &publish.args).await })
    });
    let mut published = 0;
    for submission in submissions {
        let answer = publish.read(&submission.await.unwrap().unwrap().payload).unwrap();
        match answer[0].code.as_str() {
            "published" => published += 1,
            code => assert_eq!(code, "unchanged"),
        }
    }
    assert_eq!(published, 1);
    let verdicts = verdicts(&operator, before).await;
    let count = |code| verdicts.iter().filter(|(_, found)| *found == code).count();
    assert_eq!(count(TxValidationCode::Valid), AT_ONCE);
    assert_eq!(count(TxValidationCode::MvccReadConflict), verdicts.len() - AT_ONCE);
    assert!(verdicts.len() > AT_ONCE, "{AT_ONCE} calls at once never collided");
}

/// A transaction beyond the channel's AbsoluteMaxBytes is refused for good and writes nothing, and what was good in it can go by itself.
pub(crate) async fn oversized(stage: &impl Stage) {
    let operator = client(stage, Role::Operator, OuRole::Client);
    let mut device = registered(&operator, "large-1", 81).await;
    let good = day(&device.seal_day(Some(&Decimal::from(1))).unwrap());
    let junk = Item { block: Some(Bytes(vec![0x5a; TOO_LARGE])), account: None, number: None };
    let most = operator.channel_config().await.unwrap().batch_size.absolute_max_bytes;
    assert!((most as usize) < TOO_LARGE, "{most} bytes");
    let before = operator.chain_info().await.unwrap();
    let large = calls::publish(&[good.clone(), junk]);
    let error = operator.submit(large.function, &large.args).await.unwrap_err();
    assert!(matches!(error, LedgerError::NotOrdered { status: 400 | 413, .. }), "{error}");
    assert!(!error.retryable());
    assert_eq!(operator.chain_info().await.unwrap(), before);
    let (alone, _) = submit(&operator, &calls::publish(&[good])).await;
    assert_eq!(alone[0].code, "published", "nothing was there of it");
}

/// An orderer that acknowledged a transaction and is killed before it cut a block loses it. The same transaction, handed in again unchanged, is
/// committed once.
pub(crate) async fn orderer_killed(stage: &impl Stage) {
    /// The orderer may be quicker than the kill; then nothing is lost, and the next one is tried.
    const TRIES: u32 = 4;
    let profile = stage.profile(Role::Operator, OuRole::Client);
    let operator = client(stage, Role::Operator, OuRole::Client);
    let mut device = registered(&operator, "lost-1", 82).await;
    let mut lost = 0;
    for number in 1..=TRIES {
        let publish = calls::publish(&[day(&device.seal_day(Some(&Decimal::from(1))).unwrap())]);
        let transaction = endorsed(&operator, &profile, &publish).await;
        let before = operator.chain_info().await.unwrap().height;
        let answer = hand_in(&profile, &transaction.envelope).await;
        tokio::task::block_in_place(|| stage.kill_orderer());
        assert_eq!(answer.status, 200, "{}", answer.info);
        tokio::task::block_in_place(|| stage.start_orderer());
        lost += u32::from(operator.outcome(&transaction.tx_id).await.unwrap().is_none());
        let done = operator.commit(&transaction).await.unwrap();
        assert_eq!(publish.read(&done.payload).unwrap()[0].code, "published");
        // Once more changes nothing either.
        assert_eq!(operator.commit(&transaction).await.unwrap(), done);
        let found = verdicts(&operator, before).await;
        let own = found.iter().filter(|(tx_id, _)| *tx_id == transaction.tx_id);
        assert_eq!(own.filter(|(_, code)| *code == TxValidationCode::Valid).count(), 1);
        let chain = ask(&operator, &calls::chain(device.thing())).await;
        assert_eq!(chain.known, [(0, u64::from(number) - 1)]);
        if lost > 0 {
            return;
        }
    }
    panic!("in {TRIES} tries the orderer was never killed between acknowledgement and block");
}
