use std::collections::BTreeSet;

use proptest::prelude::*;
use tempfile::TempDir;
use vitro_proof::crypto::SoftwareSigner;
use vitro_proof::{BlockNumber, DeviceId, Hash, LocalDay, PublicKey, Signer, UnixMillis};

use super::*;

fn thing() -> DeviceId {
    "dev-1".parse().unwrap()
}

fn key(scalar: u8) -> PublicKey {
    SoftwareSigner::from_scalar(&[scalar; 32]).unwrap().public_key()
}

fn try_open(folder: &TempDir) -> Result<Outbox, DeviceError> {
    Outbox::open(&folder.path().join("o.sqlite"), &folder.path().join("o.mark"), &thing(), &key(1))
}

fn open(folder: &TempDir) -> Outbox {
    try_open(folder).unwrap()
}

fn day(text: &str) -> LocalDay {
    text.parse().unwrap()
}

fn store(outbox: &mut Outbox, on: &str, dropped: bool) -> u64 {
    outbox
        .change(|t| t.put_telemetry(day(on), UnixMillis(7), |number| Ok((number.to_be_bytes().to_vec(), dropped))))
        .unwrap()
}

fn numbers(waiting: &[Waiting]) -> Vec<(MessageKind, u64)> {
    waiting.iter().map(|message| (message.kind, message.number)).collect()
}

#[test]
fn an_outbox_belongs_to_one_thing_one_key_and_one_process() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("o.sqlite");
    let first = open(&folder);
    assert!(matches!(try_open(&folder), Err(DeviceError::InUse { .. })));
    assert!(Outbox::inspect(&path).is_ok());
    drop(first);
    let mark = folder.path().join("o.mark");
    assert!(matches!(Outbox::open(&path, &mark, &thing(), &key(2)), Err(DeviceError::ForeignOutbox { .. })));
    let other = "dev-2".parse().unwrap();
    assert!(matches!(Outbox::open(&path, &mark, &other, &key(1)), Err(DeviceError::ForeignOutbox { .. })));
    open(&folder);
    assert!(Outbox::inspect(&folder.path().join("none.sqlite")).is_err());
}

#[test]
fn what_failed_to_be_signed_leaves_no_number_out() {
    let folder = TempDir::new().unwrap();
    let mut outbox = open(&folder);
    assert_eq!(store(&mut outbox, "2026-01-01", false), 0);
    let failed = outbox.change(|t| t.put(MessageKind::Telemetry, |_| Err(DeviceError::Damaged("x".into()))));
    assert!(failed.is_err());
    assert_eq!(store(&mut outbox, "2026-01-01", false), 1);
}

#[test]
fn messages_wait_in_order_until_they_are_acknowledged() {
    use MessageKind::{Block, Reply, Telemetry};
    let folder = TempDir::new().unwrap();
    let mut outbox = open(&folder);
    for dropped in [false, true, false] {
        store(&mut outbox, "2026-01-01", dropped);
    }
    outbox.change(|t| t.put(Block, |_| Ok(vec![1]))).unwrap();
    let waiting = outbox.waiting(0, 10).unwrap();
    assert_eq!(numbers(&waiting), [(Telemetry, 0), (Telemetry, 2), (Block, 0)]);
    assert_eq!(numbers(&outbox.waiting(waiting[0].place, 1).unwrap()), [(Telemetry, 2)]);
    outbox.acknowledge(&[waiting[1].place, 999]).unwrap();
    // What was dropped and what was sent come again, what still waits is not queued twice.
    let there = outbox.change(|t| {
        let there = t.queue_again(0, 5)?;
        t.put(Reply, |_| Ok(vec![2]))?;
        Ok(there)
    });
    assert_eq!(there.unwrap(), 3);
    let waiting = outbox.waiting(0, 10).unwrap();
    assert_eq!(numbers(&waiting), [(Telemetry, 0), (Block, 0), (Telemetry, 1), (Telemetry, 2), (Reply, 0)]);
    assert_eq!(waiting[2].bytes, 1u64.to_be_bytes());
    let places: Vec<i64> = waiting.iter().map(|message| message.place).collect();
    outbox.acknowledge(&places).unwrap();
    assert_eq!(outbox.size().unwrap(), Size { messages: 5, bytes: 26, unacknowledged: 0 });
    let fates = outbox.fates(day("2026-01-01")).unwrap();
    assert!(fates.iter().all(|fate| fate.acknowledged));
    assert_eq!(fates.iter().map(|fate| fate.dropped).collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn a_command_number_is_taken_once() {
    let folder = TempDir::new().unwrap();
    let mut outbox = open(&folder);
    let mut take = |number| outbox.change(|t| t.take_command(number)).unwrap();
    assert_eq!([take(0), take(0), take(5), take(3), take(6)], [true, false, true, false, true]);
    assert_eq!(outbox.command_number().unwrap(), Some(6));
}

fn block(number: u64, on: &str, first: u64, count: u64) -> SealedBlock {
    SealedBlock {
        number: BlockNumber(number),
        hash: Hash([u8::try_from(number).unwrap(); 32]),
        daily: true,
        day: day(on),
        to: 0,
        first,
        count,
        settled: false,
    }
}

#[test]
fn only_settled_days_are_pruned_and_only_when_enough_days_follow() {
    let folder = TempDir::new().unwrap();
    let mut outbox = open(&folder);
    for (number, on) in ["2026-01-01", "2026-01-02", "2026-01-03"].into_iter().enumerate() {
        let number = number as u64;
        store(&mut outbox, on, false);
        store(&mut outbox, on, false);
        outbox
            .change(|t| {
                t.put(MessageKind::Block, |_| Ok(vec![]))?;
                t.put_block(&block(number, on, 2 * number, 2))
            })
            .unwrap();
    }
    let settle = |outbox: &mut Outbox, on: &str, number: u64, hash: u8| {
        outbox.change(|t| t.settle(day(on), BlockNumber(number), &[hash; 32])).unwrap()
    };
    assert!(!settle(&mut outbox, "2026-01-01", 0, 9), "another hash");
    assert!(!settle(&mut outbox, "2026-01-02", 0, 0), "another day");
    assert!(settle(&mut outbox, "2026-01-01", 0, 0));
    assert!(settle(&mut outbox, "2026-01-03", 2, 2));
    let prune = |outbox: &mut Outbox, keep| outbox.change(|t| t.prune(keep)).unwrap();
    assert_eq!(prune(&mut outbox, 0), 0, "all of it still waits");
    let places: Vec<i64> = outbox.waiting(0, 99).unwrap().iter().map(|message| message.place).collect();
    outbox.acknowledge(&places).unwrap();
    assert_eq!(prune(&mut outbox, 3), 0);
    assert_eq!(prune(&mut outbox, 2), 2);
    assert_eq!(outbox.message(MessageKind::Telemetry, 1).unwrap(), None);
    assert_eq!(prune(&mut outbox, 0), 2, "the third day; the second is not settled");
    assert_eq!(outbox.run(2, 2).unwrap().len(), 2);
    assert!(outbox.run(1, 2).is_err());
    assert_eq!(store(&mut outbox, "2026-01-04", false), 6, "numbers go on");
    assert_eq!(outbox.last_daily().unwrap().unwrap().number, BlockNumber(2));
    assert!(outbox.daily(day("2026-01-01")).unwrap().unwrap().settled);
}

/// What lies on the disk of an outbox that nobody has open.
fn copy(folder: &TempDir) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| !path.ends_with("o.mark")).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn an_older_copy_is_refused_once_anything_newer_was_sent() {
    use MessageKind::{Block, Reply};
    for kind in [None, Some(Block), Some(Reply)] {
        let folder = TempDir::new().unwrap();
        let put = |outbox: &mut Outbox| match kind {
            None => store(outbox, "2026-01-01", false),
            Some(kind) => outbox.change(|t| t.put(kind, |_| Ok(vec![1]))).unwrap(),
        };
        let mut outbox = open(&folder);
        put(&mut outbox);
        outbox.release(0, 9).unwrap();
        drop(outbox);
        let backup = copy(&folder);
        let mut outbox = open(&folder);
        put(&mut outbox);
        drop(outbox);
        let newer = copy(&folder);
        let restore = |files: &[(std::path::PathBuf, Vec<u8>)]| {
            for (path, _) in copy(&folder) {
                std::fs::remove_file(path).unwrap();
            }
            files.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
        };
        restore(&backup);
        assert!(try_open(&folder).is_ok(), "what was never sent may be signed again");
        restore(&newer);
        assert_eq!(open(&folder).release(0, 9).unwrap().len(), 2);
        restore(&backup);
        let Err(DeviceError::Behind { sent, next, .. }) = try_open(&folder) else { panic!("{kind:?}") };
        assert_ne!(sent, next);
        restore(&[]);
        assert!(matches!(try_open(&folder), Err(DeviceError::Behind { .. })), "an outbox that was lost");
        restore(&newer);
        assert!(try_open(&folder).is_ok());
        std::fs::remove_file(folder.path().join("o.mark")).unwrap();
        assert!(matches!(try_open(&folder), Err(DeviceError::NoMark { .. })));
        std::fs::write(folder.path().join("o.mark"), "{").unwrap();
        assert!(matches!(try_open(&folder), Err(DeviceError::Damaged(_))));
    }
}

#[test]
fn an_outbox_of_before_the_mark_gets_one() {
    let folder = TempDir::new().unwrap();
    store(&mut open(&folder), "2026-01-01", false);
    let db = rusqlite::Connection::open(folder.path().join("o.sqlite")).unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    drop(db);
    std::fs::remove_file(folder.path().join("o.mark")).unwrap();
    drop(open(&folder));
    let mark = std::fs::read_to_string(folder.path().join("o.mark")).unwrap();
    assert!(mark.contains(r#""next":{"telemetry":1,"block":0,"reply":0}"#), "{mark}");
    std::fs::remove_file(folder.path().join("o.mark")).unwrap();
    assert!(matches!(try_open(&folder), Err(DeviceError::NoMark { .. })));
}

#[derive(Clone, Debug)]
enum Step {
    Store { dropped: bool },
    Fail,
    Acknowledge(usize),
    Again(u64, u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(|dropped| Step::Store { dropped }),
        1 => Just(Step::Fail),
        2 => (0usize..4).prop_map(Step::Acknowledge),
        1 => (0u64..20, 0u64..20).prop_map(|(a, b)| Step::Again(a, b)),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever happens, numbers are contiguous, each has its bytes for good, and all that was not dropped is sent at least once.
    #[test]
    fn numbers_are_contiguous_whatever_happens(steps in proptest::collection::vec(step(), 1..30)) {
        let folder = TempDir::new().unwrap();
        let mut outbox = open(&folder);
        let (mut stored, mut owed) = (0u64, BTreeSet::new());
        for step in steps {
            match step {
                Step::Store { dropped } => {
                    prop_assert_eq!(store(&mut outbox, "2026-01-01", dropped), stored);
                    if !dropped {
                        owed.insert(stored);
                    }
                    stored += 1;
                }
                Step::Fail => {
                    let put = |t: &Transaction<'_>| t.put(MessageKind::Telemetry, |_| Err(DeviceError::Damaged(String::new())));
                    prop_assert!(outbox.change(put).is_err());
                }
                Step::Acknowledge(at) => {
                    let waiting = outbox.waiting(0, 4).unwrap();
                    if let Some(message) = waiting.get(at) {
                        outbox.acknowledge(&[message.place]).unwrap();
                        owed.remove(&message.number);
                    }
                }
                Step::Again(a, b) => {
                    let there = outbox.change(|t| t.queue_again(a, b)).unwrap();
                    let range: Vec<u64> = (a..=b).filter(|number| *number < stored).collect();
                    prop_assert_eq!(there, range.len() as u64);
                    owed.extend(range);
                }
                Step::Reopen => {
                    drop(outbox);
                    outbox = open(&folder);
                }
            }
            let waiting: BTreeSet<u64> = outbox.waiting(0, 100).unwrap().iter().map(|message| message.number).collect();
            prop_assert_eq!(&waiting, &owed);
            let run = outbox.run(0, stored).unwrap();
            prop_assert!(run.iter().enumerate().all(|(number, bytes)| *bytes == (number as u64).to_be_bytes()));
            prop_assert_eq!(outbox.next_number(MessageKind::Telemetry).unwrap(), stored);
        }
    }
}
