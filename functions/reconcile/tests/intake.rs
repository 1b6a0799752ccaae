//! Blocks and replies as they come in: what is accepted, what waits, what is refused and by which reason code.
#![allow(clippy::unwrap_used, clippy::panic)] // a failure here is a failed test

mod support;

use support::{Cloud, Message, Site, block_event, day, device, event, signer, thing};
use vitro_cloud::chain::ChainStore;
use vitro_cloud::devices::{Cause, Device, Status};
use vitro_cloud::rule_event::{NewRuleEvent, RuleEvent};
use vitro_cloud::sources::DeviceSource;
use vitro_proof::command::{Outcome as Done, Reply, status};
use vitro_proof::crypto::SoftwareSigner;
use vitro_proof::envelope::seal;
use vitro_proof::reconcile::Outcome;
use vitro_proof::{
    Block, BlockMessage, BlockNumber, ContentType, DayBounds, Envelope, Hash, Header, Kind, ReplyNumber, SequenceNumber,
};
use vitro_reconcile::intake::Taken;

async fn take(cloud: &Cloud, message: &BlockMessage) -> Taken {
    cloud.reconcile.take_block(&block_event(message)).await.unwrap()
}

#[tokio::test]
async fn a_chain_grows_block_by_block() {
    let (cloud, mut site) = (Cloud::new(), Site::new());
    for index in 0..3 {
        assert_eq!(take(&cloud, &site.live(index, 5)).await, Taken::Accepted);
    }
    let head = cloud.chains.head(&thing()).await.unwrap();
    assert_eq!((head.block.unwrap().number, head.daily), (BlockNumber(2), Some(BlockNumber(2))));
    assert_eq!(cloud.outbox.take().summarize.len(), 3);
    assert_eq!(take(&cloud, &site.blocks[1]).await, Taken::Duplicate);
    assert!(cloud.outbox.take().summarize.is_empty());
    assert_eq!(cloud.row(1).block.unwrap().previous_daily, Some(BlockNumber(0)));
}

#[tokio::test]
async fn blocks_wait_for_their_predecessor() {
    let (cloud, mut site) = (Cloud::new(), Site::new());
    let blocks: Vec<BlockMessage> = (0..4).map(|index| site.live(index, 5)).collect();
    assert_eq!(take(&cloud, &blocks[3]).await, Taken::Pending);
    assert_eq!(take(&cloud, &blocks[1]).await, Taken::Pending);
    assert_eq!(take(&cloud, &blocks[1]).await, Taken::Pending);
    assert_eq!(cloud.row(1).pending_block, Some(BlockNumber(1)));
    assert_eq!(take(&cloud, &blocks[0]).await, Taken::Accepted);
    let head = cloud.chains.head(&thing()).await.unwrap();
    assert_eq!((head.block.unwrap().number, head.pending), (BlockNumber(1), [3].into()));
    assert_eq!(take(&cloud, &blocks[2]).await, Taken::Accepted);
    let head = cloud.chains.head(&thing()).await.unwrap();
    assert_eq!((head.block.unwrap().number, head.pending.len()), (BlockNumber(3), 0));
    assert_eq!((cloud.row(3).pending_block, cloud.row(3).block_number()), (None, Some(BlockNumber(3))));
    assert_eq!(cloud.outbox.take().summarize.len(), 4);
}

#[tokio::test]
async fn a_day_whose_block_waits_is_not_lost() {
    let (cloud, mut site) = (Cloud::new(), Site::new());
    let blocks = [site.live(0, 5), site.live(1, 5)];
    cloud.store(&site, &[]);
    cloud.run(&site, true, vec![Message::Event(block_event(&blocks[1]))]).await;
    assert_eq!(cloud.row(1).outcome, None);
    cloud.run(&site, true, vec![Message::Event(block_event(&blocks[0]))]).await;
    assert_eq!((cloud.row(0).outcome, cloud.row(1).outcome), (Some(Outcome::Matched), Some(Outcome::Matched)));
}

#[tokio::test]
async fn the_chain_never_forks() {
    let cloud = Cloud::new();
    let (mut one, mut other) = (Site::new(), Site::new());
    let first = one.live(0, 5);
    assert_eq!(take(&cloud, &first).await, Taken::Accepted);
    assert_eq!(take(&cloud, &other.live(0, 6)).await, Taken::Refused("fork"));
    // It is signed with the device's key: somebody has a copy of that.
    let device = cloud.devices.device(&thing()).await.unwrap().unwrap();
    assert_eq!((device.status, device.cause), (Status::Suspended, Some(Cause::Equivocation)));
    assert_eq!((device.last_good, cloud.outbox.take().status.len()), (None, 1));
    // What was received by then is looked at as before.
    assert_eq!(take(&cloud, &other.live(1, 6)).await, Taken::Refused("broken_chain"));
    assert_eq!(take(&cloud, &one.live(1, 5)).await, Taken::Accepted);
    // Of waiting blocks, too, the first under its number stays ...
    let (_, third) = (one.live(2, 5), one.live(3, 5));
    assert_eq!(take(&cloud, &third).await, Taken::Pending);
    let (_, stranger) = (other.live(2, 6), other.live(3, 6));
    assert_eq!(take(&cloud, &stranger).await, Taken::Refused("fork"));
    // ... and only the block that it names can come before it.
    let twisted = {
        let mut site = Site::new();
        site.live(0, 5);
        site.live(1, 5);
        site.live_twisted(2, 5, &|block| block.bytes += 1)
    };
    assert_eq!(take(&cloud, &twisted).await, Taken::Refused("broken_chain"));
    assert_eq!(take(&cloud, &one.blocks[2]).await, Taken::Accepted);
    assert_eq!(cloud.chains.head(&thing()).await.unwrap().block.unwrap().number, BlockNumber(3));
}

#[tokio::test]
async fn a_waiting_block_that_does_not_fit_frees_its_number() {
    let (cloud, mut site) = (Cloud::new(), Site::new());
    let first = site.live(0, 5);
    let mut twin = Site::new();
    twin.live(0, 5);
    let bad = twin.live_twisted(1, 5, &|block| block.first += 1);
    assert_eq!(take(&cloud, &bad).await, Taken::Pending);
    assert_eq!(take(&cloud, &first).await, Taken::Accepted);
    assert_eq!(*cloud.kept.refused.lock().unwrap(), ["not_contiguous"]);
    assert_eq!(cloud.row(1).pending_block, None);
    assert_eq!(take(&cloud, &site.live(1, 5)).await, Taken::Accepted);
}

#[tokio::test]
async fn each_fault_has_its_reason() {
    let twists: [(&str, support::Twist<'_>); 6] = [
        ("bad_label", &|block| block.zone = "UTC".parse().unwrap()),
        ("bad_label", &|block| block.day = day(7)),
        ("bad_label", &|block| {
            block.zone = "UTC".parse().unwrap();
            block.bounds = DayBounds::of(&block.zone, block.day).unwrap();
        }),
        ("broken_chain", &|block| block.previous = Hash([1; 32])),
        ("not_contiguous", &|block| block.first = 3),
        ("digest_mismatch", &|block| block.summaries_digest = Hash([1; 32])),
    ];
    for (reason, twist) in twists {
        let (cloud, mut site) = (Cloud::new(), Site::new());
        let taken = take(&cloud, &site.live_twisted(0, 5, twist)).await;
        // Summaries are checked against the interval before the label is: a block of another interval may say so instead.
        assert!(taken == Taken::Refused(reason) || taken == Taken::Refused("bad_summaries"), "{reason}: {taken:?}");
        assert!(cloud.days.rows().is_empty() && cloud.archive.newest().is_empty());
    }
}

#[tokio::test]
async fn a_counter_opens_with_what_the_block_before_left() {
    let (cloud, mut site) = (Cloud::new(), Site::new());
    assert_eq!(take(&cloud, &site.live(0, 5)).await, Taken::Accepted);
    let mut other = Site::new();
    other.live(0, 6);
    let opened = other.live(1, 5);
    let forged = {
        // Everything of the chain is right but the openings, which another history left.
        let envelope = Envelope::parse(&site.blocks[0].envelope).unwrap();
        let mut block = Block::decode(Envelope::parse(&opened.envelope).unwrap().payload()).unwrap();
        block.previous = envelope.hash();
        block.span = vitro_proof::Span::Daily { previous_daily: Some(envelope.hash()) };
        block.first = 5;
        BlockMessage::seal(BlockNumber(1), &block, opened.salt, opened.summaries.clone(), &signer()).unwrap()
    };
    assert_eq!(take(&cloud, &forged).await, Taken::Refused("bad_opening"));
}

#[tokio::test]
async fn identity_is_checked_as_for_telemetry() {
    let (cloud, mut site) = (Cloud::new(), Site::new());
    let message = site.live(0, 5).encode();
    let send = async |thing: &str, client: &str, principal: &str, bytes: &[u8]| {
        let topic = format!("vitro/acme/{thing}/block");
        let body = NewRuleEvent {
            envelope: bytes,
            thing,
            topic: &topic,
            client: Some(client),
            principal: Some(principal),
            received: 1,
        };
        cloud.reconcile.take_block(&RuleEvent::parse(body.to_body()).unwrap()).await.unwrap()
    };
    assert_eq!(send("dev-9", "dev-9", "cert-1", &message).await, Taken::Refused("unknown_device"));
    assert_eq!(send("dev-1", "dev-9", "cert-1", &message).await, Taken::Refused("other_device"));
    assert_eq!(send("dev-1", "dev-1", "cert-9", &message).await, Taken::Refused("other_certificate"));
    assert_eq!(send("dev-1", "dev-1", "cert-1", b"garbage").await, Taken::Refused("not_a_block"));
    let mut forged = message.clone();
    let at = forged.len() / 3;
    forged[at] ^= 1;
    assert!(matches!(send("dev-1", "dev-1", "cert-1", &forged).await, Taken::Refused(_)));
    cloud.devices.put(Device { status: Status::Retired, ..device() });
    assert_eq!(send("dev-1", "dev-1", "cert-1", &message).await, Taken::Refused("device_retired"));
    assert!(cloud.days.rows().is_empty());
}

#[tokio::test]
async fn a_suspended_or_retired_device_keeps_its_good_blocks() {
    let mut site = Site::new();
    let message = site.live(0, 5);
    for (status, code) in [(Status::Suspended, "device_suspended"), (Status::Retired, "device_retired")] {
        for (last_good, taken) in
            [(None, Taken::Refused(code)), (Some(3), Taken::Refused(code)), (Some(4), Taken::Accepted)]
        {
            let cloud = Cloud::new();
            cloud.devices.put(Device { status, last_good: last_good.map(SequenceNumber), ..device() });
            assert_eq!(take(&cloud, &message).await, taken);
        }
    }
}

#[tokio::test]
async fn replies_are_verified_and_noted_on_their_day() {
    let (cloud, mut site) = (Cloud::new(), Site::new());
    let block = site.live(0, 10);
    cloud.store(&site, &[4]);
    cloud.run(&site, true, vec![Message::Event(block_event(&block))]).await;
    let command = cloud.row(0).command.unwrap();
    let reply = |signer: &SoftwareSigner| {
        let reply = Reply { command, status: status::DONE, result: Some(Done::Count(1)) };
        event("reply", &reply.seal(ReplyNumber(0), &thing(), signer).unwrap())
    };
    let forged = cloud.reconcile.take_reply(&reply(&SoftwareSigner::from_scalar(&[6; 32]).unwrap())).await.unwrap();
    assert_eq!(forged, Taken::Refused("bad_signature"));
    assert_eq!(cloud.row(0).reply, None);
    let good = reply(&signer());
    assert_eq!(cloud.reconcile.take_reply(&good).await.unwrap(), Taken::Accepted);
    assert_eq!(cloud.reconcile.take_reply(&good).await.unwrap(), Taken::Duplicate);
    assert_eq!(cloud.row(0).reply.as_deref(), Some("done, 1 sent again"));
    let header = Header { kind: Kind::Reply, content: ContentType::Reply, kid: "dev-1".into(), number: 1 };
    let nonsense = event("reply", &seal(&header, b"\x01", &signer()).unwrap());
    assert_eq!(cloud.reconcile.take_reply(&nonsense).await.unwrap(), Taken::Refused("not_a_reply"));
    assert_eq!(cloud.reconcile.take_reply(&block_event(&block)).await.unwrap(), Taken::Refused("not_an_envelope"));
}
