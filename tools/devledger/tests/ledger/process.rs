//! The program itself, with Vitro's contract: configured by four parties, killed while it works, stopped in peace.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use vitro_contract::testing::TestDevice;
use vitro_contract::{Alive, DeviceEntry, Hour, Record, Roles, RolesStatus, calls};
use vitro_ledger::{Committed, ConnectionProfile, Ledger, TxValidationCode};

use crate::support::connect;

/// A running program; killed when a test fails.
pub(crate) struct Program {
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
        Self::start_with(folder, 20).await
    }

    /// With another BatchTimeout.
    pub(crate) async fn start_with(folder: &Path, batch_timeout_ms: u32) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_vitro-devledger"))
            .args(["--batch-timeout-ms", &batch_timeout_ms.to_string(), "--data-dir"])
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
        connect(&self.profile(name))
    }

    pub(crate) fn profile(&self, name: &str) -> ConnectionProfile {
        let text = std::fs::read_to_string(self.folder.join(format!("profiles/{name}.json")));
        ConnectionProfile::from_json(&text.unwrap()).unwrap()
    }

    /// Kills it without warning.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
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

/// The first hour that is said; all of them are long over.
const FIRST_HOUR: i64 = 1_699_999_200;

/// What a submission writes: numbers make devices and a shard's hours in turn.
#[derive(Debug)]
enum Written {
    Device(Box<DeviceEntry>),
    Hour(Alive),
}

impl Written {
    fn of(number: u8) -> Self {
        if number.is_multiple_of(2) {
            let device = TestDevice::new(&format!("dev-{number}"), number + 1, "2026-01-01".parse().unwrap());
            return Self::Device(Box::new(device.unwrap().entry));
        }
        let hour = Hour::beginning(FIRST_HOUR + i64::from(number) * 3_600).unwrap();
        Self::Hour(Alive::of("north".parse().unwrap(), hour, &[]).unwrap())
    }

    fn call(&self) -> (&'static str, Vec<Vec<u8>>) {
        match self {
            Self::Device(device) => {
                let call = calls::register_devices(std::slice::from_ref(&**device));
                (call.function, call.args)
            }
            Self::Hour(alive) => {
                let call = calls::alive(alive);
                (call.function, call.args)
            }
        }
    }

    /// Whether the state holds it as it was written.
    async fn is_there(&self, ledger: &Ledger) -> bool {
        match self {
            Self::Device(device) => {
                let call = calls::device(&device.thing);
                match ledger.query(call.function, &call.args).await {
                    Ok(view) => call.read(&view).unwrap().entry == **device,
                    Err(error) => {
                        assert!(error.to_string().contains("unknown_device"), "{error}");
                        false
                    }
                }
            }
            Self::Hour(alive) => {
                let call = calls::hours(&alive.shard, alive.hour, alive.hour);
                let page = call.read(&ledger.query(call.function, &call.args).await.unwrap()).unwrap();
                page.hours.iter().any(|view| view.alive == *alive)
            }
        }
    }
}

/// The transactions of the whole chain that wrote something.
async fn writers(ledger: &Ledger) -> Vec<String> {
    let mut found = Vec::new();
    for number in 0..ledger.chain_info().await.unwrap().height {
        let block = ledger.block(number).await.unwrap();
        assert!(block.data_hash_matches);
        let valid = block.transactions.into_iter().filter(|one| one.code == TxValidationCode::Valid);
        found.extend(valid.filter(|one| !one.writes.is_empty()).map(|one| one.tx_id));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn four_parties_configure_and_every_acknowledged_write_survives_kills() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(folder.path()).await;
    for party in ["operator", "rc", "dv", "sp"] {
        assert_eq!(roles_status(&program.client("operator")).await.in_force, None);
        program.client(party).submit("registry:configure", &roles()).await.unwrap();
    }
    assert!(roles_status(&program.client("operator")).await.in_force.is_some());
    let error = program.client("rc-user").submit("registry:configure", &roles()).await.unwrap_err();
    assert!(error.to_string().contains("wrong_identity"), "{error}");
    let before = writers(&program.client("operator")).await.len();

    let ports = program.ready()["peers"].clone();
    let next = Arc::new(AtomicU8::new(0));
    let mut committed: Vec<(u8, Committed)> = Vec::new();
    for round in 0..4 {
        let ledger = Arc::new(program.client("operator-user"));
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let work = [(); 4].map(|()| {
            let (ledger, sender, next) = (Arc::clone(&ledger), sender.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let (function, args) = Written::of(number).call();
                    let Ok(done) = ledger.submit(function, &args).await else { return };
                    if sender.send((number, done)).is_err() {
                        return;
                    }
                }
            })
        });
        for _ in 0..10 + round {
            committed.push(receiver.recv().await.unwrap());
        }
        // SIGKILL, while four submissions are under way.
        program.kill();
        work.iter().for_each(tokio::task::JoinHandle::abort);
        drop(sender);
        while let Some(done) = receiver.recv().await {
            committed.push(done);
        }
        program = Program::start(folder.path()).await;
        assert_eq!(program.ready()["peers"], ports);
    }
    // What was acknowledged is there, where it was said to be, and in the state as it was written.
    let ledger = program.client("sp");
    for (number, done) in &committed {
        let outcome = ledger.outcome(&done.tx_id).await.unwrap().unwrap();
        assert_eq!((outcome.block_number, outcome.code), (done.block_number, TxValidationCode::Valid));
        assert!(Written::of(*number).is_there(&ledger).await, "{number}");
    }
    // The state is what the chain's transactions wrote, no more and no less, also of those that nobody was told of.
    let mut there = 0;
    for number in 0..next.load(Ordering::SeqCst) {
        there += usize::from(Written::of(number).is_there(&ledger).await);
    }
    assert_eq!(writers(&ledger).await.len() - before, there);
    assert!(there >= committed.len());
    assert!(committed.len() >= 10 + 11 + 12 + 13);
    assert!(roles_status(&ledger).await.in_force.is_some());

    let terminated = Command::new("kill").arg(program.child.id().to_string()).status().unwrap();
    assert!(terminated.success());
    assert!(program.child.wait().unwrap().success());
    assert!(!folder.path().join("ready.json").exists());
}
