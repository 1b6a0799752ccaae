//! A device's folder and a broker, small enough to be made for each test. The broker wants a client certificate and does with each
//! publish what the test says.
#![allow(dead_code, unreachable_pub, missing_docs)] // each test file uses a part of it

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mqtt_protocol_core::mqtt;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Version;
use mqtt_protocol_core::mqtt::packet::{Packet, Qos, v3_1_1};
use mqtt_protocol_core::mqtt::prelude::*;
use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, SubackReturnCode};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType, IsCa, KeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use vitro_device::config::{CommandKey, CommandKeys, DeviceConfig, DeviceFolder};
use vitro_device::recording::Recording;
use vitro_proof::Signer;
use vitro_proof::command::{Action, Command};
use vitro_proof::crypto::{P256Key, SoftwareSigner};
use vitro_proof::{CommandNumber, DeviceId};

pub const THING: &str = "solar-1";
pub const DAY: &str = "2026-11-22";
/// After every test.
pub const FUTURE: i64 = 4_000_000_000;

pub fn recorded(extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recordings/midc-2018-10-14").with_extension(extension)
}

pub fn device_key() -> SoftwareSigner {
    SoftwareSigner::from_scalar(&[5; 32]).unwrap()
}

pub fn verifier() -> P256Key {
    P256Key::new(&device_key().public_key()).unwrap()
}

pub fn command_key() -> SoftwareSigner {
    SoftwareSigner::from_scalar(&[6; 32]).unwrap()
}

pub fn command(number: u64, action: Action) -> Vec<u8> {
    let id = [u8::try_from(number).unwrap(); 16];
    let command = Command { thing: THING.parse().unwrap(), id, expires: FUTURE, action };
    command.seal(CommandNumber(number), "key-1", &command_key()).unwrap()
}

/// An authority for everything, made anew for each test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    fn leaf(&self, name: &str, key: &KeyPair) -> String {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.signed_by(key, &self.issuer).unwrap().pem()
    }

    /// A certificate for whoever signed the request.
    pub fn sign(&self, request: &CertificateSigningRequestParams) -> String {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = request.params.distinguished_name.clone();
        params.signed_by(&request.public_key, &self.issuer).unwrap().pem()
    }

    /// A device's folder as `vitro device new` writes it.
    pub fn device(&self, port: u16) -> Device {
        let folder = TempDir::new().unwrap();
        let path = folder.path();
        let thing: DeviceId = THING.parse().unwrap();
        let mut config =
            DeviceConfig::new(thing, "acme".parse().unwrap(), "Etc/GMT+7".parse().unwrap(), "127.0.0.1", port);
        config.broker.ack_timeout_seconds = 2;
        let pem = device_key().to_pkcs8_pem().unwrap();
        let key = KeyPair::from_pem(pem.as_ref()).unwrap();
        fs::write(path.join("key.pem"), pem.as_ref()).unwrap();
        private(&path.join("key.pem"));
        fs::write(path.join("cert.pem"), self.leaf(THING, &key)).unwrap();
        fs::write(path.join("ca.pem"), self.pem()).unwrap();
        let recording = Recording::read(&recorded("csv"), &recorded("toml")).unwrap();
        fs::write(path.join("sensors.json"), serde_json::to_string(recording.table()).unwrap()).unwrap();
        let current = CommandKey { id: "key-1".into(), public_key: command_key().public_key() };
        let keys = CommandKeys { current, next: None };
        fs::write(path.join("command-keys.json"), serde_json::to_string(&keys).unwrap()).unwrap();
        let device = Device { folder, config };
        device.save();
        device
    }
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

pub struct Device {
    folder: TempDir,
    pub config: DeviceConfig,
}

impl Device {
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn outbox(&self) -> PathBuf {
        self.path().join("outbox.sqlite")
    }

    pub fn save(&self) {
        fs::write(self.path().join("device.toml"), self.config.to_toml().unwrap()).unwrap();
    }

    pub fn open(&self) -> DeviceFolder {
        DeviceFolder::open(self.path()).unwrap()
    }
}

/// What the broker does with a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    Acknowledge,
    /// Takes it and says nothing.
    Ignore,
    /// Takes it and cuts the connection without a word.
    Cut,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Which connection it came on, from 1.
    pub connection: usize,
    pub topic: String,
    pub payload: Vec<u8>,
    pub reaction: Reaction,
}

type Plan = Box<dyn FnMut(usize) -> Reaction + Send>;

struct State {
    received: Vec<Received>,
    connections: usize,
    plan: Plan,
    commands: Option<mpsc::UnboundedSender<Vec<u8>>>,
    commands_acknowledged: usize,
    goodbyes: usize,
}

/// A broker of one client at a time, on a port of its own.
pub struct Broker {
    pub port: u16,
    state: Arc<Mutex<State>>,
    end: Option<oneshot::Sender<()>>,
}

impl Broker {
    /// Starts. `plan` says what is done with the n-th publish, from 0.
    pub fn start(authority: &Authority, plan: impl FnMut(usize) -> Reaction + Send + 'static) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateDer::from_pem_slice(authority.leaf("127.0.0.1", &key).as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let state = Arc::new(Mutex::new(State {
            received: Vec::new(),
            connections: 0,
            plan: Box::new(plan),
            commands: None,
            commands_acknowledged: 0,
            goodbyes: 0,
        }));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (end, ended) = oneshot::channel();
        let shared = state.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                let accept = async {
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        tokio::spawn(serve(stream, acceptor.clone(), shared.clone()));
                    }
                };
                tokio::select! {
                    () = accept => {}
                    _ = ended => {}
                }
            });
        });
        Self { port, state, end: Some(end) }
    }

    pub fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }

    /// The payloads of one kind, in the order in which they came.
    pub fn of(&self, kind: &str) -> Vec<Vec<u8>> {
        let received = self.received().into_iter();
        received.filter(|message| message.topic.ends_with(kind)).map(|message| message.payload).collect()
    }

    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    pub fn commands_acknowledged(&self) -> usize {
        self.state.lock().unwrap().commands_acknowledged
    }

    pub fn goodbyes(&self) -> usize {
        self.state.lock().unwrap().goodbyes
    }

    /// Sends a command to the client as soon as it has subscribed.
    pub fn command(&self, payload: Vec<u8>) {
        wait("a subscriber", || {
            let state = self.state.lock().unwrap();
            state.commands.as_ref().is_some_and(|commands| commands.send(payload.clone()).is_ok())
        });
    }

    pub fn plan(&self, plan: impl FnMut(usize) -> Reaction + Send + 'static) {
        self.state.lock().unwrap().plan = Box::new(plan);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
    }
}

/// Waits for a condition; fails after a minute.
pub fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut protocol = mqtt::Connection::<mqtt::role::Server>::new(Version::V3_1_1);
    let (commands, mut to_send) = mpsc::unbounded_channel();
    let connection = {
        let mut state = state.lock().unwrap();
        state.connections += 1;
        state.connections
    };
    let mut input = [0; 4096];
    loop {
        let mut output = Vec::new();
        tokio::select! {
            read = stream.read(&mut input) => {
                let mut bytes = &input[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                while !bytes.is_empty() {
                    let mut cursor = Cursor::new(bytes);
                    let events = protocol.recv(&mut cursor);
                    bytes = &bytes[usize::try_from(cursor.position()).unwrap()..];
                    for event in events {
                        match event {
                            Event::NotifyPacketReceived(packet) => {
                                let Some(answer) = answer(packet, connection, &state, &commands) else { return Ok(()) };
                                for packet in answer {
                                    collect(protocol.send(packet), &mut output);
                                }
                            }
                            Event::RequestSendPacket { packet, .. } => output.extend(packet.to_continuous_buffer()),
                            Event::NotifyError(e) => panic!("the client broke the protocol: {e}"),
                            _ => {}
                        }
                    }
                }
            }
            Some(payload) = to_send.recv() => {
                let id = protocol.acquire_packet_id().unwrap();
                let topic = format!("vitro/acme/{THING}/command");
                let publish = v3_1_1::Publish::builder().topic_name(topic).unwrap().qos(Qos::AtLeastOnce);
                let publish = publish.packet_id(id).payload(payload).build().unwrap();
                collect(protocol.send(publish.into()), &mut output);
            }
        }
        stream.write_all(&output).await?;
        stream.flush().await?;
    }
}

fn collect(events: Vec<Event>, output: &mut Vec<u8>) {
    for event in events {
        if let Event::RequestSendPacket { packet, .. } = event {
            output.extend(packet.to_continuous_buffer());
        }
    }
}

/// What the broker answers; nothing to cut the connection.
fn answer(
    packet: Packet,
    connection: usize,
    state: &Mutex<State>,
    commands: &mpsc::UnboundedSender<Vec<u8>>,
) -> Option<Vec<Packet>> {
    let mut state = state.lock().unwrap();
    Some(match packet {
        Packet::V3_1_1Connect(connect) => {
            assert_eq!(connect.client_id(), THING);
            let connack = v3_1_1::Connack::builder().session_present(false).return_code(ConnectReturnCode::Accepted);
            vec![connack.build().unwrap().into()]
        }
        Packet::V3_1_1Subscribe(subscribe) => {
            state.commands = Some(commands.clone());
            let suback = v3_1_1::Suback::builder().packet_id(subscribe.packet_id());
            vec![suback.return_codes(vec![SubackReturnCode::SuccessMaximumQos1]).build().unwrap().into()]
        }
        Packet::V3_1_1Publish(publish) => {
            let nth = state.received.len();
            let reaction = (state.plan)(nth);
            let (topic, payload) = (publish.topic_name().to_owned(), publish.payload().as_slice().to_vec());
            state.received.push(Received { connection, topic, payload, reaction });
            match reaction {
                Reaction::Acknowledge => {
                    let puback = v3_1_1::Puback::builder().packet_id(publish.packet_id().unwrap());
                    vec![puback.build().unwrap().into()]
                }
                Reaction::Ignore => vec![],
                Reaction::Cut => return None,
            }
        }
        Packet::V3_1_1Puback(_) => {
            state.commands_acknowledged += 1;
            vec![]
        }
        Packet::V3_1_1Disconnect(_) => {
            state.goodbyes += 1;
            vec![]
        }
        _ => vec![],
    })
}
