//! Devices that sealed every branch of their chains beforehand, since signing takes longer than all the rest.

use std::sync::OnceLock;

use vitro_proof::summary::{self, Figures};
use vitro_proof::{
    Account, Block, BlockMessage, BlockNumber, Decimal, Envelope, Hash, LocalDay, PublicKey, SensorTable, Span,
};

use super::super::pki::{Authority, days};
use super::super::{device, first_day};
use crate::DeviceEntry;
use crate::testing::{TestDay, TestDevice};

/// Days of each chain.
pub(super) const DAYS: usize = 6;
/// Devices: two in the north, one that succeeds the first of them, one in the south.
pub(super) const DEVICES: usize = 4;

/// One of a device's blocks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pick {
    /// Of the chain that it goes on with.
    Main(usize),
    /// Another block under the same number, after the same blocks.
    Twin(usize),
    /// Of the chain that a clone of its key went on with.
    Clone(usize),
    /// An interim block under a number of the main chain, after the block before that.
    Interim(usize),
}

/// A block with what the test knows of it, which made it.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) day: TestDay,
    pub(super) number: u64,
    pub(super) at: LocalDay,
    /// Whether it is a whole day's.
    pub(super) daily: bool,
    /// The hash of the block before it: in these chains always a daily one.
    pub(super) previous: Option<Hash>,
    /// What its counter counted.
    pub(super) counted: Decimal,
    /// The version of the sensor table that it names.
    pub(super) table: u64,
}

/// Chains that each device has, and some that it should better not have.
pub(super) const CHAINS: usize = 4;

/// A chain of certificates with what it is worth.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) certificates: Vec<Vec<u8>>,
    /// Whether the operator's own authority signed it, and not the customer's.
    pub(super) operators: bool,
    /// The days at whose end it is good.
    pub(super) days: std::ops::Range<usize>,
}

/// The customer's authority and the operator's own, which carry one name.
pub(super) fn authorities() -> &'static [Authority; 2] {
    static AUTHORITIES: OnceLock<[Authority; 2]> = OnceLock::new();
    AUTHORITIES.get_or_init(|| [(); 2].map(|()| Authority::root("Customer", days(at(0), at(DAYS)))))
}

/// One that ends, the one that renews it, one that is good to nobody because what is between is left out, and the operator's own.
fn chains(name: &str, key: &PublicKey) -> Vec<Chain> {
    let [customers, operators] = authorities();
    let plant = customers.below("Plant", days(at(0), at(DAYS)));
    let (early, late) = (days(at(1), at(2)), days(at(3), at(DAYS)));
    let chain = |certificates, operators, days| Chain { certificates, operators, days };
    vec![
        chain(vec![customers.certify(name, key, early)], false, 1..3),
        chain(vec![plant.certify(name, key, late), plant.der.clone()], false, 3..DAYS + 1),
        chain(vec![plant.certify(name, key, late)], false, 0..0),
        chain(vec![operators.certify(name, key, days(at(0), at(DAYS))), operators.der.clone()], true, 0..DAYS + 1),
    ]
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) entry: DeviceEntry,
    pub(super) chains: Vec<Chain>,
    main: Vec<Sealed>,
    twin: Vec<Sealed>,
    clone: Vec<Sealed>,
    interim: Vec<Sealed>,
}

impl Member {
    pub(super) fn block(&self, pick: Pick) -> &Sealed {
        match pick {
            Pick::Main(n) => &self.main[n],
            Pick::Twin(n) => &self.twin[n],
            Pick::Clone(n) => &self.clone[n],
            Pick::Interim(n) => &self.interim[n],
        }
    }

    /// The block that has this hash.
    pub(super) fn by_hash(&self, hash: Hash) -> Option<&Sealed> {
        self.main.iter().chain(&self.twin).chain(&self.clone).find(|sealed| sealed.day.hash == hash)
    }
}

/// Entries that a device may have.
pub(super) const REVISIONS: u8 = 5;

/// The entry: as it is at first, with another certificate (1, 2), with a second sensor table (3), with both (4).
pub(super) fn entry(device: usize, revision: u8) -> DeviceEntry {
    let mut entry = pool()[device].entry.clone();
    if !matches!(revision, 0 | 3) {
        entry.certificate = Hash([revision; 32]);
    }
    if revision >= 3 {
        let sensors = entry.tables[0].sensors().to_vec();
        entry.tables.push(SensorTable::new(2, sensors).unwrap());
    }
    entry
}

/// The version of the sensor table that a device's blocks of a day name: the one of the south gets a second one.
fn table(device: usize, day: usize) -> u64 {
    if device == 3 && day >= 2 { 2 } else { 1 }
}

/// The days from the first on.
pub(super) fn at(n: usize) -> LocalDay {
    std::iter::successors(Some(first_day()), |day| day.next()).nth(n).unwrap()
}

pub(super) fn pool() -> &'static [Member] {
    static POOL: OnceLock<Vec<Member>> = OnceLock::new();
    POOL.get_or_init(|| {
        let mut members: Vec<Member> = (0..DEVICES).map(member).collect();
        members[2].entry.metering_point = members[0].entry.metering_point.clone();
        members[3].entry.shard = "south".parse().unwrap();
        members
    })
}

fn member(index: usize) -> Member {
    let seed = u8::try_from(index).unwrap() + 1;
    let mut main_dev = device(&format!("dev-{index}"), seed);
    let mut clone_dev = device(&format!("dev-{index}"), seed);
    let [mut main, mut twin, mut clone, mut interim]: [Vec<Sealed>; 4] = Default::default();
    for n in 0..DAYS {
        (main_dev.table_version, clone_dev.table_version) = (table(index, n), table(index, n));
        let increase = |base: i64| Decimal::from(base + i64::try_from(n).unwrap());
        // A first day has no opening, so its counter counts from its first value: nothing.
        let sealed = |day: TestDay, before: Option<Hash>, increase: Decimal| Sealed {
            day,
            number: n as u64,
            at: at(n),
            daily: true,
            previous: before,
            counted: if n == 0 { Decimal::zero() } else { increase },
            table: table(index, n),
        };
        let before = main.last().map(|sealed| sealed.day.hash);
        let part = interim_of(&main_dev, &main_dev.sealed(Some(&increase(50))).unwrap(), n as u64);
        interim.push(Sealed { daily: false, ..sealed(part, before, increase(50)) });
        twin.push(sealed(main_dev.sealed(Some(&increase(100))).unwrap(), before, increase(100)));
        main.push(sealed(main_dev.seal_day(Some(&increase(1))).unwrap(), before, increase(1)));
        let before = clone.last().map(|sealed| sealed.day.hash);
        clone.push(sealed(clone_dev.seal_day(Some(&increase(1_000))).unwrap(), before, increase(1_000)));
    }
    let chains = chains(main_dev.thing().as_str(), &main_dev.entry.public_key);
    Member { entry: main_dev.entry.clone(), chains, main, twin, clone, interim }
}

/// A day without its last two hours, as it is sealed on demand.
fn interim_of(dev: &TestDevice, day: &TestDay, number: u64) -> TestDay {
    let message = BlockMessage::decode(&day.message).unwrap();
    let mut block = Block::decode(Envelope::parse(&message.envelope).unwrap().payload()).unwrap();
    block.span = Span::Interim;
    block.bounds.to -= 2 * 3_600;
    let mut summaries = summary::decode(&message.summaries).unwrap();
    for summary in &mut summaries {
        if let Some(Figures::Counter { grid, .. }) = &mut summary.figures {
            grid.truncate(grid.len() - 8);
        }
    }
    let summaries = summary::encode(&summaries);
    block.summaries_digest = summary::digest(&message.salt, &summaries);
    let message = BlockMessage::seal(BlockNumber(number), &block, message.salt, summaries, dev.signer()).unwrap();
    let hash = Envelope::parse(&message.envelope).unwrap().hash();
    TestDay { message: message.encode(), hash, account: day.account.clone() }
}

/// Whether an account attests all of a block.
pub(super) fn agrees(account: &Account, sealed: &Sealed) -> bool {
    let own = &sealed.day.account;
    account.block == own.block
        && (account.first, account.count, account.root) == (own.first, own.count, own.root)
        && account.summaries_digest == own.summaries_digest
        && account.missing.is_empty()
}
