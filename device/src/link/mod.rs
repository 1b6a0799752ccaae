//! The way to the broker: sends what the outbox holds, in order and at a bounded rate, and takes commands.
//!
//! A message leaves the queue when the broker acknowledged that very publish. A connection that breaks is made again after a pause that
//! doubles, with jitter; what was in flight is sent again, from the outbox. A block or a reply goes out when everything before it is
//! acknowledged.

mod rate;
mod session;
mod tls;

use std::collections::VecDeque;
use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use vitro_proof::Reason;
use vitro_proof::command::Outcome;

pub use rate::Bucket;
pub use session::{Arrival, Session};
pub use tls::{client_config, validity};

use crate::agent::Agent;
use crate::clock::{Clock, Guard};
use crate::command::Verdict;
use crate::config::DeviceFolder;
use crate::error::DeviceError;
use crate::outbox::{MessageKind, Waiting};

/// Time for the TCP connection and the TLS handshake.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);
/// The first pause before a connection is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// How many messages are read from the outbox at a time.
const BATCH: usize = 64;
/// Publishing pauses while so many bytes wait for the network.
const OUT_LIMIT: usize = 256 * 1024;

/// An agent that its tasks share.
#[derive(Clone)]
pub struct Shared {
    agent: Arc<Mutex<Agent>>,
    changed: Arc<Notify>,
}

impl Shared {
    /// Shares an agent.
    #[must_use]
    pub fn new(agent: Agent) -> Self {
        Self { agent: Arc::new(Mutex::new(agent)), changed: Arc::new(Notify::new()) }
    }

    /// The agent, for a moment.
    pub fn agent(&self) -> MutexGuard<'_, Agent> {
        // The outbox is as it was before a change that panicked: changes are transactions.
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the link that there is something to send.
    pub fn wake(&self) {
        self.changed.notify_one();
    }
}

/// How the link stands, for whoever waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Connected and subscribed.
    pub connected: bool,
    /// Acknowledgements so far in this process.
    pub acknowledged: u64,
    /// Commands carried out so far in this process.
    pub commands: u64,
}

/// The link of one device.
pub struct Link {
    shared: Shared,
    guard: Guard,
    tls: Arc<ClientConfig>,
    folder: DeviceFolder,
    bucket: Bucket,
    progress: watch::Sender<Progress>,
}

impl Link {
    /// Prepares a link; nothing is connected yet. `per_second` bounds the publishes.
    ///
    /// # Errors
    /// [`DeviceError::Config`] if authorities, certificate and key are not as they must be.
    pub fn new(
        folder: DeviceFolder,
        shared: Shared,
        clock: Arc<dyn Clock>,
        per_second: u32,
    ) -> Result<Self, DeviceError> {
        let tls = client_config(&folder, &shared.agent().signer)?;
        let guard = Guard::new(clock, validity(&folder)?);
        let bucket = Bucket::new(per_second, Instant::now());
        Ok(Self { shared, guard, tls: Arc::new(tls), folder, bucket, progress: watch::Sender::default() })
    }

    /// How the link stands, now and later.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Keeps the link up until `stop` says true, then says goodbye.
    ///
    /// # Errors
    /// Only what trying again does not help: a broken outbox or key store.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), DeviceError> {
        let mut pause = PAUSES.0;
        loop {
            // Commands are taken and answered by the clock, so nothing is asked of the broker before it is set.
            tokio::select! {
                _ = self.guard.ready(None) => {}
                () = stopped(&mut stop) => return Ok(()),
            }
            let (before, since) = (self.progress.borrow().acknowledged, Instant::now());
            let Err(error) = self.connection(&mut stop).await else { return Ok(()) };
            // A broker that takes the connection and then none of the messages is not asked four times a second.
            let was_good = self.progress.borrow().acknowledged > before || since.elapsed() > PAUSES.1;
            self.progress.send_modify(|progress| progress.connected = false);
            if !error.retryable() {
                return Err(error);
            }
            pause = if was_good { PAUSES.0 } else { (pause * 2).min(PAUSES.1) };
            let wait = jittered(pause)?;
            tracing::warn!(wait_ms = wait.as_millis(), "connection: {error}");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stopped(&mut stop) => return Ok(()),
            }
        }
    }

    async fn connection(&mut self, stop: &mut watch::Receiver<bool>) -> Result<(), DeviceError> {
        let stream = tokio::select! {
            stream = self.connect() => stream?,
            () = stopped(stop) => return Ok(()),
        };
        let (mut reader, mut writer) = tokio::io::split(stream);
        let config = &self.folder.config;
        let ack_timeout = Duration::from_secs(config.broker.ack_timeout_seconds.into());
        let keep_alive = config.broker.keep_alive_seconds;
        let mut session = Session::open(config.thing.as_str(), keep_alive, ack_timeout, Instant::now())?;
        let mut feed = Feed::default();
        let mut input = vec![0; 16 * 1024];
        let mut output = Cursor::new(Vec::new());
        let mut unwritten = false;
        loop {
            let paused = self.publish(&mut session, &mut feed)?;
            if output.position() == output.get_ref().len() as u64 && !session.out().is_empty() {
                output = Cursor::new(std::mem::take(session.out()));
                unwritten = true;
            }
            let deadline = [session.next_deadline(), paused].into_iter().flatten().min();
            let write = async {
                writer.write_all_buf(&mut output).await?;
                writer.flush().await
            };
            // Both directions at once: a broker that does not read until it was read from does not stop us.
            tokio::select! {
                written = write, if unwritten => {
                    written.map_err(DeviceError::Connection)?;
                    unwritten = false;
                }
                read = reader.read(&mut input) => {
                    let bytes = input.get(..read.map_err(DeviceError::Connection)?).unwrap_or_default();
                    if bytes.is_empty() {
                        return Err(DeviceError::Broker("the broker closed the connection".into()));
                    }
                    let arrivals = session.received(bytes, Instant::now())?;
                    self.arrived(arrivals, &mut session)?;
                }
                () = until(deadline) => session.overdue(Instant::now())?,
                () = self.shared.changed.notified() => {}
                () = stopped(stop) => {
                    session.close(Instant::now())?;
                    writer.write_all_buf(&mut output).await.map_err(DeviceError::Connection)?;
                    writer.write_all(session.out()).await.map_err(DeviceError::Connection)?;
                    writer.shutdown().await.map_err(DeviceError::Connection)?;
                    return Ok(());
                }
            }
        }
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, DeviceError> {
        let broker = &self.folder.config.broker;
        let name = ServerName::try_from(broker.host.clone())
            .map_err(|_| DeviceError::Config(format!("broker.host = {:?} is no host name", broker.host)))?;
        let connect = async {
            let stream = TcpStream::connect((broker.host.as_str(), broker.port)).await?;
            stream.set_nodelay(true)?;
            TlsConnector::from(self.tls.clone()).connect(name, stream).await
        };
        match tokio::time::timeout(CONNECT_WITHIN, connect).await {
            Ok(stream) => stream.map_err(DeviceError::Connection),
            Err(_) => Err(DeviceError::Broker(format!("{}:{} does not answer", broker.host, broker.port))),
        }
    }

    /// Publishes as much as window, rate and order allow. Gives the instant from which on the rate allows more.
    fn publish(&mut self, session: &mut Session, feed: &mut Feed) -> Result<Option<Instant>, DeviceError> {
        if !self.progress.borrow().connected {
            return Ok(None);
        }
        let config = &self.folder.config;
        let window = usize::from(config.broker.max_in_flight);
        while session.in_flight() < window && session.out().len() < OUT_LIMIT {
            let Some(next) = feed.peek(&self.shared)? else { break };
            if next.kind != MessageKind::Telemetry && session.in_flight() > 0 {
                break;
            }
            let now = Instant::now();
            if let Err(later) = self.bucket.take(now) {
                return Ok(Some(later));
            }
            session.publish(next.place, &config.publish_topic(next.kind.topic()), &next.bytes, now)?;
            feed.sent();
        }
        Ok(None)
    }

    fn arrived(&mut self, arrivals: Vec<Arrival>, session: &mut Session) -> Result<(), DeviceError> {
        let config = &self.folder.config;
        let now = Instant::now();
        let mut acknowledged = Vec::new();
        for arrival in arrivals {
            match arrival {
                Arrival::Connected => session.subscribe(&config.command_topic(), now)?,
                Arrival::Subscribed => {
                    tracing::info!(host = config.broker.host, port = config.broker.port, "connected");
                    self.progress.send_modify(|progress| progress.connected = true);
                }
                Arrival::Acknowledged(place) => acknowledged.push(place),
                Arrival::Delivered { packet, payload } => {
                    // Not acknowledged, it is delivered again on the next connection.
                    let now = self.guard.time().map_err(|unset| DeviceError::Broker(unset.to_string()))?;
                    let verdict = self.shared.agent().command(&payload, now)?;
                    log(&verdict);
                    if let Some(packet) = packet {
                        session.acknowledge(packet, Instant::now())?;
                    }
                    if matches!(verdict, Verdict::Answered { .. }) {
                        self.progress.send_modify(|progress| progress.commands += 1);
                    }
                }
            }
        }
        if !acknowledged.is_empty() {
            self.shared.agent().acknowledge(&acknowledged)?;
            self.progress.send_modify(|progress| progress.acknowledged += acknowledged.len() as u64);
        }
        Ok(())
    }
}

/// What the outbox wants to send on this connection, read a batch at a time.
#[derive(Default)]
struct Feed {
    batch: VecDeque<Waiting>,
    /// The last place that was sent on this connection.
    sent: i64,
}

impl Feed {
    fn peek(&mut self, shared: &Shared) -> Result<Option<&Waiting>, DeviceError> {
        if self.batch.is_empty() {
            self.batch = shared.agent().release(self.sent, BATCH)?.into();
        }
        Ok(self.batch.front())
    }

    fn sent(&mut self) {
        if let Some(message) = self.batch.pop_front() {
            self.sent = message.place;
        }
    }
}

fn log(verdict: &Verdict) {
    match verdict {
        Verdict::Ignored(refusal) => tracing::warn!(reason = refusal.reason(), "command ignored: {refusal}"),
        Verdict::Answered { action, status, result } => match result {
            Some(Outcome::Count(count)) => tracing::info!(action, status, count, "command"),
            Some(Outcome::Nodes(nodes)) => tracing::info!(action, status, nodes = nodes.len(), "command"),
            Some(Outcome::Sealed { block, .. }) => tracing::info!(action, status, %block, "command"),
            None => tracing::info!(action, status, "command"),
        },
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone cannot say stop any more.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Half of the pause, and up to another half by chance: devices that lost one broker do not come back at one instant.
fn jittered(pause: Duration) -> Result<Duration, DeviceError> {
    let random = getrandom::u32().map_err(|e| DeviceError::Randomness(e.to_string()))?;
    Ok(pause / 2 + (pause / 2).mul_f64(f64::from(random) / f64::from(u32::MAX)))
}
