//! The outbox and `kill -9`: a process that stores without pause is killed again and again, wherever it stands.
#![allow(clippy::unwrap_used, clippy::panic)] // a failure here is a failed test

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use vitro_device::DeviceError;
use vitro_device::outbox::{MessageKind, Outbox};
use vitro_proof::crypto::SoftwareSigner;
use vitro_proof::{DeviceId, Signer, UnixMillis};

const FOLDER: &str = "VITRO_TEST_OUTBOX";
const ROUND: &str = "VITRO_TEST_ROUND";

fn open(folder: &Path) -> Outbox {
    let (thing, key): (DeviceId, _) = ("dev-1".parse().unwrap(), SoftwareSigner::from_scalar(&[1; 32]).unwrap());
    Outbox::open(&folder.join("o.sqlite"), &folder.join("o.mark"), &thing, &key.public_key()).unwrap()
}

/// Stores messages until it is killed, and announces each when it is on the disk. Every change is one of several kinds, some fail.
fn store(folder: &Path, round: &str) {
    let mut outbox = open(folder);
    for step in 0u64.. {
        let bytes = |number: u64| format!("{round} {number} {step}").into_bytes();
        let number = outbox
            .change(|t| {
                let day = "2026-01-01".parse()?;
                let number = t.put_telemetry(day, UnixMillis(7), |number| Ok((bytes(number), false)))?;
                if step % 3 == 0 {
                    t.put(MessageKind::Reply, |_| Ok(bytes(number)))?;
                }
                Ok(number)
            })
            .unwrap();
        let failed = outbox.change(|t| t.put(MessageKind::Telemetry, |_| Err(DeviceError::Damaged("x".into()))));
        assert!(failed.is_err());
        let waiting = outbox.release(0, 8).unwrap();
        if step % 5 == 4 {
            outbox.acknowledge(&[waiting[0].place]).unwrap();
        }
        println!("stored {number} {step}");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn what_was_stored_survives_a_kill_wherever_it_falls() {
    if let (Ok(folder), Ok(round)) = (std::env::var(FOLDER), std::env::var(ROUND)) {
        return store(Path::new(&folder), &round);
    }
    let folder = TempDir::new().unwrap();
    let mut announced: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for round in 0..25u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "what_was_stored_survives_a_kill_wherever_it_falls", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut take = |announced: &mut BTreeMap<u64, Vec<u8>>| {
            let Some(Ok(line)) = lines.next() else { return false };
            if let Some((number, step)) = line.split_once("stored ").and_then(|(_, facts)| facts.split_once(' ')) {
                let number: u64 = number.parse().unwrap();
                let before = announced.insert(number, format!("{round} {number} {step}").into_bytes());
                assert!(before.is_none(), "{number} was given out twice");
            }
            true
        };
        // The first rounds are killed early, in the making of the outbox; the later ones in the middle of the work.
        while announced.len() < usize::try_from(round).unwrap().saturating_sub(5) * 4 && take(&mut announced) {}
        std::thread::sleep(Duration::from_micros(round * 1777 % 30_000));
        child.kill().unwrap();
        while take(&mut announced) {}
        child.wait().unwrap();

        let outbox = open(folder.path());
        let next = outbox.next_numbers().unwrap();
        let run = outbox.run(0, next.telemetry).unwrap();
        for (number, bytes) in &announced {
            assert_eq!(run.get(usize::try_from(*number).unwrap()), Some(bytes), "round {round}");
        }
        // One message more than was announced may be there: the kill fell between the disk and the announcement.
        assert!(run.len() <= announced.len() + usize::try_from(round).unwrap() + 1, "round {round}");
        let waiting = outbox.waiting(0, 100_000).unwrap();
        assert!(waiting.windows(2).all(|pair| pair[0].place < pair[1].place));
        let numbers: Vec<u64> =
            waiting.iter().filter(|m| m.kind == MessageKind::Telemetry).map(|message| message.number).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "in order");
    }
    assert!(announced.len() >= 60, "{} were stored", announced.len());
}
