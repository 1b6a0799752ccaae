//! Each kind of message gets its own verdict, and no bad message spoils a good one.

use vitro_cloud::devices::{Mark, Status};
use vitro_proof::{Envelope, SequenceNumber, UnixMillis};

use super::world::*;

fn flipped(mut envelope: Vec<u8>, from_end: usize) -> Vec<u8> {
    let at = envelope.len() - from_end;
    envelope[at] ^= 1;
    envelope
}

#[test]
fn a_mixed_batch_is_told_apart() {
    let (memory, clock) = (store(&["dev-1", "dev-2", "asleep", "gone"]), clock());
    let set = |name: &str, status| memory.devices.borrow_mut().get_mut(&name.parse().unwrap()).unwrap().status = status;
    set("asleep", Status::Suspended);
    set("gone", Status::Retired);
    let ingest = instance(&memory, &clock);
    accept(&ingest, &[sent("dev-1", 7)]);
    let good = envelope("dev-1", 8, 1);
    let at = |envelope: Vec<u8>| Sent::of("dev-1", envelope, NOON + 9 * MINUTE);
    let metrics = accept(
        &ingest,
        &[
            at(b"{}".to_vec()),
            at(vec![0xd2; 129 * 1024]),
            at([good.clone(), vec![0]].concat()),
            Sent::of("nobody", envelope("nobody", 0, 1), NOON),
            Sent { thing: "a b".into(), ..sent("dev-1", 8) },
            Sent { thing: "dev-2".into(), ..sent("dev-1", 8) },
            Sent { client: "dev-2".into(), ..sent("dev-1", 8) },
            Sent { principal: "cert-dev-2".into(), ..sent("dev-1", 8) },
            sent("asleep", 0),
            sent("gone", 0),
            at(envelope_by("dev-2", "dev-1", 8, 1)),
            at(flipped(envelope("dev-1", 7, 7), 70)),
            at(envelope("dev-1", 7, 99)),
            Sent { received: NOON + 9 * MINUTE, ..sent("dev-1", 7) },
            sent("dev-1", 8),
            sent("dev-2", 0),
        ],
    );
    for reason in [
        "not_an_envelope",
        "too_large",
        "trailing_bytes",
        "other_certificate",
        "device_suspended",
        "device_retired",
        "bad_signature",
        "altered_copy",
        "equivocation",
    ] {
        assert_eq!(refused(&metrics, reason), 1, "{reason}");
    }
    assert_eq!(refused(&metrics, "unknown_device"), 2);
    assert_eq!(refused(&metrics, "other_device"), 2);
    assert_eq!(total(&metrics, "Refused"), 13);
    assert_eq!(total(&metrics, "Equivocations"), 1);
    assert_eq!(total(&metrics, "Duplicates"), 1);
    assert_eq!(total(&metrics, "MessagesStored"), 2);
    let kept = memory.kept.borrow();
    assert_eq!(kept.readings.len(), 4, "three good ones and the evidence");
    assert_eq!(kept.parked.len(), 13);
    assert_eq!(kept.quarantined.len(), 12, "the evidence lies beside what it contradicts");
    assert!(kept.quarantined.values().all(|document| document.contains(r#""event":{"envelope":"#)));
    let first = kept.readings.values().find(|reading| reading.number() == SequenceNumber(7)).unwrap();
    assert_eq!(first.time, Some(UnixMillis(NOON + 7 * MINUTE)));
}

#[test]
fn bytes_come_back_as_they_were_sent() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let messages: Vec<Sent> = (0..100).map(|number| sent("dev-1", number)).collect();
    let metrics = accept(&instance(&memory, &clock), &messages);
    assert_eq!(total(&metrics, "MessagesStored"), 100);
    let kept = memory.kept.borrow();
    assert_eq!(kept.readings.len(), 100);
    for (reading, message) in kept.readings.values().zip(&messages) {
        assert_eq!(reading.envelope, message.envelope);
        assert_eq!(reading.received.0, message.received);
        assert_eq!(reading.expires, Some(message.received / 1000 + 90 * 86400));
        assert!(reading.flags.is_empty());
    }
}

#[test]
fn well_signed_nonsense_is_stored_and_flagged() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let nonsense = Sent::of("dev-1", sealed("dev-1", "dev-1", 3, b"nonsense"), NOON);
    let metrics = accept(&instance(&memory, &clock), &[nonsense]);
    assert_eq!((total(&metrics, "MessagesStored"), total(&metrics, "Flagged"), total(&metrics, "Refused")), (1, 1, 0));
    let kept = memory.kept.borrow();
    let reading = kept.readings.values().next().unwrap();
    assert_eq!(reading.flags.iter().collect::<Vec<_>>(), ["unreadable_pack"]);
    assert_eq!(reading.time, None);
    assert_eq!(kept.days.len(), 1, "it is noted under the day that it was received on");
}

#[test]
fn a_replay_is_no_sign_of_life() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    accept(&instance(&memory, &clock), &[sent("dev-1", 0), sent("dev-1", 1), sent("dev-1", 2)]);
    let before = memory.kept.borrow().clone();
    let mark = memory.devices.borrow()[&"dev-1".parse().unwrap()].mark;
    assert_eq!(mark.map(|mark| mark.number), Some(SequenceNumber(2)));
    // Another instance, which has not stored them itself, hours later.
    clock.advance(5 * 60 * MINUTE);
    let late = |number| Sent { received: NOON + 300 * MINUTE, ..sent("dev-1", number) };
    let metrics = accept(&instance(&memory, &clock), &[late(2), late(1), late(2)]);
    assert_eq!(total(&metrics, "Duplicates"), 3);
    assert_eq!(*memory.kept.borrow(), before);
    assert_eq!(memory.devices.borrow()[&"dev-1".parse().unwrap()].mark, mark);
}

#[test]
fn a_replay_above_the_mark_is_no_sign_of_life_either() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    accept(&instance(&memory, &clock), &[sent("dev-1", 0)]);
    // Stored by an instance that did not have to move the mark for it.
    accept(&instance(&memory, &clock), &[sent("dev-1", 5)]);
    let before = memory.kept.borrow().clone();
    let mark = memory.devices.borrow()[&"dev-1".parse().unwrap()].mark.unwrap();
    assert_eq!(mark.number, SequenceNumber(0));
    let metrics = accept(&instance(&memory, &clock), &[Sent { received: NOON + 60 * MINUTE, ..sent("dev-1", 5) }]);
    assert_eq!(total(&metrics, "Duplicates"), 1);
    assert_eq!(*memory.kept.borrow(), before);
    assert_eq!(memory.devices.borrow()[&"dev-1".parse().unwrap()].mark, Some(mark));
}

#[test]
fn a_batch_may_hold_a_message_twice_and_two_under_one_number() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let second = Sent { received: sent("dev-1", 4).received + 1, ..Sent::of("dev-1", envelope("dev-1", 4, 77), 0) };
    let metrics = accept(&instance(&memory, &clock), &[second, sent("dev-1", 4), sent("dev-1", 4), sent("dev-1", 4)]);
    assert_eq!(total(&metrics, "MessagesStored"), 1);
    assert_eq!(total(&metrics, "Duplicates"), 2);
    assert_eq!(refused(&metrics, "equivocation"), 1);
    let kept = memory.kept.borrow();
    assert_eq!(kept.readings.len(), 2);
    let parked = kept.parked.values().next().unwrap();
    let detail: serde_json::Value = serde_json::from_str(&parked.detail).unwrap();
    let bytes = sent("dev-1", 4).envelope;
    assert_eq!(detail["known"], Envelope::parse(&bytes).unwrap().leaf().to_string(), "the first received is the first");
    assert_eq!(detail["number"], 4);
}

#[test]
fn the_other_form_of_a_signature_is_the_same_envelope() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let ingest = instance(&memory, &clock);
    accept(&ingest, &[sent("dev-1", 4)]);
    let before = memory.kept.borrow().clone();
    let mut other = sent("dev-1", 4);
    let at = other.envelope.len() - 32;
    let s: [u8; 32] = other.envelope[at..].try_into().unwrap();
    other.envelope[at..].copy_from_slice(&negated(&s));
    other.received += 5;
    let metrics = accept(&ingest, &[other]);
    assert_eq!(total(&metrics, "Duplicates"), 1);
    assert_eq!(*memory.kept.borrow(), before);
}

/// n - s, n being the order of P-256.
fn negated(s: &[u8; 32]) -> [u8; 32] {
    let n: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let mut out = [0; 32];
    let mut borrow = 0i16;
    for i in (0..32).rev() {
        let difference = i16::from(n[i]) - i16::from(s[i]) - borrow;
        borrow = i16::from(difference < 0);
        out[i] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    out
}

#[test]
fn a_closed_day_takes_nothing_more() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let ingest = instance(&memory, &clock);
    accept(&ingest, &[sent("dev-1", 0), sent("dev-1", 1), sent("dev-1", 3)]);
    // The day closes while this instance remembers the entry from before.
    memory.devices.borrow_mut().get_mut(&"dev-1".parse().unwrap()).unwrap().closed_through = Some(SequenceNumber(3));
    clock.advance(10_000);
    let before = memory.kept.borrow().readings.clone();
    let metrics = accept(
        &ingest,
        &[
            sent("dev-1", 2),
            Sent { received: NOON + 9 * MINUTE, ..sent("dev-1", 1) },
            Sent::of("dev-1", envelope("dev-1", 3, 99), NOON + 9 * MINUTE),
        ],
    );
    assert_eq!((refused(&metrics, "late"), total(&metrics, "Late")), (1, 1));
    assert_eq!(total(&metrics, "Duplicates"), 1);
    assert_eq!(refused(&metrics, "equivocation"), 1);
    let kept = memory.kept.borrow();
    assert_eq!(kept.readings, before);
    assert_eq!(kept.quarantined.len(), 2, "the bytes of both are kept");
    assert!(kept.parked.values().all(|parked| parked.object.is_some()));
}

#[test]
fn what_the_time_series_has_forgotten_is_told_by_the_archive() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let id: vitro_proof::DeviceId = "dev-1".parse().unwrap();
    memory.devices.borrow_mut().get_mut(&id).unwrap().closed_through = Some(SequenceNumber(3));
    for number in [0, 1] {
        memory.archive.borrow_mut().insert((id.clone(), number), vec![sent("dev-1", number).envelope]);
    }
    let ingest = instance(&memory, &clock);
    let later = |number: u64, value: i64| Sent::of("dev-1", envelope("dev-1", number, value), NOON + 9 * MINUTE);
    memory.failing.borrow_mut().insert("archived");
    let (response, _) = deliver(&ingest, &[later(0, 0), sent("dev-1", 9)]).unwrap();
    assert!(!response.is_done(), "what cannot be compared comes again");
    memory.failing.borrow_mut().clear();
    let metrics = accept(&ingest, &[later(0, 0), later(1, 99), later(2, 2)]);
    assert_eq!((total(&metrics, "Duplicates"), refused(&metrics, "equivocation")), (1, 1));
    assert_eq!(refused(&metrics, "late"), 1, "nothing was ever kept under it");
    let kept = memory.kept.borrow();
    assert_eq!((kept.readings.len(), kept.quarantined.len()), (1, 2), "a closed day takes nothing more");
    assert_eq!(memory.devices.borrow()[&id].status, Status::Suspended);
}

#[test]
fn nothing_is_refused_on_an_old_registry_entry() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let id = "dev-1".parse().unwrap();
    memory.devices.borrow_mut().get_mut(&id).unwrap().status = Status::Suspended;
    let ingest = instance(&memory, &clock);
    assert_eq!(refused(&accept(&ingest, &[sent("dev-1", 0)]), "device_suspended"), 1);
    memory.devices.borrow_mut().get_mut(&id).unwrap().status = Status::Active;
    clock.advance(6_000);
    assert_eq!(total(&accept(&ingest, &[sent("dev-1", 1)]), "MessagesStored"), 1);
    memory.devices.borrow_mut().get_mut(&id).unwrap().status = Status::Suspended;
    clock.advance(45_000);
    assert_eq!(refused(&accept(&ingest, &[sent("dev-1", 2)]), "device_suspended"), 1, "within a minute of the change");
}

#[test]
fn the_common_case_costs_one_write_and_no_lookup() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let ingest = instance(&memory, &clock);
    accept(&ingest, &[sent("dev-1", 0)]);
    memory.calls.borrow_mut().clear();
    for number in 1..10 {
        accept(&ingest, &[sent("dev-1", number)]);
    }
    assert_eq!(memory.calls.borrow().as_slice(), ["write"; 9]);
    accept(&ingest, &[sent("dev-1", 10)]);
    assert_eq!(memory.calls.borrow()[9..], ["range", "write", "move_mark"]);
    let mark = memory.devices.borrow()[&"dev-1".parse().unwrap()].mark;
    let time = Some(UnixMillis(NOON + 10 * MINUTE));
    let received = UnixMillis(NOON + 10 * MINUTE + 500);
    assert_eq!(mark, Some(Mark { number: SequenceNumber(10), received, time }));
}

#[test]
fn a_days_range_holds_every_number_and_is_written_once_in_64() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let ingest = instance(&memory, &clock);
    for number in 0..300 {
        accept(&ingest, &[sent("dev-1", number)]);
    }
    assert_eq!(memory.count("note_seen"), 5);
    let kept = memory.kept.borrow();
    let day = "2026-11-20".parse().unwrap();
    assert_eq!(kept.days[&("dev-1".parse().unwrap(), day)], (0, 319));
}

#[test]
fn a_message_closes_an_open_gap() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let id = "dev-1".parse().unwrap();
    accept(&instance(&memory, &clock), &[sent("dev-1", 0)]);
    memory.devices.borrow_mut().get_mut(&id).unwrap().gap_since = Some(UnixMillis(NOON));
    accept(&instance(&memory, &clock), &[sent("dev-1", 62)]);
    assert_eq!(memory.devices.borrow()[&id].gap_since, None);
}

#[test]
fn a_flood_is_sampled_and_counted() {
    let (memory, clock) = (store(&["dev-1"]), clock());
    let mut ingest = instance(&memory, &clock);
    ingest.failures_to_suspend = usize::MAX;
    let mut counted = 0;
    for round in 0..10i64 {
        let garbage: Vec<Sent> =
            (0..50i64).map(|i| Sent::of("dev-1", envelope_by("other", "dev-1", 5, i), NOON + round * 50 + i)).collect();
        counted += refused(&accept(&ingest, &garbage), "bad_signature");
    }
    assert_eq!(counted, 500);
    let kept = memory.kept.borrow();
    assert_eq!((kept.quarantined.len(), kept.parked.len()), (104, 104));
    assert_eq!(kept.quarantined.values().filter(|d| d.contains(r#""stands_for":100"#)).count(), 4);
    assert!(memory.count("range") <= 2, "a flood is not looked up for ever");
}

#[test]
fn the_sample_event_is_read() {
    let (memory, clock) = (store(&[]), clock());
    let sample = include_str!("../../../../events/ingest.json");
    let event = serde_json::from_str(sample).unwrap();
    let (response, metrics) = futures_util::FutureExt::now_or_never(instance(&memory, &clock).handle(event)).unwrap();
    assert!(response.is_done());
    assert_eq!(refused(&metrics, "unknown_device"), 1, "its form is right, and nobody registered it");
}
