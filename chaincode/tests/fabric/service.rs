//! The chaincode's packages, and the chaincode as a service that this test supervises.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::network::{Network, repository, run};

const ADDRESS: &str = "127.0.0.1:9990";

/// Packages of the program under test, and the certificates of a service by mutual TLS.
pub(crate) struct Service {
    folder: TempDir,
    log: PathBuf,
}

/// The program that is tested: what `make chaincode` built, or else this build's.
fn program() -> PathBuf {
    std::env::var_os("VITRO_CHAINCODE").map_or_else(|| env!("CARGO_BIN_EXE_vitro-chaincode").into(), PathBuf::from)
}

impl Service {
    pub(crate) fn new(network: &Network) -> Self {
        let service =
            Self { folder: tempfile::tempdir().unwrap(), log: network.folder().join("logs/chaincode-service.log") };
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        service.write("ca.pem", &params.self_signed(&ca_key).unwrap().pem());
        let issuer = Issuer::new(params, ca_key);
        let usages = [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)];
        for (name, usage) in usages {
            let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate().unwrap();
            service.write(&format!("{name}.pem"), &params.signed_by(&key, &issuer).unwrap().pem());
            service.write(&format!("{name}.key"), &key.serialize_pem());
        }
        let path = |name: &str| service.path(name);
        let mut command = Command::new("python3");
        command.arg(repository().join("tools/chaincode_package.py")).arg("--program").arg(program());
        command.args(["--version", "0.0.1", "--address", ADDRESS, "--out"]).arg(service.packages());
        command.arg("--tls-root").arg(path("ca.pem"));
        command.arg("--tls-client-cert").arg(path("client.pem")).arg("--tls-client-key").arg(path("client.key"));
        run(&mut command).unwrap();
        service
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn packages(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the service and waits until it listens.
    pub(crate) fn start(&self, id: &str) -> Running {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let child = Command::new(program())
            .env("CHAINCODE_ID", id)
            .env("CHAINCODE_SERVER_ADDRESS", ADDRESS)
            .env("CHAINCODE_TLS_KEY", self.path("server.key"))
            .env("CHAINCODE_TLS_CERT", self.path("server.pem"))
            .env("CHAINCODE_CLIENT_CA_CERT", self.path("ca.pem"))
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(ADDRESS).is_err() {
            assert!(Instant::now() < until, "the service does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Running(child)
    }
}

/// A running service.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn kill(&mut self) {
        // Cannot fail: it was not waited for before.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
