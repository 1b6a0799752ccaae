//! The night as a whole, both functions on stores in memory: outcomes, healing, the deadline, and kills at every point.
#![allow(clippy::unwrap_used, clippy::panic)] // a failure here is a failed test

mod support;

use proptest::prelude::*;
use support::{ATTEMPTS, Cloud, Message, Site, block_event, day, reading, thing};
use vitro_cloud::days::{DayRow, DayState};
use vitro_cloud::devices::{Cause, Status};
use vitro_cloud::queue::{DayTask, DeadlineTask, SummarizeTask};
use vitro_cloud::sources::DeviceSource;
use vitro_cloud::summaries::SummaryDocument;
use vitro_proof::command::Action;
use vitro_proof::reconcile::Outcome;
use vitro_proof::{DayBounds, Envelope, Hash, SequenceNumber, UnixMillis, merkle};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

async fn closed_through(cloud: &Cloud) -> Option<u64> {
    use vitro_cloud::chain::ChainStore;
    cloud.chains.head(&thing()).await.unwrap().closed_through
}

fn raw(cloud: &Cloud, index: u8) -> Vec<u8> {
    cloud.archive.newest()[&format!("raw/dev-1/{}.cbor", day(index))].clone()
}

#[tokio::test]
async fn a_whole_day_matches() {
    let (cloud, mut site) = (Cloud::new(), Site::new());
    let block = site.live(0, 144);
    cloud.store(&site, &[]);
    let (published, actions) = cloud.run(&site, true, vec![Message::Event(block_event(&block))]).await;
    let row = cloud.row(0);
    assert_eq!((row.outcome, row.state, row.accounts), (Some(Outcome::Matched), DayState::Reconciled, 1));
    let account = row.decoded_account().unwrap().unwrap();
    assert_eq!((account.first, account.count, account.healed, account.missing), (0, 144, vec![], vec![]));
    assert_eq!(published, 1);
    let hash = row.block.unwrap().hash;
    assert_eq!(actions, [Action::Settled { day: day(0), block: vitro_proof::BlockNumber(0), hash }]);
    assert_eq!(closed_through(&cloud).await, Some(143));
    let envelopes: Vec<u8> = site.envelopes.values().flatten().copied().collect();
    assert_eq!(raw(&cloud, 0), envelopes, "byte for byte, in order of number");
    let objects = cloud.archive.newest();
    assert_eq!(objects["accounts/dev-1/2026-01-01/0001.cbor"], row.account.unwrap());
    assert_eq!(objects["blocks/dev-1/0000000000.cbor"], block.encode());
    let document = SummaryDocument::read(&objects["summaries/dev-1/2026-01-01.json"]).unwrap();
    assert_eq!(document.day.summaries[1].increase().unwrap().to_string(), "4.29");
    assert_eq!(document.gap_count(), row.gaps);
}

#[tokio::test]
async fn what_was_lost_is_asked_for_and_healed() {
    let (cloud, mut site) = (Cloud::new(), Site::new());
    let block = site.live(0, 50);
    cloud.store(&site, &[3, 4, 5, 40]);
    let (_, actions) = cloud.run(&site, true, vec![Message::Event(block_event(&block))]).await;
    assert_eq!(actions[0], Action::Backfill(vec![(3, 5), (40, 40)]));
    let row = cloud.row(0);
    assert_eq!((row.outcome, row.attempt), (Some(Outcome::Backfilled), 1));
    let account = row.decoded_account().unwrap().unwrap();
    assert_eq!((account.healed, account.missing), (vec![(3, 5), (40, 40)], vec![]));
    assert_eq!(closed_through(&cloud).await, Some(49));
}

#[tokio::test]
async fn what_cannot_be_had_is_incomplete_after_the_attempts() {
    let (cloud, mut site) = (Cloud::new(), Site::new());
    let block = site.live(0, 50);
    cloud.store(&site, &[7]);
    let (published, actions) = cloud.run(&site, false, vec![Message::Event(block_event(&block))]).await;
    assert_eq!(actions, vec![Action::Backfill(vec![(7, 7)]); ATTEMPTS as usize], "asked, and never told it is settled");
    let row = cloud.row(0);
    assert_eq!((row.outcome, row.attempt, row.accounts), (Some(Outcome::Incomplete), ATTEMPTS, 1));
    let account = row.decoded_account().unwrap().unwrap();
    assert_eq!((account.healed, account.missing), (vec![], vec![(7, 7)]));
    assert_eq!(published, 1);
}

#[tokio::test]
async fn a_block_that_signs_for_something_else_is_mismatched() {
    let (cloud, mut site) = (Cloud::new(), Site::new());
    let block = site.live_twisted(0, 20, &|block| block.root = Hash([7; 32]));
    cloud.store(&site, &[]);
    let (published, actions) = cloud.run(&site, true, vec![Message::Event(block_event(&block))]).await;
    let row = cloud.row(0);
    assert_eq!((row.outcome, row.detail.as_str()), (Some(Outcome::Mismatched), "the Merkle root"));
    assert_eq!((published, actions.len()), (1, 0));
    assert_eq!(cloud.kept.parked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_second_envelope_under_a_number_breaks_no_day() {
    for stranger_came_first in [false, true] {
        let (cloud, mut site) = (Cloud::new(), Site::new());
        let block = site.live(0, 20);
        cloud.store(&site, &[]);
        let bounds = DayBounds::of(&support::zone(), day(0)).unwrap();
        let other = site.envelope(9, UnixMillis(bounds.from * 1000), 1);
        cloud.readings.put(reading(9, &other, if stranger_came_first { 1 } else { 5000 }));
        cloud.run(&site, true, vec![Message::Event(block_event(&block))]).await;
        assert_eq!(cloud.row(0).outcome, Some(Outcome::Matched));
        let envelopes: Vec<u8> = site.envelopes.values().flatten().copied().collect();
        assert_eq!(raw(&cloud, 0), envelopes);
        assert_eq!(cloud.archive.newest()["raw/dev-1/2026-01-01.equivocal.cbor"], other, "the evidence stays");
        let device = cloud.devices.device(&thing()).await.unwrap().unwrap();
        assert_eq!((device.status, device.cause), (Status::Suspended, Some(Cause::Equivocation)));
        assert_eq!(device.last_good, Some(SequenceNumber(8)), "the number before the equivocal one");
        let second = if stranger_came_first { 1000 } else { 5000 };
        assert_eq!(device.suspended_at, Some(UnixMillis(second)), "when the second was received");
    }
}

#[tokio::test]
async fn without_a_block_the_deadline_closes_the_day_and_the_block_still_counts() {
    let (cloud, mut site) = (Cloud::new(), Site::new());
    let first = site.live(0, 30);
    let second = site.live(1, 30);
    cloud.store(&site, &[]);
    use vitro_cloud::days::DayStore;
    cloud.days.note_seen(&thing(), day(0), 0, 29).await.unwrap();
    cloud.days.note_seen(&thing(), day(1), 30, 59).await.unwrap();
    cloud.run(&site, true, vec![Message::Event(block_event(&first))]).await;

    let end = DayBounds::of(&support::zone(), day(1)).unwrap().to * 1000;
    let at = |now| {
        Message::Summarize(SummarizeTask::Deadline(DeadlineTask {
            deadline: true,
            now: Some(UnixMillis(now)),
            after: None,
        }))
    };
    let (published, _) = cloud.run(&site, true, vec![at(end + 6 * 3_600_000 - 1)]).await;
    assert_eq!((published, cloud.row(1).outcome), (0, None), "the deadline has not passed");
    let (published, actions) = cloud.run(&site, true, vec![at(end + 6 * 3_600_000)]).await;
    assert_eq!((published, actions.len()), (1, 0));
    let row = cloud.row(1);
    let account = row.decoded_account().unwrap().unwrap();
    assert_eq!((row.outcome, account.block), (Some(Outcome::Missing), None));
    assert_eq!((account.first, account.count), (30, 30), "the run by time, from where the day before ended");
    assert_eq!(closed_through(&cloud).await, Some(29), "a day without block stays open for it");
    let again = cloud.run(&site, true, vec![at(end + 7 * 3_600_000)]).await;
    assert_eq!(again, (0, vec![]), "it is closed once");

    let (published, _) = cloud.run(&site, true, vec![Message::Event(block_event(&second))]).await;
    let row = cloud.row(1);
    assert_eq!((row.outcome, row.accounts, published), (Some(Outcome::Matched), 2, 1));
    assert_eq!(closed_through(&cloud).await, Some(59));
    assert!(cloud.archive.newest().contains_key("accounts/dev-1/2026-01-02/0002.cbor"));
}

#[tokio::test]
async fn a_day_held_up_by_a_lost_block_says_so_and_is_settled_when_it_comes() {
    let (cloud, mut site) = (Cloud::new(), Site::new());
    let blocks: Vec<_> = (0..4).map(|index| site.live(index, 10)).collect();
    cloud.store(&site, &[]);
    let events = |of: &[usize]| of.iter().map(|at| Message::Event(block_event(&blocks[*at]))).collect();
    cloud.run(&site, true, events(&[0, 2, 3])).await;
    for index in [2, 3] {
        let task = DayTask { thing: thing(), day: day(index), attempt: 0 };
        cloud.run(&site, true, vec![Message::Summarize(SummarizeTask::Day(task))]).await;
        let row = cloud.row(index);
        let expected = format!("block {index} is there and waits for block 1");
        assert_eq!((row.outcome, row.detail), (Some(Outcome::Missing), expected));
    }
    assert_eq!(closed_through(&cloud).await, Some(9));
    cloud.run(&site, true, events(&[1])).await;
    for index in 0..4 {
        let row = cloud.row(index);
        assert_eq!((row.outcome, row.detail.as_str()), (Some(Outcome::Matched), ""), "day {index}");
    }
    assert_eq!(closed_through(&cloud).await, Some(39));
}

#[tokio::test]
async fn a_day_is_settled_only_when_it_is_over() {
    let (cloud, mut site) = (Cloud::new(), Site::new());
    let block = site.live(0, 20);
    cloud.store(&site, &[]);
    let end = DayBounds::of(&support::zone(), day(0)).unwrap().to * 1000;
    cloud.clock.set(UnixMillis(end - 1000));
    cloud.deliver(&Message::Event(block_event(&block))).await.unwrap();
    let first = cloud.outbox.take();
    cloud.deliver(&Message::Summarize(first.summarize[0].0.clone())).await.unwrap();
    let again = cloud.outbox.take();
    assert_eq!((again.summarize.len(), again.reconcile.len()), (1, 0));
    assert_eq!(again.summarize[0], (first.summarize[0].0.clone(), 121), "the same message, two minutes after the end");
    assert_eq!((cloud.row(0).outcome, cloud.row(0).block_number()), (None, Some(vitro_proof::BlockNumber(0))));
    cloud.clock.set(UnixMillis(end));
    cloud.run(&site, true, Message::all_of(again)).await;
    assert_eq!(cloud.row(0).outcome, Some(Outcome::Matched));
}

#[tokio::test]
async fn a_number_far_from_all_others_breaks_no_day() {
    use vitro_cloud::days::DayStore;
    for far in [10u64.pow(15), u64::MAX] {
        let (cloud, mut site) = (Cloud::new(), Site::new());
        let blocks = [site.live(0, 20), site.live(1, 20)];
        cloud.store(&site, &[]);
        for index in 0..2 {
            let bounds = DayBounds::of(&support::zone(), day(index)).unwrap();
            let stray = site.envelope(far - u64::from(index), UnixMillis((bounds.from + 3000) * 1000), 1);
            cloud.readings.put(reading(far - u64::from(index), &stray, 1000));
            cloud.days.note_seen(&thing(), day(index), 0, far).await.unwrap();
        }
        cloud.run(&site, true, vec![Message::Event(block_event(&blocks[0]))]).await;
        assert_eq!(cloud.row(0).outcome, Some(Outcome::Matched));
        let task = DayTask { thing: thing(), day: day(1), attempt: 0 };
        cloud.run(&site, true, vec![Message::Summarize(SummarizeTask::Day(task))]).await;
        let row = cloud.row(1);
        let account = row.decoded_account().unwrap().unwrap();
        assert_eq!((row.outcome, account.first, account.count), (Some(Outcome::Missing), 20, 20));
        cloud.run(&site, true, vec![Message::Event(block_event(&blocks[1]))]).await;
        assert_eq!(cloud.row(1).outcome, Some(Outcome::Matched));
        assert_eq!(closed_through(&cloud).await, Some(39));
    }
}

#[tokio::test]
async fn a_later_day_never_closes_what_an_earlier_one_still_has_to_heal() {
    let (cloud, mut site) = (Cloud::new(), Site::new());
    let blocks = [site.live(0, 20), site.live(1, 20), site.live(2, 0), site.live(3, 20)];
    cloud.store(&site, &[5]);
    for block in &blocks {
        cloud.deliver(&Message::Event(block_event(block))).await.unwrap();
    }
    let mut tasks = Message::all_of(cloud.outbox.take());
    let waiting = tasks.remove(0);
    cloud.run(&site, true, tasks).await;
    assert_eq!(cloud.row(3).outcome, Some(Outcome::Matched));
    assert_eq!(closed_through(&cloud).await, None, "number 5 can still come");
    cloud.run(&site, true, vec![waiting]).await;
    assert_eq!(cloud.row(0).outcome, Some(Outcome::Backfilled));
    assert_eq!(closed_through(&cloud).await, Some(59), "over the empty day to the end");
}

#[tokio::test]
async fn an_old_message_changes_nothing() {
    let (cloud, mut site) = (Cloud::new(), Site::new());
    let block = site.live(0, 20);
    cloud.store(&site, &[5]);
    cloud.run(&site, true, vec![Message::Event(block_event(&block))]).await;
    let before = cloud.days.rows();
    for attempt in 0..3 {
        let task = DayTask { thing: thing(), day: day(0), attempt };
        cloud.run(&site, true, vec![Message::Summarize(SummarizeTask::Day(task))]).await;
    }
    cloud.run(&site, true, vec![Message::Event(block_event(&block))]).await;
    assert_eq!(cloud.days.rows(), before);
}

/// What must be the same at the end, whatever happened on the way: rows, archive, closed numbers.
type Facts = (Vec<DayRow>, Vec<(String, Vec<u8>)>, Option<u64>);

fn facts(cloud: &Cloud) -> Facts {
    let mut rows = cloud.days.rows();
    for row in &mut rows {
        // How often a row was written, and which of several equal versions it names, tell of the way only.
        row.revision = 0;
        for object in [&mut row.summary, &mut row.raw].into_iter().flatten() {
            object.version.clear();
        }
    }
    let objects = cloud.archive.newest().into_iter().collect();
    (rows, objects, block_on(closed_through(cloud)))
}

fn scenario() -> (Site, Vec<Message>, Vec<u64>) {
    let mut site = Site::new();
    let blocks = [site.live(0, 12), site.live(1, 9), site.live(2, 7)];
    let messages = blocks.iter().map(|block| Message::Event(block_event(block))).collect();
    (site, messages, vec![2, 3, 15])
}

#[test]
fn a_kill_at_any_point_changes_nothing() {
    let (site, messages, lost) = scenario();
    let calm = Cloud::new();
    calm.store(&site, &lost);
    block_on(calm.run(&site, true, messages.clone()));
    let expected = facts(&calm);
    assert_eq!(expected.0[0].outcome, Some(Outcome::Backfilled));
    assert_eq!(expected.0[2].outcome, Some(Outcome::Matched));

    // Every message is killed at one point, then delivered again: for every point there is.
    for point in 0..200 {
        let cloud = Cloud::new();
        cloud.store(&site, &lost);
        let mut waiting: std::collections::VecDeque<Message> = messages.clone().into();
        let (mut killed, mut published) = (false, 0);
        while let Some(message) = waiting.pop_front() {
            cloud.fuse.set(Some(point));
            if block_on(cloud.deliver(&message)).is_err() {
                killed = true;
                cloud.fuse.set(None);
                block_on(cloud.deliver(&message)).unwrap();
            }
            cloud.fuse.set(None);
            cloud.answer(&site, true);
            let sent = cloud.outbox.take();
            published += sent.publish.len();
            waiting.extend(Message::all_of(sent));
        }
        assert_eq!(facts(&cloud), expected, "killed at point {point}");
        assert!(published >= 3);
        if !killed {
            assert!(point > 20, "kills were tried");
            return;
        }
    }
    panic!("there are more points than were tried");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Messages come in any order, twice, and are killed anywhere.
    #[test]
    fn no_order_repetition_or_kill_changes_an_outcome(
        steps in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..60, prop::bool::weighted(0.3)), 400)
    ) {
        let (site, messages, lost) = scenario();
        let cloud = Cloud::new();
        cloud.store(&site, &lost);
        let mut waiting = messages;
        let mut delivered = steps.into_iter();
        while !waiting.is_empty() {
            // Once the random part is over, the rest comes in order.
            let (at, point, repeated) = delivered.next().map_or((0, None, false), |(at, point, repeated)| {
                (at.index(waiting.len()), Some(point), repeated)
            });
            let message = waiting.remove(at);
            cloud.fuse.set(point);
            let done = block_on(cloud.deliver(&message)).is_ok();
            cloud.fuse.set(None);
            if !done || repeated {
                waiting.push(message);
            }
            cloud.answer(&site, true);
            waiting.extend(Message::all_of(cloud.outbox.take()));
        }
        let rows = cloud.days.rows();
        prop_assert_eq!(rows.len(), 3);
        let outcomes: Vec<_> = rows.iter().map(|row| row.outcome).collect();
        prop_assert_eq!(&outcomes, &[Some(Outcome::Backfilled), Some(Outcome::Backfilled), Some(Outcome::Matched)]);
        for (row, (first, count)) in rows.iter().zip([(0, 12), (12, 9), (21, 7)]) {
            prop_assert_eq!(row.accounts, 1);
            let account = row.decoded_account().unwrap().unwrap();
            let leaves: Vec<_> = (first..first + count)
                .map(|number| Envelope::parse(&site.envelopes[&number]).unwrap().leaf())
                .collect();
            prop_assert_eq!(account.root, merkle::root(&leaves));
            prop_assert_eq!((account.first, account.count), (first, count));
        }
        prop_assert_eq!(rows[0].decoded_account().unwrap().unwrap().healed, vec![(2, 3)]);
        prop_assert_eq!(block_on(closed_through(&cloud)), Some(27));
    }
}
