use proptest::prelude::*;

use super::*;

fn row() -> DayRow {
    DayRow::new("dev-1".parse().unwrap(), "2026-01-02".parse().unwrap())
}

fn block(number: u64, byte: u8) -> DayBlock {
    DayBlock {
        number: BlockNumber(number),
        hash: Hash([byte; 32]),
        object: ObjectRef { key: format!("blocks/dev-1/{number:010}.cbor"), version: "v".into() },
        first: 0,
        count: 10,
        previous_daily: None,
    }
}

fn settlement(outcome: Outcome, block: Option<u64>, missing: Vec<Range>) -> Settlement {
    Settlement {
        outcome,
        account: Account {
            thing: "dev-1".parse().unwrap(),
            day: "2026-01-02".parse().unwrap(),
            block: block.map(BlockNumber),
            first: 0,
            count: 10,
            root: Hash([1; 32]),
            summaries_digest: Hash([2; 32]),
            healed: vec![],
            missing,
        },
        detail: String::new(),
        summary: ObjectRef { key: "s".into(), version: "1".into() },
        raw: ObjectRef { key: "r".into(), version: "1".into() },
        gaps: 0,
    }
}

#[test]
fn a_block_is_taken_once_and_never_replaced() {
    let mut row = row();
    assert_eq!(row.accept_block(block(0, 1)), Ok(true));
    assert_eq!(row.accept_block(block(0, 1)), Ok(false));
    assert_eq!(row.accept_block(block(0, 2)), Err(DayFault::OtherBlock(BlockNumber(0))));
    assert_eq!(row.block_number(), Some(BlockNumber(0)));
}

#[test]
fn an_old_message_never_touches_a_newer_outcome() {
    let mut row = row();
    row.accept_block(block(0, 1)).unwrap();
    let basis = Some(BlockNumber(0));
    assert_eq!(row.standing(basis, 0).unwrap(), Standing::Due);
    assert!(row.ask(&[(3, 4)], [1; 16]));
    assert!(row.hand_over(1));
    assert!(!row.hand_over(1));
    assert_eq!(row.standing(basis, 0).unwrap(), Standing::Stale);
    assert_eq!(row.standing(basis, 1).unwrap(), Standing::Due);
    assert!(row.settle(&settlement(Outcome::Backfilled, Some(0), vec![])));
    assert_eq!(row.standing(basis, 1).unwrap(), Standing::Settled);
    assert_eq!(row.standing(basis, 0).unwrap(), Standing::Stale);
    let late = ObjectRef { key: "s".into(), version: "2".into() };
    assert!(!row.summarized(basis, 1, &late).unwrap());
    assert_eq!(row.summary.unwrap().version, "1");
}

#[test]
fn a_block_after_the_deadline_gets_an_account_of_its_own() {
    let mut row = row();
    assert!(row.settle(&settlement(Outcome::Missing, None, vec![])));
    assert!(!row.settle(&settlement(Outcome::Missing, None, vec![])));
    assert_eq!(row.standing(None, 0).unwrap(), Standing::Settled);
    assert!(row.published(1, "tx1"));
    row.accept_block(block(0, 1)).unwrap();
    assert_eq!(row.state, DayState::Open);
    assert_eq!(row.standing(None, 0).unwrap(), Standing::Stale);
    assert_eq!(row.standing(Some(BlockNumber(0)), 0).unwrap(), Standing::Due);
    assert!(row.settle(&settlement(Outcome::Matched, Some(0), vec![])));
    assert_eq!((row.accounts, row.state), (2, DayState::Reconciled));
    assert!(!row.published(1, "tx1"), "the older account's transaction does not hide that the newer one waits");
    assert!(row.published(2, "tx2"));
    assert!(!row.published(2, "tx2"));
    assert_eq!(row.state, DayState::Published);
}

#[test]
fn what_was_parked_can_be_published_later() {
    let mut row = row();
    row.settle(&settlement(Outcome::Matched, None, vec![]));
    assert!(row.park(1, "refused"));
    assert!(!row.park(1, "refused"));
    assert_eq!(row.state, DayState::Parked);
    assert!(row.published(1, "tx"));
    assert_eq!((row.state, row.parked), (DayState::Published, None));
}

#[test]
fn healed_is_what_came_after_it_was_asked_for() {
    let mut row = row();
    row.ask(&[(3, 5), (9, 9)], [1; 16]);
    row.ask(&[(4, 4), (9, 9)], [2; 16]);
    assert_eq!(row.asked, vec![(3, 5), (9, 9)]);
    assert_eq!(row.healed(&[(4, 4), (20, 30)]), vec![(3, 3), (5, 5), (9, 9)]);
    assert_eq!(row.healed(&[(0, u64::MAX)]), vec![]);
}

#[test]
fn a_reply_counts_for_the_newest_command_alone() {
    let mut row = row();
    row.ask(&[(1, 1)], [1; 16]);
    assert!(!row.replied([2; 16], "done"));
    assert!(row.replied([1; 16], "done"));
    assert!(!row.replied([1; 16], "done"));
}

proptest! {
    #[test]
    fn ranges_behave_like_sets(
        a in proptest::collection::btree_set(0u64..60, 0..40),
        b in proptest::collection::btree_set(0u64..60, 0..40),
    ) {
        use vitro_proof::account::ranges_of;
        let (ra, rb) = (ranges_of(a.iter().copied()), ranges_of(b.iter().copied()));
        prop_assert_eq!(union(&ra, &rb), ranges_of(a.union(&b).copied()));
        prop_assert_eq!(difference(&ra, &rb), ranges_of(a.difference(&b).copied()));
    }
}
