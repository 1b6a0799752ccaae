//! Where revocation lists come from: HTTP, HTTPS or S3, bounded in size and time. An address is the operator's, from the trust store;
//! none that stands in a certificate is ever asked, and no redirection is followed.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorSettings};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

use crate::fault::Fault;

/// The largest list that is taken: about 200,000 revocations.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;
const CONNECT: Duration = Duration::from_secs(3);
/// Until the answer begins ...
const READ: Duration = Duration::from_secs(5);
/// ... and until it is all there.
const WHOLE: Duration = Duration::from_secs(20);
/// A server that is away for a moment must not raise an alarm.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// Where lists come from.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// The bytes at an address.
    ///
    /// # Errors
    /// [`Fault::Unreachable`], [`Fault::TooLarge`].
    async fn fetch(&self, url: &str) -> Result<Vec<u8>, Fault>;
}

/// The network.
pub struct Network {
    s3: aws_sdk_s3::Client,
    http: Connector,
}

impl Network {
    /// Over a client of S3, and over the SDK's own HTTP stack.
    #[must_use]
    pub fn new(s3: aws_sdk_s3::Client) -> Self {
        let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT).read_timeout(READ).build();
        let http = Connector::builder()
            .connector_settings(settings)
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .build();
        Self { s3, http }
    }

    async fn attempt(&self, url: &str) -> Result<Vec<u8>, Fault> {
        let body = match url.strip_prefix("s3://").map(|rest| rest.split_once('/')) {
            Some(Some((bucket, key))) => self.object(bucket, key).await?,
            Some(None) => return Err(Fault::Unreachable(format!("{url} names no object"))),
            None => self.page(url).await?,
        };
        read(body, MAX_BYTES).await
    }

    async fn object(&self, bucket: &str, key: &str) -> Result<ByteStream, Fault> {
        match self.s3.get_object().bucket(bucket).key(key).send().await {
            Ok(found) => Ok(found.body),
            Err(error) => {
                let why = error.code().map_or_else(|| DisplayErrorContext(&error).to_string(), str::to_owned);
                Err(Fault::Unreachable(why))
            }
        }
    }

    async fn page(&self, url: &str) -> Result<ByteStream, Fault> {
        let request = HttpRequest::get(url).map_err(|error| Fault::Unreachable(error.to_string()))?;
        let answer = self.http.call(request).await;
        let answer = answer.map_err(|error| Fault::Unreachable(DisplayErrorContext(&error).to_string()))?;
        match answer.status().as_u16() {
            200 => Ok(ByteStream::new(answer.into_body())),
            other => Err(Fault::Unreachable(format!("the server answers {other}"))),
        }
    }
}

/// Reads no more than is taken: a server that never ends costs that much, and no memory beyond.
async fn read(mut body: ByteStream, most: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    while let Some(part) = body.try_next().await.map_err(|error| Fault::Unreachable(error.to_string()))? {
        if bytes.len() + part.len() > most {
            return Err(Fault::TooLarge(most));
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

#[async_trait]
impl Fetch for Network {
    async fn fetch(&self, url: &str) -> Result<Vec<u8>, Fault> {
        let mut last = Fault::Unreachable("it was not asked for".into());
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let answer = tokio::time::timeout(WHOLE, self.attempt(url)).await;
            match answer.unwrap_or_else(|_| Err(Fault::Unreachable(format!("no answer within {} s", WHOLE.as_secs()))))
            {
                Err(fault @ Fault::Unreachable(_)) => last = fault,
                done => return done,
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use aws_sdk_s3::config::BehaviorVersion;

    use super::*;

    /// Answers each connection with the next of these texts, then closes it.
    fn server(answers: Vec<Vec<u8>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/acme.crl", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for (answer, connection) in answers.into_iter().zip(listener.incoming()) {
                let mut connection = connection.unwrap();
                let mut request = [0; 4096];
                _ = connection.read(&mut request);
                _ = connection.write_all(&answer);
            }
        });
        url
    }

    fn page(status: &str, body: &[u8]) -> Vec<u8> {
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    }

    fn network() -> Network {
        let config = aws_sdk_s3::Config::builder().behavior_version(BehaviorVersion::latest()).build();
        Network::new(aws_sdk_s3::Client::from_conf(config))
    }

    #[tokio::test]
    async fn a_list_is_read_whole() {
        let body = vec![7; 100_000];
        let url = server(vec![page("200 OK", &body)]);
        assert_eq!(network().fetch(&url).await.unwrap(), body);
    }

    #[tokio::test]
    async fn a_server_that_is_away_for_a_moment_is_asked_again() {
        let url = server(vec![Vec::new(), page("503 Away", b""), page("200 OK", b"list")]);
        assert_eq!(network().fetch(&url).await.unwrap(), b"list");
    }

    #[tokio::test]
    async fn what_is_no_list_is_told() {
        let gone = server(vec![page("404 Gone", b""), page("404 Gone", b""), page("404 Gone", b"")]);
        assert!(matches!(network().fetch(&gone).await, Err(Fault::Unreachable(why)) if why.contains("404")));
        let elsewhere = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/x\r\ncontent-length: 0\r\n\r\n".to_vec();
        let moved = server(vec![elsewhere; 3]);
        assert!(matches!(network().fetch(&moved).await, Err(Fault::Unreachable(why)) if why.contains("302")));
        assert!(matches!(network().fetch("s3://bucket").await, Err(Fault::Unreachable(_))));
        assert!(matches!(network().fetch("http://127.0.0.1:1/x").await, Err(Fault::Unreachable(_))));
    }

    #[tokio::test]
    async fn a_flood_is_cut_off() {
        let url = server(vec![page("200 OK", &vec![0; MAX_BYTES + 1])]);
        assert_eq!(network().fetch(&url).await, Err(Fault::TooLarge(MAX_BYTES)));
    }
}
