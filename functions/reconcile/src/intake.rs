//! Taking blocks in: identity, signature, the label of the day, the chain.
//!
//! An accepted block is written in this order, each write conditional or repeatable: archive, day, message to summarize, chain head;
//! an interim block: archive, message to publish, chain head.
//! The head comes last, so whatever a kill leaves undone is done again by the next delivery; once the head has moved, everything
//! before it is there. A block that comes before its predecessor waits in the archive and is taken in turn, by the same call that
//! takes the predecessor.

use vitro_cloud::admission;
use vitro_cloud::archive::{CBOR, JSON, PutOnce, block_key, confidential_block_key, pending_key};
use vitro_cloud::chain::ChainHead;
use vitro_cloud::days::{DayBlock, DayRow, ObjectRef, edit};
use vitro_cloud::devices::{Device, Registered};
use vitro_cloud::queue::{DayTask, PublishBlock, PublishTask, SummarizeTask};
use vitro_cloud::rule_event::RuleEvent;
use vitro_cloud::{CloudError, admission::Refusal as Admission};
use vitro_proof::block::{ChainLink, DailyLink, OpenError, OpenedBlock, ReceivedBlock, check_follows, check_openings};
use vitro_proof::{
    Block, BlockFault, BlockMessage, BlockNumber, DayBounds, DeviceId, Envelope, Hash, Kind, Reason, Span, Summary,
};

use crate::ports::Ports;
use crate::refusal::Refusal;

/// How many waiting blocks one call takes after the one it was called for; the next delivery goes on.
const MAX_PROMOTED: usize = 64;

/// What became of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is the head of the chain now.
    Accepted,
    /// It was accepted before; nothing changed.
    Duplicate,
    /// It waits for its predecessor.
    Pending,
    /// It is in quarantine, for this reason.
    Refused(&'static str),
}

/// Where a number stands in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At or below the head.
    Used,
    /// The one after the head.
    Next,
    /// Further on: its predecessor is not there.
    Ahead,
}

/// Where a block's number stands.
#[must_use]
pub fn place(head: Option<BlockNumber>, number: BlockNumber) -> Place {
    let next = head.map_or(Some(0), |head| head.0.checked_add(1));
    match next {
        Some(next) if number.0 == next => Place::Next,
        Some(next) if number.0 > next => Place::Ahead,
        _ => Place::Used,
    }
}

/// A failed step: the message is refused, or has to come again.
enum Stop {
    Refused(Refusal),
    Failed(CloudError),
}

impl From<CloudError> for Stop {
    fn from(error: CloudError) -> Self {
        Self::Failed(error)
    }
}

impl<R: Into<Refusal>> From<R> for Stop {
    fn from(refusal: R) -> Self {
        Self::Refused(refusal.into())
    }
}

/// A block that may come in, as far as it can be told without its chain.
struct Candidate<'e> {
    event: &'e RuleEvent,
    thing: DeviceId,
    /// The clear message, which is what the contract needs; as it came, it may be confidential.
    message: BlockMessage,
    opened: OpenedBlock,
}

impl Ports {
    /// Takes a message of a block topic.
    ///
    /// # Errors
    /// [`CloudError`] if the message has to come again.
    pub async fn take_block(&self, event: &RuleEvent) -> Result<Taken, CloudError> {
        let taken = match self.try_block(event).await {
            Ok(taken) => taken,
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Refused(refusal)) => self.refuse(event, &refusal).await?,
        };
        tracing::info!(thing = %event.thing, taken = ?taken, "block");
        Ok(taken)
    }

    pub(crate) async fn refuse(&self, event: &RuleEvent, refusal: &Refusal) -> Result<Taken, CloudError> {
        self.refusals.refuse(event, refusal).await?;
        if matches!(refusal, Refusal::Block(BlockFault::Fork)) {
            self.charge_fork(event).await?;
        }
        let reason = refusal.reason();
        self.with_metrics(|metrics| metrics.count_reason("Refused", reason, 1));
        tracing::warn!(thing = %event.thing, topic = %event.topic, reason, detail = %refusal, "refused");
        Ok(Taken::Refused(reason))
    }

    async fn try_block(&self, event: &RuleEvent) -> Result<Taken, Stop> {
        let received = ReceivedBlock::decode(&event.envelope)?;
        let envelope = admission::open(received.envelope(), Kind::Block)?;
        let thing: DeviceId = event.thing.parse().map_err(|_| Admission::UnknownDevice)?;
        let device = self.devices.device(&thing).await?;
        // Of a suspended or retired device, blocks up to its last good number are taken.
        let halted = match admission::identify(event, envelope.header(), device.as_ref()) {
            Ok(_) => None,
            Err(refusal @ (Admission::DeviceSuspended | Admission::DeviceRetired)) => Some(refusal),
            Err(refusal) => return Err(refusal.into()),
        };
        let device = Registered::new(device.ok_or(Admission::UnknownDevice)?)?;
        let message = self.reveal(received, &thing, &device).await??;
        let opened = message.open(&thing, &device.key)?;
        if let Some(refusal) = halted.filter(|_| !device.device.is_good_before(opened.block.end())) {
            return Err(refusal.into());
        }
        check_label(&device.device, &opened.block)?;
        self.chain(&Candidate { event, thing, message, opened }, &device).await
    }

    /// The clear message of what came; the signature is checked before anything is decrypted.
    async fn reveal(
        &self,
        received: ReceivedBlock,
        thing: &DeviceId,
        device: &Registered,
    ) -> Result<Result<BlockMessage, OpenError>, CloudError> {
        let keys = self.data_keys.keys(&received.recipient().map(str::to_owned).into_iter().collect()).await?;
        Ok(received.reveal(thing, &device.key, &keys))
    }

    /// Puts a block into its place in the chain, and takes those that waited for it.
    async fn chain(&self, candidate: &Candidate<'_>, device: &Registered) -> Result<Taken, Stop> {
        let number = candidate.opened.number;
        let head = self.chains.head(&candidate.thing).await?;
        match place(head.block.map(|link| link.number), number) {
            Place::Used => {
                self.check_known(candidate).await?;
                self.promote(&candidate.thing, device).await?;
                Ok(Taken::Duplicate)
            }
            Place::Next => {
                self.accept(candidate, &head).await?;
                self.promote(&candidate.thing, device).await?;
                Ok(Taken::Accepted)
            }
            Place::Ahead => {
                self.keep_waiting(candidate).await?;
                // The predecessor may have come while this was written, and then nobody else takes it.
                self.promote(&candidate.thing, device).await?;
                let head = self.chains.head(&candidate.thing).await?;
                let accepted = head.block.is_some_and(|link| link.number >= number);
                Ok(if accepted { Taken::Accepted } else { Taken::Pending })
            }
        }
    }

    /// A block under a used number must be the one that is known.
    async fn check_known(&self, candidate: &Candidate<'_>) -> Result<(), Stop> {
        let key = block_key(&candidate.thing, candidate.opened.number);
        let (_, known) = self.archived_block_at(&key).await?;
        if hash_of(&known.envelope, &key)? == candidate.opened.hash { Ok(()) } else { Err(BlockFault::Fork.into()) }
    }

    async fn accept(&self, candidate: &Candidate<'_>, head: &ChainHead) -> Result<(), Stop> {
        let Candidate { thing, opened, .. } = candidate;
        let (daily, left) = self.previous_daily(thing, head).await?;
        check_follows(opened, head.block, daily)?;
        check_openings(&opened.summaries, &left)?;
        self.check_successor(candidate, head).await?;
        let row = self.days.get(thing, opened.block.day).await?;
        if opened.block.is_daily() && row.and_then(|row| row.block).is_some_and(|known| known.number != opened.number) {
            return Err(BlockFault::NotContiguous("another block was accepted for its day").into());
        }

        let object = self.archive_block(candidate).await?;
        if opened.block.is_daily() {
            self.open_day(opened, object, head.daily).await?;
        } else {
            // It was sealed because somebody asked, so it does not wait for the night.
            let task = PublishBlock { thing: thing.clone(), block: opened.number };
            self.outbox.publish(&PublishTask::Block(task)).await?;
        }
        let link = ChainLink { number: opened.number, hash: opened.hash };
        let moved = self.chains.advance(thing, link, opened.block.is_daily()).await?;
        if !moved && self.chains.head(thing).await?.block.is_none_or(|block| block.number < opened.number) {
            return Err(CloudError::Contended(format!("the chain of {thing}")).into());
        }
        self.count("BlocksAccepted");
        tracing::info!(%thing, block = %opened.number, day = %opened.block.day, daily = opened.block.is_daily(),
            first = opened.block.first, count = opened.block.count, hash = %opened.hash, "block accepted");
        Ok(())
    }

    /// What the last daily block leaves: its link, and its summaries for the openings.
    async fn previous_daily(
        &self,
        thing: &DeviceId,
        head: &ChainHead,
    ) -> Result<(Option<DailyLink>, Vec<Summary>), CloudError> {
        let Some(number) = head.daily else { return Ok((None, Vec::new())) };
        let key = block_key(thing, number);
        let (_, message) = self.archived_block_at(&key).await?;
        let (hash, block) = signed_block(&message.envelope, &key)?;
        let left = vitro_proof::summary::decode(&message.summaries).map_err(|e| CloudError::damaged(&*key, e))?;
        Ok((Some(DailyLink { hash, to: block.bounds.to, end: block.end() }), left))
    }

    /// Once the block after it is there, only the block that it names can take this number.
    async fn check_successor(&self, candidate: &Candidate<'_>, head: &ChainHead) -> Result<(), Stop> {
        let Some(next) = candidate.opened.number.next().filter(|next| head.pending.contains(&next.0)) else {
            return Ok(());
        };
        let (_, waiting) = self.waiting_block(&candidate.thing, next).await?;
        let (_, block) = signed_block(waiting.envelope(), "a waiting block")?;
        if block.previous == candidate.opened.hash { Ok(()) } else { Err(BlockFault::BrokenChain.into()) }
    }

    /// Archives the clear message, and before it the confidential one as it came. A confidential block may come again in another
    /// ciphertext, so what is there already stays.
    async fn archive_block(&self, candidate: &Candidate<'_>) -> Result<ObjectRef, Stop> {
        let as_it_came = candidate.event.envelope.clone();
        let clear = match ReceivedBlock::decode(&as_it_came)? {
            ReceivedBlock::Clear(_) => as_it_came,
            ReceivedBlock::Confidential { .. } => {
                let key = confidential_block_key(&candidate.thing, candidate.opened.number);
                self.archive.put_once(&key, as_it_came, CBOR).await?;
                candidate.message.encode()
            }
        };
        let key = block_key(&candidate.thing, candidate.opened.number);
        match self.archive.put_once(&key, clear, CBOR).await? {
            PutOnce::Stored(object) => Ok(object),
            PutOnce::Exists => {
                let (object, known) = self.archived_block_at(&key).await?;
                let same = hash_of(&known.envelope, &key)? == candidate.opened.hash;
                if same { Ok(object) } else { Err(BlockFault::Fork.into()) }
            }
        }
    }

    /// Hands an accepted daily block's day over to summarize.
    async fn open_day(
        &self,
        opened: &OpenedBlock,
        object: ObjectRef,
        previous_daily: Option<BlockNumber>,
    ) -> Result<(), CloudError> {
        let block = &opened.block;
        let accepted = DayBlock {
            number: opened.number,
            hash: opened.hash,
            object,
            first: block.first,
            count: block.count,
            previous_daily,
        };
        let accept = |row: &mut DayRow| {
            row.accept_block(accepted.clone())
                .map_err(|fault| CloudError::damaged(format!("the day {} of {}", block.day, block.thing), fault))
        };
        edit::<CloudError>(self.days.as_ref(), &block.thing, block.day, accept).await?;
        let task = DayTask { thing: block.thing.clone(), day: block.day, attempt: 0 };
        self.outbox.summarize(&SummarizeTask::Day(task), self.settings.settle_seconds).await
    }

    /// Keeps a block until its predecessor comes. The first under its number stays.
    async fn keep_waiting(&self, candidate: &Candidate<'_>) -> Result<(), Stop> {
        let Candidate { event, thing, opened, .. } = candidate;
        let event_json = event.raw().as_bytes().to_vec();
        if self.archive.put_once(&pending_key(thing, opened.number), event_json, JSON).await? == PutOnce::Exists {
            let (_, known) = self.waiting_block(thing, opened.number).await?;
            if hash_of(known.envelope(), "a waiting block")? != opened.hash {
                return Err(BlockFault::Fork.into());
            }
        } else {
            self.count("BlocksPending");
        }
        if opened.block.is_daily() {
            let note = |row: &mut DayRow| Ok(row.note_pending(opened.number));
            edit::<CloudError>(self.days.as_ref(), thing, opened.block.day, note).await?;
        }
        self.chains.add_pending(thing, opened.number).await?;
        tracing::warn!(%thing, block = %opened.number, day = %opened.block.day, "a block waits for its predecessor");
        Ok(())
    }

    async fn waiting_block(
        &self,
        thing: &DeviceId,
        number: BlockNumber,
    ) -> Result<(RuleEvent, ReceivedBlock), CloudError> {
        let key = pending_key(thing, number);
        let (_, bytes) = self.archive.get_newest(&key).await?;
        let body = String::from_utf8(bytes).map_err(|e| CloudError::damaged(&*key, e))?;
        let event = RuleEvent::parse(body).map_err(|e| CloudError::damaged(&*key, e))?;
        let received = ReceivedBlock::decode(&event.envelope).map_err(|e| CloudError::damaged(&*key, e))?;
        Ok((event, received))
    }

    /// Takes the blocks whose turn has come. One that does not continue the chain after all is refused; its number is free again.
    async fn promote(&self, thing: &DeviceId, device: &Registered) -> Result<(), CloudError> {
        for _ in 0..MAX_PROMOTED {
            let head = self.chains.head(thing).await?;
            let number = head.block.map_or(Some(BlockNumber(0)), |link| link.number.next());
            let Some(number) = number.filter(|number| head.pending.contains(&number.0)) else {
                return self.forget_passed(thing, &head).await;
            };
            let (event, received) = self.waiting_block(thing, number).await?;
            let damaged = |fault| CloudError::damaged(pending_key(thing, number), fault);
            let message = self.reveal(received, thing, device).await?.map_err(damaged)?;
            let opened = message.open(thing, &device.key).map_err(damaged)?;
            let candidate = Candidate { event: &event, thing: thing.clone(), message, opened };
            match self.accept(&candidate, &head).await {
                Ok(()) => {}
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Refused(refusal)) => {
                    self.refuse(&event, &refusal).await?;
                    let forget = |row: &mut DayRow| Ok(row.forget_pending(number));
                    edit::<CloudError>(self.days.as_ref(), thing, candidate.opened.block.day, forget).await?;
                    return self.chains.remove_pending(thing, number).await;
                }
            }
        }
        Ok(())
    }

    /// Numbers at or below the head wait no more.
    async fn forget_passed(&self, thing: &DeviceId, head: &ChainHead) -> Result<(), CloudError> {
        let Some(link) = head.block else { return Ok(()) };
        for number in head.pending.range(..=link.number.0) {
            self.chains.remove_pending(thing, BlockNumber(*number)).await?;
        }
        Ok(())
    }
}

/// The label of a local day must belong to its interval in the device's registered zone; an interim block lies within its day.
fn check_label(device: &Device, block: &Block) -> Result<(), BlockFault> {
    let bounds = DayBounds::of(&device.zone, block.day).map_err(|_| BlockFault::BadLabel)?;
    let fits = match block.span {
        Span::Daily { .. } => block.bounds == bounds,
        Span::Interim => block.bounds.from == bounds.from && block.bounds.to <= bounds.to,
    };
    if fits && block.zone == device.zone { Ok(()) } else { Err(BlockFault::BadLabel) }
}

/// An archived block's hash and payload. It was verified before it was archived.
fn signed_block(envelope: &[u8], what: &str) -> Result<(Hash, Block), CloudError> {
    let envelope = Envelope::parse(envelope).map_err(|e| CloudError::damaged(what, e))?;
    let block = Block::decode(envelope.payload()).map_err(|e| CloudError::damaged(what, e))?;
    Ok((envelope.hash(), block))
}

fn hash_of(envelope: &[u8], what: &str) -> Result<Hash, CloudError> {
    Envelope::parse(envelope).map(|envelope| envelope.hash()).map_err(|e| CloudError::damaged(what, e))
}
