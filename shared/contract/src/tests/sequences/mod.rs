//! Long sequences of calls by anybody: most as the parties make them, some not.
//!
//! [`world`] knows the ledger only from what was called, by whom, and whether it was accepted; it checks every answer against that. The
//! contract's own functions decide nothing there, so a check that is missing in the contract is seen.

mod checks;
mod owed;
mod pool;
mod rules;
mod world;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::{OuRole, Role};
use pool::{CHAINS, DAYS, DEVICES, Pick, REVISIONS};
use world::World;

/// Somebody with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Caller {
    /// A party, or somebody whose MSP plays no role.
    party: Option<Role>,
    /// What the certificate is for.
    ou: OuRole,
}

/// Which account comes with a block, or alone.
#[derive(Clone, Copy, Debug)]
enum Attested {
    /// One that agrees.
    Agrees,
    /// One with another root.
    Differs,
    /// One that misses a number.
    Misses,
    /// One that agrees, without the block.
    Alone,
    /// One that says that no block came.
    NoBlock,
}

/// What an agreement, an amendment or a draft says.
#[derive(Clone, Copy, Debug)]
struct Terms {
    /// Which of three ids.
    id: usize,
    /// In quarters.
    price: i64,
    /// The day on which it begins, from the first.
    from: usize,
    /// The day after it on which it ends, if it does.
    days: Option<usize>,
    /// Whether it is about the gauge, too.
    wide: bool,
    /// Which authorities it pins.
    pinned: Pinned,
    /// Whether SP pays, and not DV.
    sp_pays: bool,
}

/// Which authorities an agreement pins.
#[derive(Clone, Copy, Debug)]
struct Pinned {
    /// The customer's.
    customers: bool,
    /// One that the operator made for itself.
    operators: bool,
}

/// A call, or several by several callers. Proposals are counted from the newest back.
#[derive(Clone, Debug)]
enum Step {
    Configure,
    Register { device: usize, revision: u8 },
    Succeed { device: usize },
    Certify { device: usize, chain: usize },
    ApproveDevice { device: usize, role: Role, stale: bool },
    ApproveByBoth { device: usize },
    Propose { terms: Terms, role: Role },
    Amend { terms: Terms, stale: bool, role: Role },
    Terminate { id: usize, last: usize, stale: bool, role: Role },
    Approve { pick: usize, role: Role },
    ApproveByAll { pick: usize },
    Publish { items: Vec<(usize, Pick, Attested, Option<u64>)> },
    PublishDays { device: usize, days: usize },
    Halt { device: usize, last_good: Option<u64>, for_good: bool },
    Reinstate { device: usize },
    Exchange { day: usize, last_good: Option<u64>, first: u64 },
    Close { id: usize, from: usize, days: usize },
    Correct { id: usize, version: usize },
    Alive { south: bool, ago: i64, devices: usize },
    Ask { what: usize },
}

fn roles() -> impl Strategy<Value = Role> {
    proptest::sample::select(Role::ALL.to_vec())
}

fn callers() -> impl Strategy<Value = Caller> {
    let ous = proptest::sample::select(vec![OuRole::Client, OuRole::Admin, OuRole::Peer, OuRole::Orderer]);
    (proptest::option::weighted(0.8, roles()), ous).prop_map(|(party, ou)| Caller { party, ou })
}

fn terms() -> impl Strategy<Value = Terms> {
    let from = prop_oneof![3 => Just(0), 2 => 0..DAYS];
    let pinned = (any::<bool>(), proptest::bool::weighted(0.2))
        .prop_map(|(customers, operators)| Pinned { customers, operators });
    (
        0usize..3,
        0i64..20,
        from,
        proptest::option::weighted(0.2, 0..DAYS),
        any::<bool>(),
        pinned,
        proptest::bool::weighted(0.2),
    )
        .prop_map(|(id, price, from, days, wide, pinned, sp_pays)| Terms {
            id,
            price,
            from,
            days,
            wide,
            pinned,
            sp_pays,
        })
}

fn picks() -> impl Strategy<Value = Pick> {
    prop_oneof![
        8 => (0..DAYS).prop_map(Pick::Main),
        2 => (0..DAYS).prop_map(Pick::Twin),
        1 => (0..DAYS).prop_map(Pick::Clone),
        1 => (0..DAYS).prop_map(Pick::Interim),
    ]
}

fn attested() -> impl Strategy<Value = Attested> {
    prop_oneof![
        6 => Just(Attested::Agrees),
        2 => Just(Attested::Differs),
        1 => Just(Attested::Misses),
        2 => Just(Attested::Alone),
        1 => Just(Attested::NoBlock),
    ]
}

fn newest() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0usize..2, 1 => 0usize..32]
}

fn steps() -> impl Strategy<Value = Step> {
    let devices = 0..DEVICES;
    let good = || proptest::option::weighted(0.8, 0u64..DAYS as u64);
    let number = proptest::option::weighted(0.4, 1u64..5);
    let items = proptest::collection::vec((devices.clone(), picks(), attested(), number), 1..6);
    prop_oneof![
        1 => Just(Step::Configure),
        4 => (devices.clone(), prop_oneof![12 => Just(0u8), 1 => 1..3u8, 2 => 3..REVISIONS])
            .prop_map(|(device, revision)| Step::Register { device, revision }),
        2 => devices.clone().prop_map(|device| Step::Succeed { device }),
        4 => (devices.clone(), 0..CHAINS).prop_map(|(device, chain)| Step::Certify { device, chain }),
        3 => (devices.clone(), roles(), any::<bool>())
            .prop_map(|(device, role, stale)| Step::ApproveDevice { device, role, stale }),
        8 => devices.clone().prop_map(|device| Step::ApproveByBoth { device }),
        4 => (terms(), roles()).prop_map(|(terms, role)| Step::Propose { terms, role }),
        4 => (terms(), proptest::bool::weighted(0.2), roles())
            .prop_map(|(terms, stale, role)| Step::Amend { terms, stale, role }),
        2 => (0usize..3, 1..DAYS, proptest::bool::weighted(0.2), roles())
            .prop_map(|(id, last, stale, role)| Step::Terminate { id, last, stale, role }),
        4 => (newest(), roles()).prop_map(|(pick, role)| Step::Approve { pick, role }),
        6 => newest().prop_map(|pick| Step::ApproveByAll { pick }),
        5 => items.prop_map(|items| Step::Publish { items }),
        8 => (devices.clone(), 1..=DAYS).prop_map(|(device, days)| Step::PublishDays { device, days }),
        1 => (devices.clone(), good(), proptest::bool::weighted(0.15))
            .prop_map(|(device, last_good, for_good)| Step::Halt { device, last_good, for_good }),
        3 => devices.prop_map(|device| Step::Reinstate { device }),
        2 => (0..DAYS, good(), 0u64..3).prop_map(|(day, last_good, first)| Step::Exchange { day, last_good, first }),
        8 => (0usize..3, 0..DAYS, 1usize..4).prop_map(|(id, from, days)| Step::Close { id, from, days }),
        2 => (0usize..3, 0usize..4).prop_map(|(id, version)| Step::Correct { id, version }),
        2 => (any::<bool>(), -1i64..4, 0usize..4).prop_map(|(south, ago, devices)| Step::Alive { south, ago, devices }),
        4 => (0usize..64).prop_map(|what| Step::Ask { what }),
    ]
}

/// How most ledgers begin: devices and agreements that the parties accept. Each of these steps is left out now and then.
fn openings() -> impl Strategy<Value = Vec<Step>> {
    let mut all = Vec::new();
    for device in [0, 1, 3] {
        all.push(Step::Register { device, revision: 0 });
    }
    all.push(Step::Succeed { device: 2 });
    for role in [Role::Rc, Role::Dv] {
        all.extend([0, 2, 3].map(|device| Step::ApproveDevice { device, role, stale: false }));
    }
    // The one of the south gets a table that its later days name, and RC and DV have not seen.
    all.push(Step::Register { device: 3, revision: 3 });
    // The second one of the north counts by its chains at first, where its authority is pinned.
    all.extend((0..DEVICES).map(|device| Step::Certify { device, chain: device % 2 }));
    all.push(Step::Certify { device: 1, chain: 0 });
    let drafts = proptest::collection::vec(terms(), 6);
    let days = proptest::collection::vec(1..=DAYS, DEVICES);
    (drafts, days, proptest::collection::vec(proptest::bool::weighted(0.9), 40)).prop_map(
        move |(drafts, days, kept)| {
            let mut steps = all.clone();
            for (n, draft) in drafts.into_iter().enumerate() {
                let terms = if n < 3 { Terms { id: n, from: 0, days: None, ..draft } } else { draft };
                steps.push(match n < 3 {
                    true => Step::Propose { terms, role: Role::Sp },
                    false => Step::Amend { terms, stale: false, role: Role::Dv },
                });
                steps.push(Step::ApproveByAll { pick: 0 });
            }
            steps.extend(days.into_iter().enumerate().map(|(device, days)| Step::PublishDays { device, days }));
            steps.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(step, _)| step).collect()
        },
    )
}

/// A step is made by whom it is for, or by somebody else.
fn sequences() -> impl Strategy<Value = Vec<(Step, Option<Caller>)>> {
    let tail = proptest::collection::vec((steps(), proptest::option::weighted(0.15, callers())), 60..140);
    (openings(), tail).prop_map(|(opening, tail)| opening.into_iter().map(|step| (step, None)).chain(tail).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_sequence_of_calls_cheats_anybody(sequence in sequences()) {
        let mut world = World::new();
        for (step, by) in &sequence {
            world.take(step, *by);
        }
        world.finish();
    }
}

/// The sequences above are worth something only if they go deep: amendments in force, statements with lines by them, forks tried.
#[test]
fn the_sequences_go_deep() {
    let mut runner = TestRunner::deterministic();
    let mut seen = world::Seen::default();
    for _ in 0..24 {
        let mut world = World::new();
        for (step, by) in &sequences().new_tree(&mut runner).unwrap().current() {
            world.take(step, *by);
        }
        seen.add(&world.finish());
    }
    assert!(seen.is_deep(), "{seen:?}");
}
