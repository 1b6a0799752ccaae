//! Joins a peer's stream to the shim's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fabric_shim_protos::peer::ChaincodeMessage;
use tokio::sync::mpsc::Sender;
use tonic::{Status, Streaming};

use crate::open::{Forward, OpenTransactions};
use crate::shim::ShimStream;

/// Carries messages both ways until one side ends. When the peer ends, what still runs is told so and waited for.
///
/// `from_peer` may come later than the messages to the peer can go: a peer that is connected to answers only when it was spoken to.
pub(crate) async fn relay<F>(shim: ShimStream, to_peer: Sender<ChaincodeMessage>, from_peer: F) -> Result<(), Status>
where
    F: Future<Output = Result<Streaming<ChaincodeMessage>, Status>>,
{
    let open = Arc::new(Mutex::new(OpenTransactions::default()));
    let to_shim = shim.sender.clone();
    let up = tokio::spawn(carry_to_peer(shim, to_peer, Arc::clone(&open)));
    let ended = carry_to_shim(from_peer, &to_shim, &open).await;
    let answers = lock(&open).peer_is_gone();
    for answer in answers {
        if to_shim.send(answer).await.is_err() {
            break;
        }
    }
    // Ends the shim's stream when nothing runs there, so that the other direction ends, too.
    if lock(&open).is_over() {
        up.abort();
    }
    drop(to_shim);
    // Cancelled, or over by itself; it does not panic.
    let _ = up.await;
    ended
}

async fn carry_to_shim<F>(
    from_peer: F,
    to_shim: &Sender<ChaincodeMessage>,
    open: &Mutex<OpenTransactions>,
) -> Result<(), Status>
where
    F: Future<Output = Result<Streaming<ChaincodeMessage>, Status>>,
{
    let mut from_peer = from_peer.await?;
    while let Some(message) = from_peer.message().await? {
        lock(open).note_peer(&message);
        if to_shim.send(message).await.is_err() {
            return Err(Status::aborted("the shim ended the stream"));
        }
    }
    Ok(())
}

async fn carry_to_peer(mut shim: ShimStream, to_peer: Sender<ChaincodeMessage>, open: Arc<Mutex<OpenTransactions>>) {
    loop {
        let message = match shim.receiver.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(status) => {
                tracing::warn!(%status, "the shim's stream broke");
                return;
            }
        };
        let forward = lock(&open).note_shim(&message);
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
        if lock(&open).is_over() {
            return;
        }
    }
}

fn lock(open: &Mutex<OpenTransactions>) -> MutexGuard<'_, OpenTransactions> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
