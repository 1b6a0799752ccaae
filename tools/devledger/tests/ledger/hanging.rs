//! Nodes that take connections and never say a word, as behind a balancer whose targets are gone.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use vitro_ledger::{LedgerError, Limits};

use crate::support::{LIMITS, Network, args, connect_with};

/// Much more for a call than for a connection, so that a test sees which of the two was waited for.
const SHORT: Limits = Limits {
    connect: Duration::from_secs(2),
    answer: Duration::from_secs(40),
    simulate: Duration::from_secs(40),
    ..LIMITS
};
/// More than two connections may take, and less than one call.
const SOON: Duration = Duration::from_secs(20);

/// Connections wait in its queue for ever. It must be kept.
async fn hole() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    (listener, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_orderer_hangs_so_nothing_was_submitted_and_that_is_said_soon() {
    let network = Network::start().await;
    let (_hole, address) = hole().await;
    let mut profile = network.profile("operator");
    profile.orderers[0].address = address;
    // With the second a connection may take longer than the wait for an acknowledgement.
    let impatient = Limits { connect: Duration::from_secs(40), answer: Duration::from_secs(4), ..SHORT };
    for limits in [SHORT, impatient] {
        let ledger = connect_with(&profile, limits);
        let began = Instant::now();
        let error = ledger.submit("add", &args(["n"])).await.unwrap_err();
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        let LedgerError::Unavailable { what, failures } = &error else { panic!("{error}") };
        assert_eq!((*what, failures.to_string().contains("orderer")), ("no orderer takes the transaction", true));
    }
    assert_eq!(network.client().chain_info().await.unwrap().height, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_two_orderers_hangs_and_costs_one_connection() {
    let network = Network::start().await;
    let (_hole, address) = hole().await;
    let mut profile = network.profile("operator");
    let mut hanging = profile.orderers[0].clone();
    hanging.address = address;
    profile.orderers.insert(0, hanging);
    let ledger = connect_with(&profile, SHORT);
    let began = Instant::now();
    ledger.submit("add", &args(["n"])).await.unwrap();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let began = Instant::now();
    ledger.submit("add", &args(["n"])).await.unwrap();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(ledger.query("get", &args(["n"])).await.unwrap(), b"2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_hangs_costs_one_connection_and_all_that_hang_one_each() {
    let network = Network::start().await;
    let (_hole, address) = hole().await;
    let mut profile = network.profile("operator");
    let healthy = connect_with(&profile, SHORT);
    healthy.submit("put", &args(["a", "1"])).await.unwrap();
    let own = profile.peers.iter_mut().find(|peer| peer.msp == "OperatorMSP").unwrap();
    own.address.clone_from(&address);
    let began = Instant::now();
    assert_eq!(connect_with(&profile, SHORT).query("get", &args(["a"])).await.unwrap(), b"1");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());

    profile.peers.truncate(3);
    profile.peers.iter_mut().for_each(|peer| peer.address.clone_from(&address));
    let began = Instant::now();
    let error = connect_with(&profile, SHORT).query("get", &args(["a"])).await.unwrap_err();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(matches!(error, LedgerError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("no connection came about in time"), "{error}");
}
