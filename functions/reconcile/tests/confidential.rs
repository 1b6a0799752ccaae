//! A confidential device's night: its readings and its block come encrypted, and the day comes out as any other.
#![allow(clippy::unwrap_used, clippy::panic)] // a failure here is a failed test

mod support;

use support::{Cloud, Message, Site, block_event, confidential_block_event, thing};
use vitro_cloud::archive::{block_key, confidential_block_key, raw_key};
use vitro_cloud::data_keys::KnownKeys;
use vitro_proof::reconcile::Outcome;
use vitro_proof::{BlockNumber, LocalDay};
use vitro_reconcile::intake::Taken;

fn confidential() -> Site {
    let mut site = Site::new();
    site.confidential = true;
    site
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn a_confidential_day_matches_and_is_healed_as_any_other() {
    let (cloud, mut site) = (Cloud::new(), confidential());
    let messages = [site.live(0, 5), site.live(1, 5)];
    cloud.store(&site, &[7]);
    let events = messages.iter().map(|message| Message::Event(confidential_block_event(message))).collect();
    let (published, asked) = cloud.run(&site, true, events).await;
    assert_eq!((cloud.row(0).outcome, cloud.row(1).outcome), (Some(Outcome::Matched), Some(Outcome::Backfilled)));
    assert_eq!(published, 2);
    assert!(!asked.is_empty());
    // What the contract needs is the clear message; what came is kept beside it, and hides it.
    let archive = cloud.archive.newest();
    let clear = &archive[&block_key(&thing(), BlockNumber(1))];
    assert_eq!(*clear, messages[1].encode());
    let as_it_came = &archive[&confidential_block_key(&thing(), BlockNumber(1))];
    assert_eq!(*as_it_came, confidential_block_event(&messages[1]).envelope);
    assert!(holds(clear, b"yield") && !holds(as_it_came, b"yield"));
    let day: LocalDay = cloud.row(0).day;
    assert!(!holds(&archive[&raw_key(&thing(), day)], b"yield"), "the readings stay encrypted in the archive");
}

#[tokio::test]
async fn a_confidential_block_waits_for_its_predecessor_as_any_other() {
    let (cloud, mut site) = (Cloud::new(), confidential());
    let messages = [site.live(0, 5), site.live(1, 5)];
    let take =
        async |index: usize| cloud.reconcile.take_block(&confidential_block_event(&messages[index])).await.unwrap();
    assert_eq!(take(1).await, Taken::Pending);
    assert_eq!(take(0).await, Taken::Accepted);
    assert_eq!(take(1).await, Taken::Duplicate);
    let archive = cloud.archive.newest();
    assert_eq!(archive[&block_key(&thing(), BlockNumber(1))], messages[1].encode());
}

#[tokio::test]
async fn without_the_key_a_block_is_refused_and_the_day_is_not_matched() {
    let (mut cloud, mut site) = (Cloud::new(), confidential());
    let message = site.live(0, 5);
    cloud.store(&site, &[]);
    cloud.reconcile.data_keys = Box::new(KnownKeys::default());
    let taken = cloud.reconcile.take_block(&confidential_block_event(&message)).await.unwrap();
    assert_eq!(taken, Taken::Refused("block_encrypted"));
    // A block in clear can be taken, but the readings cannot be summed up.
    cloud.summarize.data_keys = Box::new(KnownKeys::default());
    cloud.run(&site, true, vec![Message::Event(block_event(&message))]).await;
    assert_eq!(cloud.row(0).outcome, Some(Outcome::Mismatched));
}
