//! A stub of DynamoDB: answers the calls of ingest over HTTP/1.1 on loopback, and stores nothing.
//!
//! Every device is registered; no reading is known; every write is accepted. It runs as a child process, so that its time on a
//! processor is not the benchmark's.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use vitro_proof::Signer;
use vitro_proof::crypto::sha256;

/// Set in the child's environment.
const ROLE: &str = "VITRO_BENCH_STUB";

/// The stub's process; it ends with this.
pub struct Stub {
    child: Child,
    /// Where it listens.
    pub endpoint: String,
}

impl Stub {
    /// Starts this same program as the stub and waits until it listens.
    pub fn start() -> Self {
        let program = std::env::current_exe().expect("the path of this program");
        let mut child = Command::new(program).env(ROLE, "1").stdout(Stdio::piped()).spawn().expect("the stub starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("the stub's output");
        BufReader::new(output).read_line(&mut line).expect("the stub says where it listens");
        Self { child, endpoint: line.trim().to_owned() }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs as the stub if this process was started as one. Call it first in main.
pub fn serve_if_child() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    println!("http://{}", listener.local_addr().expect("the port"));
    for connection in listener.incoming().flatten() {
        std::thread::spawn(move || serve(connection));
    }
}

fn serve(connection: TcpStream) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let mut writer = connection.try_clone()?;
    let mut reader = BufReader::new(connection);
    loop {
        let (mut target, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(": ") else { continue };
            match name.to_ascii_lowercase().as_str() {
                "x-amz-target" => target = value.rsplit('.').next().unwrap_or_default().to_owned(),
                "content-length" => length = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let answer = answer(&target, &body);
        let mut head = String::new();
        let _ = write!(
            head,
            "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        writer.write_all(&[head.as_bytes(), answer.as_bytes()].concat())?;
    }
}

fn answer(target: &str, body: &[u8]) -> String {
    match target {
        "BatchWriteItem" => r#"{"UnprocessedItems":{}}"#.to_owned(),
        "Query" => r#"{"Count":0,"Items":[],"ScannedCount":0}"#.to_owned(),
        "GetItem" => {
            let request: Value = serde_json::from_slice(body).unwrap_or_default();
            json!({ "Item": item(&request["Key"]) }).to_string()
        }
        "BatchGetItem" => {
            let request: Value = serde_json::from_slice(body).unwrap_or_default();
            let mut responses = json!({});
            for (table, asked) in request["RequestItems"].as_object().into_iter().flatten() {
                responses[table] = asked["Keys"].as_array().into_iter().flatten().map(item).collect();
            }
            json!({ "Responses": responses, "UnprocessedKeys": {} }).to_string()
        }
        _ => "{}".to_owned(),
    }
}

fn item(key: &Value) -> Value {
    let name = key["device"]["S"].as_str().unwrap_or_default();
    let public = super::signer(name).public_key();
    let point = base64(public.as_bytes());
    let tables = serde_json::to_string(&[super::table()]).unwrap_or_default();
    json!({
        "device": { "S": name },
        "status": { "S": "active" },
        "public_key": { "B": point },
        "certificate": { "S": "-----BEGIN CERTIFICATE-----".repeat(30) },
        "certificate_id": { "S": sha256(&[name.as_bytes()]).to_string() },
        "metering_point": { "S": format!("mp-{name}") },
        "zone": { "S": "Etc/GMT+7" },
        "shard": { "S": "north" },
        "sensor_tables": { "S": tables },
        "live_shard": { "N": "3" },
    })
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |word, i| word << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let sextet = (word >> (18 - 6 * i)) & 63;
            text.push(if i <= chunk.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    text
}
