//! One peer or orderer: its gRPC channel and the four calls a client makes. The stubs are written by hand; nothing is generated.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prost::Message;
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::error::LedgerError;
use crate::limits::Limits;
use crate::profile::NodeEndpoint;
use crate::proto::common::Envelope;
use crate::proto::events;
use crate::proto::orderer::BroadcastResponse;
use crate::proto::peer::{ProposalResponse, SignedProposal};

/// The largest message taken or sent: Fabric's own limit. tonic's is 4 MiB, less than a block may have.
pub const MAX_MESSAGE_BYTES: usize = 100 << 20;

const PROCESS_PROPOSAL: &str = "/protos.Endorser/ProcessProposal";
const BROADCAST: &str = "/orderer.AtomicBroadcast/Broadcast";
const DELIVER_FILTERED: &str = "/protos.Deliver/DeliverFiltered";

/// A stream of verdicts.
pub(crate) type Deliveries = Streaming<events::DeliverResponse>;

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) msp: String,
    channel: Channel,
    failed: Mutex<Option<Instant>>,
}

/// Why a node did not do what it was asked.
#[derive(Debug)]
pub(crate) enum CallError {
    /// No connection came about: the node has seen nothing of the request.
    NotReached(String),
    /// The request may have arrived.
    Broken(String),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotReached(text) | Self::Broken(text) => f.write_str(text),
        }
    }
}

impl Node {
    /// Connects lazily: no packet is sent before the first call.
    pub(crate) fn new(endpoint: &NodeEndpoint, limits: &Limits) -> Result<Self, LedgerError> {
        let fault = |error: tonic::transport::Error| {
            LedgerError::Profile(format!("{}: {}", endpoint.name, chain(&error)))
        };
        let mut tls =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&endpoint.tls_ca_pem));
        if let Some(name) = &endpoint.server_name {
            tls = tls.domain_name(name);
        }
        let channel = Endpoint::from_shared(endpoint.address.clone())
            .and_then(|builder| builder.tls_config(tls))
            .map_err(fault)?
            .connect_timeout(limits.connect)
            .http2_keep_alive_interval(Duration::from_secs(60))
            .keep_alive_timeout(limits.connect)
            .tcp_nodelay(true)
            .connect_lazy();
        Ok(Self {
            name: endpoint.name.clone(),
            msp: endpoint.msp.clone(),
            channel,
            failed: Mutex::new(None),
        })
    }

    /// Whether it failed within the last `rest`.
    pub(crate) fn is_resting(&self, rest: Duration) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|instant| instant.elapsed() < rest)
    }

    fn remember<T>(&self, result: Result<T, CallError>) -> Result<T, CallError> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        *failed = result.is_err().then(Instant::now);
        result
    }

    async fn grpc(&self) -> Result<Grpc<Channel>, CallError> {
        let mut grpc = Grpc::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        grpc.ready().await.map_err(|error| CallError::NotReached(chain(&error)))?;
        Ok(grpc)
    }

    /// Has the peer simulate and, where it is a transaction, endorse.
    pub(crate) async fn process_proposal(
        &self,
        proposal: &SignedProposal,
        limit: Duration,
    ) -> Result<ProposalResponse, CallError> {
        let call = async {
            let mut grpc = self.grpc().await?;
            let path = PathAndQuery::from_static(PROCESS_PROPOSAL);
            let answer = grpc.unary(Request::new(proposal.clone()), path, ProstCodec::default());
            Ok(answer.await.map_err(broken)?.into_inner())
        };
        self.remember(within(limit, call).await)
    }

    /// Hands an envelope to the orderer. Each has a stream of its own: the orderer ends a stream at the first refusal, and with it
    /// every acknowledgement still due on it.
    pub(crate) async fn broadcast(
        &self,
        envelope: &Envelope,
        limit: Duration,
    ) -> Result<BroadcastResponse, CallError> {
        let call = async {
            let mut answers: Streaming<BroadcastResponse> =
                self.stream(BROADCAST, envelope.clone()).await?;
            match answers.message().await.map_err(broken)? {
                Some(answer) => Ok(answer),
                None => Err(CallError::Broken("the stream ended without an answer".to_owned())),
            }
        };
        self.remember(within(limit, call).await)
    }

    /// Opens a delivery and waits for its first message, so that every later block is seen for certain.
    pub(crate) async fn deliver_filtered(
        &self,
        seek: &Envelope,
        limit: Duration,
    ) -> Result<(Deliveries, events::deliver_response::Type), CallError> {
        let call = async {
            let mut answers: Deliveries = self.stream(DELIVER_FILTERED, seek.clone()).await?;
            match answers.message().await.map_err(broken)?.and_then(|answer| answer.r#type) {
                Some(first) => Ok((answers, first)),
                None => Err(CallError::Broken("the delivery ended without an answer".to_owned())),
            }
        };
        self.remember(within(limit, call).await)
    }

    /// Opens a stream with its first message already in it: the server sends its headers with its first answer, so a call that
    /// waits for them before it sends anything waits for ever. Our side stays open until the answers are dropped.
    async fn stream<A>(&self, path: &'static str, first: Envelope) -> Result<Streaming<A>, CallError>
    where
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc().await?;
        let requests = tokio_stream::once(first).chain(tokio_stream::pending());
        let path = PathAndQuery::from_static(path);
        let codec: ProstCodec<Envelope, A> = ProstCodec::default();
        let answers = grpc.streaming(Request::new(requests), path, codec).await;
        Ok(answers.map_err(broken)?.into_inner())
    }
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    match timeout(limit, call).await {
        Ok(result) => result,
        Err(_) => Err(CallError::Broken(format!("no answer within {} ms", limit.as_millis()))),
    }
}

/// Tells a connection that never came about from one that broke.
fn broken(status: Status) -> CallError {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return CallError::NotReached(chain(&status));
        }
        source = error.source();
    }
    CallError::Broken(format!("{:?}: {}", status.code(), status.message()))
}

/// An error and its causes in one line; transport errors keep what matters in their causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}
