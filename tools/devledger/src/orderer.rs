//! The ordering service: checks what is handed in, queues it, cuts blocks by count, size and time.

use std::sync::Arc;
use std::time::SystemTime;

use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use vitro_ledger::proto::common::{ChannelHeader, Envelope, Payload, SignatureHeader, Status};
use vitro_ledger::proto::orderer::BroadcastResponse;

use crate::chain::Chain;
use crate::error::DevledgerError;
use crate::options::BatchLimits;

/// How many envelopes may wait to be ordered before the orderer says that it is busy.
const QUEUE: usize = 4096;

/// The orderer's front: what `Broadcast` calls.
#[derive(Clone)]
pub(crate) struct Orderer {
    chain: Arc<Chain>,
    limits: BatchLimits,
    queue: mpsc::Sender<Vec<u8>>,
}

/// The orderer's back: what cuts blocks.
pub(crate) struct Cutter {
    chain: Arc<Chain>,
    limits: BatchLimits,
    queue: mpsc::Receiver<Vec<u8>>,
}

/// The two ends of an orderer for a chain.
#[must_use]
pub(crate) fn orderer(chain: &Arc<Chain>, limits: BatchLimits) -> (Orderer, Cutter) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (
        Orderer { chain: Arc::clone(chain), limits, queue: sender },
        Cutter { chain: Arc::clone(chain), limits, queue: receiver },
    )
}

impl Orderer {
    /// Checks an envelope and queues it. 200 means queued: as on Fabric, a kill before the block is cut loses it.
    #[must_use]
    pub(crate) fn accept(&self, envelope: &Envelope) -> BroadcastResponse {
        let refuse = |status: Status, info: String| BroadcastResponse { status: status as i32, info };
        if let Err((status, info)) = self.check(envelope) {
            return refuse(status, info);
        }
        match self.queue.try_send(envelope.encode_to_vec()) {
            Ok(()) => refuse(Status::Success, String::new()),
            Err(_) => refuse(Status::ServiceUnavailable, "the queue is full or closed".to_owned()),
        }
    }

    fn check(&self, envelope: &Envelope) -> Result<(), (Status, String)> {
        let bad = |info: &str| (Status::BadRequest, info.to_owned());
        let size = envelope.encoded_len();
        if size > self.limits.absolute_bytes {
            let most = self.limits.absolute_bytes;
            return Err(bad(&format!("message payload is {size} bytes and exceeds maximum allowed {most} bytes")));
        }
        let header = Payload::decode(&envelope.payload[..]).ok().and_then(|payload| payload.header);
        let header = header.ok_or_else(|| bad("the envelope has no header"))?;
        let channel =
            ChannelHeader::decode(&header.channel_header[..]).map_err(|_| bad("the channel header cannot be read"))?;
        if channel.channel_id != self.chain.channel() {
            return Err((Status::NotFound, format!("no channel {}", channel.channel_id)));
        }
        author_of(&self.chain, envelope).map_err(|why| (Status::Forbidden, why))
    }
}

/// Waits until the ledger stops.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that whoever could stop it is gone, which is a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Checks that a member signed an envelope, and may sign now.
///
/// # Errors
/// Why not.
pub(crate) fn author_of(chain: &Chain, envelope: &Envelope) -> Result<(), String> {
    let header = Payload::decode(&envelope.payload[..]).ok().and_then(|payload| payload.header);
    let header = header.ok_or("the envelope has no header")?;
    let author =
        SignatureHeader::decode(&header.signature_header[..]).map_err(|_| "the signature header cannot be read")?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    chain
        .members()
        .find(&author.creator)
        .and_then(|member| {
            member.check_time(now)?;
            member.verify(&envelope.payload, &envelope.signature)
        })
        .map_err(|why| why.to_string())
}

impl Cutter {
    /// Cuts blocks until `stop` turns true; what is queued then still goes into a block.
    ///
    /// # Errors
    /// As [`Chain::append`]; the chain must not go on after that.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), DevledgerError> {
        let mut carried: Option<Vec<u8>> = None;
        loop {
            let first = match carried.take() {
                Some(envelope) => Some(envelope),
                None => tokio::select! {
                    first = self.queue.recv() => first,
                    () = stopped(&mut stop) => {
                        self.queue.close();
                        self.queue.recv().await
                    }
                },
            };
            let Some(first) = first else { return Ok(()) };
            let batch = self.fill(first, &mut carried).await;
            let chain = Arc::clone(&self.chain);
            let appended = tokio::task::spawn_blocking(move || chain.append(batch)).await;
            appended.map_err(|error| DevledgerError::Server(error.to_string()))??;
        }
    }

    /// Fills a batch until one of its limits; an envelope that does not fit any more is carried over.
    async fn fill(&mut self, first: Vec<u8>, carried: &mut Option<Vec<u8>>) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + self.limits.timeout;
        let mut size = first.len();
        let mut batch = vec![first];
        while batch.len() < self.limits.max_messages && size < self.limits.preferred_bytes {
            let Ok(Some(next)) = timeout_at(deadline, self.queue.recv()).await else { break };
            if size + next.len() > self.limits.preferred_bytes {
                *carried = Some(next);
                break;
            }
            size += next.len();
            batch.push(next);
        }
        batch
    }
}
