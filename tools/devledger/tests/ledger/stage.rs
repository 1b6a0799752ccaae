//! The ledger's tests that run on real Fabric, too, with Vitro's contract (`tests/ledger`).

use std::collections::BTreeSet;
use std::sync::Mutex;

use tempfile::TempDir;
use tokio::runtime::Handle;
use vitro_contract::{OuRole, Role};
use vitro_ledger::ConnectionProfile;

use crate::ledger::{Stage, faults, flow, msp};
use crate::process::Program;
use crate::support::dead_address;

/// Long enough for a kill between acknowledgement and commit.
const BATCH_TIMEOUT_MS: u32 = 250;

/// The ledger's process. Its peers are one process with its orderer: one that is away has an address on which nobody listens.
struct Development {
    folder: TempDir,
    program: Mutex<Program>,
    away: Mutex<BTreeSet<Role>>,
    nobody: String,
}

impl Development {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = Program::start_with(folder.path(), BATCH_TIMEOUT_MS).await;
        Self { folder, program: Mutex::new(program), away: Mutex::default(), nobody: dead_address().await }
    }
}

impl Stage for Development {
    fn profile(&self, role: Role, ou: OuRole) -> ConnectionProfile {
        let user = if ou == OuRole::Admin { "" } else { "-user" };
        let mut profile = self.program.lock().unwrap().profile(&format!("{role}{user}"));
        let away: Vec<_> = self.away.lock().unwrap().iter().copied().map(msp).collect();
        for peer in profile.peers.iter_mut().filter(|peer| away.contains(&peer.msp)) {
            peer.address.clone_from(&self.nobody);
        }
        profile
    }

    fn peer_down(&self, role: Role) {
        self.away.lock().unwrap().insert(role);
    }

    fn peer_up(&self, role: Role) {
        self.away.lock().unwrap().remove(&role);
    }

    fn kill_orderer(&self) {
        self.program.lock().unwrap().kill();
    }

    fn start_orderer(&self) {
        let started = Handle::current().block_on(Program::start_with(self.folder.path(), BATCH_TIMEOUT_MS));
        *self.program.lock().unwrap() = started;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledgers_tests_pass_on_the_development_ledger() {
    let stage = Development::start().await;
    flow::whole(&stage).await;
    faults::conflicts(&stage).await;
    faults::oversized(&stage).await;
    faults::orderer_killed(&stage).await;
}
