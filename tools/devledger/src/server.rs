//! Starts and stops the whole ledger.

use std::fs::{self, File, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity as TlsIdentity, Server, ServerTlsConfig};

use crate::chain::Chain;
use crate::chaincode::Chaincode;
use crate::endorser::Endorser;
use crate::error::DevledgerError;
use crate::genesis::channel_group;
use crate::material::{Material, write};
use crate::members::Members;
use crate::options::Options;
use crate::orderer::{orderer, stopped};
use crate::organizations::{ORDERER, PARTIES};
use crate::profiles::{self, Addresses};
use crate::service::{BroadcastService, DeliverService, EndorserService};

/// How long open connections may take to end when the ledger stops.
const FAREWELL: Duration = Duration::from_secs(3);

/// A ledger that serves.
pub struct Running {
    /// Where.
    pub addresses: Addresses,
    folder: PathBuf,
    ready_file: PathBuf,
    stop: watch::Sender<bool>,
    tasks: JoinSet<Result<(), DevledgerError>>,
    chain: Arc<Chain>,
    _lock: File,
}

/// Makes or opens the data directory, and serves.
///
/// # Errors
/// Any [`DevledgerError`].
pub async fn start(options: &Options, chaincode: Arc<dyn Chaincode>) -> Result<Running, DevledgerError> {
    // tonic's server takes the process's provider; a second call of the same is no harm.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = std::path::absolute(&options.data_dir).map_err(DevledgerError::file(&options.data_dir))?;
    fs::create_dir_all(&folder).map_err(DevledgerError::file(&folder))?;
    let lock = lock(&folder)?;
    let ready_file = options.ready_file.clone().unwrap_or_else(|| folder.join("ready.json"));
    remove(&ready_file)?;

    let organizations = folder.join("organizations");
    let load = |organization| Material::load_or_make(&organizations, organization, options.host);
    let order = load(ORDERER)?;
    let parties = PARTIES.into_iter().map(load).collect::<Result<Vec<_>, _>>()?;
    let all = parties.iter().chain([&order]);
    let members = Arc::new(Members::new(all.map(|one| (one.msp, one.ca.as_str())))?);
    let configuration = channel_group(&order, &parties, &options.batch());
    let chain = Arc::new(Chain::open(
        &folder,
        &options.channel,
        &options.chaincode,
        members,
        order.node_identity()?,
        configuration,
    )?);

    let (listeners, addresses) = listen(&folder, options).await?;
    let (stop, stopping) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let (orderer, cutter) = orderer(&chain, options.batch());
    tasks.spawn(cutter.run(stopping.clone()));
    let [order_listener, peer_listeners @ ..] = listeners;
    let broadcast = BroadcastService { orderer, chain: Arc::clone(&chain), stop: stopping.clone() };
    let server = builder(&order)?.add_service(broadcast);
    tasks.spawn(serve(server, order_listener, stopping.clone()));
    for (material, listener) in parties.iter().zip(peer_listeners) {
        let endorser = Endorser::new(material.node_identity()?, Arc::clone(&chain), Arc::clone(&chaincode));
        let deliver = DeliverService { chain: Arc::clone(&chain), stop: stopping.clone() };
        let server = builder(material)?.add_service(EndorserService(Arc::new(endorser))).add_service(deliver);
        tasks.spawn(serve(server, listener, stopping.clone()));
    }

    let (channel, name) = (&options.channel, &options.chaincode);
    profiles::write_all(&folder, channel, name, &addresses, &order, &parties)?;
    let running = Running { addresses, folder, ready_file, stop, tasks, chain, _lock: lock };
    running.write_ready(options)?;
    Ok(running)
}

impl Running {
    /// The path of an organization's connection profile, by its short name (`operator`, `rc`, `dv`, `sp`; with `-user` the user's).
    #[must_use]
    pub fn profile(&self, name: &str) -> PathBuf {
        self.folder.join("profiles").join(format!("{name}.json"))
    }

    /// The chain, for what a test wants to see in it.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Waits until something stops by itself, which nothing should.
    ///
    /// # Errors
    /// Why it stopped.
    pub async fn failed(&mut self) -> DevledgerError {
        match self.tasks.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => DevledgerError::Server(error.to_string()),
            Some(Ok(Ok(()))) | None => DevledgerError::Server("a task ended".to_owned()),
        }
    }

    /// Stops: what is queued still goes into a block, then connections are closed.
    ///
    /// # Errors
    /// The first thing that failed on the way.
    pub async fn shutdown(mut self) -> Result<(), DevledgerError> {
        self.stop.send_replace(true);
        let mut result = Ok(());
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                let ended = ended.map_err(|error| DevledgerError::Server(error.to_string()));
                result = std::mem::replace(&mut result, Ok(())).and(ended.and_then(|ended| ended));
            }
        };
        if tokio::time::timeout(FAREWELL, all).await.is_err() {
            tracing::info!("connections that stay open are dropped");
        }
        remove(&self.ready_file)?;
        result
    }

    fn write_ready(&self, options: &Options) -> Result<(), DevledgerError> {
        let peers = PARTIES.iter().zip(&self.addresses.peers).map(|(party, address)| {
            (party.name.to_owned(), serde_json::json!({"msp": party.msp, "port": address.port()}))
        });
        let profiles = PARTIES.iter().map(|party| (party.name.to_owned(), serde_json::json!(self.profile(party.name))));
        let ready = serde_json::json!({
            "pid": std::process::id(),
            "host": options.host,
            "channel": options.channel,
            "chaincode": options.chaincode,
            "orderer": {"msp": ORDERER.msp, "port": self.addresses.orderer.port()},
            "peers": peers.collect::<serde_json::Map<_, _>>(),
            "profiles": profiles.collect::<serde_json::Map<_, _>>(),
        });
        write(&self.ready_file, format!("{ready:#}\n").as_bytes(), 0o644)
    }
}

/// Takes the data directory for this process alone; the kernel gives it back whatever way the process ends.
fn lock(folder: &Path) -> Result<File, DevledgerError> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(DevledgerError::file(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DevledgerError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(DevledgerError::file(path)(error)),
    }
}

fn remove(path: &Path) -> Result<(), DevledgerError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(DevledgerError::file(path)(error)),
        _ => Ok(()),
    }
}

/// Binds the orderer and the peers. Free ports are kept in the data directory, so that a restart does not move the network away from
/// profiles that clients already have.
async fn listen(folder: &Path, options: &Options) -> Result<([TcpListener; 5], Addresses), DevledgerError> {
    let path = folder.join("ports.json");
    let kept: Option<[u16; 5]> = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let wanted = match options.base_port {
        0 => kept.unwrap_or_default(),
        base => [0, 1, 2, 3, 4].map(|step| base.saturating_add(step)),
    };
    let mut listeners = Vec::new();
    for port in wanted {
        let bound = match TcpListener::bind((options.host, port)).await {
            Err(_) if options.base_port == 0 && port != 0 => TcpListener::bind((options.host, 0)).await,
            bound => bound,
        };
        let address = SocketAddr::new(options.host, port).to_string();
        listeners.push(bound.map_err(|source| DevledgerError::Listen { address, source })?);
    }
    let fault = |error: &dyn std::fmt::Debug| DevledgerError::Server(format!("{error:?}"));
    let bound: Result<Vec<_>, _> = listeners.iter().map(TcpListener::local_addr).collect();
    let bound = bound.map_err(|error| fault(&error))?;
    let ports: Vec<_> = bound.iter().map(SocketAddr::port).collect();
    write(&path, format!("{ports:?}").as_bytes(), 0o644)?;
    let bound = <[SocketAddr; 5]>::try_from(bound).map_err(|error| fault(&error))?;
    let [orderer, peers @ ..] = bound;
    let listeners = listeners.try_into().map_err(|error| fault(&error))?;
    Ok((listeners, Addresses { orderer, peers }))
}

fn builder(material: &Material) -> Result<Server, DevledgerError> {
    let identity = TlsIdentity::from_pem(&material.tls.certificate, &material.tls.key);
    Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))
        .map_err(|error| DevledgerError::Server(error.to_string()))
}

async fn serve(
    router: tonic::transport::server::Router,
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
) -> Result<(), DevledgerError> {
    let end = async move { stopped(&mut stop).await };
    router
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), end)
        .await
        .map_err(|error| DevledgerError::Server(error.to_string()))
}
