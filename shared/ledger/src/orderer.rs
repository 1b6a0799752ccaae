//! An orderer, and how envelopes get to it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::error::LedgerError;
use crate::limits::Limits;
use crate::line::{Fate, Line};
use crate::node::{CallError, Node};
use crate::profile::{ClientTls, NodeEndpoint};
use crate::proto::common::Envelope;
use crate::proto::orderer::BroadcastResponse;

/// The envelopes that may wait at once for one orderer's acknowledgement. Others wait for a place.
const IN_FLIGHT: usize = 64;

/// An orderer with the stream that submissions share. It is opened at the first envelope and again after it ended.
pub(crate) struct Orderer {
    pub(crate) node: Node,
    line: Mutex<Option<Arc<Line>>>,
    places: Semaphore,
}

impl Orderer {
    pub(crate) fn new(
        endpoint: &NodeEndpoint,
        client_tls: Option<&ClientTls>,
        limits: &Limits,
    ) -> Result<Self, LedgerError> {
        Ok(Self::at(Node::new(endpoint, client_tls, limits)?))
    }

    fn at(node: Node) -> Self {
        Self { node, line: Mutex::default(), places: Semaphore::new(IN_FLIGHT) }
    }

    /// Hands an envelope in; `limit` bounds the wait for a place, and then that for the acknowledgement.
    ///
    /// On the shared stream the refusal of another envelope may take this one's acknowledgement away ([`CallError::CutOff`]); on a stream of
    /// its own (`shared` is false) it cannot.
    pub(crate) async fn broadcast(
        &self,
        envelope: &Envelope,
        shared: bool,
        limit: Duration,
    ) -> Result<BroadcastResponse, CallError> {
        let Ok(Ok(_place)) = timeout(limit, self.places.acquire()).await else {
            let text = format!("{IN_FLIGHT} transactions wait for its acknowledgement already");
            return Err(CallError::NotReached(text));
        };
        let result = if shared { self.shared(envelope, limit).await } else { self.alone(envelope, limit).await };
        self.node.remember(result)
    }

    async fn shared(&self, envelope: &Envelope, limit: Duration) -> Result<BroadcastResponse, CallError> {
        let line = self.line();
        match self.wait(&line, line.push(envelope.clone()), limit).await? {
            Fate::Answered(answer) => Ok(answer),
            Fate::Lost(why) | Fate::Unsent(why @ CallError::NotReached(_)) => Err(why),
            // What kept it from being sent cannot do so again.
            Fate::Unsent(_) => self.alone(envelope, limit).await,
        }
    }

    async fn alone(&self, envelope: &Envelope, limit: Duration) -> Result<BroadcastResponse, CallError> {
        let line = Line::open(self.node.channel().0);
        match self.wait(&line, line.push(envelope.clone()), limit).await? {
            Fate::Answered(answer) => Ok(answer),
            Fate::Lost(why) => Err(why),
            // Whatever ended the stream, the orderer has seen nothing of this envelope.
            Fate::Unsent(why) => Err(CallError::NotReached(why.to_string())),
        }
    }

    /// Waits for an envelope's fate. Silence ends the stream, and the connection is made anew: after a Lambda was frozen it may be one that only
    /// this end believes in.
    async fn wait(&self, line: &Line, mut fate: oneshot::Receiver<Fate>, limit: Duration) -> Result<Fate, CallError> {
        match timeout(limit, &mut fate).await {
            Ok(Ok(fate)) => Ok(fate),
            // The stream's task is gone, with the runtime that ran it.
            Ok(Err(_)) => Err(CallError::Broken("the stream is gone".to_owned())),
            Err(_) => {
                let silent = CallError::Silent(limit);
                self.node.renew();
                line.give_up(&silent);
                // Ended by whom or what ever, this envelope's fate is decided now.
                Ok(match fate.try_recv() {
                    // Not once in all that time did the connection take it: a stream of its own would wait as long.
                    Ok(Fate::Unsent(_)) => Fate::Unsent(CallError::NotReached(silent.to_string())),
                    Ok(fate) => fate,
                    Err(_) => Fate::Lost(silent),
                })
            }
        }
    }

    /// The stream that is open, or a new one after an end, or after so long a silence that the connection is made anew.
    fn line(&self) -> Arc<Line> {
        let mut current = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let (channel, renewed) = self.node.channel();
        match &*current {
            Some(line) if !renewed && !line.has_ended() => Arc::clone(line),
            _ => Arc::clone(current.insert(Arc::new(Line::open(channel)))),
        }
    }
}

#[cfg(test)]
mod tests;
