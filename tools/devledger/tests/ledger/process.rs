//! The program itself, with Vitro's contract: configured by four parties, killed while it works, stopped in peace.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vitro_contract::{Record, Roles, RolesStatus};
use vitro_ledger::{ConnectionProfile, Ledger};

use crate::support::connect;

/// A running program; killed when a test fails.
struct Program {
    child: Child,
    folder: PathBuf,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    async fn start(folder: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_vitro-devledger"))
            .args(["--batch-timeout-ms", "20", "--data-dir"])
            .arg(folder)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let program = Self { child, folder: folder.to_owned() };
        let deadline = Instant::now() + Duration::from_secs(30);
        while program.ready()["pid"] != program.child.id() {
            assert!(Instant::now() < deadline, "the ledger did not become ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        program
    }

    fn ready(&self) -> serde_json::Value {
        let text = std::fs::read(self.folder.join("ready.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn client(&self, name: &str) -> Ledger {
        let text = std::fs::read_to_string(self.folder.join(format!("profiles/{name}.json")));
        connect(&ConnectionProfile::from_json(&text.unwrap()).unwrap())
    }
}

fn roles() -> Vec<Vec<u8>> {
    let roles = Roles {
        operator: "OperatorMSP".parse().unwrap(),
        rc: "RcMSP".parse().unwrap(),
        dv: "DvMSP".parse().unwrap(),
        sp: "SpMSP".parse().unwrap(),
    };
    vec![roles.encode()]
}

async fn roles_status(ledger: &Ledger) -> RolesStatus {
    RolesStatus::decode(&ledger.query("registry:roles", &[]).await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn four_parties_configure_and_every_acknowledged_transaction_survives_kills() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(folder.path()).await;
    for party in ["operator", "rc", "dv", "sp"] {
        assert_eq!(roles_status(&program.client("operator")).await.in_force, None);
        program.client(party).submit("registry:configure", &roles()).await.unwrap();
    }
    assert!(roles_status(&program.client("operator")).await.in_force.is_some());
    let error = program.client("rc-user").submit("registry:configure", &roles()).await.unwrap_err();
    assert!(error.to_string().contains("wrong_identity"), "{error}");

    let ports = program.ready()["peers"].clone();
    let mut committed = Vec::new();
    for round in 0..4 {
        let ledger = Arc::new(program.client("operator"));
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let work = [(); 4].map(|()| {
            let (ledger, sender) = (Arc::clone(&ledger), sender.clone());
            tokio::spawn(async move {
                while let Ok(done) = ledger.submit("registry:configure", &roles()).await {
                    if sender.send(done).is_err() {
                        return;
                    }
                }
            })
        });
        for _ in 0..10 + round {
            committed.push(receiver.recv().await.unwrap());
        }
        // SIGKILL, while four submissions are under way.
        program.child.kill().unwrap();
        program.child.wait().unwrap();
        work.iter().for_each(tokio::task::JoinHandle::abort);
        drop(sender);
        while let Some(done) = receiver.recv().await {
            committed.push(done);
        }
        program = Program::start(folder.path()).await;
        assert_eq!(program.ready()["peers"], ports);
    }
    let ledger = program.client("sp");
    for done in committed {
        let outcome = ledger.outcome(&done.tx_id).await.unwrap().unwrap();
        assert_eq!(outcome.block_number, done.block_number);
    }
    assert!(roles_status(&ledger).await.in_force.is_some());

    let terminated = Command::new("kill").arg(program.child.id().to_string()).status().unwrap();
    assert!(terminated.success());
    assert!(program.child.wait().unwrap().success());
    assert!(!folder.path().join("ready.json").exists());
}
