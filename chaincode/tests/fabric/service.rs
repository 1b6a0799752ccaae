//! The chaincode's packages, and the chaincode as a service that this test supervises.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::network::{Network, repository, run};

/// A program's packages, and the certificates of a service by mutual TLS.
pub(crate) struct Service {
    program: PathBuf,
    address: &'static str,
    folder: TempDir,
    log: PathBuf,
}

/// The program that is tested: what `make chaincode` built, or else this build's.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("VITRO_CHAINCODE").map_or_else(|| env!("CARGO_BIN_EXE_vitro-chaincode").into(), PathBuf::from)
}

/// One that keeps other values than it says: `cargo build --example contrary`, which `make test-fabric` does.
pub(crate) fn contrary() -> PathBuf {
    let path = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/contrary");
    assert!(path.exists(), "{}: cargo build --package vitro-chaincode --example contrary", path.display());
    path
}

impl Service {
    /// Packages of a program, which as a service listens on `address`.
    pub(crate) fn new(network: &Network, program: PathBuf, address: &'static str) -> Self {
        let log = network.folder().join("logs/chaincode-service.log");
        let service = Self { program, address, folder: tempfile::tempdir().unwrap(), log };
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
        command.arg(repository().join("tools/chaincode_package.py")).arg("--program").arg(&service.program);
        command.args(["--version", "0.0.1", "--address", address, "--out"]).arg(service.folder.path());
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

    /// The package for a way to run it.
    pub(crate) fn package(&self, way: &str) -> PathBuf {
        self.path(&format!("vitro_0.0.1.{way}.tar.gz"))
    }

    /// Starts the service and waits until it listens.
    pub(crate) fn start(&self, id: &str) -> Running {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let child = Command::new(&self.program)
            .env("CHAINCODE_ID", id)
            .env("CHAINCODE_SERVER_ADDRESS", self.address)
            .env("CHAINCODE_TLS_KEY", self.path("server.key"))
            .env("CHAINCODE_TLS_CERT", self.path("server.pem"))
            .env("CHAINCODE_CLIENT_CA_CERT", self.path("ca.pem"))
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(self.address).is_err() {
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
