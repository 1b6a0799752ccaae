//! The network of `tests/fabric`.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use vitro_contract::{OuRole, Role};
use vitro_ledger::{ConnectionProfile, IdentityProfile, NodeEndpoint};

use crate::ledger::{Stage, msp, plan};

/// Organizations in the order of [`Role::ALL`], with their peers' ports.
const ORGANIZATIONS: [(&str, u16); 4] = [("operator", 7051), ("rc", 8051), ("dv", 9051), ("sp", 10051)];

/// A running network; it is taken down when this is dropped.
pub(crate) struct Network {
    folder: TempDir,
    binaries: PathBuf,
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Runs a command to its end; its output if it succeeded.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
    if output.status.success() { Ok(text) } else { Err(format!("{command:?}: {text}")) }
}

pub(crate) fn has_npm() -> bool {
    run(Command::new("npm").arg("--version")).is_ok()
}

impl Network {
    pub(crate) fn up() -> Self {
        let binaries = std::env::var_os("FABRIC_BIN").expect("FABRIC_BIN: a folder with peer, orderer, configtxgen");
        let network = Self { folder: tempfile::tempdir().unwrap(), binaries: binaries.into() };
        network.script("up.sh", &[]).unwrap();
        network
    }

    /// Runs one of the network's scripts.
    pub(crate) fn script(&self, name: &str, arguments: &[&str]) -> Result<String, String> {
        run(self.command(&repository().join("tests/fabric").join(name)).args(arguments))
    }

    /// The scripts look for configuration in FABRIC_CONFIG, which is inherited.
    fn command(&self, script: &Path) -> Command {
        let mut command = Command::new(script);
        command.env("NET", self.folder.path()).env("FABRIC_BIN", &self.binaries);
        command
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn version(&self) -> String {
        let told = run(Command::new(self.binaries.join("peer")).arg("version")).unwrap();
        let line = told.lines().find_map(|line| line.trim().strip_prefix("Version: ").map(str::to_owned));
        line.unwrap_or_else(|| "of an unknown version".to_owned())
    }

    /// Chaincode as a service came with 2.4, shortly after osnadmin.
    pub(crate) fn takes_services(&self) -> bool {
        self.binaries.join("osnadmin").exists()
    }

    /// Kills every chaincode that a peer of this network started.
    pub(crate) fn kill_chaincodes(&self) {
        let ours = self.folder.path().join("data");
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(target) = std::fs::read_link(entry.path().join("exe")) else { continue };
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            if target.starts_with(&ours) {
                // It may have ended by itself.
                let _ = run(Command::new("kill").args(["-9", &pid.to_string()]));
            }
        }
    }

    /// Kills one of its programs, as it was started by the scripts, without warning.
    fn kill(&self, name: &str) {
        let pid = std::fs::read_to_string(self.folder.path().join("data").join(format!("{name}.pid"))).unwrap();
        run(Command::new("kill").args(["-9", pid.trim()])).unwrap();
        // Until the kernel has closed its port nobody else can have it; the script waits for that, too.
        self.script("down.sh", &[name]).unwrap();
    }

    /// What runs under a chaincode's name, as the tests see it.
    pub(crate) fn stage<'a>(&'a self, chaincode: &'a str) -> Deployed<'a> {
        Deployed { network: self, chaincode }
    }

    fn profile(&self, chaincode: &str, role: Role, ou: OuRole) -> ConnectionProfile {
        let crypto = self.folder.path().join("crypto");
        let read = |path: PathBuf| std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{}", path.display()));
        let peers = ORGANIZATIONS.iter().zip(Role::ALL).map(|(&(name, port), role)| NodeEndpoint {
            name: format!("peer0.{name}"),
            msp: msp(role),
            address: format!("https://127.0.0.1:{port}"),
            tls_ca_pem: read(
                crypto.join(format!("peerOrganizations/{name}.example.com/tlsca/tlsca.{name}.example.com-cert.pem")),
            ),
            server_name: None,
        });
        let peers = peers.collect();
        let orderer = NodeEndpoint {
            name: "orderer".to_owned(),
            msp: "OrdererMSP".to_owned(),
            address: "https://127.0.0.1:7050".to_owned(),
            tls_ca_pem: read(crypto.join("ordererOrganizations/example.com/tlsca/tlsca.example.com-cert.pem")),
            server_name: None,
        };
        let name = name(role);
        let user = if ou == OuRole::Admin { "Admin" } else { "User1" };
        let user = format!("{user}@{name}.example.com");
        let own = crypto.join(format!("peerOrganizations/{name}.example.com/users/{user}/msp"));
        let key = std::fs::read_dir(own.join("keystore")).unwrap().next().unwrap().unwrap().path();
        let identity = IdentityProfile {
            msp: msp(role),
            certificate_pem: read(own.join(format!("signcerts/{user}-cert.pem"))),
            key_pem: Some(serde_json::from_value(read(key).into()).unwrap()),
        };
        ConnectionProfile {
            channel: "mychannel".to_owned(),
            chaincode: chaincode.to_owned(),
            peers,
            orderers: vec![orderer],
            endorsers: plan(),
            identity,
            client_tls: None,
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = std::fs::read_dir(self.folder.path().join("logs")).into_iter().flatten().flatten();
            for log in logs {
                let text = std::fs::read(log.path()).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                let last: Vec<_> = text.lines().rev().take(20).collect();
                eprintln!("== {}", log.path().display());
                last.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
        if let Err(error) = self.script("down.sh", &[]) {
            eprintln!("{error}");
        }
    }
}

/// A chaincode of a network.
pub(crate) struct Deployed<'a> {
    pub(crate) network: &'a Network,
    pub(crate) chaincode: &'a str,
}

impl Stage for Deployed<'_> {
    fn profile(&self, role: Role, ou: OuRole) -> ConnectionProfile {
        self.network.profile(self.chaincode, role, ou)
    }

    fn peer_down(&self, role: Role) {
        self.network.script("peer-down.sh", &[name(role)]).unwrap();
    }

    fn peer_up(&self, role: Role) {
        self.network.script("peer-up.sh", &[name(role)]).unwrap();
    }

    fn kill_orderer(&self) {
        self.network.kill("orderer");
    }

    fn start_orderer(&self) {
        self.network.script("orderer-up.sh", &[]).unwrap();
    }
}

/// An organization's short name.
fn name(role: Role) -> &'static str {
    ORGANIZATIONS[Role::ALL.iter().position(|known| *known == role).unwrap()].0
}

/// The id of a package: its label, which all here share, and its hash.
pub(crate) fn package_id(package: &Path) -> String {
    format!("vitro_0.0.1:{}", hex::encode(Sha256::digest(std::fs::read(package).unwrap())))
}
