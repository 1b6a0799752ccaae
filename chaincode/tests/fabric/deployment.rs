//! Deployment by the project's own client: what `vitro ledger lifecycle` does, as the admins of the four.

use std::path::Path;
use std::time::{Duration, Instant};

use vitro_contract::{OuRole, Role};
use vitro_ledger::lifecycle::Definition;
use vitro_ledger::{Ledger, LedgerError};

use crate::ledger::{Stage, msp};
use crate::network::Deployed;

/// How long an organization's peers may take to hear of what was committed.
const HEARD: Duration = Duration::from_secs(30);

/// Installs a package, has all approve it and commits the definition; the package's id. `others` run other packages.
pub(crate) async fn deploy(stage: &Deployed<'_>, package: &Path, others: &[(Role, &Path)]) -> String {
    let definition = Definition { sequence: 1, version: "1".to_owned() };
    let admin = |role| Ledger::from_profile(&stage.profile(role, OuRole::Admin)).unwrap();
    let operator = admin(Role::Operator);
    assert!(matches!(operator.definition().await, Err(LedgerError::NotFound(_))), "nothing of this name is in force");
    let mut of_all = String::new();
    for role in Role::ALL {
        let ledger = admin(role);
        let other = others.iter().find(|(of, _)| *of == role).map(|(_, package)| *package);
        let bytes = std::fs::read(other.unwrap_or(package)).unwrap();
        let installed = ledger.install(&bytes).await.unwrap();
        let again = ledger.install(&bytes).await.unwrap();
        assert!(again[0].was_there && again[0].package_id == installed[0].package_id, "{again:?}");
        assert!(ledger.installed().await.unwrap().iter().any(|one| one.package_id == installed[0].package_id));
        if other.is_none() {
            of_all.clone_from(&installed[0].package_id);
        }
        // Before most approved it nobody commits it, and the error says who is missing.
        if role != Role::Sp {
            let missing = ledger.readiness(&definition).await.unwrap();
            assert!(missing.iter().filter(|(_, approved)| **approved).count() < 3, "{missing:?}");
            let refused = operator.commit_definition(&definition).await.unwrap_err();
            assert!(refused.to_string().contains(&msp(Role::Sp)) && !refused.retryable(), "{refused}");
        }
        ledger.approve_definition(&definition, Some(&installed[0].package_id)).await.unwrap();
    }
    let approvals = operator.readiness(&definition).await.unwrap();
    assert!(Role::ALL.iter().all(|role| approvals[&msp(*role)]), "{approvals:?}");
    // A definition with another version is another one.
    let other = Definition { sequence: 1, version: "2".to_owned() };
    assert!(operator.readiness(&other).await.unwrap().values().all(|approved| !approved));
    operator.commit_definition(&definition).await.unwrap();
    for role in Role::ALL {
        let ledger = admin(role);
        let until = Instant::now() + HEARD;
        let in_force = loop {
            match ledger.definition().await {
                Ok(in_force) => break in_force,
                Err(error) => assert!(Instant::now() < until, "{role}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert_eq!((in_force.sequence, in_force.version.as_str()), (1, "1"));
        assert_eq!(in_force.policy, ledger.policy_in_words());
    }
    of_all
}
