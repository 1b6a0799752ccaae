//! The order to stop, with peers connected: at once when nothing runs, within seconds whatever runs, and no answer is lost that can still be
//! given.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vitro_chaincode::VitroChaincode;
use vitro_contract::{Context, ContractError, OuRole, Response, State};

use crate::fake::{Caller, FakePeer, soon};
use crate::ways::{ID, Listener, Service, peer_of};

/// To stop with nothing to wait for: half a second for the peers to hang up, and what a busy machine adds.
const AT_ONCE: Duration = Duration::from_millis(2_500);
/// The most that running calls may take, and what a busy machine adds.
const AT_LAST: Duration = Duration::from_secs(8);

/// Asks for a key until it is there.
fn waits(_: &Context, state: &mut dyn State, key: &str, _: &[Vec<u8>]) -> Result<Response, ContractError> {
    loop {
        if let Some(payload) = state.get(key)? {
            return Ok(Response { payload, event: None });
        }
    }
}

fn caller() -> Caller {
    Caller::new("RcMSP", OuRole::Client)
}

/// A call that runs until `go` is there, and another that would, were it begun.
async fn running_and_late(peer: &FakePeer, stop: impl FnOnce()) {
    let asked = peer.asked("go");
    let running = peer.start(&caller(), "go", &[]).await;
    soon(asked).await.unwrap();
    stop();
    let late = peer.start(&caller(), "late", &[]).await;
    peer.plant("go", b"went");
    assert_eq!(soon(running).await.unwrap().response.payload, b"went", "what runs is answered");
    assert!(soon(late).await.is_err(), "the stream ends without an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_stops_at_once_when_its_peers_have_nothing_running() {
    let service = Service::start(VitroChaincode::of(waits), None).await;
    let peers = [service.peer().await, service.peer().await];
    for peer in &peers {
        peer.plant("there", b"v");
        assert_eq!(peer.call(&caller(), "there", &[]).await.response.status, 200);
    }
    let began = Instant::now();
    soon(service.stop()).await.unwrap().unwrap();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stops_ends_what_runs_and_begins_nothing() {
    let service = Service::start(VitroChaincode::of(waits), None).await;
    let peer = service.peer().await;
    let mut serving = None;
    running_and_late(&peer, || serving = Some(service.stop())).await;
    soon(serving.unwrap()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peers_program_that_stops_ends_what_runs_and_begins_nothing() {
    let mut listener = Listener::start(None).await;
    let (peer, ended) = listener.joining(VitroChaincode::of(waits)).await;
    running_and_late(&peer, || listener.stop()).await;
    soon(ended).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_does_not_end_holds_nobody_up_for_long() {
    let service = Service::start(VitroChaincode::of(waits), None).await;
    let peer = service.peer().await;
    // One waits for the peer, the other asks and asks.
    let swallowed = peer.swallow("never", 1);
    let (silent, busy) = (peer.start(&caller(), "never", &[]).await, peer.start(&caller(), "absent", &[]).await);
    for asked in swallowed {
        soon(asked).await.unwrap();
    }
    let began = Instant::now();
    soon(service.stop()).await.unwrap().unwrap();
    assert!(began.elapsed() < AT_LAST, "{:?}", began.elapsed());
    assert!(soon(silent).await.is_err() && soon(busy).await.is_err());
}

/// The program, killed when a test fails.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_the_program_with_peers_connected() {
    let address = Listener::nobody().await;
    let child = Command::new(env!("CARGO_BIN_EXE_vitro-chaincode"))
        .env("CHAINCODE_ID", ID)
        .env("CHAINCODE_SERVER_ADDRESS", &address)
        .stderr(Stdio::null())
        .spawn();
    let mut program = Program(child.unwrap());
    let until = Instant::now() + Duration::from_secs(30);
    let peer = loop {
        match peer_of(&address).await {
            Ok(peer) => break peer,
            Err(error) => assert!(Instant::now() < until, "it does not serve: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(peer.registered(), ID);
    let began = Instant::now();
    let killed = Command::new("kill").arg(program.0.id().to_string()).status().unwrap();
    assert!(killed.success());
    let ended = loop {
        if let Some(ended) = program.0.try_wait().unwrap() {
            break ended;
        }
        assert!(began.elapsed() < AT_ONCE, "it goes on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(ended.success(), "{ended}");
}
