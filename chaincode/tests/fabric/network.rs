//! The network of `tests/fabric`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use vitro_contract::{OuRole, Role};
use vitro_ledger::{
    ConnectionProfile, EndorserGroup, Endorsers, IdentityProfile, Ledger, Limits, NodeEndpoint, PemSigner,
    SystemEnvironment,
};

/// The operator and two of the parties, as in production.
pub(crate) const POLICY: &str = "AND('OperatorMSP.peer',OutOf(2,'RcMSP.peer','DvMSP.peer','SpMSP.peer'))";

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
        let script = repository().join("tests/fabric").join(name);
        // The scripts look for configuration in FABRIC_CONFIG, which is inherited.
        run(Command::new(script).args(arguments).env("NET", self.folder.path()).env("FABRIC_BIN", &self.binaries))
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

    /// Installs, approves and commits a package; its id.
    pub(crate) fn deploy(&self, name: &str, package: &Path, policy: &str) -> String {
        let told = self.script("deploy.sh", &[name, package.to_str().unwrap(), "1", "1", policy]).unwrap();
        let id = told.lines().find_map(|line| line.strip_prefix("package id "));
        id.unwrap_or_else(|| panic!("{told}")).to_owned()
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

    /// A client of a party's admin or user, whose transactions are endorsed as `endorsers` says.
    pub(crate) fn client(&self, chaincode: &str, role: Role, ou: OuRole, endorsers: Endorsers) -> Ledger {
        let profile = self.profile(chaincode, role, ou, endorsers);
        let signer = PemSigner::from_pem(profile.identity.key_pem.as_ref().unwrap().expose()).unwrap();
        let limits = Limits { commit: Duration::from_secs(60), attempts: 10, ..Limits::default() };
        Ledger::connect(&profile, Arc::new(signer), Arc::new(SystemEnvironment), limits).unwrap()
    }

    pub(crate) fn profile(&self, chaincode: &str, role: Role, ou: OuRole, endorsers: Endorsers) -> ConnectionProfile {
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
        let name = ORGANIZATIONS[Role::ALL.iter().position(|known| *known == role).unwrap()].0;
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
            endorsers,
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

fn msp(role: Role) -> String {
    vitro_contract::testing::roles().unwrap().msp(role).to_string()
}

/// The operator and two of the parties.
pub(crate) fn plan() -> Endorsers {
    let parties = [Role::Rc, Role::Dv, Role::Sp].map(msp).to_vec();
    Endorsers { required: vec![msp(Role::Operator)], any_of: vec![EndorserGroup { count: 2, of: parties }] }
}

/// The operator alone.
pub(crate) fn alone() -> Endorsers {
    Endorsers { required: vec![msp(Role::Operator)], any_of: vec![] }
}
