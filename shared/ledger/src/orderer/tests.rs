//! Against an orderer that answers what a test tells it to.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::*;
use crate::proto::common;

const OK: i32 = common::Status::Success as i32;
const BAD: i32 = common::Status::BadRequest as i32;
const PATIENT: Duration = Duration::from_secs(20);

/// What came in on a stream: its number, the envelope, and the way back. Dropping every way back ends the stream.
struct Seen {
    stream: usize,
    envelope: Envelope,
    answers: mpsc::Sender<Result<BroadcastResponse, Status>>,
}

impl Seen {
    async fn answer(&self, status: i32) {
        let info = String::from_utf8(self.envelope.payload.clone()).unwrap();
        self.answers.send(Ok(BroadcastResponse { status, info })).await.unwrap();
    }
}

/// The orderer, on a runtime of its own. When this is dropped it goes with every connection.
struct Scripted {
    address: String,
    seen: mpsc::Receiver<Seen>,
    runtime: Option<Runtime>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Scripted {
    async fn start() -> Self {
        Self::on("127.0.0.1:0").await
    }

    async fn on(address: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let address = address.to_owned();
        let listener = runtime.spawn(async move { TcpListener::bind(address).await.unwrap() }).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (sender, seen) = mpsc::channel(1_000);
        let service = Broadcast { sender, streams: Arc::default() };
        runtime.spawn(async move {
            Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { address, seen, runtime: Some(runtime) }
    }

    fn client(&self) -> Arc<Orderer> {
        let endpoint = Endpoint::from_shared(self.address.clone()).unwrap();
        Arc::new(Orderer::at(Node::at("orderer0", "OrdererMSP", endpoint)))
    }

    async fn next(&mut self) -> Seen {
        timeout(PATIENT, self.seen.recv()).await.unwrap().unwrap()
    }
}

#[derive(Clone)]
struct Broadcast {
    sender: mpsc::Sender<Seen>,
    streams: Arc<std::sync::atomic::AtomicUsize>,
}

impl NamedService for Broadcast {
    const NAME: &'static str = "orderer.AtomicBroadcast";
}

type Reply<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl StreamingService<Envelope> for Broadcast {
    type Response = BroadcastResponse;
    type ResponseStream = ReceiverStream<Result<BroadcastResponse, Status>>;
    type Future = Reply<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Envelope>>) -> Self::Future {
        let stream = self.streams.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let sender = self.sender.clone();
        Box::pin(async move {
            let mut envelopes = request.into_inner();
            let (answers, stream_of_answers) = mpsc::channel(1_000);
            // As Fabric's orderer: its headers come with what it does with the first envelope.
            let first = envelopes.next().await.unwrap().unwrap();
            sender.send(Seen { stream, envelope: first, answers: answers.clone() }).await.unwrap();
            tokio::spawn(async move {
                while let Some(Ok(envelope)) = envelopes.next().await {
                    if sender.send(Seen { stream, envelope, answers: answers.clone() }).await.is_err() {
                        return;
                    }
                }
            });
            Ok(Response::new(ReceiverStream::new(stream_of_answers)))
        })
    }
}

impl Service<http::Request<Body>> for Broadcast {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Reply<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        let codec: ProstCodec<BroadcastResponse, Envelope> = ProstCodec::default();
        Box::pin(async move { Ok(Grpc::new(codec).streaming(service, request).await) })
    }
}

fn envelope(name: &str) -> Envelope {
    Envelope { payload: name.as_bytes().to_vec(), signature: vec![] }
}

type Handing = JoinHandle<Result<BroadcastResponse, CallError>>;

fn hand_in(orderer: &Arc<Orderer>, name: &str, limit: Duration) -> Handing {
    let (orderer, envelope) = (Arc::clone(orderer), envelope(name));
    tokio::spawn(async move { orderer.broadcast(&envelope, true, limit).await })
}

/// Hands envelopes in, in this order, until the orderer has all of them.
async fn hand_in_all(orderer: &Arc<Orderer>, scripted: &mut Scripted, names: &[&str]) -> (Vec<Handing>, Vec<Seen>) {
    let (mut handings, mut seen) = (Vec::new(), Vec::new());
    for name in names {
        handings.push(hand_in(orderer, name, PATIENT));
        seen.push(scripted.next().await);
    }
    (handings, seen)
}

#[tokio::test]
async fn submissions_share_a_stream_and_each_gets_its_own_answer() {
    let mut scripted = Scripted::start().await;
    let orderer = scripted.client();
    for round in 0..3 {
        let names = ["a", "b", "c", "d"].map(|name| format!("{name}{round}"));
        let names = names.each_ref().map(String::as_str);
        let (handings, seen) = hand_in_all(&orderer, &mut scripted, &names).await;
        for one in &seen {
            assert_eq!(one.stream, 0, "one stream for all");
            one.answer(OK).await;
        }
        for (handing, name) in handings.into_iter().zip(names) {
            assert_eq!(handing.await.unwrap().unwrap().info, name);
        }
    }
}

#[tokio::test]
async fn a_refusal_is_its_own_alone_and_cuts_off_those_behind_it() {
    let mut scripted = Scripted::start().await;
    let orderer = scripted.client();
    let (mut handings, seen) = hand_in_all(&orderer, &mut scripted, &["good", "bad", "behind"]).await;
    seen[0].answer(OK).await;
    seen[1].answer(BAD).await;
    drop(seen);
    let behind = handings.pop().unwrap().await.unwrap();
    assert!(matches!(behind, Err(CallError::CutOff)), "{behind:?}");
    assert_eq!(handings.pop().unwrap().await.unwrap().unwrap().status, BAD);
    assert_eq!(handings.pop().unwrap().await.unwrap().unwrap().status, OK);
    assert!(!orderer.node.is_resting(PATIENT), "a refusal is no failure of the orderer's");
    // The next opens another stream; who goes alone has one for itself.
    let (handings, seen) = hand_in_all(&orderer, &mut scripted, &["next"]).await;
    assert_eq!(seen[0].stream, 1);
    let alone = tokio::spawn({
        let orderer = Arc::clone(&orderer);
        async move { orderer.broadcast(&envelope("alone"), false, PATIENT).await }
    });
    let lonely = scripted.next().await;
    assert_eq!((lonely.stream, &lonely.envelope.payload[..]), (2, &b"alone"[..]));
    lonely.answer(BAD).await;
    seen[0].answer(OK).await;
    assert_eq!(alone.await.unwrap().unwrap().status, BAD);
    for handing in handings {
        assert_eq!(handing.await.unwrap().unwrap().status, OK);
    }
}

#[tokio::test]
async fn who_is_in_flight_when_the_orderer_dies_does_not_know_and_the_next_reconnects() {
    let mut scripted = Scripted::start().await;
    let orderer = scripted.client();
    let address = scripted.address.trim_start_matches("http://").to_owned();
    let (mut handings, seen) = hand_in_all(&orderer, &mut scripted, &["a", "b", "c"]).await;
    seen[0].answer(OK).await;
    assert_eq!(handings.remove(0).await.unwrap().unwrap().status, OK);
    drop((scripted, seen));
    for handing in handings {
        let fate = handing.await.unwrap();
        assert!(matches!(fate, Err(CallError::Broken(_) | CallError::Answered(_))), "{fate:?}");
    }
    let gone = orderer.broadcast(&envelope("d"), true, PATIENT).await;
    assert!(matches!(gone, Err(CallError::NotReached(_))), "nobody saw it: {gone:?}");
    assert!(orderer.node.is_resting(PATIENT));
    let mut scripted = Scripted::on(&address).await;
    let (handings, seen) = hand_in_all(&orderer, &mut scripted, &["e"]).await;
    seen[0].answer(OK).await;
    for handing in handings {
        assert_eq!(handing.await.unwrap().unwrap().status, OK);
    }
    assert!(!orderer.node.is_resting(PATIENT));
}

#[tokio::test]
async fn silence_is_bounded_and_the_stream_is_not_used_again() {
    let mut scripted = Scripted::start().await;
    let orderer = scripted.client();
    let silent = hand_in(&orderer, "silent", Duration::from_millis(100));
    let ignored = scripted.next().await;
    let fate = silent.await.unwrap();
    assert!(matches!(fate, Err(CallError::Silent(_))), "{fate:?}");
    let (handings, seen) = hand_in_all(&orderer, &mut scripted, &["next"]).await;
    assert_eq!((ignored.stream, seen[0].stream), (0, 1));
    seen[0].answer(OK).await;
    for handing in handings {
        assert_eq!(handing.await.unwrap().unwrap().status, OK);
    }
}

#[tokio::test]
async fn who_stops_waiting_disturbs_nobody() {
    let mut scripted = Scripted::start().await;
    let orderer = scripted.client();
    let (mut handings, seen) = hand_in_all(&orderer, &mut scripted, &["a", "gone", "b"]).await;
    let gone = handings.remove(1);
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    for one in &seen {
        one.answer(OK).await;
    }
    for (handing, name) in handings.into_iter().zip(["a", "b"]) {
        assert_eq!(handing.await.unwrap().unwrap().info, name);
    }
}

#[tokio::test]
async fn no_more_than_a_bounded_number_wait_for_an_answer() {
    let mut scripted = Scripted::start().await;
    let orderer = scripted.client();
    let names: Vec<_> = (0..IN_FLIGHT).map(|number| number.to_string()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let (handings, seen) = hand_in_all(&orderer, &mut scripted, &names).await;
    let fate = orderer.broadcast(&envelope("too many"), true, Duration::from_millis(50)).await;
    assert!(matches!(fate, Err(CallError::NotReached(_))), "{fate:?}");
    let patient = hand_in(&orderer, "patient", PATIENT);
    for one in &seen {
        one.answer(OK).await;
    }
    let late = scripted.next().await;
    assert_eq!(late.envelope.payload, b"patient", "the one that gave up was never sent");
    late.answer(OK).await;
    for handing in handings.into_iter().chain([patient]) {
        assert_eq!(handing.await.unwrap().unwrap().status, OK);
    }
}

#[tokio::test]
async fn a_client_that_goes_ends_its_stream() {
    let mut scripted = Scripted::start().await;
    let orderer = scripted.client();
    let (handings, seen) = hand_in_all(&orderer, &mut scripted, &["a"]).await;
    seen[0].answer(OK).await;
    for handing in handings {
        handing.await.unwrap().unwrap();
    }
    drop(orderer);
    timeout(PATIENT, seen[0].answers.closed()).await.unwrap();
}
