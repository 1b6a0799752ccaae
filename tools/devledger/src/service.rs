//! The gRPC services, written by hand over tonic's server: a path, a codec and a call each.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use prost::Message;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use vitro_ledger::MAX_MESSAGE_BYTES;
use vitro_ledger::proto::common::{self, Envelope};
use vitro_ledger::proto::events;
use vitro_ledger::proto::orderer::{BroadcastResponse, DeliverResponse};
use vitro_ledger::proto::peer::{ProposalResponse, SignedProposal};

use crate::chain::Chain;
use crate::deliver::{FILTERED, ORDERED, WHOLE, deliver};
use crate::endorser::Endorser;
use crate::orderer::{Orderer, stopped};

type Reply<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Call<A> = Reply<Result<Response<A>, Status>>;
type Answers<A> = ReceiverStream<Result<A, Status>>;

/// `protos.Endorser`.
#[derive(Clone)]
pub(crate) struct EndorserService(pub Arc<Endorser>);

/// `protos.Deliver`, of a peer.
#[derive(Clone)]
pub(crate) struct DeliverService {
    /// The chain.
    pub chain: Arc<Chain>,
    /// Turns true when the ledger stops.
    pub stop: watch::Receiver<bool>,
}

/// `orderer.AtomicBroadcast`.
#[derive(Clone)]
pub(crate) struct BroadcastService {
    /// What takes envelopes.
    pub orderer: Orderer,
    /// The chain.
    pub chain: Arc<Chain>,
    /// Turns true when the ledger stops.
    pub stop: watch::Receiver<bool>,
}

impl NamedService for EndorserService {
    const NAME: &'static str = "protos.Endorser";
}

impl NamedService for DeliverService {
    const NAME: &'static str = "protos.Deliver";
}

impl NamedService for BroadcastService {
    const NAME: &'static str = "orderer.AtomicBroadcast";
}

/// A server side for requests `R` and answers `A`, with Fabric's limits.
fn grpc<R, A>() -> Grpc<ProstCodec<A, R>>
where
    R: Message + Default + Send + 'static,
    A: Message + Default + Send + 'static,
{
    Grpc::new(ProstCodec::default())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

fn unknown_method() -> http::Response<Body> {
    Status::unimplemented("no such method").into_http()
}

struct ProcessProposal(Arc<Endorser>);

impl UnaryService<SignedProposal> for ProcessProposal {
    type Response = ProposalResponse;
    type Future = Call<ProposalResponse>;

    fn call(&mut self, request: Request<SignedProposal>) -> Self::Future {
        let endorser = Arc::clone(&self.0);
        Box::pin(async move {
            let proposal = request.into_inner();
            let processed = tokio::task::spawn_blocking(move || endorser.process(&proposal)).await;
            let processed = processed.map_err(|_| Status::internal("the simulation panicked"))?;
            processed.map(Response::new)
        })
    }
}

struct Broadcast {
    orderer: Orderer,
    stop: watch::Receiver<bool>,
}

impl StreamingService<Envelope> for Broadcast {
    type Response = BroadcastResponse;
    type ResponseStream = Answers<BroadcastResponse>;
    type Future = Call<Self::ResponseStream>;

    fn call(&mut self, request: Request<Streaming<Envelope>>) -> Self::Future {
        let orderer = self.orderer.clone();
        let mut envelopes = request.into_inner();
        let (answers, stream) = mpsc::channel(16);
        let mut stop = self.stop.clone();
        tokio::spawn(async move {
            let serve = async {
                while let Some(Ok(envelope)) = envelopes.next().await {
                    let answer = orderer.accept(&envelope);
                    let ok = answer.status == common::Status::Success as i32;
                    // As Fabric's orderer: any answer but success is the stream's last.
                    if answers.send(Ok(answer)).await.is_err() || !ok {
                        return;
                    }
                }
            };
            tokio::select! {
                () = serve => {}
                () = stopped(&mut stop) => {}
            }
        });
        // Fabric's orderer sends its headers with its first answer; tonic sends them at once, so a client that waits for them too
        // early is not found out here.
        Box::pin(async move { Ok(Response::new(ReceiverStream::new(stream))) })
    }
}

struct DeliverBlocks<F>(F);

impl<F, A> StreamingService<Envelope> for DeliverBlocks<F>
where
    F: FnMut(Streaming<Envelope>, Option<[u8; 32]>) -> Answers<A>,
    A: Send + 'static,
{
    type Response = A;
    type ResponseStream = Answers<A>;
    type Future = Call<Self::ResponseStream>;

    fn call(&mut self, request: Request<Streaming<Envelope>>) -> Self::Future {
        let certificates = request.peer_certs();
        let shown = certificates.as_ref().and_then(|all| all.first()).map(|shown| Sha256::digest(shown).into());
        let answers = (self.0)(request.into_inner(), shown);
        Box::pin(async move { Ok(Response::new(answers)) })
    }
}

/// Wraps a service's `call` into tower's trait.
macro_rules! tower_service {
    ($service:ty, $self:ident, $request:ident, $body:expr) => {
        impl Service<http::Request<Body>> for $service {
            type Response = http::Response<Body>;
            type Error = Infallible;
            type Future = Reply<Result<Self::Response, Infallible>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, $request: http::Request<Body>) -> Self::Future {
                let $self = self.clone();
                Box::pin(async move { Ok($body) })
            }
        }
    };
}

tower_service!(
    EndorserService,
    service,
    request,
    match request.uri().path() {
        "/protos.Endorser/ProcessProposal" => {
            grpc::<SignedProposal, ProposalResponse>().unary(ProcessProposal(service.0), request).await
        }
        _ => unknown_method(),
    }
);

tower_service!(
    DeliverService,
    service,
    request,
    match request.uri().path() {
        "/protos.Deliver/Deliver" => {
            let blocks = DeliverBlocks(move |seeks, shown| {
                deliver(&WHOLE, service.chain.clone(), seeks, shown, service.stop.clone())
            });
            grpc::<Envelope, events::DeliverResponse>().streaming(blocks, request).await
        }
        "/protos.Deliver/DeliverFiltered" => {
            let blocks = DeliverBlocks(move |seeks, shown| {
                deliver(&FILTERED, service.chain.clone(), seeks, shown, service.stop.clone())
            });
            grpc::<Envelope, events::DeliverResponse>().streaming(blocks, request).await
        }
        _ => unknown_method(),
    }
);

tower_service!(
    BroadcastService,
    service,
    request,
    match request.uri().path() {
        "/orderer.AtomicBroadcast/Broadcast" => {
            let broadcast = Broadcast { orderer: service.orderer, stop: service.stop };
            grpc::<Envelope, BroadcastResponse>().streaming(broadcast, request).await
        }
        "/orderer.AtomicBroadcast/Deliver" => {
            let blocks = DeliverBlocks(move |seeks, shown| {
                deliver(&ORDERED, service.chain.clone(), seeks, shown, service.stop.clone())
            });
            grpc::<Envelope, DeliverResponse>().streaming(blocks, request).await
        }
        _ => unknown_method(),
    }
);
