//! A ledger on free ports with a small contract, clients for it, and a proxy that loses what it is told to lose.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use vitro_devledger::{Answer, CallContext, Chaincode, Options, Refusal, Running, Simulation, start};
use vitro_ledger::{ConnectionProfile, Ledger, Limits, PemSigner, SystemEnvironment};

/// A contract of keys and values.
#[derive(Default)]
pub(crate) struct KeyValue {
    calls: AtomicU64,
}

impl Chaincode for KeyValue {
    fn invoke(
        &self,
        context: &CallContext<'_>,
        state: &mut Simulation<'_>,
        function: &str,
        args: &[Vec<u8>],
    ) -> Result<Answer, Refusal> {
        let text = |index: usize| {
            let bytes = args.get(index).cloned().unwrap_or_default();
            String::from_utf8(bytes).unwrap_or_default()
        };
        let answer = |payload: Vec<u8>| Ok(Answer { payload, event: None });
        match function {
            "put" => {
                state.put(&text(0), args.get(1).cloned().unwrap_or_default());
                Ok(Answer { payload: Vec::new(), event: Some(("put".to_owned(), args[0].clone())) })
            }
            "get" => match state.get(&text(0)) {
                Some(value) => answer(value),
                None => Err(Refusal { status: 404, message: format!("no key {}", text(0)) }),
            },
            "add" => {
                let old = state.get(&text(0)).unwrap_or_else(|| b"0".to_vec());
                let old: u64 = String::from_utf8(old).unwrap().parse().unwrap();
                let new = (old + 1).to_string().into_bytes();
                state.put(&text(0), new.clone());
                answer(new)
            }
            "count" => {
                let found = state.range(&text(0), &text(1)).len().to_string().into_bytes();
                state.put(&text(2), found.clone());
                answer(found)
            }
            "whoami" => answer(format!("{} {:?}", context.creator.msp, context.creator.role).into_bytes()),
            "differ" => answer(self.calls.fetch_add(1, Ordering::SeqCst).to_string().into_bytes()),
            _ => Err(Refusal { status: 500, message: format!("no function {function}") }),
        }
    }
}

/// A ledger and the folder it lives in.
pub(crate) struct Network {
    pub(crate) running: Running,
    pub(crate) options: Options,
    pub(crate) folder: TempDir,
}

impl Network {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// With other options than the tests mostly have.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options { batch_timeout_ms: 100, ..Options::new(folder.path().join("ledger")) };
        change(&mut options);
        let running = start(&options, Arc::new(KeyValue::default())).await.unwrap();
        Self { running, options, folder }
    }

    /// Stops, does something to the data directory, and starts on it again.
    pub(crate) async fn restart(self, between: impl FnOnce(&Path)) -> Self {
        self.running.shutdown().await.unwrap();
        between(&self.options.data_dir);
        let running = start(&self.options, Arc::new(KeyValue::default())).await.unwrap();
        Self { running, ..self }
    }

    pub(crate) fn profile(&self, name: &str) -> ConnectionProfile {
        let text = std::fs::read_to_string(self.running.profile(name)).unwrap();
        ConnectionProfile::from_json(&text).unwrap()
    }

    pub(crate) fn client(&self) -> Ledger {
        connect(&self.profile("operator"))
    }
}

/// Bounds that suit a ledger on loopback.
pub(crate) const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    simulate: Duration::from_secs(35),
    answer: Duration::from_secs(5),
    commit: Duration::from_secs(5),
    unacknowledged: Duration::from_millis(800),
    broadcasts: 3,
    attempts: 5,
    pause: Duration::from_millis(20),
    rest: Duration::from_secs(30),
};

pub(crate) fn connect(profile: &ConnectionProfile) -> Ledger {
    connect_with(profile, LIMITS)
}

pub(crate) fn connect_with(profile: &ConnectionProfile, limits: Limits) -> Ledger {
    let key = profile.identity.key_pem.as_ref().unwrap();
    let signer = Arc::new(PemSigner::from_pem(key.expose()).unwrap());
    Ledger::connect(profile, signer, Arc::new(SystemEnvironment), limits).unwrap()
}

pub(crate) fn args<const N: usize>(args: [&str; N]) -> Vec<Vec<u8>> {
    args.iter().map(|arg| arg.as_bytes().to_vec()).collect()
}

/// An address on which nobody listens.
pub(crate) async fn dead_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("https://{}", listener.local_addr().unwrap())
}

/// A TCP proxy. What it loses, it loses with the connection.
#[derive(Clone)]
pub(crate) struct Proxy {
    mode: Arc<AtomicU8>,
    /// Ends the connections that there are.
    cut: Arc<Notify>,
    /// Connections of an earlier epoch carry nothing any more, and stay.
    epoch: Arc<AtomicU64>,
    pub(crate) lost: Arc<AtomicU64>,
    /// How many connections were made to it.
    pub(crate) opened: Arc<AtomicU64>,
    pub(crate) address: String,
}

/// What a proxy does with the next bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    Pass = 0,
    /// Ends the connection when the client sends something, once.
    LoseRequest = 1,
    /// Ends the connection when the server answers something, once.
    LoseAnswer = 2,
    /// Ends the connection when the client sends something, and every later one.
    Die = 3,
    Dead = 4,
}

impl Proxy {
    /// A proxy before an `https://` address.
    pub(crate) async fn before(target: &str) -> Self {
        let target = target.trim_start_matches("https://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            mode: Arc::default(),
            cut: Arc::default(),
            epoch: Arc::default(),
            lost: Arc::default(),
            opened: Arc::default(),
            address: format!("https://{}", listener.local_addr().unwrap()),
        };
        let serving = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let proxy = serving.clone();
                proxy.opened.fetch_add(1, Ordering::SeqCst);
                if proxy.mode.load(Ordering::SeqCst) == Mode::Dead as u8 {
                    continue;
                }
                let target = target.clone();
                let epoch = proxy.epoch.load(Ordering::SeqCst);
                tokio::spawn(async move {
                    let cut = proxy.cut.notified();
                    let Ok(server) = TcpStream::connect(target).await else { return };
                    let (client_in, client_out) = client.into_split();
                    let (server_in, server_out) = server.into_split();
                    tokio::select! {
                        () = proxy.pump(client_in, server_out, Mode::LoseRequest, epoch) => {}
                        () = proxy.pump(server_in, client_out, Mode::LoseAnswer, epoch) => {}
                        () = cut => {}
                    }
                });
            }
        });
        proxy
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// Ends every connection that there is.
    pub(crate) fn cut(&self) {
        self.cut.notify_waiters();
    }

    /// Lets every connection that there is go silent; later ones work.
    pub(crate) fn mute(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    async fn pump(
        &self,
        mut from: impl AsyncReadExt + Unpin,
        mut to: impl AsyncWriteExt + Unpin,
        loses: Mode,
        epoch: u64,
    ) {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if self.epoch.load(Ordering::SeqCst) > epoch {
                continue;
            }
            let turns = |from: Mode, to: Mode| {
                let order = Ordering::SeqCst;
                self.mode.compare_exchange(from as u8, to as u8, order, order).is_ok()
            };
            if turns(loses, Mode::Pass) || (loses == Mode::LoseRequest && turns(Mode::Die, Mode::Dead)) {
                self.lost.fetch_add(1, Ordering::SeqCst);
                return;
            }
            if to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    }
}
