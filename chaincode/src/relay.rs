//! Joins a peer's stream to the shim's.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fabric_shim_protos::peer::ChaincodeMessage;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};
use tonic::{Status, Streaming};

use crate::open::{Forward, OpenTransactions};
use crate::shim::ShimStream;

/// What running calls may take after the order to stop.
const FAREWELL: Duration = Duration::from_secs(3);

/// What a peer may take to end its side of the stream after we ended ours. Until then all that we sent has reached it.
const LINGER: Duration = Duration::from_millis(500);

/// After this time nothing carries anything any more.
pub(crate) const STOPPED: Duration = Duration::from_secs(4);

/// Carries messages both ways until one side ends, or until `stop`. When the peer ends, what still runs is told so and waited for. When we
/// stop, no call is begun any more, and those that run have a few seconds to end.
///
/// `from_peer` may come later than the messages to the peer can go: a peer that is connected to answers only when it was spoken to.
pub(crate) async fn relay<F>(
    shim: ShimStream,
    to_peer: Sender<ChaincodeMessage>,
    from_peer: F,
    stop: impl Future<Output = ()>,
) -> Result<(), Status>
where
    F: Future<Output = Result<Streaming<ChaincodeMessage>, Status>>,
{
    let state = Arc::new(Open::default());
    let to_shim = shim.sender.clone();
    let mut up = tokio::spawn(carry_to_peer(shim, to_peer, Arc::clone(&state)));
    let mut down = pin!(carry_to_shim(from_peer, &to_shim, &state));
    let mut wait = Duration::MAX;
    let ended = tokio::select! {
        ended = &mut down => ended,
        () = stop => {
            state.lock().stop();
            state.changed.notify_one();
            tokio::select! {
                _ = &mut down => {}
                _ = &mut up => {
                    // Whether it ends its side or not, it has all that it will get.
                    let _ = timeout(LINGER, down).await;
                    return Ok(());
                }
                () = sleep(FAREWELL) => tracing::warn!("calls that still run are broken off"),
            }
            wait = LINGER;
            Ok(())
        }
    };
    let answers = state.lock().peer_is_gone();
    for answer in answers {
        if to_shim.send(answer).await.is_err() {
            break;
        }
    }
    // The other direction goes on answering in the peer's place. It ends itself, and the shim's stream, when nothing runs there any more.
    state.changed.notify_one();
    // Over by itself, or left to itself; it does not panic.
    let _ = timeout(wait, up).await;
    ended
}

/// What both directions know of the stream.
#[derive(Default)]
struct Open {
    transactions: Mutex<OpenTransactions>,
    /// Told when it may be over.
    changed: Notify,
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, OpenTransactions> {
        self.transactions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn carry_to_shim<F>(from_peer: F, to_shim: &Sender<ChaincodeMessage>, open: &Open) -> Result<(), Status>
where
    F: Future<Output = Result<Streaming<ChaincodeMessage>, Status>>,
{
    let mut from_peer = from_peer.await?;
    while let Some(message) = from_peer.message().await? {
        let begun = open.lock().note_peer(&message);
        if begun && to_shim.send(message).await.is_err() {
            return Err(Status::aborted("the shim ended the stream"));
        }
    }
    Ok(())
}

async fn carry_to_peer(mut shim: ShimStream, to_peer: Sender<ChaincodeMessage>, open: Arc<Open>) {
    while !open.lock().is_over() {
        let message = tokio::select! {
            message = shim.receiver.message() => message,
            () = open.changed.notified() => continue,
        };
        let message = match message {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(status) => {
                tracing::warn!(%status, "the shim's stream broke");
                return;
            }
        };
        let forward = open.lock().note_shim(&message);
        match forward {
            Forward::ToPeer => {
                // If it cannot be sent the peer is gone; the other direction finds out and answers.
                let _ = to_peer.send(message).await;
            }
            Forward::Answer(answer) => {
                let _ = shim.sender.send(*answer).await;
            }
            Forward::Nobody => {}
        }
    }
}
