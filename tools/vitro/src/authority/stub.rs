//! A server for tests that gives recorded answers over real HTTP and keeps what it was asked.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A recorded answer.
pub(crate) struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
}

impl Answer {
    pub(crate) fn json(status: u16, body: impl Into<String>) -> Self {
        Self { status, content_type: "application/json", body: body.into() }
    }

    /// An answer of an AWS service that speaks JSON 1.1.
    pub(crate) fn aws(status: u16, body: impl Into<String>) -> Self {
        Self { status, content_type: "application/x-amz-json-1.1", body: body.into() }
    }
}

/// What the server was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).next()
    }
}

pub(crate) struct Stub {
    address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Stub {
    /// Gives these answers, one a connection.
    pub(crate) async fn serve(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        let server = tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read(&mut stream).await;
                noted.lock().unwrap().push(request);
                let head = format!(
                    "HTTP/1.1 {} X\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
                    answer.status,
                    answer.content_type,
                    answer.body.len(),
                    answer.body
                );
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        Self { address, asked, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Reads one request.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Asked {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let (line, head) = head.split_once("\r\n").unwrap_or((head, ""));
            let asked = Asked { line: line.to_owned(), head: head.to_owned(), body: body.to_owned() };
            let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return asked;
            }
        }
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.unwrap();
        assert!(count > 0, "the client went away");
        bytes.extend_from_slice(&chunk[..count]);
    }
}
