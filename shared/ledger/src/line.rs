//! One stream to an orderer that many submissions share.
//!
//! The orderer acknowledges a stream's envelopes in their order. It ends the stream after any answer but a success, and acknowledgements
//! that were still due on it never come. So whoever handed an envelope in learns one of three things: the answer, that it is not known what
//! became of the envelope, or that it was never sent ([`Fate`]).

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio_stream::Stream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

use crate::node::{self, BROADCAST, CallError};
use crate::proto::common::{Envelope, Status};
use crate::proto::orderer::BroadcastResponse;

/// What became of an envelope.
#[derive(Debug)]
pub(crate) enum Fate {
    /// The orderer answered.
    Answered(BroadcastResponse),
    /// It was sent, and no answer will come.
    Lost(CallError),
    /// The stream ended before it was sent.
    Unsent(CallError),
}

/// A stream, from the first envelope on.
pub(crate) struct Line {
    state: Shared,
    task: AbortHandle,
}

type Shared = Arc<Mutex<State>>;

#[derive(Default)]
struct State {
    queued: VecDeque<(Envelope, oneshot::Sender<Fate>)>,
    /// Who waits for an answer, in the order in which the envelopes were sent.
    unanswered: VecDeque<oneshot::Sender<Fate>>,
    /// Of the connection, which waits for an envelope to send.
    sending: Option<Waker>,
    ended: Option<CallError>,
}

impl Line {
    /// Opens a stream; it sends nothing before the first envelope. Needs tokio's context.
    pub(crate) fn open(channel: Channel) -> Self {
        let state = Shared::default();
        let task = tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                let why = run(channel, &state).await;
                end(&state, &why);
            }
        });
        Self { state, task: task.abort_handle() }
    }

    /// Queues an envelope to be sent. A receiver that is dropped before its envelope was sent takes it back.
    pub(crate) fn push(&self, envelope: Envelope) -> oneshot::Receiver<Fate> {
        let (answer, receiver) = oneshot::channel();
        let mut state = lock(&self.state);
        if let Some(why) = &state.ended {
            // The receiver is here: it cannot be gone.
            let _ = answer.send(Fate::Unsent(why.clone()));
            return receiver;
        }
        state.queued.push_back((envelope, answer));
        let waker = state.sending.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        receiver
    }

    /// Whether it takes no more envelopes.
    pub(crate) fn has_ended(&self) -> bool {
        lock(&self.state).ended.is_some()
    }

    /// Ends it from our side: an orderer that does not answer one envelope answers none of those behind it.
    pub(crate) fn give_up(&self, why: &CallError) {
        self.task.abort();
        end(&self.state, why);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.give_up(&CallError::Broken("the client is gone".to_owned()));
    }
}

/// Carries answers to those who wait for them, until the stream ends; why it did.
async fn run(channel: Channel, state: &Shared) -> CallError {
    let mut grpc = match node::ready(channel).await {
        Ok(grpc) => grpc,
        Err(error) => return error,
    };
    let mut answers = match start(&mut grpc, state).await {
        Ok(answers) => answers,
        Err(error) => return error,
    };
    loop {
        let answer = match answers.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => return CallError::Broken("the orderer ended the stream".to_owned()),
            Err(status) => return node::broken(status),
        };
        let last = answer.status != Status::Success as i32;
        let Some(waiting) = lock(state).unanswered.pop_front() else {
            return CallError::Broken("an answer to nothing".to_owned());
        };
        // Who does not wait any more does not need it.
        let _ = waiting.send(Fate::Answered(answer));
        if last {
            return CallError::CutOff;
        }
    }
}

/// The orderer sends its headers with its first answer, so this takes as long as that. The connection sends meanwhile.
async fn start(grpc: &mut Grpc<Channel>, state: &Shared) -> Result<Streaming<BroadcastResponse>, CallError> {
    let requests = Request::new(Outbox(Arc::clone(state)));
    let path = PathAndQuery::from_static(BROADCAST);
    let codec: ProstCodec<Envelope, BroadcastResponse> = ProstCodec::default();
    Ok(grpc.streaming(requests, path, codec).await.map_err(node::broken)?.into_inner())
}

/// Ends a stream for everybody who waits for it, once.
fn end(state: &Shared, why: &CallError) {
    let mut state = lock(state);
    if state.ended.is_some() {
        return;
    }
    state.ended = Some(why.clone());
    let (queued, unanswered) = (std::mem::take(&mut state.queued), std::mem::take(&mut state.unanswered));
    let waker = state.sending.take();
    drop(state);
    for waiting in unanswered {
        let _ = waiting.send(Fate::Lost(why.clone()));
    }
    for (_, waiting) in queued {
        let _ = waiting.send(Fate::Unsent(why.clone()));
    }
    // The connection sees the end and lets the stream go; a request that stays pending would keep it open for ever.
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The envelopes as the connection takes them. Whoever takes one puts its sender in the line for an answer in the same step.
struct Outbox(Shared);

impl Stream for Outbox {
    type Item = Envelope;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Envelope>> {
        let mut state = lock(&self.0);
        if state.ended.is_some() {
            return Poll::Ready(None);
        }
        while let Some((envelope, answer)) = state.queued.pop_front() {
            if !answer.is_closed() {
                state.unanswered.push_back(answer);
                return Poll::Ready(Some(envelope));
            }
        }
        state.sending = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
