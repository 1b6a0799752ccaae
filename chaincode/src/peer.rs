//! As a program of its peer: it connects to the peer's chaincode listener and registers there.

use std::sync::Arc;
use std::time::Duration;

use fabric_shim::{Chaincode, DEFAULT_MAX_MESSAGE_SIZE};
use fabric_shim_protos::peer::chaincode_support_client::ChaincodeSupportClient;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::error::ChaincodeError;
use crate::io::Io;
use crate::relay::relay;
use crate::settings::PeerSettings;
use crate::shim::{QUEUE, Shim, WINDOW};
use crate::tls;

/// What connecting may take, handshake included.
const CONNECT: Duration = Duration::from_secs(10);

/// A silent peer is asked after this time whether it is there. A peer hangs up on who asks more often than once a minute.
const SILENCE: Duration = Duration::from_secs(90);

/// Registers at the peer and answers it until it ends the stream, or until `stop`: then no call is begun, and those that run have a few seconds to end.
///
/// # Errors
/// [`ChaincodeError::Settings`] or [`ChaincodeError::Tls`] for settings that cannot work, [`ChaincodeError::Peer`] if the peer cannot be reached or the
/// stream breaks.
pub async fn join<C: Chaincode>(
    settings: &PeerSettings,
    chaincode: C,
    stop: impl Future<Output = ()>,
) -> Result<(), ChaincodeError> {
    let fault = |detail: String| ChaincodeError::Peer { address: settings.address.clone(), detail };
    let channel = connect(settings).await?;
    let shim = Shim::start(&settings.chaincode_id, chaincode).await?;
    let stream = shim.open().await.map_err(|status| fault(status.to_string()))?;
    let (to_peer, messages) = mpsc::channel(QUEUE);
    let mut client = ChaincodeSupportClient::new(channel)
        .max_decoding_message_size(DEFAULT_MAX_MESSAGE_SIZE)
        .max_encoding_message_size(DEFAULT_MAX_MESSAGE_SIZE);
    // The peer answers when it has read REGISTER, which the relay hands on meanwhile.
    let registered = async { Ok(client.register(ReceiverStream::new(messages)).await?.into_inner()) };
    relay(stream, to_peer, registered, stop).await.map_err(|status| fault(status.to_string()))
}

async fn connect(settings: &PeerSettings) -> Result<Channel, ChaincodeError> {
    let address = settings.address.clone();
    let fault = |detail: String| ChaincodeError::Peer { address: address.clone(), detail };
    let wrong = || ChaincodeError::Settings(format!("{address:?} is no host:port"));
    let (host, _) = address.rsplit_once(':').ok_or_else(wrong)?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|_| wrong())?;
    let tls = settings.tls.as_ref().map(tls::client).transpose()?;
    let tls = tls.map(|config| TlsConnector::from(Arc::new(config)));
    // Encrypting is the connector's business: tonic may know no TLS, or another one. What requests say of it is true.
    let scheme = if tls.is_some() { "https" } else { "http" };
    let origin = format!("{scheme}://{address}").parse().map_err(|_| wrong())?;
    let target = address.clone();
    let connector = service_fn(move |_| {
        let (target, name, tls) = (target.clone(), name.clone(), tls.clone());
        async move {
            let stream = TcpStream::connect(target).await?;
            stream.set_nodelay(true)?;
            let io = match tls {
                Some(tls) => Io::new(tls.connect(name, stream).await?),
                None => Io::new(stream),
            };
            Ok::<_, std::io::Error>(TokioIo::new(io))
        }
    });
    Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| wrong())?
        .origin(origin)
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(SILENCE)
        .keep_alive_timeout(SILENCE / 2)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
        .connect_with_connector(connector)
        .await
        .map_err(|error| {
            let mut detail = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                let inner_text = inner.to_string();
                if !detail.ends_with(&inner_text) {
                    detail = format!("{detail}: {inner_text}");
                }
                source = inner.source();
            }
            fault(detail)
        })
}
