//! Who is suspended for what, and who is not.

use vitro_cloud::config::Environment;
use vitro_cloud::devices::{Cause, Status};
use vitro_proof::{DeviceId, SequenceNumber, UnixMillis};

use super::memory::Memory;
use super::world::*;
use crate::Ingest;
use crate::config::Config;

fn id(name: &str) -> DeviceId {
    name.parse().unwrap()
}

fn status(memory: &Memory, name: &str) -> Status {
    memory.devices.borrow()[&id(name)].status
}

/// A message under the device's own name and certificate, signed with another key, so many minutes after noon.
fn forged(number: u64, minute: i64) -> Sent {
    Sent::of("dev-1", envelope_by("other", "dev-1", number, minute), NOON + minute * MINUTE)
}

fn good(number: u64, minute: i64) -> Sent {
    Sent { received: NOON + minute * MINUTE, ..sent("dev-1", number) }
}

#[test]
fn an_equivocation_suspends_at_once() {
    let (memory, clock) = (store(&["dev-1", "dev-2"]), clock());
    let ingest = instance(&memory, &clock);
    accept(&ingest, &[sent("dev-1", 0), sent("dev-1", 1), sent("dev-1", 2)]);
    let second = Sent::of("dev-1", envelope("dev-1", 1, 99), NOON + 9 * MINUTE);
    let metrics = accept(&ingest, &[second, good(3, 10), sent("dev-2", 0)]);
    assert_eq!((refused(&metrics, "equivocation"), total(&metrics, "MessagesStored")), (1, 2));
    let device = memory.devices.borrow()[&id("dev-1")].clone();
    assert_eq!((device.status, device.cause), (Status::Suspended, Some(Cause::Equivocation)));
    assert_eq!(device.last_good, Some(SequenceNumber(0)), "the number before the equivocal one");
    assert_eq!(device.suspended_at, Some(UnixMillis(NOON + 10 * MINUTE)), "the newest message of its batch");
    assert_eq!(*memory.tasks.borrow(), [id("dev-1")]);
    assert_eq!(status(&memory, "dev-2"), Status::Active);
    // From then on, whatever its number; what was received before still counts, however late it comes.
    let metrics = accept(&ingest, &[good(4, 11), good(5, 10)]);
    assert_eq!((refused(&metrics, "device_suspended"), total(&metrics, "MessagesStored")), (1, 1));
}

#[test]
fn ten_signatures_that_fail_in_a_row_suspend() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    accept(&instance(&memory, &clock), &[good(0, 0), good(1, 1)]);
    // Several instances count together, and the same delivery counts once.
    for minute in 2..11 {
        for _ in 0..2 {
            accept(&instance(&memory, &clock), &[forged(2, minute)]);
        }
    }
    assert_eq!((status(&memory, "dev-1"), memory.count("newest")), (Status::Active, 0));
    accept(&instance(&memory, &clock), &[forged(2, 11)]);
    let device = memory.devices.borrow()[&id("dev-1")].clone();
    assert_eq!((device.status, device.cause), (Status::Suspended, Some(Cause::SignatureFailures)));
    assert_eq!(device.last_good, Some(SequenceNumber(1)), "the highest that is stored");
    assert_eq!(*memory.tasks.borrow(), [id("dev-1")]);
}

#[test]
fn a_good_message_begins_the_row_anew_and_costs_nothing() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let ingest = instance(&memory, &clock);
    accept(&ingest, &[good(0, 0)]);
    for minute in 1..10 {
        accept(&ingest, &[forged(7, minute)]);
    }
    memory.calls.borrow_mut().clear();
    accept(&ingest, &[good(1, 9)]);
    assert_eq!(memory.count("note_failures") + memory.count("forget_failures"), 0);
    // Received at the same time as the last bad one: that one is not after it either.
    for minute in 10..19 {
        accept(&ingest, &[forged(7, minute)]);
    }
    assert_eq!(status(&memory, "dev-1"), Status::Active, "nine, a good one, nine");
    accept(&ingest, &[forged(7, 19)]);
    assert_eq!(status(&memory, "dev-1"), Status::Suspended, "ten after the good one");
}

#[test]
fn nobody_else_can_have_a_device_suspended() {
    let (memory, clock) = (store(&["dev-1", "dev-2"]), clock());
    let ingest = instance(&memory, &clock);
    let original = sent("dev-1", 0);
    accept(&ingest, std::slice::from_ref(&original));
    let mut spoiled = original.envelope.clone();
    let middle = spoiled.len() / 2;
    spoiled[middle] ^= 1;
    for minute in 1..30 {
        let bad = forged(1, minute);
        let attacks = [
            // Another device's certificate, another client id, no certificate at all, another topic.
            Sent { principal: "cert-dev-2".into(), ..bad.clone() },
            Sent { client: "dev-2".into(), ..bad.clone() },
            Sent { principal: String::new(), ..bad.clone() },
            Sent { thing: "dev-2".into(), ..bad.clone() },
            // A copy of a stored envelope that somebody altered on its way, by anybody's connection.
            Sent { received: bad.received, envelope: spoiled.clone(), ..original.clone() },
            Sent {
                received: bad.received,
                envelope: spoiled.clone(),
                principal: "cert-dev-2".into(),
                ..original.clone()
            },
            // Nonsense that no device has to answer for.
            Sent { envelope: b"nonsense".to_vec(), ..bad.clone() },
            // The very envelope again.
            Sent { received: bad.received, ..original.clone() },
        ];
        accept(&ingest, &attacks);
    }
    assert_eq!((status(&memory, "dev-1"), status(&memory, "dev-2")), (Status::Active, Status::Active));
    assert!(memory.failures.borrow().is_empty() && memory.tasks.borrow().is_empty());
}

#[test]
fn what_an_operator_has_judged_suspends_nobody_again() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let ingest = instance(&memory, &clock);
    let second = Sent::of("dev-1", envelope("dev-1", 0, 99), NOON + 9 * MINUTE);
    accept(&ingest, &[sent("dev-1", 0)]);
    accept(&ingest, std::slice::from_ref(&second));
    assert_eq!(status(&memory, "dev-1"), Status::Suspended);
    let refused_meanwhile = good(1, 20);
    assert_eq!(refused(&accept(&ingest, std::slice::from_ref(&refused_meanwhile)), "device_suspended"), 1);
    // The operator lifts it, and has what was refused meanwhile looked at again: the stored events, as they came.
    memory.judged.borrow_mut().insert(id("dev-1"), UnixMillis(NOON + 9 * MINUTE));
    let active = memory.devices.borrow()[&id("dev-1")].activated(None).unwrap().unwrap();
    memory.devices.borrow_mut().insert(id("dev-1"), active);
    clock.advance(6_000);
    let metrics = accept(&ingest, &[refused_meanwhile, second]);
    assert_eq!((total(&metrics, "MessagesStored"), refused(&metrics, "equivocation")), (1, 1));
    assert_eq!(status(&memory, "dev-1"), Status::Active, "the old evidence came again");
    // New evidence counts.
    accept(&ingest, &[Sent::of("dev-1", envelope("dev-1", 1, 98), NOON + 30 * MINUTE)]);
    assert_eq!(status(&memory, "dev-1"), Status::Suspended);
}

#[test]
fn what_cannot_be_acted_on_comes_again() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let ingest = instance(&memory, &clock);
    accept(&ingest, &[sent("dev-1", 0)]);
    let second = [Sent::of("dev-1", envelope("dev-1", 0, 99), NOON + 9 * MINUTE)];
    for failing in ["suspend", "status"] {
        memory.failing.borrow_mut().insert(failing);
        let (response, _) = deliver(&ingest, &second).unwrap();
        assert!(!response.is_done(), "{failing}");
        memory.failing.borrow_mut().clear();
    }
    assert!(memory.tasks.borrow().is_empty());
    accept(&ingest, &second);
    assert_eq!((status(&memory, "dev-1"), memory.tasks.borrow().len()), (Status::Suspended, 1));
}

#[test]
fn how_many_failures_it_takes_is_a_setting() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let env = Environment::of(&[
        ("VITRO_CUSTOMER", "acme"),
        ("VITRO_STAGE", "dev"),
        ("VITRO_READINGS_TABLE", "r"),
        ("VITRO_DEVICES_TABLE", "d"),
        ("VITRO_DAYS_TABLE", "y"),
        ("VITRO_PARKED_TABLE", "p"),
        ("VITRO_QUARANTINE_BUCKET", "q"),
        ("VITRO_STATUS_QUEUE_URL", "u"),
        ("VITRO_ARCHIVE_BUCKET", "a"),
        ("VITRO_DATA_KEYS_SECRET", "k"),
        ("VITRO_FAILURES_TO_SUSPEND", "2"),
    ]);
    let ingest = Ingest::new(&memory, &clock, &Config::read(&env).unwrap());
    accept(&ingest, &[forged(0, 1)]);
    assert_eq!(status(&memory, "dev-1"), Status::Active);
    accept(&ingest, &[forged(0, 2)]);
    let device = memory.devices.borrow()[&id("dev-1")].clone();
    assert_eq!((device.status, device.last_good), (Status::Suspended, None), "nothing was ever stored");
}
