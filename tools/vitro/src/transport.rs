//! HTTP for what is no AWS service, by the HTTP and TLS stack that the AWS SDK brings.

use std::error::Error;
use std::time::Duration;

use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use aws_smithy_http_client::{Connector, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;

use crate::error::CliError;

/// An answer that takes longer is given up.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Whom a server's certificate must come from.
#[derive(Clone, Copy, Debug)]
pub enum Roots<'a> {
    /// An authority that this machine trusts.
    System,
    /// One of these, in PEM, and no other.
    Only(&'a str),
}

/// A request. It has no Debug, since headers and body may be secret.
pub struct Request<'a> {
    /// What it is for, in error messages.
    pub call: &'static str,
    /// GET, POST, ...
    pub method: &'a str,
    /// Path and query, behind the server's address.
    pub path: &'a str,
    /// Headers.
    pub headers: &'a [(&'static str, &'a str)],
    /// The body, if there is one.
    pub body: Option<String>,
}

/// A connection to one server.
#[derive(Debug)]
pub struct Transport {
    base: String,
    connector: Connector,
}

impl Transport {
    /// A connection to the server at an address. Only HTTPS is spoken, but with a server on this machine.
    ///
    /// # Errors
    /// [`CliError::Usage`] if the address would send in clear what is asked and answered; [`CliError::Malformed`] if the roots are no
    /// certificates.
    pub fn new(base: &str, roots: Roots<'_>) -> Result<Self, CliError> {
        let base = base.trim_end_matches('/').to_owned();
        let connector = if base.starts_with("https://") {
            let builder = Connector::builder();
            let builder: ConnectorBuilder<_> =
                builder.tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc));
            match roots {
                Roots::System => builder.build(),
                Roots::Only(pem) => {
                    if crate::pki::split(pem).is_empty() {
                        return Err(CliError::malformed("the authorities for TLS", "no certificate in PEM"));
                    }
                    let store = TrustStore::empty().with_pem_certificate(pem.as_bytes());
                    let context = TlsContext::builder().with_trust_store(store).build();
                    let context = context.map_err(|e| CliError::malformed("the authorities for TLS", e))?;
                    builder.tls_context(context).build()
                }
            }
        } else if base.starts_with("http://127.0.0.1:") || base.starts_with("http://[::1]:") {
            Connector::builder().build_http()
        } else {
            return Err(CliError::Usage(format!("{base}: only https is spoken with another machine")));
        };
        Ok(Self { base, connector })
    }

    /// Sends a request; gives the answer's status and body, whatever the status is.
    ///
    /// # Errors
    /// [`CliError::Remote`] if there is no answer.
    pub async fn send(&self, request: Request<'_>) -> Result<(u16, Vec<u8>), CliError> {
        let call = request.call;
        let fail = |detail: String, retryable| CliError::Remote { call, detail, retryable };
        let mut http = HttpRequest::new(request.body.map_or_else(SdkBody::empty, SdkBody::from));
        http.set_method(request.method).map_err(|e| fail(e.to_string(), false))?;
        http.set_uri(format!("{}{}", self.base, request.path)).map_err(|e| fail(e.to_string(), false))?;
        for (name, value) in request.headers {
            http.headers_mut().insert(*name, (*value).to_owned());
        }
        let answer = async {
            let answer = self.connector.call(http).await.map_err(|e| match certificate_fault(&e) {
                Some(fault) => fail(format!("{}: {fault}", self.base), false),
                // A connector's error may hold the request in its source; only what it says itself is shown.
                None => fail(format!("{}: {e}", self.base), true),
            })?;
            let status = answer.status().as_u16();
            let body = ByteStream::new(answer.into_body()).collect().await;
            Ok::<_, CliError>((status, body.map_err(|e| fail(e.to_string(), true))?.to_vec()))
        };
        tokio::time::timeout(TIMEOUT, answer).await.map_err(|_| fail("no answer in time".into(), true))?
    }
}

/// What TLS said of the server's certificate, if that was what failed: trying again changes nothing.
fn certificate_fault(error: &(dyn Error + 'static)) -> Option<String> {
    let mut source = Some(error);
    while let Some(error) = source {
        let text = error.to_string();
        if text.starts_with("invalid peer certificate") {
            return Some(text);
        }
        source = error.source();
    }
    None
}
