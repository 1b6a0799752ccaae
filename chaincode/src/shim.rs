//! The shim on loopback, and the way to it.

use std::net::Ipv4Addr;
use std::time::Duration;

use fabric_shim::{Chaincode, DEFAULT_MAX_MESSAGE_SIZE, Server};
use fabric_shim_protos::peer::ChaincodeMessage;
use fabric_shim_protos::peer::chaincode_client::ChaincodeClient;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::error::ChaincodeError;

/// Messages that wait on each side of the relay.
pub(crate) const QUEUE: usize = 64;

/// Bytes on the way to one stream before it must be read. A batch of blocks is up to 1 MB; the default of 64 KiB would cut it up.
pub(crate) const WINDOW: u32 = 4 << 20;

/// A running shim. It serves whoever connects, which on loopback is any program of this machine: what a stranger gets is a contract on a
/// state of the stranger's own.
pub(crate) struct Shim {
    channel: Channel,
    server: JoinHandle<()>,
}

impl Shim {
    /// Starts a shim that will register as `chaincode_id`.
    pub(crate) async fn start<C: Chaincode>(chaincode_id: &str, chaincode: C) -> Result<Self, ChaincodeError> {
        let fault = |detail: String| ChaincodeError::Listen { address: "127.0.0.1".to_owned(), detail };
        let listener = TcpSocket::new_v4()
            .and_then(|socket| {
                // Linux hands it on to accepted connections, where the shim does not set it: with Nagle's algorithm a request may wait 40 ms.
                socket.set_nodelay(true)?;
                socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
                socket.listen(128)
            })
            .map_err(|error| fault(error.to_string()))?;
        let address = listener.local_addr().map_err(|error| fault(error.to_string()))?;
        let server = Server::new(chaincode_id, &address.to_string()).map_err(|error| fault(error.to_string()))?;
        let server = tokio::spawn(async move {
            // Without a shutdown of its own it ends when it is aborted.
            if let Err(error) = server.serve_with_listener(chaincode, listener, std::future::pending()).await {
                tracing::error!(%error, "the shim stopped");
            }
        });
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| fault(error.to_string()))?
            .connect_timeout(Duration::from_secs(5))
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(4 * WINDOW)
            .connect()
            .await
            .map_err(|error| fault(error.to_string()))?;
        Ok(Self { channel, server })
    }

    /// Opens a stream as a peer does; the shim's first message on it is `REGISTER`.
    pub(crate) async fn open(&self) -> Result<ShimStream, tonic::Status> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut client = ChaincodeClient::new(self.channel.clone())
            .max_decoding_message_size(DEFAULT_MAX_MESSAGE_SIZE)
            .max_encoding_message_size(DEFAULT_MAX_MESSAGE_SIZE);
        let receiver = client.connect(ReceiverStream::new(receiver)).await?.into_inner();
        Ok(ShimStream { sender, receiver })
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A stream to the shim.
pub(crate) struct ShimStream {
    pub(crate) sender: mpsc::Sender<ChaincodeMessage>,
    pub(crate) receiver: Streaming<ChaincodeMessage>,
}
