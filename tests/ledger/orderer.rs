//! An orderer, spoken to without the client: what it acknowledged is known, and nothing is waited for.

use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic_prost::ProstCodec;
use vitro_ledger::ConnectionProfile;
use vitro_ledger::proto::common::Envelope;
use vitro_ledger::proto::orderer::BroadcastResponse;

/// The orderer's answer to an envelope.
pub(crate) async fn hand_in(profile: &ConnectionProfile, envelope: &Envelope) -> BroadcastResponse {
    let orderer = &profile.orderers[0];
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&orderer.tls_ca_pem));
    if let Some(name) = &orderer.server_name {
        tls = tls.domain_name(name);
    }
    let endpoint = Endpoint::from_shared(orderer.address.clone()).unwrap().tls_config(tls).unwrap();
    let mut grpc = Grpc::new(endpoint.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let codec: ProstCodec<Envelope, BroadcastResponse> = ProstCodec::default();
    let requests = Request::new(tokio_stream::once(envelope.clone()));
    let path = PathAndQuery::from_static("/orderer.AtomicBroadcast/Broadcast");
    grpc.streaming(requests, path, codec).await.unwrap().into_inner().message().await.unwrap().unwrap()
}
