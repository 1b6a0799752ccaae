//! As a service: peers connect.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use fabric_shim::{Chaincode, DEFAULT_MAX_MESSAGE_SIZE};
use fabric_shim_protos::peer::ChaincodeMessage;
use fabric_shim_protos::peer::chaincode_server::{Chaincode as ChaincodeService, ChaincodeServer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::error::ChaincodeError;
use crate::io::Io;
use crate::relay::{STOPPED, relay};
use crate::settings::ServiceTls;
use crate::shim::{QUEUE, Shim, WINDOW};
use crate::tls;

/// What a client may take for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A peer that says nothing is asked after this time whether it is there, and given up after half of it.
const SILENCE: Duration = Duration::from_secs(60);

/// Serves peers that connect, until `stop`: then no call is begun, and those that run have a few seconds to end.
///
/// # Errors
/// [`ChaincodeError::Tls`] if certificate or key are not usable, [`ChaincodeError::Stopped`] if the server ends by itself.
pub async fn serve<C: Chaincode>(
    chaincode_id: &str,
    chaincode: C,
    listener: TcpListener,
    tls: Option<&ServiceTls>,
    stop: impl Future<Output = ()>,
) -> Result<(), ChaincodeError> {
    let acceptor = tls.map(|tls| tls::server(tls).map(|config| TlsAcceptor::from(Arc::new(config)))).transpose()?;
    let (stopping, stopped) = watch::channel(false);
    let service = Service { shim: Arc::new(Shim::start(chaincode_id, chaincode).await?), stopped: stopped.clone() };
    let service = ChaincodeServer::new(service)
        .max_decoding_message_size(DEFAULT_MAX_MESSAGE_SIZE)
        .max_encoding_message_size(DEFAULT_MAX_MESSAGE_SIZE);
    let (sender, connections) = mpsc::channel(QUEUE);
    let accepting = tokio::spawn(accept(listener, acceptor, sender));
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(SILENCE))
        .http2_keepalive_timeout(Some(SILENCE / 2))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
        .add_service(service)
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), until(stopped));
    let mut server = pin!(server);
    let served = tokio::select! {
        served = &mut server => served,
        () = stop => {
            accepting.abort();
            stopping.send_replace(true);
            // The streams end by themselves; a peer that keeps its connection all the same is left.
            timeout(STOPPED, server).await.unwrap_or(Ok(()))
        }
    };
    accepting.abort();
    served.map_err(|error| ChaincodeError::Stopped(error.to_string()))
}

/// Waits until it turns true, or nobody is left who could turn it.
async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Accepts connections; each has its handshake apart, so that a slow one holds nobody up.
async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, ready: mpsc::Sender<std::io::Result<Io>>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: it passes, and until then there is nothing to do.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE, shake_hands(stream, acceptor)).await {
                // The server is stopping if nobody takes it.
                Ok(Ok(io)) => drop(ready.send(Ok(io)).await),
                Ok(Err(error)) => tracing::warn!(%error, "a handshake failed"),
                Err(_) => tracing::warn!("a handshake took too long"),
            }
        });
    }
}

async fn shake_hands(stream: TcpStream, acceptor: Option<TlsAcceptor>) -> std::io::Result<Io> {
    stream.set_nodelay(true)?;
    Ok(match acceptor {
        Some(acceptor) => Io::new(acceptor.accept(stream).await?),
        None => Io::new(stream),
    })
}

struct Service {
    shim: Arc<Shim>,
    stopped: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl ChaincodeService for Service {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<ChaincodeMessage, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<ChaincodeMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let shim = self.shim.open().await?;
        let from_peer = request.into_inner();
        let (to_peer, messages) = mpsc::channel(QUEUE);
        let stop = until(self.stopped.clone());
        tracing::info!("a peer connected");
        tokio::spawn(async move {
            match relay(shim, to_peer, async { Ok(from_peer) }, stop).await {
                Ok(()) => tracing::info!("a peer's stream ended"),
                Err(status) => tracing::warn!(%status, "a peer's stream broke"),
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(messages).map(Ok))))
    }
}
