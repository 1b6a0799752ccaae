//! Starts and stops the whole ledger.

use std::fs::{self, File, TryLockError};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, Identity as TlsIdentity, Server, ServerTlsConfig};

use crate::chain::Chain;
use crate::chaincode::Chaincode;
use crate::endorser::Endorser;
use crate::error::DevledgerError;
use crate::genesis::channel_group;
use crate::managed_blockchain::Directory;
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
    discovery: Option<Discovery>,
    folder: PathBuf,
    ready_file: PathBuf,
    stop: watch::Sender<bool>,
    tasks: JoinSet<Result<(), DevledgerError>>,
    chain: Arc<Chain>,
    _lock: File,
}

/// Where the calls of Managed Blockchain are served, and for which network.
struct Discovery {
    address: SocketAddr,
    network: String,
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
    let client_cas: Option<String> =
        options.require_client_certificates.then(|| parties.iter().map(|party| party.tls_ca.as_str()).collect());
    let broadcast = BroadcastService { orderer, chain: Arc::clone(&chain), stop: stopping.clone() };
    let server = builder(&order, client_cas.as_deref())?.add_service(broadcast);
    tasks.spawn(serve(server, order_listener, stopping.clone()));
    for (material, listener) in parties.iter().zip(peer_listeners) {
        let endorser = Endorser::new(material.node_identity()?, Arc::clone(&chain), Arc::clone(&chaincode));
        let deliver = DeliverService { chain: Arc::clone(&chain), stop: stopping.clone() };
        let mut server = builder(material, client_cas.as_deref())?;
        let server = server.add_service(EndorserService(Arc::new(endorser))).add_service(deliver);
        tasks.spawn(serve(server, listener, stopping.clone()));
    }

    profiles::write_all(&folder, options, &addresses, &order, &parties)?;
    let discovery = match options.managed_blockchain_port {
        None => None,
        Some(port) => {
            let directory = Directory::new(&addresses, &order, &parties);
            let network = directory.network().to_owned();
            let [listener] = bind(&folder.join("managed-blockchain-port.json"), options.host, [port]).await?;
            let address = local_address(&listener)?;
            tasks.spawn(directory.serve(listener, stopping));
            Some(Discovery { address, network })
        }
    };
    let running = Running { addresses, discovery, folder, ready_file, stop, tasks, chain, _lock: lock };
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
        let mut ready = serde_json::json!({
            "pid": std::process::id(),
            "host": options.host,
            "channel": options.channel,
            "chaincode": options.chaincode,
            "orderer": {"msp": ORDERER.msp, "port": self.addresses.orderer.port()},
            "peers": peers.collect::<serde_json::Map<_, _>>(),
            "profiles": profiles.collect::<serde_json::Map<_, _>>(),
            "tls_chain": profiles::tls_chain_path(&self.folder),
        });
        if let Some(discovery) = &self.discovery {
            ready["managed_blockchain"] = serde_json::json!({
                "endpoint_url": format!("http://{}", discovery.address), "network": discovery.network,
            });
        }
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

/// Binds the orderer and the peers.
async fn listen(folder: &Path, options: &Options) -> Result<([TcpListener; 5], Addresses), DevledgerError> {
    let wanted = match options.base_port {
        0 => [0; 5],
        base => [0, 1, 2, 3, 4].map(|step| base.saturating_add(step)),
    };
    let listeners = bind(&folder.join("ports.json"), options.host, wanted).await?;
    let bound: Result<Vec<_>, _> = listeners.iter().map(local_address).collect();
    let fault = |addresses| DevledgerError::Server(format!("{addresses:?}"));
    let [orderer, peers @ ..] = <[SocketAddr; 5]>::try_from(bound?).map_err(fault)?;
    Ok((listeners, Addresses { orderer, peers }))
}

/// Binds ports; for each that is 0 a free one. Which these were is kept in a file, so that a restart does not move the network away from
/// profiles that clients already have.
async fn bind<const N: usize>(
    kept_in: &Path,
    host: IpAddr,
    wanted: [u16; N],
) -> Result<[TcpListener; N], DevledgerError> {
    let kept: Option<Vec<u16>> = fs::read(kept_in).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let kept = kept.unwrap_or_default();
    let mut listeners = Vec::new();
    for (index, port) in wanted.into_iter().enumerate() {
        let favourite = if port == 0 { kept.get(index).copied().unwrap_or_default() } else { port };
        let bound = match TcpListener::bind((host, favourite)).await {
            Err(_) if port == 0 && favourite != 0 => TcpListener::bind((host, 0)).await,
            bound => bound,
        };
        let address = SocketAddr::new(host, favourite).to_string();
        listeners.push(bound.map_err(|source| DevledgerError::Listen { address, source })?);
    }
    let bound: Result<Vec<_>, _> = listeners.iter().map(local_address).collect();
    let ports: Vec<_> = bound?.iter().map(SocketAddr::port).collect();
    write(kept_in, format!("{ports:?}").as_bytes(), 0o644)?;
    listeners.try_into().map_err(|listeners| DevledgerError::Server(format!("{listeners:?}")))
}

fn local_address(listener: &TcpListener) -> Result<SocketAddr, DevledgerError> {
    listener.local_addr().map_err(|error| DevledgerError::Server(error.to_string()))
}

/// A server of a node; with CAs it speaks only to clients whose certificate one of them issued.
fn builder(material: &Material, client_cas: Option<&str>) -> Result<Server, DevledgerError> {
    let identity = TlsIdentity::from_pem(&material.tls.certificate, &material.tls.key);
    let mut tls = ServerTlsConfig::new().identity(identity);
    if let Some(cas) = client_cas {
        tls = tls.client_ca_root(Certificate::from_pem(cas));
    }
    Server::builder().tls_config(tls).map_err(|error| DevledgerError::Server(error.to_string()))
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
