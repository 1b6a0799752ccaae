//! One peer or orderer: its gRPC channel, and the calls to a peer. The stubs are written by hand; nothing is generated.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use prost::Message;
use tokio::sync::oneshot;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::error::LedgerError;
use crate::limits::Limits;
use crate::profile::{ClientTls, NodeEndpoint};
use crate::proto::common::Envelope;
use crate::proto::events;
use crate::proto::peer::{ProposalResponse, SignedProposal};

/// The largest message taken or sent: Fabric's own limit. tonic's is 4 MiB, less than a block may have.
pub const MAX_MESSAGE_BYTES: usize = 100 << 20;

const PROCESS_PROPOSAL: &str = "/protos.Endorser/ProcessProposal";
pub(crate) const BROADCAST: &str = "/orderer.AtomicBroadcast/Broadcast";
const DELIVER_FILTERED: &str = "/protos.Deliver/DeliverFiltered";

/// A connection that was idle for so long is made anew: between a Lambda and a node stand balancers and translators that forget a
/// connection after some minutes without telling either end, and a frozen Lambda answers no keep-alive.
const IDLE: Duration = Duration::from_secs(120);

/// How often a call in flight is checked to be alive; Fabric's nodes cut off clients that ask more often than each minute.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// The answers to a stream that was opened. Dropping it ends our side as well, and with both sides the stream; a request body that is
/// still pending would keep it open in the connection for ever.
pub(crate) struct Answers<A> {
    answers: Streaming<A>,
    _end: oneshot::Sender<()>,
}

impl<A> Answers<A> {
    /// The next answer; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<A>, CallError> {
        self.answers.message().await.map_err(broken)
    }
}

/// A stream of verdicts.
pub(crate) type Deliveries = Answers<events::DeliverResponse>;

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) msp: String,
    endpoint: Endpoint,
    connection: Mutex<(Channel, Instant)>,
    failed: Mutex<Option<Instant>>,
    /// When what it said was last not what the others say.
    behind: Mutex<Option<Instant>>,
}

/// Why a node did not do what it was asked.
#[derive(Clone, Debug)]
pub(crate) enum CallError {
    /// No connection came about: the node has seen nothing of the request.
    NotReached(String),
    /// The connection or the stream broke; the request may have arrived.
    Broken(String),
    /// The node itself answered with an error.
    Answered(String),
    /// Nothing came back in time; the request may have arrived.
    Silent(Duration),
    /// The orderer refused another envelope and ended the stream that both were on; this one may have arrived.
    CutOff,
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotReached(text) | Self::Broken(text) | Self::Answered(text) => f.write_str(text),
            Self::Silent(limit) => write!(f, "no answer within {} ms", limit.as_millis()),
            Self::CutOff => f.write_str("the stream ended with the refusal of another transaction"),
        }
    }
}

impl Node {
    /// Connects lazily: no packet is sent before the first call.
    pub(crate) fn new(
        endpoint: &NodeEndpoint,
        client_tls: Option<&ClientTls>,
        limits: &Limits,
    ) -> Result<Self, LedgerError> {
        let fault =
            |error: tonic::transport::Error| LedgerError::Profile(format!("{}: {}", endpoint.name, chain(&error)));
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&endpoint.tls_ca_pem));
        if let Some(name) = &endpoint.server_name {
            tls = tls.domain_name(name);
        }
        if let Some(own) = client_tls {
            tls = tls.identity(Identity::from_pem(&own.certificate_pem, own.key_pem.expose()));
        }
        let builder = Endpoint::from_shared(endpoint.address.clone())
            .and_then(|builder| builder.tls_config(tls))
            .map_err(fault)?
            .connect_timeout(limits.connect)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(limits.connect)
            .tcp_nodelay(true);
        Ok(Self::at(&endpoint.name, &endpoint.msp, builder))
    }

    pub(crate) fn at(name: &str, msp: &str, endpoint: Endpoint) -> Self {
        Self {
            name: name.to_owned(),
            msp: msp.to_owned(),
            connection: Mutex::new((lazily(&endpoint), Instant::now())),
            endpoint,
            failed: Mutex::new(None),
            behind: Mutex::new(None),
        }
    }

    /// Whether it failed, or was put behind, within the last `rest`.
    pub(crate) fn is_resting(&self, rest: Duration) -> bool {
        let recent = |instant: &Mutex<Option<Instant>>| {
            let instant = instant.lock().unwrap_or_else(PoisonError::into_inner);
            instant.is_some_and(|instant| instant.elapsed() < rest)
        };
        recent(&self.failed) || recent(&self.behind)
    }

    /// Has it asked after the others for a while, since it answers wrongly. Its next answer, however prompt, does not make up for that.
    pub(crate) fn put_behind(&self) {
        *self.behind.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(crate) fn remember<T>(&self, result: Result<T, CallError>) -> Result<T, CallError> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        *failed = match result {
            Ok(_) | Err(CallError::Answered(_) | CallError::CutOff) => None,
            Err(_) => Some(Instant::now()),
        };
        result
    }

    /// The connection, and whether it is another one than before.
    pub(crate) fn channel(&self) -> (Channel, bool) {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let (channel, used) = &mut *connection;
        let idle = used.elapsed() > IDLE;
        if idle {
            *channel = lazily(&self.endpoint);
        }
        *used = Instant::now();
        (channel.clone(), idle)
    }

    /// Lets the connection go; the next call makes another.
    pub(crate) fn renew(&self) {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        *connection = (lazily(&self.endpoint), Instant::now());
    }

    /// Has the peer simulate and, where it is a transaction, endorse. That changes nothing, so it is asked again over a new connection
    /// when an old one turns out to be broken.
    pub(crate) async fn process_proposal(
        &self,
        proposal: &SignedProposal,
        limit: Duration,
    ) -> Result<ProposalResponse, CallError> {
        let call = || async {
            let mut grpc = ready(self.channel().0).await?;
            let path = PathAndQuery::from_static(PROCESS_PROPOSAL);
            let answer = grpc.unary(Request::new(proposal.clone()), path, ProstCodec::default());
            Ok(answer.await.map_err(broken)?.into_inner())
        };
        self.remember(twice(limit, call).await)
    }

    /// Opens a delivery and waits for its first message, so that every later block is seen for certain.
    pub(crate) async fn deliver_filtered(
        &self,
        seek: &Envelope,
        limit: Duration,
    ) -> Result<(Deliveries, events::deliver_response::Type), CallError> {
        let call = || async {
            let mut answers: Deliveries = self.stream(DELIVER_FILTERED, seek.clone()).await?;
            let first = answers.next().await?.and_then(|answer| answer.r#type);
            let first = first.ok_or_else(|| CallError::Broken("the delivery ended without an answer".to_owned()))?;
            Ok((answers, first))
        };
        self.remember(twice(limit, call).await)
    }

    /// Opens a stream with its first message already in it: the server sends its headers with its first answer, so a call that
    /// waits for them before it sends anything waits for ever.
    async fn stream<A>(&self, path: &'static str, first: Envelope) -> Result<Answers<A>, CallError>
    where
        A: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = ready(self.channel().0).await?;
        let (end, ended) = oneshot::channel::<()>();
        let open = futures_util::stream::once(ended).filter_map(|_| None);
        let requests = tokio_stream::once(first).chain(open);
        let path = PathAndQuery::from_static(path);
        let codec: ProstCodec<Envelope, A> = ProstCodec::default();
        let answers = grpc.streaming(Request::new(requests), path, codec).await;
        Ok(Answers { answers: answers.map_err(broken)?.into_inner(), _end: end })
    }
}

/// A connection that is made at the first use, by TCP and TLS within the endpoint's limit. tonic's own `connect_lazy` bounds TCP alone, and
/// a node that takes connections and never says a word would cost as much as a call may take; a connector that is given to it is bounded with
/// all that comes on top.
fn lazily(endpoint: &Endpoint) -> Channel {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(endpoint.get_tcp_nodelay());
    // A name's addresses share it, so that one that is away does not use all of it.
    tcp.set_connect_timeout(endpoint.get_connect_timeout());
    endpoint.connect_with_connector_lazy(tcp)
}

/// A client over a connection, once that is made.
pub(crate) async fn ready(channel: Channel) -> Result<Grpc<Channel>, CallError> {
    let mut grpc =
        Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES);
    grpc.ready().await.map_err(|error| CallError::NotReached(chain(&error)))?;
    Ok(grpc)
}

async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
    timeout(limit, call).await.unwrap_or(Err(CallError::Silent(limit)))
}

/// For calls that change nothing: once more, over a new connection, if the first broke.
async fn twice<T, F>(limit: Duration, call: impl Fn() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    match within(limit, call()).await {
        Err(CallError::Broken(_)) => within(limit, call()).await,
        result => result,
    }
}

/// Tells a connection that never came about from one that broke, and both from a status that the node sent.
pub(crate) fn broken(status: Status) -> CallError {
    if status.source().is_none() {
        return CallError::Answered(status.message().to_owned());
    }
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return CallError::NotReached(chain(error));
        }
        if is_connect_timeout(error) {
            return CallError::NotReached("no connection came about in time".to_owned());
        }
        source = error.source();
    }
    // What ended a connection, such as a certificate that the node asked for, is told by the causes alone.
    let cause = status.source().map_or_else(|| status.message().to_owned(), chain);
    CallError::Broken(format!("{:?}: {cause}", status.code()))
}

/// Whether it is that of [`lazily`]'s limit. A connection that times out later has an error of the operating system's, and HTTP/2's own
/// keep-alive has neither.
fn is_connect_timeout(error: &(dyn Error + 'static)) -> bool {
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<Elapsed>())
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
