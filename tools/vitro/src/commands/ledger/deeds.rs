//! What binds the parties: approving, amending and ending agreements.

use std::path::{Path, PathBuf};

use vitro_client::{Channel, Client};
use vitro_contract::{Agreement, AgreementId, AgreementView, Amendment, DeedKind, Termination};
use vitro_proof::{Hash, LocalDay};

use super::{Screen, agreement_file, print};
use crate::error::CliError;

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

/// Approves the one open proposal of an id, the one with the hash, or the one that the party's own file describes.
pub(super) async fn approve<C: Channel>(
    client: &Client<C>,
    id: &AgreementId,
    hash: Option<Hash>,
    file: Option<PathBuf>,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let wanted = match (file, hash) {
        (Some(file), _) => Wanted::Terms(Box::new(agreement_file::read(&file)?)),
        (None, Some(hash)) => Wanted::Hash(hash),
        (None, None) => Wanted::Only,
    };
    let hash = choose(id, client.agreements(Some(id)).await?, &wanted)?;
    let published = client.approve(id, hash).await?;
    screen.done(published, |out, view| print::agreement(out, view))
}

/// How a party says what it approves.
enum Wanted {
    /// By its hash.
    Hash(Hash),
    /// An agreement or amendment with these terms.
    Terms(Box<Agreement>),
    /// The only one there is.
    Only,
}

/// The hash of the proposal that is meant. What nobody can approve any more is left out unless it is named.
fn choose(id: &AgreementId, mut proposals: Vec<AgreementView>, wanted: &Wanted) -> Result<Hash, CliError> {
    // The newest version is active and no other one replaces it.
    let active = |view: &&AgreementView| view.active && view.kind != DeedKind::Termination;
    let replaced: Vec<Hash> = proposals.iter().filter(active).filter_map(|view| view.replaces).collect();
    let newest = proposals.iter().filter(active).find(|view| !replaced.contains(&view.hash)).map(|view| view.hash);
    let is_open = |view: &AgreementView| !view.active && view.replaces == newest;
    match wanted {
        Wanted::Hash(hash) => proposals.retain(|view| view.hash == *hash),
        Wanted::Terms(terms) => {
            proposals.retain(|view| view.kind != DeedKind::Termination && view.agreement == **terms);
            // The same terms may stand in an open amendment and in one that is void.
            if proposals.iter().any(is_open) {
                proposals.retain(is_open);
            }
        }
        Wanted::Only => {
            if proposals.iter().any(is_open) {
                proposals.retain(is_open);
            }
        }
    }
    match (proposals.as_slice(), wanted) {
        ([one], _) => Ok(one.hash),
        ([], Wanted::Only) => Err(CliError::NotFound(format!("nothing was proposed under {id}"))),
        ([], Wanted::Hash(hash)) => {
            Err(CliError::Refused(format!("no proposal under {id} has the hash {hash}; nothing was approved")))
        }
        ([], Wanted::Terms(_)) => {
            Err(CliError::Refused(format!("no proposal under {id} says what the file says; nothing was approved")))
        }
        (several, _) => {
            let hashes: Vec<String> = several.iter().map(|view| view.hash.to_string()).collect();
            Err(CliError::Usage(format!("several were proposed; name one by --hash: {}", hashes.join(", "))))
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

        async fn all_approve(&self, file: Option<&Path>) -> String {
            let mut last = String::new();
            for role in Role::ALL {
                last = self.approve(role, None, file).await.unwrap();
            }
            last
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
        assert!(parties.all_approve(Some(&first)).await.contains("ppa-1 (active)"));

        let dearer = parties.file("b.toml", &[("0.25", "0.3"), ("2026-01-01", "2026-06-01")]);
        let mut out = Vec::new();
        let mut screen = Screen { out: &mut out, json: false };
        amend(&parties.of(Role::Rc), &dearer, &mut screen).await.unwrap();
        assert!(String::from_utf8(out).unwrap().contains("amendment"));
        // Without a hash, the one that is open is meant: the agreement itself is active.
        let shown = parties.all_approve(None).await;
        assert!(shown.contains("active") && shown.contains("0.3 USD") && shown.contains("2026-06-01"), "{shown}");

        let mut out = Vec::new();
        let mut screen = Screen { out: &mut out, json: false };
        let id: AgreementId = "ppa-1".parse().unwrap();
        let in_a_month = terminate(&parties.of(Role::Dv), &id, "2026-08-15".parse().unwrap(), &mut screen).await;
        assert!(in_a_month.unwrap_err().to_string().contains("no period of kind month"));
        terminate(&parties.of(Role::Dv), &id, "2026-08-31".parse().unwrap(), &mut screen).await.unwrap();
        // A file never approves an end, and the amendment that it describes is active already.
        assert!(parties.approve(Role::Rc, None, Some(&dearer)).await.unwrap().contains("amendment"));
        let shown = parties.all_approve(None).await;
        assert!(shown.contains("termination") && shown.contains("2026-08-31"), "{shown}");
    }

    #[tokio::test]
    async fn of_several_that_are_open_one_is_named() {
        let parties = Parties::new();
        let none = parties.approve(Role::Rc, None, None).await.unwrap_err();
        assert!(none.to_string().contains("nothing was proposed"), "{none}");
        let cheap = agreement_file::read(&parties.file("a.toml", &[])).unwrap();
        let dear = agreement_file::read(&parties.file("b.toml", &[("0.25", "0.3")])).unwrap();
        for terms in [&cheap, &dear] {
            parties.of(Role::Sp).propose(terms).await.unwrap();
        }
        let several = parties.approve(Role::Rc, None, None).await.unwrap_err().to_string();
        assert!(several.contains(&cheap.hash().to_string()) && several.contains(&dear.hash().to_string()));
        assert!(parties.approve(Role::Rc, Some(dear.hash()), None).await.unwrap().contains("0.3 USD"));
        let unknown = parties.approve(Role::Rc, Some(Hash([1; 32])), None).await.unwrap_err();
        assert!(unknown.to_string().contains("nothing was approved"), "{unknown}");
    }
}
