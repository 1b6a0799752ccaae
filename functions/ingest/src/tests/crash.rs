//! A kill at any write and a delivery again change no number at the end.

use proptest::prelude::*;
use vitro_cloud::devices::{Device, Mark, Status};
use vitro_proof::UnixMillis;

use super::memory::{Kept, Memory};
use super::world::*;

/// What may be sent: each a message with its own verdict.
fn message(kind: u8, number: u64) -> Sent {
    let good = sent("dev-1", number);
    match kind {
        0..=5 => good,
        6 => sent("dev-2", number),
        7 => Sent { received: good.received + 30 * MINUTE, ..good },
        8 => Sent::of("dev-1", envelope("dev-1", number, 1_000_000), good.received + 40 * MINUTE),
        9 => Sent::of("dev-1", envelope_by("dev-2", "dev-1", number, 1), good.received + 50 * MINUTE),
        13..=15 => Sent::of("dev-2", envelope_by("dev-1", "dev-2", number, 1), good.received + 50 * MINUTE),
        10 => Sent::of("dev-1", sealed("dev-1", "dev-1", number + 500, b"nonsense"), good.received + 60 * MINUTE),
        _ => Sent::of("dev-1", vec![kind; 3], good.received),
    }
}

/// Delivers the batches until each is done. `lives` says after how many writes each attempt is killed; then it runs undisturbed.
fn run(batches: &[Vec<Sent>], lives: &[usize]) -> (Memory, u32) {
    let (memory, clock) = (store(&["dev-1", "dev-2"]), clock());
    let mut kills = 0;
    let mut lives = lives.iter();
    let mut ingest = instance(&memory, &clock);
    for batch in batches {
        loop {
            memory.life.set(lives.next().copied());
            if let Some((response, _)) = deliver(&ingest, batch) {
                assert!(response.is_done());
                break;
            }
            // The process is gone, with all that it remembered.
            kills += 1;
            ingest = instance(&memory, &clock);
        }
    }
    (memory, kills)
}

fn kept(memory: &Memory) -> Kept {
    memory.kept.borrow().clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn kills_change_nothing(
        kinds in proptest::collection::vec(proptest::collection::vec((0u8..16, 0u64..40), 1..12), 1..5),
        lives in proptest::collection::vec(0usize..14, 0..25),
    ) {
        let batches: Vec<Vec<Sent>> =
            kinds.iter().map(|batch| batch.iter().map(|(kind, number)| message(*kind, *number)).collect()).collect();
        let (undisturbed, none) = run(&batches, &[]);
        let (killed, _) = run(&batches, &lives);
        prop_assert_eq!(none, 0);
        prop_assert_eq!(kept(&killed), kept(&undisturbed));
        for (id, device) in killed.devices.borrow().iter() {
            // The mark's time is for people: whose it is may depend on what was known.
            let place = |mark: Option<Mark>| mark.map(|mark| (mark.number, mark.received));
            let other = &undisturbed.devices.borrow()[id];
            prop_assert_eq!(place(device.mark), place(other.mark));
            let standing = |device: &Device| (device.status, device.suspended_at, device.last_good, device.cause);
            prop_assert_eq!(standing(device), standing(other));
            let is_told = killed.tasks.borrow().contains(id);
            prop_assert_eq!(is_told, device.status == Status::Suspended, "whoever applies the status is told");
        }
    }
}

#[test]
fn twenty_kills_in_one_batch_change_nothing() {
    let batch: Vec<Sent> = (0..100).map(|number| sent("dev-1", number)).collect();
    let (undisturbed, _) = run(std::slice::from_ref(&batch), &[]);
    let (killed, kills) = run(&[batch], &[4; 20]);
    assert_eq!(kills, 20);
    assert_eq!(kept(&killed), kept(&undisturbed));
    assert_eq!(killed.count("write"), 100, "what is stored is not written again");
    let mark = killed.devices.borrow()[&"dev-1".parse().unwrap()].mark.unwrap();
    assert_eq!(mark.received, UnixMillis(NOON + 99 * MINUTE + 500));
}
