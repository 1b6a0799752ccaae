//! JSON to an authority that is no AWS service, with an API key.

use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::CliError;
use crate::transport::{Request, Roots, Transport};

/// A secret that a header carries. It is never shown.
pub(super) struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// Takes a key; surrounding white space, as a file's last line break, is not part of it.
    ///
    /// # Errors
    /// [`CliError::Refused`] if it is empty or no header can carry it.
    pub(super) fn new(text: &str) -> Result<Self, CliError> {
        let key = Zeroizing::new(text.trim().to_owned());
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CliError::Refused("the API key is empty or not printable ASCII".into()));
        }
        Ok(Self(key))
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// A client of one server.
#[derive(Debug)]
pub(super) struct HttpClient {
    transport: Transport,
    key: ApiKey,
}

impl HttpClient {
    /// A client of the server at an address. Only HTTPS is spoken, but for a server on this machine.
    ///
    /// # Errors
    /// [`CliError::Usage`] if the address would send the key in clear.
    pub(super) fn new(base: &str, key: ApiKey) -> Result<Self, CliError> {
        Ok(Self { transport: Transport::new(base, Roots::System)?, key })
    }

    /// Sends a request and gives the answer's JSON; null if there is none.
    ///
    /// # Errors
    /// [`CliError::Remote`] for what the server refuses or when it does not answer.
    pub(super) async fn send(
        &self,
        call: &'static str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, CliError> {
        let fail = |detail: String, retryable| CliError::Remote { call, detail, retryable };
        let headers =
            [("x-api-key", self.key.0.as_str()), ("accept", "application/json"), ("content-type", "application/json")];
        // Without a body there is no type of it.
        let headers = if body.is_some() { &headers[..] } else { &headers[..2] };
        let request = Request { call, method, path, headers, body: body.map(Value::to_string) };
        let (status, body) = self.transport.send(request).await?;
        let json: Option<Value> = if body.is_empty() { Some(Value::Null) } else { serde_json::from_slice(&body).ok() };
        if (200..300).contains(&status) {
            return json.ok_or_else(|| fail("the answer is no JSON".into(), false));
        }
        let told = json.as_ref().and_then(|json| json["errors"][0]["message"].as_str());
        let detail = format!("{} (status {status})", told.unwrap_or("refused"));
        Err(fail(detail, status == 429 || status >= 500))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::authority::stub::{Answer, Stub};

    const SECRET: &str = "00aa-secret-key";

    #[tokio::test]
    async fn a_key_is_sent_and_never_shown() {
        let stub = Stub::serve(vec![
            Answer::json(200, r#"{"a":1}"#),
            Answer::json(204, ""),
            Answer::json(401, r#"{"errors":[{"code":"x","message":"no such key"}]}"#),
            Answer::json(503, "<html>"),
            Answer::json(200, "<html>"),
        ])
        .await;
        let client = HttpClient::new(&stub.url(), ApiKey::new(&format!(" {SECRET}\n")).unwrap()).unwrap();
        assert_eq!(client.send("Get", "GET", "/a", None).await.unwrap()["a"], 1);
        assert_eq!(client.send("Put", "PUT", "/b", Some(&serde_json::json!({"c": 2}))).await.unwrap(), Value::Null);
        let refused = client.send("Get", "GET", "/a", None).await.unwrap_err();
        assert_eq!((refused.to_string().as_str(), refused.retryable()), ("Get: no such key (status 401)", false));
        let away = client.send("Get", "GET", "/a", None).await.unwrap_err();
        assert_eq!((away.to_string().as_str(), away.exit_code()), ("Get: refused (status 503)", 75));
        assert!(client.send("Get", "GET", "/a", None).await.is_err());
        let shown = format!("{client:?} {refused:?} {away:?}");
        assert!(!shown.contains(SECRET));
        let asked = stub.asked();
        assert!(asked.iter().all(|one| one.header("x-api-key").as_deref() == Some(SECRET)));
        assert_eq!((asked[1].line.as_str(), asked[1].body.as_str()), ("PUT /b HTTP/1.1", r#"{"c":2}"#));
    }

    #[tokio::test]
    async fn nobody_there_is_tried_again() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let client = HttpClient::new(&url, ApiKey::new(SECRET).unwrap()).unwrap();
        let error = client.send("Get", "GET", "/", None).await.unwrap_err();
        assert!(error.retryable() && !format!("{error} {error:?}").contains(SECRET));
    }

    #[test]
    fn a_key_never_travels_in_clear() {
        for url in ["http://one.digicert.com", "http://127.0.0.1.example:80", "ftp://x", ""] {
            assert!(HttpClient::new(url, ApiKey::new(SECRET).unwrap()).is_err(), "{url}");
        }
        assert!(ApiKey::new(" \n").is_err() && ApiKey::new("a\nb").is_err());
    }
}
