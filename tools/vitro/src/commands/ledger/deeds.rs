//! What binds the parties: approving, amending and ending agreements.

use std::path::{Path, PathBuf};

use vitro_client::{Channel, Client};
use vitro_contract::{Agreement, AgreementId, AgreementView, Amendment, DeedKind, Termination};
use vitro_proof::{Hash, LocalDay};

use super::{Screen, agreement_file, print};
use crate::error::CliError;
use crate::output;

/// Proposes the terms of a file for the agreement of their id.
pub(super) async fn amend<C: Channel>(
    client: &Client<C>,
    file: &Path,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let terms = agreement_file::read(file)?;
    let replaces = client.agreement(&terms.id).await?.hash;
    let published = client.amend(&Amendment { replaces, terms }).await?;
    screen.done(published, |out, view| print::agreement(out, view))
}

/// Proposes the end of an agreement.
pub(super) async fn terminate<C: Channel>(
    client: &Client<C>,
    id: &AgreementId,
    last: LocalDay,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let ends = client.agreement(id).await?.hash;
    let published = client.terminate(&Termination { agreement: id.clone(), ends, last }).await?;
    screen.done(published, |out, view| print::agreement(out, view))
}

/// Approves the proposal of an id that has the hash, or that the party's own file describes. Without either, the open ones are shown:
/// nobody approves what they have not read, or what somebody proposed in between.
pub(super) async fn approve<C: Channel>(
    client: &Client<C>,
    id: &AgreementId,
    hash: Option<Hash>,
    file: Option<PathBuf>,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let proposals = client.agreements(Some(id)).await?;
    let wanted = match (file, hash) {
        (Some(file), _) => Wanted::Terms(Box::new(agreement_file::read(&file)?)),
        (None, Some(hash)) => Wanted::Hash(hash),
        (None, None) => return Err(show_open(id, proposals, screen)?),
    };
    let hash = choose(id, proposals, &wanted)?;
    let published = client.approve(id, hash).await?;
    screen.done(published, |out, view| print::agreement(out, view))
}

/// How a party says what it approves.
enum Wanted {
    /// By its hash.
    Hash(Hash),
    /// An agreement or amendment with these terms.
    Terms(Box<Agreement>),
}

/// Those proposals that the parties can still approve: the newest version is active, and nothing else replaces it.
fn open(proposals: &[AgreementView]) -> Vec<&AgreementView> {
    let active = |view: &&AgreementView| view.active && view.kind != DeedKind::Termination;
    let replaced: Vec<Hash> = proposals.iter().filter(active).filter_map(|view| view.replaces).collect();
    let newest = proposals.iter().filter(active).find(|view| !replaced.contains(&view.hash)).map(|view| view.hash);
    proposals.iter().filter(|view| !view.active && view.replaces == newest).collect()
}

/// Shows what waits for approval, and says how it is approved.
fn show_open(id: &AgreementId, proposals: Vec<AgreementView>, screen: &mut Screen<'_>) -> Result<CliError, CliError> {
    let open: Vec<AgreementView> = open(&proposals).into_iter().cloned().collect();
    if open.is_empty() {
        return Ok(CliError::NotFound(format!("nothing that was proposed under {id} waits for approval")));
    }
    screen.show(&open, |out, views| {
        for view in views {
            print::agreement(out, view)?;
            output::line(out, "")?;
        }
        Ok(())
    })?;
    Ok(CliError::NotYet("nothing was approved: say by --hash, or by --file, which of these it is".into()))
}

/// The hash of the proposal that is meant.
fn choose(id: &AgreementId, proposals: Vec<AgreementView>, wanted: &Wanted) -> Result<Hash, CliError> {
    match wanted {
        Wanted::Hash(hash) => match proposals.iter().any(|view| view.hash == *hash) {
            true => Ok(*hash),
            false => {
                Err(CliError::Refused(format!("no proposal under {id} has the hash {hash}; nothing was approved")))
            }
        },
        Wanted::Terms(terms) => {
            // The same terms may stand in an open amendment and in one that is void.
            let is_meant = |view: &&AgreementView| view.kind != DeedKind::Termination && view.agreement == **terms;
            let open = open(&proposals).into_iter().find(is_meant);
            let meant: Vec<Hash> = match open {
                Some(view) => vec![view.hash],
                None => proposals.iter().filter(is_meant).map(|view| view.hash).collect(),
            };
            match meant.as_slice() {
                [one] => Ok(*one),
                [] => Err(CliError::Refused(format!(
                    "no proposal under {id} says what the file says; nothing was approved"
                ))),
                several => {
                    let hashes: Vec<String> = several.iter().map(Hash::to_string).collect();
                    Err(CliError::Usage(format!(
                        "several say what the file says; name one by --hash: {}",
                        hashes.join(", ")
                    )))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use vitro_client::memory::MemoryChannel;
    use vitro_contract::Role;
    use vitro_contract::testing::{MemoryLedger, admin, client};

    use super::*;

    const TOML: &str = r#"
        id = "ppa-1"
        shard = "west"
        currency = "USD"
        payer = "dv"
        payees = [{ role = "rc", share = 7 }]
        [tariff]
        kind = "per_unit"
        sensor = "yield"
        unit = "kWh"
        price = "0.25"
        [term]
        period = "month"
        from = "2026-01-01"
    "#;

    struct Parties {
        channel: MemoryChannel,
        folder: tempfile::TempDir,
    }

    impl Parties {
        fn new() -> Self {
            let ledger = MemoryLedger::configured(1_790_000_000).unwrap();
            let channel = MemoryChannel::new(ledger, client(Role::Operator));
            Self { channel, folder: tempfile::tempdir().unwrap() }
        }

        fn of(&self, role: Role) -> Client<MemoryChannel> {
            Client::new(self.channel.by(admin(role)))
        }

        /// A file with the terms, some of them changed.
        fn file(&self, name: &str, changes: &[(&str, &str)]) -> PathBuf {
            let path = self.folder.path().join(name);
            let text = changes.iter().fold(TOML.to_owned(), |text, (from, to)| text.replace(from, to));
            std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
            path
        }

        async fn approve(&self, role: Role, hash: Option<Hash>, file: Option<&Path>) -> Result<String, CliError> {
            let mut out = Vec::new();
            let mut screen = Screen { out: &mut out, json: false };
            let id = "ppa-1".parse().unwrap();
            approve(&self.of(role), &id, hash, file.map(Path::to_owned), &mut screen).await?;
            Ok(String::from_utf8(out).unwrap())
        }

        async fn all_approve(&self, hash: Option<Hash>, file: Option<&Path>) -> String {
            let mut last = String::new();
            for role in Role::ALL {
                last = self.approve(role, hash, file).await.unwrap();
            }
            last
        }

        /// What is open and not approved yet: shown, and nothing more.
        async fn only_open(&self) -> Hash {
            let error = self.approve(Role::Rc, None, None).await.unwrap_err();
            assert!(matches!(error, CliError::NotYet(_)), "{error}");
            let views = self.of(Role::Rc).agreements(Some(&"ppa-1".parse().unwrap())).await.unwrap();
            let open = open(&views);
            assert_eq!((open.len(), open[0].approvals.len()), (1, 0));
            open[0].hash
        }
    }

    #[tokio::test]
    async fn an_agreement_is_made_amended_and_ended() {
        let parties = Parties::new();
        let first = parties.file("a.toml", &[]);
        let terms = agreement_file::read(&first).unwrap();
        parties.of(Role::Sp).propose(&terms).await.unwrap();
        let other = parties.file("other.toml", &[("0.25", "0.3")]);
        let refused = parties.approve(Role::Rc, None, Some(&other)).await.unwrap_err();
        assert!(refused.to_string().contains("nothing was approved"), "{refused}");
        assert!(parties.all_approve(None, Some(&first)).await.contains("ppa-1 (active)"));

        let dearer = parties.file("b.toml", &[("0.25", "0.3"), ("2026-01-01", "2026-06-01")]);
        let mut out = Vec::new();
        let mut screen = Screen { out: &mut out, json: false };
        amend(&parties.of(Role::Rc), &dearer, &mut screen).await.unwrap();
        assert!(String::from_utf8(out).unwrap().contains("amendment"));
        // Without a hash nothing is approved, but the one that is open is told: the agreement itself is active.
        let shown = parties.all_approve(Some(parties.only_open().await), None).await;
        assert!(shown.contains("active") && shown.contains("0.3 USD") && shown.contains("2026-06-01"), "{shown}");

        let mut out = Vec::new();
        let mut screen = Screen { out: &mut out, json: false };
        let id: AgreementId = "ppa-1".parse().unwrap();
        let in_a_month = terminate(&parties.of(Role::Dv), &id, "2026-08-15".parse().unwrap(), &mut screen).await;
        assert!(in_a_month.unwrap_err().to_string().contains("no period of kind month"));
        terminate(&parties.of(Role::Dv), &id, "2026-08-31".parse().unwrap(), &mut screen).await.unwrap();
        // A file never approves an end, and the amendment that it describes is active already.
        assert!(parties.approve(Role::Rc, None, Some(&dearer)).await.unwrap().contains("amendment"));
        let shown = parties.all_approve(Some(parties.only_open().await), None).await;
        assert!(shown.contains("termination") && shown.contains("2026-08-31"), "{shown}");
    }

    #[tokio::test]
    async fn of_several_that_are_open_one_is_named() {
        let parties = Parties::new();
        let none = parties.approve(Role::Rc, None, None).await.unwrap_err();
        assert!(matches!(none, CliError::NotFound(_)), "{none}");
        let cheap = agreement_file::read(&parties.file("a.toml", &[])).unwrap();
        let dear = agreement_file::read(&parties.file("b.toml", &[("0.25", "0.3")])).unwrap();
        for terms in [&cheap, &dear] {
            parties.of(Role::Sp).propose(terms).await.unwrap();
        }
        let several = parties.approve(Role::Rc, None, None).await.unwrap_err();
        assert!(matches!(several, CliError::NotYet(_)), "{several}");
        assert!(parties.approve(Role::Rc, Some(dear.hash()), None).await.unwrap().contains("0.3 USD"));
        let unknown = parties.approve(Role::Rc, Some(Hash([1; 32])), None).await.unwrap_err();
        assert!(unknown.to_string().contains("nothing was approved"), "{unknown}");
    }
}
