//! The ways to a peer: who connects, and TLS.

use vitro_chaincode::{ChaincodeError, VitroChaincode};
use vitro_contract::testing::roles;
use vitro_contract::{OuRole, calls};

use crate::fake::{Caller, FakePeer, soon};
use crate::ways::{Authority, ID, Listener, Service};

/// One call of the contract, by a peer that came by any way.
async fn works(peer: &FakePeer) {
    assert_eq!(peer.registered(), ID);
    let configure = calls::configure(&roles().unwrap());
    let admin = Caller::new("RcMSP", OuRole::Admin);
    let answer = peer.call(&admin, configure.function, &configure.args).await;
    assert_eq!(answer.response.status, 200, "{}", answer.response.message);
    assert_eq!(configure.read(&answer.response.payload).unwrap().agreed.len(), 1);
    assert_eq!(answer.set.writes.len(), 1);
    let nonsense = peer.call(&admin, configure.function, &[vec![0; 3 << 20]]).await;
    assert!(nonsense.response.message.starts_with("malformed: "), "{}", nonsense.response.message);
}

#[tokio::test]
async fn several_peers_connect_to_a_service() {
    let service = Service::start(VitroChaincode::default(), None).await;
    let peers = [service.peer().await, service.peer().await];
    for peer in &peers {
        works(peer).await;
    }
}

#[tokio::test]
async fn a_service_with_tls_serves_whom_its_ca_of_clients_certified() {
    let (own, clients) = (Authority::new(), Authority::new());
    let open = Service::start(VitroChaincode::default(), Some(own.for_service(None))).await;
    works(&open.tls_peer(own.client(None)).await.unwrap()).await;
    assert!(open.tls_peer(clients.client(None)).await.is_err(), "another CA's service");
    let closed = Service::start(VitroChaincode::default(), Some(own.for_service(Some(&clients)))).await;
    works(&closed.tls_peer(own.client(Some(&clients))).await.unwrap()).await;
}

#[tokio::test]
async fn a_chaincode_joins_its_peer() {
    let mut listener = Listener::start(None).await;
    works(&listener.joined(None).await).await;
}

#[tokio::test]
async fn a_chaincode_joins_its_peer_by_mutual_tls() {
    let authority = Authority::new();
    let mut listener = Listener::start(Some(authority.listener())).await;
    works(&listener.joined(Some(authority.for_chaincode(&authority))).await).await;
    let stranger = Authority::new();
    for tls in [authority.for_chaincode(&stranger), stranger.for_chaincode(&authority)] {
        let error = listener.refuses(Some(tls)).await;
        assert!(matches!(error, ChaincodeError::Peer { .. }) && error.retryable(), "{error}");
    }
    assert!(matches!(listener.refuses(None).await, ChaincodeError::Peer { .. }), "without TLS");
}

#[tokio::test]
async fn joining_ends_when_the_peer_ends_the_stream() {
    let mut listener = Listener::start(None).await;
    let (peer, ended) = listener.joining(VitroChaincode::default()).await;
    works(&peer).await;
    drop(peer);
    soon(ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address() {
    let address = Listener::nobody().await;
    let error = Listener::of(&address).refuses(None).await;
    assert!(error.retryable() && error.to_string().contains(&address), "{error}");
}
