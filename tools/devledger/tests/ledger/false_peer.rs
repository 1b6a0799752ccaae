//! A peer that stands before a real one, with its name, its TLS certificate and its keys, and answers as it is told to.

use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, StreamingService, UnaryService};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use vitro_ledger::proto::common::Envelope;
use vitro_ledger::proto::events::{DeliverResponse, FilteredBlock, deliver_response};
use vitro_ledger::proto::peer::{
    self, ChaincodeAction, Endorsement, ProposalResponse, ProposalResponsePayload, SignedProposal,
};
use vitro_ledger::{Identity, NodeEndpoint, PemSigner};

/// How it answers a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// As the contract does.
    None,
    /// Another result, well endorsed.
    Differ,
    /// With the contract's refusal of what everybody else endorses.
    Refuse,
    /// Another result under the signature of the true one.
    Alter,
    /// In the name of another organization.
    Borrow,
    /// With a certificate that another organization's CA issued.
    Foreign,
    /// As the organization's user instead of its peer.
    Client,
    /// Without an endorsement.
    Unsigned,
}

#[derive(Clone)]
pub(crate) struct FalsePeer {
    lie: Lie,
    /// How many proposals it was asked.
    pub(crate) asked: Arc<AtomicU64>,
    /// Whether it sends blocks without an end and without a pause.
    floods: bool,
    real: Channel,
    signer: Identity,
}

type Reply<T> = Pin<Box<dyn Future<Output = T> + Send>>;

fn identity(organizations: &Path, folder: &str, name: &str, msp: &str) -> Identity {
    let read =
        |kind: &str| std::fs::read_to_string(organizations.join(folder).join(format!("{name}.{kind}.pem"))).unwrap();
    Identity::new(msp, &read("cert"), Arc::new(PemSigner::from_pem(&read("key")).unwrap()))
}

impl FalsePeer {
    /// Puts itself before a peer: the endpoint leads to it from here on.
    pub(crate) async fn before(endpoint: &mut NodeEndpoint, data_dir: &Path, lie: Lie, floods: bool) -> Self {
        let organizations = data_dir.join("organizations");
        let name = endpoint.name.trim_start_matches("peer0.").to_owned();
        let msp = endpoint.msp.clone();
        let signer = match lie {
            Lie::Borrow => identity(&organizations, &name, "node", "SpMSP"),
            Lie::Foreign => identity(&organizations, "sp", "node", &msp),
            Lie::Client => identity(&organizations, &name, "user1", &msp),
            _ => identity(&organizations, &name, "node", &msp),
        };
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&endpoint.tls_ca_pem));
        let real = Endpoint::from_shared(endpoint.address.clone()).unwrap().tls_config(tls).unwrap().connect_lazy();
        let peer = Self { lie, asked: Arc::default(), floods, real, signer };
        let pem = |kind: &str| std::fs::read(organizations.join(&name).join(format!("tls.{kind}.pem"))).unwrap();
        let tls = ServerTlsConfig::new().identity(tonic::transport::Identity::from_pem(pem("cert"), pem("key")));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        endpoint.address = format!("https://{}", listener.local_addr().unwrap());
        let mut server = Server::builder().tls_config(tls).unwrap();
        let server = server.add_service(EndorserService(peer.clone())).add_service(DeliverService(peer.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        peer
    }

    async fn answer(&self, proposal: SignedProposal) -> Result<ProposalResponse, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut client = tonic::client::Grpc::new(self.real.clone());
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static("/protos.Endorser/ProcessProposal");
        let codec: ProstCodec<SignedProposal, ProposalResponse> = ProstCodec::default();
        let mut answer = client.unary(Request::new(proposal), path, codec).await?.into_inner();
        match self.lie {
            Lie::None => {}
            Lie::Refuse => {
                answer.response = Some(peer::Response { status: 500, message: "no".into(), payload: Vec::new() });
                answer.endorsement = None;
            }
            Lie::Unsigned => answer.endorsement = None,
            Lie::Alter => answer.payload = altered(&answer.payload),
            Lie::Borrow | Lie::Foreign | Lie::Client => self.endorse(&mut answer),
            Lie::Differ => {
                answer.payload = altered(&answer.payload);
                answer.response = Some(peer::Response { status: 200, ..Default::default() });
                self.endorse(&mut answer);
            }
        }
        Ok(answer)
    }

    fn endorse(&self, answer: &mut ProposalResponse) {
        let endorser = self.signer.creator().to_vec();
        let signature = self.signer.sign(&[&answer.payload[..], &endorser].concat()).unwrap();
        answer.endorsement = Some(Endorsement { endorser, signature });
    }
}

/// The same result with another answer in it.
fn altered(payload: &[u8]) -> Vec<u8> {
    let mut payload = ProposalResponsePayload::decode(payload).unwrap();
    let mut action = ChaincodeAction::decode(&payload.extension[..]).unwrap();
    action.response = Some(peer::Response { status: 200, message: String::new(), payload: b"a lie".to_vec() });
    payload.extension = action.encode_to_vec();
    payload.encode_to_vec()
}

#[derive(Clone)]
struct EndorserService(FalsePeer);

impl NamedService for EndorserService {
    const NAME: &'static str = "protos.Endorser";
}

impl UnaryService<SignedProposal> for EndorserService {
    type Response = ProposalResponse;
    type Future = Reply<Result<Response<ProposalResponse>, Status>>;

    fn call(&mut self, request: Request<SignedProposal>) -> Self::Future {
        let peer = self.0.clone();
        Box::pin(async move { peer.answer(request.into_inner()).await.map(Response::new) })
    }
}

impl Service<http::Request<Body>> for EndorserService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Reply<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        let codec: ProstCodec<ProposalResponse, SignedProposal> = ProstCodec::default();
        Box::pin(async move { Ok(Grpc::new(codec).unary(service, request).await) })
    }
}

#[derive(Clone)]
struct DeliverService(FalsePeer);

impl NamedService for DeliverService {
    const NAME: &'static str = "protos.Deliver";
}

impl StreamingService<Envelope> for DeliverService {
    type Response = DeliverResponse;
    type ResponseStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<DeliverResponse, Status>> + Send>>;
    type Future = Reply<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: Request<Streaming<Envelope>>) -> Self::Future {
        let blocks = (0..).map(|number| {
            let block = FilteredBlock { number, ..Default::default() };
            Ok(DeliverResponse { r#type: Some(deliver_response::Type::FilteredBlock(block)) })
        });
        let blocks: Self::ResponseStream = Box::pin(tokio_stream::iter(blocks));
        Box::pin(async move { Ok(Response::new(blocks)) })
    }
}

impl Service<http::Request<Body>> for DeliverService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Reply<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if service.0.floods {
                let codec: ProstCodec<DeliverResponse, Envelope> = ProstCodec::default();
                return Ok(Grpc::new(codec).streaming(service, request).await);
            }
            let mut real = service.0.real.clone();
            let ready = std::future::poll_fn(|context| real.poll_ready(context)).await;
            Ok(match ready {
                Ok(()) => match real.call(request).await {
                    Ok(answer) => answer,
                    Err(error) => Status::unavailable(error.to_string()).into_http(),
                },
                Err(error) => Status::unavailable(error.to_string()).into_http(),
            })
        })
    }
}
