//! Publishing on demand: who asks is answered by a block that was sealed after it, no device seals too often, and what comes from the
//! queue `asks` is nothing but an ask.
#![allow(clippy::unwrap_used, clippy::panic)] // a failure here is a failed test

mod support;

use serde_json::json;
use support::{Cloud, Site, block_event, confidential_block_event, device, thing};
use vitro_cloud::batch::{SqsEvent, SqsRecord};
use vitro_cloud::devices::Status;
use vitro_cloud::memory::{Fuse, MemoryCommands, SentCommand};
use vitro_cloud::queue::{AskTask, PublishBlock, PublishTask};
use vitro_proof::command::Action;
use vitro_proof::{BlockNumber, UnixMillis};
use vitro_reconcile::asks::Asked;
use vitro_reconcile::intake::Taken;

/// What the cloud's clock shows at first, in milliseconds.
const NOW: i64 = 1_768_000_000_000;

fn record(message: &str, body: &str, sent: i64) -> SqsRecord {
    serde_json::from_value(json!({
        "messageId": message, "body": body, "eventSourceARN": "arn:aws:sqs:eu-central-1:1:vitro-acme-test-asks",
        "attributes": { "SentTimestamp": sent.to_string(), "SenderId": "AROAPARTY:dv" },
    }))
    .unwrap()
}

async fn ask(cloud: &Cloud, message: &str, sent: i64) -> Asked {
    cloud.reconcile.take_ask(&record(message, r#"{"thing":"dev-1","by":"dv"}"#, sent)).await.unwrap()
}

fn seals(commands: Vec<SentCommand>) -> usize {
    commands.into_iter().filter(|command| command.action == Action::Seal).count()
}

#[tokio::test]
async fn a_device_is_told_to_seal() {
    let cloud = Cloud::new();
    assert_eq!(ask(&cloud, "m1", NOW - 500).await, Asked::Sent);
    let commands = cloud.commands.take();
    assert_eq!((commands.len(), &commands[0].thing), (1, &thing()));
    assert_eq!((&commands[0].action, commands[0].id), (&Action::Seal, AskTask::command_id(&thing(), "m1")));
    // It expires with the ask, for which two minutes are the default.
    assert_eq!(commands[0].expires, (NOW - 500) / 1000 + 1 + 120);
    // The same message again does nothing.
    assert_eq!(ask(&cloud, "m1", NOW - 500).await, Asked::Covered);
    assert_eq!(seals(cloud.commands.take()), 0);
}

#[tokio::test]
async fn many_asks_are_answered_by_few_blocks_sealed_after_them() {
    let cloud = Cloud::new();
    // At once: one command for all that were sent before it.
    assert_eq!(ask(&cloud, "m1", NOW - 30).await, Asked::Sent);
    assert_eq!(ask(&cloud, "m2", NOW - 20).await, Asked::Covered);
    assert_eq!(ask(&cloud, "m3", NOW - 10).await, Asked::Covered);
    // Five seconds later: that block was sealed before, and the next one has to wait.
    cloud.clock.set(UnixMillis(NOW + 5_000));
    for message in ["m4", "m5"] {
        assert_eq!(ask(&cloud, message, NOW + 4_900).await, Asked::Deferred(15));
    }
    assert_eq!(seals(cloud.commands.take()), 1);
    let deferred = cloud.outbox.take().asks;
    let waits: Vec<_> = deferred.iter().map(|(task, delay)| (task.id.as_ref().unwrap().as_str(), *delay)).collect();
    assert_eq!(waits, [("m4", 15), ("m5", 15)]);
    assert_eq!(deferred[0].0.asked, Some(UnixMillis(NOW + 4_900)));
    // When they come again, under other ids of their messages, the first is sent and answers the other.
    cloud.clock.set(UnixMillis(NOW + 20_000));
    let bodies: Vec<String> = deferred.iter().map(|(task, _)| serde_json::to_string(task).unwrap()).collect();
    let mut outcomes = Vec::new();
    for (index, body) in bodies.iter().chain(&bodies).enumerate() {
        let again = record(&format!("n{index}"), body, NOW + 5_000);
        outcomes.push(cloud.reconcile.take_ask(&again).await.unwrap());
    }
    assert_eq!(outcomes, [Asked::Sent, Asked::Covered, Asked::Covered, Asked::Covered]);
    assert_eq!(seals(cloud.commands.take()), 1);
}

#[tokio::test]
async fn nobody_waits_for_an_ask_whose_time_is_over() {
    let cloud = Cloud::new();
    assert_eq!(ask(&cloud, "m1", NOW - 120_000).await, Asked::Expired);
    let short = record("m2", r#"{"thing":"dev-1","within":5}"#, NOW - 5_000);
    assert_eq!(cloud.reconcile.take_ask(&short).await.unwrap(), Asked::Expired);
    // Nor for one that would wait for its turn too long.
    assert_eq!(ask(&cloud, "m3", NOW - 20).await, Asked::Sent);
    cloud.clock.set(UnixMillis(NOW + 1_000));
    let short = record("m4", r#"{"thing":"dev-1","within":5}"#, NOW + 900);
    assert_eq!(cloud.reconcile.take_ask(&short).await.unwrap(), Asked::Expired);
    // An hour is the longest, whatever is asked for.
    cloud.clock.set(UnixMillis(NOW + 3_700_000));
    let long = record("m5", r#"{"thing":"dev-1","within":4000000000}"#, NOW + 10);
    assert_eq!(cloud.reconcile.take_ask(&long).await.unwrap(), Asked::Expired);
    assert_eq!(seals(cloud.commands.take()), 1);
    assert!(cloud.outbox.take().asks.is_empty() && cloud.kept.parked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_parked_once_a_day() {
    let cloud = Cloud::new();
    let mut entry = device();
    for (status, reason) in [(Status::Suspended, "device_suspended"), (Status::Retired, "device_retired")] {
        entry.status = status;
        cloud.devices.put(entry.clone());
        for sent in [NOW - 5, NOW] {
            assert_eq!(ask(&cloud, "m1", sent).await, Asked::Refused(reason));
        }
    }
    let others = [r#"{"thing":"dev-9"}"#, r#"{"thing":"a/b"}"#, "nonsense"];
    let mut outcomes = Vec::new();
    for body in others.iter().chain(&others) {
        outcomes.push(cloud.reconcile.take_ask(&record("m", body, NOW)).await.unwrap());
    }
    assert_eq!(outcomes[..3], outcomes[3..]);
    let [unknown, nameless] = ["unknown_device", "not_an_ask"].map(Asked::Refused);
    assert_eq!(outcomes[..3], [unknown, nameless, nameless]);
    let parked: Vec<_> = cloud.kept.parked.lock().unwrap().values().cloned().collect();
    let found: Vec<_> = parked.iter().map(|row| (row.reason.as_str(), row.id.as_str())).collect();
    assert_eq!(found[0], ("device_retired", "ask-2026-01-09-dev-1"));
    assert_eq!(
        found.iter().map(|row| row.0).collect::<Vec<_>>(),
        ["device_retired", "device_suspended", "not_an_ask", "unknown_device"]
    );
    assert!(parked.iter().all(|row| row.detail.contains("AROAPARTY:dv")), "who it was is told");
    assert_eq!(seals(cloud.commands.take()), 0);
}

#[tokio::test]
async fn a_kill_at_any_point_sends_the_command_once() {
    for limit in 0.. {
        let cloud = Cloud::new();
        let record = record("m1", r#"{"thing":"dev-1"}"#, NOW - 10);
        cloud.fuse.set(Some(limit));
        let survived = cloud.reconcile.take_ask(&record).await.is_ok();
        cloud.fuse.set(None);
        cloud.reconcile.take_ask(&record).await.unwrap();
        cloud.reconcile.take_ask(&record).await.unwrap();
        let sent = seals(cloud.commands.take());
        // Once; twice if the kill came between the command and the note of it.
        assert!(sent == 1 || (sent == 2 && !survived), "{limit}: {sent}");
        if survived {
            return;
        }
    }
}

/// Brings asks that were put into the queue anew back when their delay is over, until none is left.
async fn bring_back(cloud: &Cloud) -> Vec<Asked> {
    let mut outcomes = Vec::new();
    loop {
        let mut waiting = cloud.outbox.take().asks;
        waiting.sort_by_key(|(_, delay)| *delay);
        let Some(longest) = waiting.last().map(|(_, delay)| i64::from(*delay)) else { return outcomes };
        let before = cloud.reconcile.clock.now();
        cloud.clock.set(UnixMillis(before.0 + longest * 1000));
        for (index, (task, _)) in waiting.iter().enumerate() {
            let again = record(&format!("again-{index}"), &serde_json::to_string(task).unwrap(), before.0);
            outcomes.push(cloud.reconcile.take_ask(&again).await.unwrap());
        }
    }
}

#[tokio::test]
async fn a_kill_at_any_point_costs_no_other_ask_its_answer() {
    // Another ask comes after the first was decided on, or was there before.
    for later in [0, 1_000] {
        for limit in 0.. {
            let cloud = Cloud::new();
            let first = record("m1", r#"{"thing":"dev-1"}"#, NOW - 10);
            cloud.fuse.set(Some(limit));
            let survived = cloud.reconcile.take_ask(&first).await.is_ok();
            cloud.fuse.set(None);
            cloud.clock.set(UnixMillis(NOW + later));
            let sent_before = cloud.commands.take().len();
            let outcome = ask(&cloud, "m2", NOW - 5 + later).await;
            let outcomes = bring_back(&cloud).await;
            let ends = *outcomes.last().unwrap_or(&outcome);
            let sent = sent_before + seals(cloud.commands.take());
            assert!(sent >= 1 && matches!(ends, Asked::Sent | Asked::Covered), "{limit}: {sent}, {ends:?}");
            // Who comes second is not kept waiting for longer than it takes to be sure, unless the first was sent.
            let waited = cloud.reconcile.clock.now().0 - NOW;
            assert!(waited <= if sent_before == 0 { 6_000 } else { 20_000 }, "{limit}: {waited}");
            // When the queue shows the first one again, its command is good for half a minute still.
            cloud.clock.set(UnixMillis(NOW + 90_000));
            assert_eq!(cloud.reconcile.take_ask(&first).await.unwrap(), Asked::Covered, "{limit}");
            if survived {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_kill_of_the_only_ask_sends_its_command_when_it_comes_again() {
    for limit in 0.. {
        let cloud = Cloud::new();
        let record = record("m1", r#"{"thing":"dev-1"}"#, NOW - 10);
        cloud.fuse.set(Some(limit));
        let survived = cloud.reconcile.take_ask(&record).await.is_ok();
        cloud.fuse.set(None);
        // After the queue's visibility timeout, when the device was told or is told now.
        cloud.clock.set(UnixMillis(NOW + 90_000));
        let outcome = cloud.reconcile.take_ask(&record).await.unwrap();
        assert!(matches!(outcome, Asked::Sent | Asked::Covered), "{limit}: {outcome:?}");
        assert!(seals(cloud.commands.take()) >= 1, "{limit}");
        if survived {
            return;
        }
    }
}

#[tokio::test]
async fn a_command_that_cannot_be_sent_is_tried_again_as_long_as_the_ask_holds() {
    let mut cloud = Cloud::new();
    let away = Fuse::default();
    let commands = MemoryCommands::new(away.clone());
    cloud.reconcile.commands = Box::new(commands.clone());
    away.set(Some(0));
    assert_eq!(ask(&cloud, "m1", NOW - 10).await, Asked::Again(5));
    // It is known by its name and time; the other one is not told that the first answers it.
    cloud.clock.set(UnixMillis(NOW + 2_000));
    assert_eq!(ask(&cloud, "m2", NOW - 5).await, Asked::Deferred(3));
    away.set(None);
    assert_eq!(bring_back(&cloud).await, [Asked::Sent, Asked::Covered]);
    assert_eq!(seals(commands.take()), 1);
    // When the ask would be over by then, the error stands, and the message goes its way to the dead letters or ends as over.
    away.set(Some(0));
    cloud.clock.set(UnixMillis(NOW + 115_000));
    let last = record("m3", r#"{"thing":"dev-1"}"#, NOW);
    assert_eq!(cloud.reconcile.take_ask(&last).await.unwrap(), Asked::Covered, "it was sent after this was asked");
    let last = record("m3", r#"{"thing":"dev-1","within":5}"#, NOW + 114_900);
    assert!(cloud.reconcile.take_ask(&last).await.is_err_and(|error| error.retryable()));
    assert!(cloud.outbox.take().asks.is_empty());
}

#[tokio::test]
async fn a_queue_that_others_write_to_carries_asks_alone() {
    let cloud = Cloud::new();
    let mut site = Site::new();
    let event = block_event(&site.live(0, 5));
    let task = r#"{"thing":"dev-1","day":"2026-01-01","attempt":0,"key":"summaries/x.json","version":"1"}"#;
    for body in [event.raw(), task] {
        let sent = SqsEvent { records: vec![record("m1", body, NOW)] };
        assert!(cloud.reconcile.handle(sent).await.is_done());
    }
    assert!(cloud.archive.newest().is_empty(), "no block was taken");
    assert_eq!(cloud.kept.parked.lock().unwrap().values().next().unwrap().reason, "not_an_ask");
    // And what comes from another queue is no ask.
    let mut other = record("m2", r#"{"thing":"dev-1"}"#, NOW);
    other.source = "arn:aws:sqs:eu-central-1:1:vitro-acme-test-blocks".into();
    assert!(!cloud.reconcile.handle(SqsEvent { records: vec![other] }).await.is_done());
    assert_eq!(seals(cloud.commands.take()), 0);
}

#[tokio::test]
async fn an_interim_block_goes_to_publish_at_once() {
    let (cloud, mut site) = (Cloud::new(), Site::new());
    cloud.reconcile.take_block(&block_event(&site.live(0, 5))).await.unwrap();
    assert!(cloud.outbox.take().publish.is_empty(), "a day waits for its account");
    // Of the second day three envelopes were sent when it was asked for.
    let mut tomorrow = site.envelopes.clone();
    let start = vitro_proof::DayBounds::of(&support::zone(), support::day(1)).unwrap().from;
    for n in 5..8u64 {
        let time = UnixMillis((start + i64::try_from(n).unwrap() * 600) * 1000);
        tomorrow.insert(n, site.envelope(n, time, 200));
    }
    site.envelopes = tomorrow;
    let message = site.seal_interim(1, 3, 4);
    let expected = [PublishTask::Block(PublishBlock { thing: thing(), block: BlockNumber(1) })];
    assert_eq!(cloud.reconcile.take_block(&confidential_block_event(&message)).await.unwrap(), Taken::Accepted);
    let sent = cloud.outbox.take();
    assert_eq!((sent.publish.as_slice(), sent.summarize.len()), (&expected[..], 0));
    let archived = cloud.archive.newest();
    assert_eq!(archived["blocks/dev-1/0000000001.cbor"], message.encode(), "the clear one is published");
    assert!(archived.contains_key("blocks/dev-1/0000000001.confidential.cbor"));
    // Delivered again it was told already.
    assert_eq!(cloud.reconcile.take_block(&block_event(&message)).await.unwrap(), Taken::Duplicate);
    assert!(cloud.outbox.take().publish.is_empty());
}

#[tokio::test]
async fn a_kill_at_any_point_publishes_an_interim_block() {
    for limit in 0.. {
        let (cloud, mut site) = (Cloud::new(), Site::new());
        cloud.reconcile.take_block(&block_event(&site.live(0, 5))).await.unwrap();
        let message = site.seal_interim(1, 0, 4);
        cloud.fuse.set(Some(limit));
        let survived = cloud.reconcile.take_block(&block_event(&message)).await.is_ok();
        cloud.fuse.set(None);
        let taken = cloud.reconcile.take_block(&block_event(&message)).await.unwrap();
        assert!(matches!(taken, Taken::Accepted | Taken::Duplicate), "{taken:?}");
        assert!(!cloud.outbox.take().publish.is_empty(), "{limit}");
        if survived {
            return;
        }
    }
}
