//! A chaincode that is killed in mid-transaction.

use std::time::Duration;

use vitro_contract::testing::TestDevice;
use vitro_contract::{Item, OuRole, Role, calls};
use vitro_proof::Decimal;

use crate::ledger::client;
use crate::network::{Deployed, Network};

/// So many kills that hit nothing are no bad luck any more.
const MOST: u64 = 24;

/// Kills the chaincode at several points of a call that takes it some time. Either the call is answered or it fails as one that may be tried again;
/// tried again, it succeeds, and each day is there once. Four kills at least, and as many as it takes until one hits a call.
pub(crate) async fn killed(stage: &Deployed<'_>, mut kill: impl FnMut(&Network)) {
    let operator = client(stage, Role::Operator, OuRole::Client);
    let mut device = TestDevice::new("killed-1", 78, "2025-01-01".parse().unwrap()).unwrap();
    let register = calls::register_devices(&[device.entry.clone()]);
    operator.submit(register.function, &register.args).await.unwrap();
    let (mut broke_off, mut round) = (0, 0_u64);
    while round < 4 || broke_off == 0 {
        assert!(round < MOST, "no kill hit a call");
        let items: Vec<_> = (0..60)
            .map(|_| {
                let sealed = device.seal_day(Some(&Decimal::from(1))).unwrap();
                Item::day(sealed.message, &sealed.account)
            })
            .collect();
        let publish = calls::publish(&items);
        let submitted = operator.submit(publish.function, &publish.args);
        let killing = async {
            tokio::time::sleep(Duration::from_millis(15 + 60 * (round % 4) + 7 * (round / 4))).await;
            kill(stage.network);
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
        round += 1;
        assert_eq!(view.known, [(0, 60 * round - 1)]);
    }
    println!("  {broke_off} of {round} calls broke off");
}
