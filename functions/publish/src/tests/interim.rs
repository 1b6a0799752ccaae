//! Interim blocks.

use super::*;

/// Seals a block again, changed.
fn resealed(
    device: &TestDevice,
    message: &[u8],
    number: u64,
    change: impl FnOnce(&mut Block, &mut BlockMessage),
) -> (Vec<u8>, Hash) {
    let mut message = BlockMessage::decode(message).unwrap();
    let mut block = Block::decode(Envelope::parse(&message.envelope).unwrap().payload()).unwrap();
    change(&mut block, &mut message);
    block.summaries_digest = summary::digest(&message.salt, &message.summaries);
    let sealed =
        BlockMessage::seal(BlockNumber(number), &block, message.salt, message.summaries, device.signer()).unwrap();
    let hash = Envelope::parse(&sealed.envelope).unwrap().hash();
    (sealed.encode(), hash)
}

/// A day without its last two hours, as it is sealed on demand.
fn interim_of(device: &TestDevice, day: &TestDay, number: u64) -> (Vec<u8>, Hash) {
    resealed(device, &day.message, number, |block, message| {
        block.span = Span::Interim;
        block.bounds.to -= 2 * 3_600;
        let mut summaries = summary::decode(&message.summaries).unwrap();
        for summary in &mut summaries {
            if let Some(Figures::Counter { grid, .. }) = &mut summary.figures {
                grid.truncate(grid.len() - 8);
            }
        }
        message.summaries = summary::encode(&summaries);
    })
}

const INTERIM: &str = r#"{"thing":"dev-1","block":1}"#;

impl World {
    /// A device whose second day was asked for before it ended: block 0 is a day, 1 interim, 2 the whole second day.
    async fn asked(&self, device: &mut TestDevice) -> [TestDay; 2] {
        let first = device.seal_day(Some(&kwh("1"))).unwrap();
        let next = device.sealed(Some(&kwh("2"))).unwrap();
        let (message, interim) = interim_of(device, &next, 1);
        self.archive.put("blocks/dev-1/0000000001.cbor", message, "application/cbor").await.unwrap();
        let (message, hash) = resealed(device, &next.message, 2, |block, _| block.previous = interim);
        let account = vitro_proof::Account { block: Some(BlockNumber(2)), ..next.account.clone() };
        let whole = TestDay { message, hash, account };
        self.settled(&first, 0).await;
        self.settled(&whole, 2).await;
        [first, whole]
    }

    async fn interim_on_ledger(&self) -> Option<vitro_contract::BlockView> {
        Client::new(self.channel.clone()).block(&"dev-1".parse().unwrap(), 1).await.ok()
    }
}

#[tokio::test]
async fn an_interim_block_goes_where_the_chain_has_it() {
    let world = world();
    let mut device = world.device("dev-1", 1).await;
    let [_, whole] = world.asked(&mut device).await;
    let before = world.channel.submitted().len();
    // Against the order of the chain, and twice.
    let bodies =
        [r#"{"thing":"dev-1","day":"2026-01-03"}"#, INTERIM, r#"{"thing":"dev-1","day":"2026-01-02"}"#, INTERIM];
    let (failed, metrics) = world.handle_bodies(&bodies.map(str::to_owned)).await;
    assert!(failed.is_empty());
    assert_eq!(world.channel.submitted().len() - before, 1);
    assert!((metrics.total("DaysPublished") - 2.0).abs() < f64::EPSILON);
    assert!((metrics.total("InterimPublished") - 1.0).abs() < f64::EPSILON);
    let client = Client::new(world.channel.clone());
    let view = world.interim_on_ledger().await.unwrap();
    assert!(!view.daily);
    let chain = client.chain(device.thing()).await.unwrap();
    assert_eq!((chain.known, chain.holes.len()), (vec![(0, 2)], 0));
    let day = client.day(device.thing(), whole.account.day).await.unwrap();
    assert_eq!((day.outcome, day.accounts.len()), (vitro_contract::DayOutcome::Agrees, 1));
    assert_eq!(day.continuity, Some(vitro_contract::Continuity::Continues));
    // Delivered once more, it is what it was.
    let (failed, metrics) = world.handle_bodies(&[INTERIM.to_owned()]).await;
    assert!(failed.is_empty() && metrics.total("InterimPublished").abs() < f64::EPSILON);
    assert_eq!(world.interim_on_ledger().await.unwrap(), view);
}

#[tokio::test]
async fn the_whole_day_does_not_wait_for_its_interim_block() {
    let world = world();
    let mut device = world.device("dev-1", 1).await;
    let [_, whole] = world.asked(&mut device).await;
    let away = LedgerError::Unavailable { what: "no peer answers", failures: Default::default() };
    world.channel.trouble([Trouble::Before(away)]);
    let (failed, metrics) = world.handle_bodies(&[INTERIM.to_owned()]).await;
    assert_eq!((failed, retried(&metrics, "ledger")), (vec!["m0".to_owned()], (1.0, 1.0)));
    assert!(world.handle(&[("dev-1", "2026-01-02"), ("dev-1", "2026-01-03")]).await.0.is_empty());
    let client = Client::new(world.channel.clone());
    let day = client.day(device.thing(), whole.account.day).await.unwrap();
    assert_eq!(day.outcome, vitro_contract::DayOutcome::Agrees);
    assert_eq!(client.chain(device.thing()).await.unwrap().holes.len(), 1);
    // It comes later and fills its place.
    assert!(world.handle_bodies(&[INTERIM.to_owned()]).await.0.is_empty());
    assert!(client.chain(device.thing()).await.unwrap().holes.is_empty());
    assert_eq!(client.day(device.thing(), whole.account.day).await.unwrap(), day);
}

#[tokio::test]
async fn a_refused_interim_block_is_parked_and_holds_nobody_up() {
    let world = world();
    // Nobody registered this one on the ledger.
    let mut stranger = TestDevice::new("dev-1", 1, "2026-01-02".parse().unwrap()).unwrap();
    world.asked(&mut stranger).await;
    let good = world.device("dev-2", 2).await.seal_day(Some(&kwh("1"))).unwrap();
    world.settled(&good, 0).await;
    for _ in 0..2 {
        let bodies = [INTERIM.to_owned(), r#"{"thing":"dev-2","day":"2026-01-02"}"#.to_owned()];
        let (failed, metrics) = world.handle_bodies(&bodies).await;
        assert!(failed.is_empty());
        assert!((metrics.of_reason("DaysParked", "unknown_device") - 1.0).abs() < f64::EPSILON);
    }
    assert_eq!(world.row("dev-2", "2026-01-02").state, DayState::Published);
    let parked = world.parked.rows();
    assert_eq!(parked.len(), 1);
    assert_eq!((parked[0].reason.as_str(), parked[0].id.as_str()), ("unknown_device", "block-0000000001-dev-1"));
    assert_eq!(parked[0].object, Some(("archive".into(), "blocks/dev-1/0000000001.cbor".into())));
    assert!(parked[0].detail.starts_with("the ledger refuses the interim block 1 of dev-1"));
    // A daily block comes with its account, never this way.
    let (failed, metrics) = world.handle_bodies(&[r#"{"thing":"dev-2","block":0}"#.to_owned()]).await;
    assert_eq!((failed, retried(&metrics, "store")), (vec!["m0".to_owned()], (1.0, 1.0)));
}

#[tokio::test]
async fn a_kill_at_any_point_leaves_one_interim_block() {
    for limit in 0.. {
        let world = world();
        let mut device = world.device("dev-1", 1).await;
        world.asked(&mut device).await;
        world.fuse.set(Some(limit));
        let survived = world.handle_bodies(&[INTERIM.to_owned()]).await.0.is_empty();
        world.fuse.set(None);
        let first = world.interim_on_ledger().await;
        assert!(world.handle_bodies(&[INTERIM.to_owned()]).await.0.is_empty());
        let last = world.interim_on_ledger().await;
        assert!(last.is_some() && (first.is_none() || first == last));
        if survived {
            assert!(limit >= 2, "the fuse was passed at least at reading");
            return;
        }
    }
}
