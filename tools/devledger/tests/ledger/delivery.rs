//! Whole blocks from a peer and from the orderer, asked for as other clients do.

use std::time::SystemTime;

use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;
use vitro_ledger::block::{codes, header_bytes, header_hash};
use vitro_ledger::proto::common::{
    self, Block, ChannelHeader, Envelope, Header, HeaderType, Metadata, Payload, SignatureHeader, Status,
};
use vitro_ledger::proto::orderer::{
    DeliverResponse, FAIL_IF_NOT_READY, SeekInfo, SeekNewest, SeekOldest, SeekPosition, SeekSpecified,
    deliver_response, seek_position::Type,
};
use vitro_ledger::{
    ClientTls, ConnectionProfile, Identity, LedgerError, NodeEndpoint, PemSigner, SecretPem, TxValidationCode,
};

use crate::support::{Network, args, connect};

const PEER: &str = "/protos.Deliver/Deliver";
const ORDERER: &str = "/orderer.AtomicBroadcast/Deliver";

fn identity(profile: &ConnectionProfile) -> Identity {
    let key = PemSigner::from_pem(profile.identity.key_pem.as_ref().unwrap().expose()).unwrap();
    Identity::new(&profile.identity.msp, &profile.identity.certificate_pem, std::sync::Arc::new(key))
}

fn seek(identity: &Identity, channel: &str, start: Type, stop: Type) -> Envelope {
    bound_seek(identity, channel, start, stop, Vec::new())
}

/// A seek for the connection that shows the certificate of this hash.
fn bound_seek(identity: &Identity, channel: &str, start: Type, stop: Type, tls_cert_hash: Vec<u8>) -> Envelope {
    let position = |position| Some(SeekPosition { r#type: Some(position) });
    let info = SeekInfo {
        start: position(start),
        stop: position(stop),
        behavior: FAIL_IF_NOT_READY,
        error_response: 0,
        content_type: 0,
    };
    let channel_header = ChannelHeader {
        r#type: HeaderType::DeliverSeekInfo as i32,
        channel_id: channel.to_owned(),
        timestamp: Some(SystemTime::now().into()),
        tls_cert_hash,
        ..ChannelHeader::default()
    };
    let signature_header = SignatureHeader { creator: identity.creator().to_vec(), nonce: vec![1; 24] };
    let header =
        Header { channel_header: channel_header.encode_to_vec(), signature_header: signature_header.encode_to_vec() };
    let payload = Payload { header: Some(header), data: info.encode_to_vec() }.encode_to_vec();
    let signature = identity.sign(&payload).unwrap();
    Envelope { payload, signature }
}

/// The blocks delivered, and the status at the end. The first two variants of a peer's answer are those of an orderer's.
async fn deliver(node: &NodeEndpoint, path: &'static str, seek: Envelope) -> (Vec<Block>, i32) {
    deliver_to(None, node, path, seek).await
}

/// The same over a connection that shows a certificate.
async fn deliver_to(
    client: Option<&ClientTls>,
    node: &NodeEndpoint,
    path: &'static str,
    seek: Envelope,
) -> (Vec<Block>, i32) {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&node.tls_ca_pem));
    if let Some(own) = client {
        tls = tls.identity(tonic::transport::Identity::from_pem(&own.certificate_pem, own.key_pem.expose()));
    }
    let endpoint = Endpoint::from_shared(node.address.clone()).unwrap().tls_config(tls).unwrap();
    let mut grpc = Grpc::new(endpoint.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let codec: ProstCodec<Envelope, DeliverResponse> = ProstCodec::default();
    let requests = Request::new(tokio_stream::once(seek));
    let answers = grpc.streaming(requests, PathAndQuery::from_static(path), codec).await;
    let mut answers: Streaming<DeliverResponse> = answers.unwrap().into_inner();
    let mut blocks = Vec::new();
    loop {
        match answers.message().await.unwrap().unwrap().r#type.unwrap() {
            deliver_response::Type::Block(block) => blocks.push(block),
            deliver_response::Type::Status(status) => return (blocks, status),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_blocks_are_chained_signed_and_carry_their_verdicts() {
    let network = Network::start().await;
    let ledger = network.client();
    ledger.submit("put", &args(["a", "1"])).await.unwrap();
    ledger.submit("put", &args(["a", "2"])).await.unwrap();
    let profile = network.profile("dv-user");
    let author = identity(&profile);
    let all = || seek(&author, "mychannel", Type::Oldest(SeekOldest {}), Type::Newest(SeekNewest {}));
    for (node, path) in [(&profile.peers[2], PEER), (&profile.orderers[0], ORDERER)] {
        let (blocks, status) = deliver(node, path, all()).await;
        assert_eq!((blocks.len(), status), (3, Status::Success as i32));
        for pair in blocks.windows(2) {
            let hash = header_hash(pair[0].header.as_ref().unwrap());
            assert_eq!(pair[1].header.as_ref().unwrap().previous_hash, hash);
        }
        for block in &blocks {
            assert_eq!(codes(block), [TxValidationCode::Valid]);
            check_signature(&network, block);
        }
    }
}

/// The orderer's signature over metadata, its own header and the block's header.
fn check_signature(network: &Network, block: &Block) {
    let metadata = &block.metadata.as_ref().unwrap().metadata[common::BlockMetadataIndex::Signatures as usize];
    let metadata = Metadata::decode(&metadata[..]).unwrap();
    let [signature] = &metadata.signatures[..] else { panic!("one signature") };
    let signed =
        [&metadata.value[..], &signature.signature_header, &header_bytes(block.header.as_ref().unwrap())].concat();
    let author = SignatureHeader::decode(&signature.signature_header[..]).unwrap();
    let member = network.running.chain().members().find(&author.creator).unwrap();
    assert_eq!(member.msp, "OrdererMSP");
    member.verify(&signed, &signature.signature).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_ask_and_what_is_not_there_end_with_a_status() {
    let network = Network::start().await;
    let profile = network.profile("rc");
    let author = identity(&profile);
    let newest = |channel| seek(&author, channel, Type::Newest(SeekNewest {}), Type::Newest(SeekNewest {}));
    let block = |number| Type::Specified(SeekSpecified { number });
    let mut forged = newest("mychannel");
    forged.signature = author.sign(b"something else").unwrap();
    let cases = [
        (newest("mychannel"), 1, Status::Success),
        (newest("other"), 0, Status::NotFound),
        (forged, 0, Status::Forbidden),
        (seek(&author, "mychannel", block(0), block(7)), 1, Status::NotFound),
        (seek(&author, "mychannel", block(2), block(1)), 0, Status::BadRequest),
        (Envelope::default(), 0, Status::BadRequest),
    ];
    for (seek, count, expected) in cases {
        for (node, path) in [(&profile.peers[0], PEER), (&profile.orderers[0], ORDERER)] {
            let (blocks, status) = deliver(node, path, seek.clone()).await;
            assert_eq!((blocks.len(), status), (count, expected as i32));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_asks_for_client_certificates_serves_who_shows_one_and_nobody_else() {
    let network = Network::start_with(|options| options.require_client_certificates = true).await;
    for name in ["operator", "rc-user"] {
        let ledger = connect(&network.profile(name));
        ledger.submit("put", &args(["by", name])).await.unwrap();
        assert_eq!(ledger.query("get", &args(["by"])).await.unwrap(), name.as_bytes());
    }
    let height = network.client().chain_info().await.unwrap().height;
    let mut none = network.profile("operator");
    none.client_tls = None;
    // The identity's certificate is of the organization, but its issuer is no TLS CA.
    let mut other = network.profile("operator");
    let identity = other.identity.clone();
    let key_pem = SecretPem::new(identity.key_pem.unwrap().expose().to_owned());
    other.client_tls = Some(ClientTls { certificate_pem: identity.certificate_pem, key_pem });
    for profile in [none, other] {
        let error = connect(&profile).submit("put", &args(["a", "1"])).await.unwrap_err();
        assert!(matches!(error, LedgerError::NotEndorsed { .. }), "{error}");
    }
    assert_eq!(network.client().chain_info().await.unwrap().height, height);
    let mut garbage = network.profile("operator");
    garbage.client_tls.as_mut().unwrap().key_pem = SecretPem::new("hidden".to_owned());
    let error = vitro_ledger::Ledger::from_profile(&garbage).unwrap_err();
    assert!(matches!(&error, LedgerError::Profile(_)) && !format!("{error} {error:?}").contains("hidden"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_is_for_the_connection_of_its_author_alone() {
    let network = Network::start_with(|options| options.require_client_certificates = true).await;
    let (rc, dv) = (network.profile("rc"), network.profile("dv"));
    let author = identity(&rc);
    let own = rc.client_tls.as_ref().unwrap();
    let hash = own.certificate_hash().unwrap();
    let newest = || Type::Newest(SeekNewest {});
    let seek = |hash: &[u8]| bound_seek(&author, "mychannel", newest(), newest(), hash.to_vec());
    let cases = [(own, &hash[..], 1, Status::Success), (own, &[], 0, Status::BadRequest)];
    // A seek that was read on its way, brought over another one's connection.
    let stolen = [(dv.client_tls.as_ref().unwrap(), &hash[..], 0, Status::BadRequest)];
    for (client, hash, count, expected) in cases.into_iter().chain(stolen) {
        for (node, path) in [(&rc.peers[0], PEER), (&rc.orderers[0], ORDERER)] {
            let (blocks, status) = deliver_to(Some(client), node, path, seek(hash)).await;
            assert_eq!((blocks.len(), status), (count, expected as i32));
        }
    }
}
