//! A night of a thousand devices, against the development ledger.

#[path = "../benches/support/mod.rs"]
mod support;

use std::sync::Arc;

use support::fleet::{Device, fleet, summed_up_twice};
use support::night::{Night, Profiles, Transaction};
use vitro_contract::{Continuity, DayOutcome};
use vitro_devledger::{Options, VitroContract, start};

const DEVICES: usize = 1_000;
/// The transactions that their days may take.
const TRANSACTIONS: usize = 12;
/// What Managed Blockchain takes.
const LIMIT: usize = 1_000_000;

/// Publishes a day of each device at once; the transactions.
async fn publish(night: &Night, devices: &mut [Device]) -> Vec<Transaction> {
    let before = night.height().await;
    let days: Vec<_> = devices.iter_mut().map(|device| device.settle_day()).collect();
    for day in &days {
        night.settle(day).await;
    }
    night.publish(&days).await;
    let transactions = night.transactions(before, night.height().await).await;
    let verdicts = || transactions.iter().flat_map(|one| &one.verdicts);
    assert_eq!(verdicts().count(), devices.len());
    for verdict in verdicts() {
        assert!(verdict.accepted && verdict.code == "published", "{verdict:?}");
        assert_eq!(verdict.outcome, Some(DayOutcome::Agrees));
        assert_eq!(verdict.continuity, Some(Continuity::Continues));
    }
    transactions
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_days_go_in_twelve_transactions_of_less_than_a_megabyte() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { batch_timeout_ms: 20, ..Options::new(folder.path().join("ledger")) };
    let ledger = start(&options, Arc::new(VitroContract)).await.unwrap();
    let profiles = Profiles(ledger.profile("operator").parent().unwrap().to_owned());
    let mut devices = fleet("dev", DEVICES, "2026-01-02".parse().unwrap());
    profiles.prepare(&devices).await;
    let night = Night::new(&profiles);
    let sizes = |of: &[Transaction]| of.iter().map(|one| (one.verdicts.len(), one.bytes)).collect::<Vec<_>>();

    let first = sizes(&publish(&night, &mut devices).await);
    println!("days and bytes of each transaction: {first:?}");
    assert!(first.len() <= TRANSACTIONS, "{first:?}");
    assert!(first.iter().all(|(_, bytes)| *bytes < LIMIT), "{first:?}");

    // The second day is as any other: its block has openings and names the one before it. Enough of the devices to fill a transaction.
    let second = sizes(&publish(&night, &mut devices[..DEVICES / 5]).await);
    println!("on the second day: {second:?}");
    assert_eq!(second.len(), 2, "{second:?}");
    let (days, bytes) = second[0];
    assert!(days * TRANSACTIONS >= DEVICES && bytes < LIMIT, "{second:?}");
    ledger.shutdown().await.unwrap();
}

#[test]
fn the_fleets_summaries_are_those_that_a_device_would_sign() {
    let mut devices = fleet("dev", 1, "2026-01-02".parse().unwrap());
    for _ in 0..2 {
        let (direct, summarizer) = summed_up_twice(&mut devices[0]);
        assert_eq!(direct, summarizer);
        devices[0].settle_day();
    }
}
