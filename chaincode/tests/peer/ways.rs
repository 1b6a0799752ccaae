//! The chaincode as a service and as a peer's program, with and without TLS, and fake peers for each.

use std::pin::Pin;
use std::sync::Arc;

use fabric_shim_protos::peer::ChaincodeMessage;
use fabric_shim_protos::peer::chaincode_client::ChaincodeClient;
use fabric_shim_protos::peer::chaincode_support_server::{ChaincodeSupport, ChaincodeSupportServer};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use vitro_chaincode::{ChaincodeError, PeerSettings, PeerTls, ServiceTls, VitroChaincode, join, serve};

use crate::fake::FakePeer;

/// The package id that the chaincode registers under.
pub(crate) const ID: &str = "vitro_0.1.0:0123abcd";

/// A running service; it stops when this is dropped.
pub(crate) struct Service {
    address: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ChaincodeError>>,
}

impl Service {
    pub(crate) async fn start(chaincode: VitroChaincode, tls: Option<ServiceTls>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let until = async { drop(stopped.await) };
            serve(ID, chaincode, listener, tls.as_ref(), until).await
        });
        Self { address, stop, serving }
    }

    /// Has it stop; how it ends.
    pub(crate) fn stop(self) -> JoinHandle<Result<(), ChaincodeError>> {
        drop(self.stop);
        self.serving
    }

    /// A peer that connects.
    pub(crate) async fn peer(&self) -> FakePeer {
        peer_of(&self.address).await.unwrap()
    }

    /// A peer that connects by TLS.
    pub(crate) async fn tls_peer(&self, config: ClientConfig) -> Result<FakePeer, tonic::transport::Error> {
        let (address, connector) = (self.address.clone(), TlsConnector::from(Arc::new(config)));
        let connector = tower::service_fn(move |_| {
            let (address, connector) = (address.clone(), connector.clone());
            async move {
                let stream = TcpStream::connect(address).await?;
                let name = ServerName::try_from("localhost").unwrap();
                Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
            }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await?;
        Ok(connected(channel).await)
    }
}

/// A peer that connects to a service, if one listens there.
pub(crate) async fn peer_of(address: &str) -> Result<FakePeer, tonic::transport::Error> {
    Ok(connected(Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await?).await)
}

async fn connected(channel: Channel) -> FakePeer {
    let (sender, receiver) = mpsc::channel(64);
    let from = ChaincodeClient::new(channel).connect(ReceiverStream::new(receiver)).await.unwrap();
    FakePeer::on(from.into_inner(), sender).await
}

/// A peer's chaincode listener, which hands over the stream of the first chaincode that registers.
pub(crate) struct Listener {
    pub(crate) address: String,
    registered: mpsc::Receiver<FakePeer>,
    /// Of the chaincodes that joined: each stops when its sender is dropped.
    stops: Vec<oneshot::Sender<()>>,
}

struct Support(mpsc::Sender<FakePeer>);

#[tonic::async_trait]
impl ChaincodeSupport for Support {
    type RegisterStream = Pin<Box<dyn Stream<Item = Result<ChaincodeMessage, Status>> + Send>>;

    async fn register(
        &self,
        request: Request<Streaming<ChaincodeMessage>>,
    ) -> Result<Response<Self::RegisterStream>, Status> {
        let (sender, receiver) = mpsc::channel(64);
        let (from, registered) = (request.into_inner(), self.0.clone());
        // As a Go server does: headers are sent with the first message, not before.
        let (first, mut rest) = (sender.clone(), ReceiverStream::new(receiver));
        drop(sender);
        let peer = FakePeer::on(from, first).await;
        registered.send(peer).await.map_err(|_| Status::cancelled("the test is over"))?;
        let first = rest.next().await;
        Ok(Response::new(Box::pin(tokio_stream::iter(first).chain(rest).map(Ok))))
    }
}

impl Listener {
    pub(crate) async fn start(tls: Option<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("localhost:{}", listener.local_addr().unwrap().port());
        let (sender, registered) = mpsc::channel(1);
        let server = Server::builder().add_service(ChaincodeSupportServer::new(Support(sender)));
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            let connections = TcpListenerStream::new(listener);
            match acceptor {
                None => server.serve_with_incoming(connections).await,
                Some(acceptor) => {
                    let (sender, shaken) = mpsc::channel(1);
                    let shaking = async {
                        let mut connections = connections;
                        while let Some(Ok(stream)) = connections.next().await {
                            // A chaincode that it does not accept is not served; the next one may be.
                            if let Ok(stream) = acceptor.accept(stream).await {
                                let _ = sender.send(Ok::<_, std::io::Error>(crate::io::Io::new(stream))).await;
                            }
                        }
                    };
                    let serving = server.serve_with_incoming(ReceiverStream::new(shaken));
                    tokio::join!(shaking, serving).1
                }
            }
        });
        Self { address, registered, stops: Vec::new() }
    }

    /// Starts a chaincode that joins it, and waits until it is ready.
    pub(crate) async fn joined(&mut self, tls: Option<PeerTls>) -> FakePeer {
        self.join(VitroChaincode::default(), tls).await.0
    }

    /// The same, with how it ends.
    pub(crate) async fn joining(
        &mut self,
        chaincode: VitroChaincode,
    ) -> (FakePeer, JoinHandle<Result<(), ChaincodeError>>) {
        self.join(chaincode, None).await
    }

    /// Has all that joined stop.
    pub(crate) fn stop(&mut self) {
        self.stops.clear();
    }

    async fn join(
        &mut self,
        chaincode: VitroChaincode,
        tls: Option<PeerTls>,
    ) -> (FakePeer, JoinHandle<Result<(), ChaincodeError>>) {
        let settings = PeerSettings { chaincode_id: ID.to_owned(), address: self.address.clone(), tls };
        let (stop, stopped) = oneshot::channel::<()>();
        let until = async { drop(stopped.await) };
        self.stops.push(stop);
        let mut joining = tokio::spawn(async move { join(&settings, chaincode, until).await });
        tokio::select! {
            peer = self.registered.recv() => (peer.unwrap(), joining),
            ended = &mut joining => panic!("{:?}", ended.unwrap().err()),
        }
    }

    /// An address on which nobody listens.
    pub(crate) async fn nobody() -> String {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
    }

    /// Only an address.
    pub(crate) fn of(address: &str) -> Self {
        Self { address: address.to_owned(), registered: mpsc::channel(1).1, stops: Vec::new() }
    }

    /// How joining it ends.
    pub(crate) async fn refuses(&self, tls: Option<PeerTls>) -> ChaincodeError {
        let settings = PeerSettings { chaincode_id: ID.to_owned(), address: self.address.clone(), tls };
        join(&settings, VitroChaincode::default(), std::future::pending()).await.unwrap_err()
    }
}

/// A CA as a peer makes one in memory, with a server's and a client's pair.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key.
    fn pair(&self) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let (_, pem) = x509_parser::pem::parse_x509_pem(self.pem.as_bytes()).unwrap();
        roots.add(pem.contents.into()).unwrap();
        Arc::new(roots)
    }

    /// What a chaincode is given by its peer: the key under the wrong heading, as peers write it.
    pub(crate) fn for_chaincode(&self, client: &Self) -> PeerTls {
        let (certificate, key) = client.pair();
        let key_pem = key.serialize_pem().replace("PRIVATE KEY", "EC PRIVATE KEY");
        PeerTls { root_pem: self.pem.clone(), certificate_pem: certificate.pem(), key_pem }
    }

    /// A service's pair, and the CA of whom it serves.
    pub(crate) fn for_service(&self, clients: Option<&Self>) -> ServiceTls {
        let (certificate, key) = self.pair();
        let client_ca_pem = clients.map(|clients| clients.pem.clone());
        ServiceTls { certificate_pem: certificate.pem(), key_pem: key.serialize_pem(), client_ca_pem }
    }

    /// A peer's chaincode listener: mutual TLS.
    pub(crate) fn listener(&self) -> ServerConfig {
        let provider = Arc::new(rustls_graviola::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), Arc::clone(&provider));
        let (certificate, key) = self.pair();
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_client_cert_verifier(verifier.build().unwrap());
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], der(&key)).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    /// A peer that trusts this CA, with a certificate of another or without.
    pub(crate) fn client(&self, own: Option<&Self>) -> ClientConfig {
        let provider = Arc::new(rustls_graviola::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(self.roots());
        let mut config = match own.map(Self::pair) {
            Some((certificate, key)) => {
                builder.with_client_auth_cert(vec![certificate.der().clone()], der(&key)).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

fn der(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}
