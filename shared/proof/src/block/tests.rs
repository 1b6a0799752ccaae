use proptest::prelude::*;

use super::*;
use crate::crypto::{P256Key, SoftwareSigner};
use crate::decimal::Decimal;
use crate::error::{EnvelopeFault, Reason};
use crate::ids::UnixMillis;
use crate::summary::At;

fn signer() -> SoftwareSigner {
    SoftwareSigner::from_scalar(&[5; 32]).unwrap()
}

fn key() -> P256Key {
    P256Key::new(&signer().public_key()).unwrap()
}

fn thing() -> DeviceId {
    "dev-1".parse().unwrap()
}

fn block(from: i64, first: u64, count: u64) -> Block {
    Block {
        thing: thing(),
        previous: Hash([0; 32]),
        span: Span::Daily { previous_daily: None },
        day: "2026-01-01".parse().unwrap(),
        zone: "Etc/UTC".parse().unwrap(),
        bounds: DayBounds { from, to: from + 86_400 },
        first,
        count,
        root: Hash([7; 32]),
        bytes: 1000,
        units: 4,
        table_version: 1,
        summaries_digest: Hash([0; 32]),
    }
}

/// A register whose day has one value at most, which lies in the first quarter of an hour.
fn counter(opening: Option<i64>, last: Option<(i64, i64)>) -> Summary {
    let at = last.map(|(seconds, value)| At { time: UnixMillis(seconds * 1000), value: Decimal::from(value) });
    let increase = last.map_or(0, |(_, value)| value - opening.unwrap_or(value));
    let mut grid = vec![Decimal::zero(); 96];
    grid[0] = Decimal::from(increase);
    Summary {
        sensor: "energy".parse().unwrap(),
        unit: "kWh".into(),
        counter: true,
        values: u64::from(at.is_some()),
        missing: 0,
        flagged: 0,
        first: at.clone(),
        last: at.clone(),
        opening: opening.map(Decimal::from),
        figures: at.map(|_| Figures::Counter {
            increase: Decimal::from(increase),
            resets: 0,
            rollovers: 0,
            decreases: 0,
            largest_step: Decimal::from(increase),
            grid,
        }),
    }
}

fn sealed(number: u64, mut block: Block, summaries: &[Summary]) -> BlockMessage {
    let bytes = summary::encode(summaries);
    block.summaries_digest = summary::digest(&[3; 16], &bytes);
    BlockMessage::seal(BlockNumber(number), &block, [3; 16], bytes, &signer()).unwrap()
}

fn opened(number: u64, block: Block, summaries: &[Summary]) -> Result<OpenedBlock, OpenError> {
    let message = sealed(number, block, summaries);
    assert_eq!(BlockMessage::decode(&message.encode()).unwrap(), message);
    message.open(&thing(), &key())
}

fn link(block: &OpenedBlock) -> ChainLink {
    ChainLink { number: block.number, hash: block.hash }
}

fn daily(block: &OpenedBlock) -> DailyLink {
    DailyLink { hash: block.hash, to: block.block.bounds.to, end: block.block.end() }
}

#[test]
fn a_block_opens_to_what_was_sealed() {
    let summaries = [counter(Some(3), Some((60, 9)))];
    let opened = opened(0, block(0, 0, 10), &summaries).unwrap();
    assert_eq!((opened.number, opened.block.end(), opened.block.is_daily()), (BlockNumber(0), 10, true));
    assert_eq!(opened.summaries, summaries);
}

#[test]
fn a_register_that_never_went_down_counts_from_opening_to_last() {
    for opening in [None, Some(3)] {
        for (off, fits) in [(0, true), (1, false), (1_000_000, false)] {
            let mut summary = counter(opening, Some((60, 9)));
            let Some(Figures::Counter { increase, largest_step, grid, .. }) = &mut summary.figures else {
                unreachable!()
            };
            // The grid adds up, and yet nobody's register counted that.
            for figure in [increase, largest_step, &mut grid[0]] {
                *figure = &*figure + &Decimal::from(off);
            }
            let result = opened(0, block(0, 0, 10), &[summary.clone()]);
            assert_eq!(result.is_ok(), fits, "{opening:?} {off}: {result:?}");
            if let (Some(Figures::Counter { resets, .. }), false) = (&mut summary.figures, fits) {
                *resets = 1;
                assert!(opened(0, block(0, 0, 10), &[summary]).is_ok(), "after a reset it may");
            }
        }
    }
}

#[test]
fn a_foreign_key_or_name_does_not_open_it() {
    let message = sealed(0, block(0, 0, 10), &[]);
    let stranger = P256Key::new(&SoftwareSigner::from_scalar(&[6; 32]).unwrap().public_key()).unwrap();
    assert_eq!(message.open(&thing(), &stranger), Err(OpenError::Signature));
    let fault = message.open(&"dev-2".parse().unwrap(), &key()).unwrap_err();
    assert_eq!(fault, OpenError::Block(BlockFault::OtherDevice));
    assert_eq!((fault.reason(), OpenError::Signature.reason()), ("block_other_device", "bad_signature"));
    let header = Header { kind: Kind::Reply, content: ContentType::Reply, kid: "dev-1".into(), number: 0 };
    let reply = BlockMessage { envelope: seal(&header, &[0xa0], &signer()).unwrap(), ..message };
    assert_eq!(reply.open(&thing(), &key()), Err(OpenError::Envelope(EnvelopeFault::WrongKind)));
}

#[test]
fn bounds_that_no_day_has_are_refused_and_overflow_nothing() {
    let extremes = [i64::MIN, -1, 0, 1, i64::MAX - 86_400, i64::MAX];
    for (from, to) in extremes.iter().flat_map(|from| extremes.map(|to| (*from, to))) {
        for span in [Span::Daily { previous_daily: None }, Span::Interim] {
            let bounds = DayBounds { from, to };
            let good = if span == Span::Interim { bounds.check_interim() } else { bounds.check_daily() }.is_ok();
            let result = opened(0, Block { bounds, span, ..block(0, 0, 0) }, &[counter(None, None)]);
            assert_eq!(result.is_ok(), good, "{from}..{to}");
            let _ = opened(0, Block { bounds, span, ..block(0, 0, 0) }, &[counter(None, Some((from / 1000, 1)))]);
        }
    }
}

#[test]
fn days_follow_days() {
    let first = opened(0, block(0, 0, 10), &[]).unwrap();
    assert_eq!(check_follows(&first, None, None), Ok(()));
    let second =
        Block { previous: first.hash, span: Span::Daily { previous_daily: Some(first.hash) }, ..block(86_400, 10, 0) };
    let second = opened(1, second, &[]).unwrap();
    assert_eq!(check_follows(&second, Some(link(&first)), Some(daily(&first))), Ok(()));
    // An empty day leaves the run where it was.
    let third = Block {
        previous: second.hash,
        span: Span::Daily { previous_daily: Some(second.hash) },
        ..block(172_800, 10, 5)
    };
    let third = opened(2, third, &[]).unwrap();
    assert_eq!(check_follows(&third, Some(link(&second)), Some(daily(&second))), Ok(()));
    // Not after the first, not as the first, not after nothing.
    assert_eq!(check_follows(&third, Some(link(&first)), Some(daily(&first))), Err(BlockFault::BrokenChain));
    assert_eq!(check_follows(&third, None, None), Err(BlockFault::BrokenChain));
    assert_eq!(check_follows(&first, Some(link(&first)), None), Err(BlockFault::BrokenChain));
    assert_eq!(check_follows(&third, Some(link(&second)), Some(daily(&first))), Err(BlockFault::BrokenChain));
}

#[test]
fn after_the_last_number_comes_none() {
    let last = ChainLink { number: BlockNumber(u64::MAX), hash: Hash([0; 32]) };
    let first = opened(0, block(0, 0, 0), &[]).unwrap();
    assert_eq!(check_follows(&first, Some(last), None), Err(BlockFault::BrokenChain));
}

#[test]
fn an_interim_block_starts_where_its_day_does_and_takes_nothing_from_it() {
    let first = opened(0, block(0, 0, 10), &[]).unwrap();
    let part = |from, first_number| {
        let bounds = DayBounds { from, to: from + 100 };
        let block = Block { previous: first.hash, span: Span::Interim, bounds, ..block(0, first_number, 3) };
        opened(1, block, &[]).unwrap()
    };
    let interim = part(86_400, 10);
    assert!(!interim.block.is_daily());
    assert_eq!(check_follows(&interim, Some(link(&first)), Some(daily(&first))), Ok(()));
    for wrong in [part(86_401, 10), part(86_400, 11)] {
        let fault = check_follows(&wrong, Some(link(&first)), Some(daily(&first))).unwrap_err();
        assert_eq!(fault.reason(), "not_contiguous");
    }
    let whole = Block {
        previous: interim.hash,
        span: Span::Daily { previous_daily: Some(first.hash) },
        ..block(86_400, 10, 20)
    };
    let whole = opened(2, whole, &[]).unwrap();
    assert_eq!(check_follows(&whole, Some(link(&interim)), Some(daily(&first))), Ok(()));
    // Even as the very first block.
    let early = Block { span: Span::Interim, bounds: DayBounds { from: 0, to: 50 }, ..block(0, 0, 2) };
    assert_eq!(check_follows(&opened(0, early, &[]).unwrap(), None, None), Ok(()));
    let late = Block { span: Span::Interim, bounds: DayBounds { from: 0, to: 50 }, ..block(0, 2, 2) };
    assert_eq!(check_follows(&opened(0, late, &[]).unwrap(), None, None).unwrap_err().reason(), "not_contiguous");
}

#[test]
fn openings_are_what_the_day_before_left() {
    let ok = |now: &[Summary], before: &[Summary]| check_openings(now, before).is_ok();
    assert!(ok(&[counter(None, Some((0, 5)))], &[]));
    assert!(ok(&[counter(Some(9), None)], &[counter(Some(3), Some((0, 9)))]));
    assert!(ok(&[counter(Some(3), None)], &[counter(Some(3), None)]), "carried over an empty day");
    assert!(ok(&[counter(None, None)], &[counter(None, None)]));
    assert!(!ok(&[counter(Some(3), None)], &[counter(Some(3), Some((0, 9)))]));
    assert!(!ok(&[counter(None, None)], &[counter(Some(3), None)]));
    assert!(!ok(&[counter(Some(3), None)], &[]));
    let gauge = Summary { counter: false, opening: None, ..counter(None, None) };
    assert!(ok(std::slice::from_ref(&gauge), &[counter(Some(3), None)]), "a gauge has no opening");
    assert!(ok(&[counter(None, None)], &[gauge]));
}

#[test]
fn keys_of_later_versions_are_left_alone() {
    let plain = block(0, 0, 1);
    let mut bytes = plain.encode();
    bytes[0] += 2;
    bytes.extend([0x18, 0x40, 0x83, 1, 2, 3, 0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf6]);
    assert_eq!(Block::decode(&bytes).unwrap(), plain);
    let mut unknown = plain.encode();
    unknown[0] += 1;
    unknown.extend([0x18, 0x3f, 0x00]);
    assert!(matches!(Block::decode(&unknown), Err(BlockFault::NotABlock(why)) if why.contains("63")));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Block::decode(&bytes);
        let _ = BlockMessage::decode(&bytes);
        let message = BlockMessage { envelope: bytes.clone(), salt: [0; 16], summaries: bytes };
        prop_assert!(message.open(&thing(), &key()).is_err());
    }

    #[test]
    fn blocks_round_trip(from: i64, to: i64, first: u64, count: u64, bytes: u64, previous: [u8; 32], daily in proptest::option::of(any::<[u8; 32]>()), interim: bool) {
        let span = if interim { Span::Interim } else { Span::Daily { previous_daily: daily.map(Hash) } };
        let block = Block { bounds: DayBounds { from, to }, first, count, bytes, previous: Hash(previous), span, ..block(0, 0, 0) };
        let decoded = Block::decode(&block.encode());
        if first.checked_add(count).is_some() {
            prop_assert_eq!(decoded, Ok(block));
        } else {
            prop_assert!(decoded.is_err());
        }
    }

    #[test]
    fn a_flipped_bit_never_opens(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let bytes = sealed(0, block(0, 0, 10), &[counter(Some(3), Some((60, 9)))]).encode();
        let mut spoiled = bytes.clone();
        let index = at.index(bytes.len());
        spoiled[index] ^= 1 << bit;
        let opens = BlockMessage::decode(&spoiled).is_ok_and(|message| message.open(&thing(), &key()).is_ok());
        prop_assert!(!opens, "bit {bit} of byte {index}");
    }
}

#[cfg(feature = "confidential")]
mod confidential {
    use std::collections::BTreeMap;

    use zeroize::Zeroizing;

    use super::*;
    use crate::confidential::{NoKeys, OneTime, PureDataKey, Recipient};
    use crate::ids::DataKeyId;

    fn keys() -> BTreeMap<DataKeyId, PureDataKey> {
        let key = PureDataKey::from_scalar(&Zeroizing::new([8; 32])).unwrap();
        BTreeMap::from([("key-1".parse().unwrap(), key)])
    }

    fn concealed(message: &BlockMessage) -> ReceivedBlock {
        let recipient = Recipient::new("key-1".parse().unwrap(), keys().into_values().next().unwrap().public_key());
        let once = OneTime::new(&Zeroizing::new([9; 32]), [1; 12]).unwrap();
        message.conceal(&thing(), &recipient.unwrap(), once).unwrap()
    }

    #[test]
    fn a_confidential_message_reveals_the_clear_one() {
        let message = sealed(3, block(0, 0, 10), &[counter(Some(3), Some((60, 9)))]);
        let received = ReceivedBlock::decode(&concealed(&message).encode()).unwrap();
        assert_eq!(received, concealed(&message));
        assert_eq!((received.envelope(), received.recipient()), (&message.envelope[..], Some("key-1")));
        let window = |part: &[u8]| received.encode().windows(part.len()).any(|window| window == part);
        assert!(!window(&message.salt) && !window(&message.summaries[..20]));
        assert_eq!(received.reveal(&thing(), &key(), &keys()), Ok(message.clone()));
        let clear = ReceivedBlock::decode(&message.encode()).unwrap();
        assert_eq!((clear.recipient(), clear.encode()), (None, message.encode()));
        assert_eq!(clear.reveal(&thing(), &key(), &NoKeys), Ok(message));
    }

    #[test]
    fn nothing_is_decrypted_before_the_signature_is_good() {
        let message = sealed(3, block(0, 0, 10), &[]);
        let reason = |received: ReceivedBlock, thing: &str, keys: &dyn crate::confidential::DataKeys| {
            received.reveal(&thing.parse().unwrap(), &key(), keys).unwrap_err().reason()
        };
        assert_eq!(reason(concealed(&message), "dev-1", &NoKeys), "block_encrypted");
        assert_eq!(reason(concealed(&message), "dev-2", &NoKeys), "block_other_device");
        let mut forged = message.clone();
        *forged.envelope.last_mut().unwrap() ^= 1;
        assert_eq!(reason(concealed(&forged), "dev-1", &NoKeys), "bad_signature");
        let other = sealed(4, block(0, 0, 10), &[]);
        let ReceivedBlock::Confidential { opening, .. } = concealed(&message) else { panic!() };
        let moved = ReceivedBlock::Confidential { envelope: other.envelope, opening };
        assert_eq!(reason(moved, "dev-1", &keys()), "block_undecryptable");
        let nonsense = ReceivedBlock::Confidential { envelope: message.envelope, opening: vec![0xa0] };
        assert_eq!(nonsense.recipient(), None);
        assert_eq!(reason(nonsense, "dev-1", &keys()), "block_undecryptable");
    }
}
