//! A dependency that fails takes with it only the messages that need it, and loses none.

use super::world::*;
use crate::tests::memory::Memory;

fn failed(ingest: &TestIngest<'_>, messages: &[Sent]) -> Vec<usize> {
    let (response, _) = deliver(ingest, messages).unwrap();
    let mut failed: Vec<usize> =
        response.batch_item_failures.iter().map(|failure| failure.item_identifier.parse().unwrap()).collect();
    failed.sort_unstable();
    failed
}

fn failing(memory: &Memory, operation: &'static str, fails: bool) {
    if fails {
        memory.failing.borrow_mut().insert(operation);
    } else {
        memory.failing.borrow_mut().clear();
    }
}

/// One good message, one forged, one that is no envelope.
fn three() -> [Sent; 3] {
    let forged = Sent::of("dev-1", envelope_by("other", "dev-1", 9, 1), NOON);
    [sent("dev-1", 0), forged, Sent::of("dev-1", b"junk".to_vec(), NOON)]
}

#[test]
fn each_failure_concerns_its_own_messages() {
    for (operation, concerned) in [
        ("devices", vec![0, 1]),
        ("range", vec![0, 1]),
        ("write", vec![0]),
        ("note_seen", vec![0]),
        ("move_mark", vec![0]),
        ("quarantine", vec![1, 2]),
        ("park", vec![1, 2]),
    ] {
        let (memory, clock) = (store(&["dev-1"]), clock());
        let ingest = instance(&memory, &clock);
        failing(&memory, operation, true);
        assert_eq!(failed(&ingest, &three()), concerned, "{operation}");
        failing(&memory, operation, false);
        let again: Vec<Sent> = concerned.iter().map(|index| three()[*index].clone()).collect();
        accept(&ingest, &again);
        let kept = memory.kept.borrow();
        assert_eq!((kept.readings.len(), kept.quarantined.len(), kept.parked.len()), (1, 2, 2), "{operation}");
        let mark = memory.devices.borrow()[&"dev-1".parse().unwrap()].mark;
        assert!(mark.is_some(), "{operation}");
    }
}

#[test]
fn a_doubt_that_cannot_be_settled_concerns_the_doubtful_alone() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let ingest = instance(&memory, &clock);
    accept(&ingest, &[sent("dev-1", 0)]);
    clock.advance(10_000);
    failing(&memory, "devices", true);
    let forged = Sent::of("dev-1", envelope_by("other", "dev-1", 9, 1), NOON);
    assert_eq!(failed(&ingest, &[sent("dev-1", 1), forged]), [1], "it may be another key by now");
    clock.advance(60_000);
    assert_eq!(failed(&ingest, &[sent("dev-1", 2)]), [0], "nothing is believed for longer than a minute");
}

#[test]
fn what_dynamodb_leaves_undone_comes_again() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let ingest = instance(&memory, &clock);
    memory.unwritable.borrow_mut().extend([3, 5]);
    let messages: Vec<Sent> = (0..8).map(|number| sent("dev-1", number)).collect();
    assert_eq!(failed(&ingest, &messages), [3, 5]);
    memory.unwritable.borrow_mut().clear();
    accept(&ingest, &[sent("dev-1", 3), sent("dev-1", 5)]);
    assert_eq!(memory.kept.borrow().readings.len(), 8);
}

#[test]
fn a_body_that_is_no_rule_event_goes_to_the_dead_letters() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let ingest = instance(&memory, &clock);
    let mut event = batch(&[sent("dev-1", 0), sent("dev-1", 1)]);
    event.records[0].body = "not json".into();
    let (response, metrics) = futures_util::FutureExt::now_or_never(ingest.handle(event)).unwrap();
    assert_eq!(response.batch_item_failures.len(), 1);
    assert_eq!(response.batch_item_failures[0].item_identifier, "0");
    assert_eq!(total(&metrics, "MessagesStored"), 1);
}

#[test]
fn an_evidence_that_cannot_be_stored_comes_again() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let ingest = instance(&memory, &clock);
    accept(&ingest, &[sent("dev-1", 0)]);
    let second = [Sent::of("dev-1", envelope("dev-1", 0, 99), NOON + MINUTE)];
    for operation in ["park", "write"] {
        failing(&memory, operation, true);
        assert_eq!(failed(&ingest, &second), [0]);
        failing(&memory, operation, false);
    }
    accept(&ingest, &second);
    let kept = memory.kept.borrow();
    assert_eq!((kept.readings.len(), kept.parked.len()), (2, 1));
}

#[test]
fn an_empty_batch_is_done() {
    let (memory, clock) = (store(&[]), clock());
    let metrics = accept(&instance(&memory, &clock), &[]);
    assert!(metrics.render(vitro_proof::UnixMillis(0)).is_empty());
    assert!(memory.calls.borrow().iter().all(|call| *call == "devices"));
}
