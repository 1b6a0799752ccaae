//! `vitro ledger`: each party's own way to the ledger. A party's profile with its key stays on its own machine; only `put-secret`
//! sends one to AWS, the operator's.

mod agreement_file;
mod approvals;
mod audit;
mod certify;
mod deeds;
mod discover;
mod enroll;
mod events;
mod grammar;
mod lifecycle;
mod make_profile;
mod print;
mod registry;
mod statement;

use std::io::Write;

use serde::Serialize;
use vitro_client::{Client, Published};
use vitro_contract::Roles;
use vitro_ledger::{ConnectionProfile, Ledger};

pub use grammar::{
    ApproveDevicesArgs, CaArgs, CertificateArgs, DiscoverArgs, EnrollArgs, EventsArgs, LedgerArgs, LedgerCommand,
    MakeProfileArgs, PeriodArgs, ReenrollArgs, RegisterIdentityArgs, RolesArgs,
};

use crate::cli::Global;
use crate::error::CliError;
use crate::files;
use crate::output;
use crate::session::Session;

/// A transaction's answer as it is printed in JSON.
#[derive(Serialize)]
struct Done<T> {
    transaction: String,
    block: u64,
    answer: T,
}

impl<T> From<Published<T>> for Done<T> {
    fn from(published: Published<T>) -> Self {
        Self { transaction: published.tx, block: published.block, answer: published.answer }
    }
}

/// Where results go, and in which form.
struct Screen<'a> {
    out: &'a mut dyn Write,
    json: bool,
}

impl Screen<'_> {
    /// Prints a value: as JSON, or by `text`.
    fn show<T: Serialize>(
        &mut self,
        value: &T,
        text: impl FnOnce(&mut dyn Write, &T) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        if self.json { output::json(self.out, value) } else { text(self.out, value) }
    }

    /// Prints what a transaction did.
    fn done<T: Serialize>(
        &mut self,
        published: Published<T>,
        text: impl FnOnce(&mut dyn Write, &T) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let done = Done::from(published);
        if self.json {
            return output::json(self.out, &done);
        }
        text(self.out, &done.answer)?;
        output::line(self.out, &format!("transaction  {} in block {}", done.transaction, done.block))
    }
}

/// Runs a command on the ledger.
///
/// # Errors
/// [`CliError`].
pub async fn run(args: LedgerArgs, global: &Global, now: i64, out: &mut dyn Write) -> Result<(), CliError> {
    let mut screen = Screen { out, json: args.json };
    // What makes a profile needs none.
    match &args.command {
        LedgerCommand::Discover(args) => return discover::run(args, global, &mut screen).await,
        LedgerCommand::MakeProfile(args) => return make_profile::run(args, global, &mut screen).await,
        LedgerCommand::Enroll(args) => return enroll::enroll(args, global, now, &mut screen).await,
        LedgerCommand::Reenroll(args) => return enroll::reenroll(args, global, now, &mut screen).await,
        LedgerCommand::RegisterIdentity(args) => return enroll::register(args, global, &mut screen).await,
        _ => {}
    }
    let path = args
        .profile
        .as_ref()
        .ok_or_else(|| CliError::Usage("name the party's connection profile with --profile".into()))?;
    let text = files::read_secret(path)?;
    let profile =
        ConnectionProfile::from_json(&text).map_err(|e| CliError::malformed(path.display().to_string(), e))?;
    if matches!(args.command, LedgerCommand::PutSecret) {
        return put_secret(&text, &profile, &Session::open(global).await?, &mut screen).await;
    }
    let ledger = Ledger::from_profile(&profile).map_err(vitro_client::ClientError::from)?;
    let client = Client::new(ledger);
    match args.command {
        LedgerCommand::Status => status(&client, &mut screen).await,
        LedgerCommand::Block { number } => {
            let block = client.channel().block(number).await.map_err(vitro_client::ClientError::from)?;
            screen.show(&block, |out, block| print::block(out, block))
        }
        LedgerCommand::Transaction { id } => {
            let found = client.channel().transaction(&id).await.map_err(vitro_client::ClientError::from)?;
            screen.show(&found, |out, found| print::transaction(out, found))
        }
        LedgerCommand::Events(args) => events::run(&args, &client, &mut screen).await,
        LedgerCommand::Lifecycle(command) => lifecycle::run(command, &client, &mut screen).await,
        LedgerCommand::ConfigureRoles(roles) => {
            let roles = Roles { operator: roles.operator, rc: roles.rc, dv: roles.dv, sp: roles.sp };
            let published = client.configure(&roles).await?;
            screen.done(published, |out, status| print::roles(out, status))
        }
        LedgerCommand::RegisterDevice { things } => {
            registry::register(&client, &things, &Session::open(global).await?, &mut screen).await
        }
        LedgerCommand::Certify { thing, chain } => {
            let chain = match &chain {
                Some(file) => certify::of_file(file)?,
                None => certify::of_registry(&Session::open(global).await?, &thing).await?,
            };
            let published = client.certify(&thing, &chain).await?;
            screen.done(published, |out, chains| print::chains(out, chains))
        }
        LedgerCommand::ApproveDevices(args) => {
            approvals::approve(&client, &args, &profile.identity.msp, &mut screen).await
        }
        LedgerCommand::Devices { shard } => {
            screen.show(&client.devices(shard.as_ref()).await?, |out, devices| print::devices(out, devices))
        }
        LedgerCommand::Device { thing } => registry::show(&client, &thing, &mut screen).await,
        LedgerCommand::Propose { file } => {
            let published = client.propose(&agreement_file::read(&file)?).await?;
            screen.done(published, |out, view| print::agreement(out, view))
        }
        LedgerCommand::Amend { file } => deeds::amend(&client, &file, &mut screen).await,
        LedgerCommand::Terminate { id, last } => deeds::terminate(&client, &id, last, &mut screen).await,
        LedgerCommand::Simulate { file, proposal, hash, from, to } => {
            let simulation = match (file, proposal, hash) {
                (Some(file), _, _) => client.simulate(&agreement_file::read(&file)?, from, to).await?,
                (None, Some(id), Some(hash)) => client.simulate_proposal(&id, hash, from, to).await?,
                // The command line has asked for one of the two.
                _ => return Err(CliError::Usage("name a file, or a proposal and its hash".into())),
            };
            screen.show(&simulation, |out, simulation| print::simulation(out, simulation))
        }
        LedgerCommand::History { thing, from, to } => {
            let days = client.day_history(&thing, from, to.unwrap_or(from)).await?;
            screen.show(&days, |out, days| days.iter().try_for_each(|day| audit::history(out, day)))
        }
        LedgerCommand::Audit { thing, day } => {
            screen.show(&client.audit_day(&thing, day).await?, |out, day| audit::day(out, day))
        }
        LedgerCommand::Hours { shard, from, to } => audit::hours(&client, &shard, from, to, &mut screen).await,
        LedgerCommand::Approve { id, hash, file } => deeds::approve(&client, &id, hash, file, &mut screen).await,
        LedgerCommand::Agreement { id } => {
            let views = client.agreements(id.as_ref()).await?;
            if let (true, Some(id)) = (views.is_empty(), &id) {
                return Err(CliError::NotFound(format!("nothing was proposed under {id}")));
            }
            screen.show(&views, |out, views| views.iter().try_for_each(|view| print::agreement(out, view)))
        }
        LedgerCommand::Summaries(period) => {
            let rows = client.summaries(&period.id, period.from, period.to).await?;
            screen.show(&rows, |out, rows| print::summaries(out, rows))
        }
        LedgerCommand::Day { thing, day } => {
            screen.show(&client.day(&thing, day).await?, |out, view| print::day(out, view))
        }
        LedgerCommand::Close(period) => {
            let published = client.close(&period.id, period.from, period.to).await?;
            screen.done(published, |out, view| statement::statement(out, view))
        }
        LedgerCommand::Correct { id, terms } => {
            let version = match terms {
                Some(terms) => terms,
                None => client.agreement(&id).await?.hash,
            };
            let published = client.correct(&id, version).await?;
            screen.done(published, |out, settlement| statement::settlement(out, settlement))
        }
        LedgerCommand::Statements { id } => {
            screen.show(&client.statements(&id).await?, |out, heads| statement::statements(out, heads))
        }
        LedgerCommand::Statement { id } => {
            screen.show(&client.statement(id).await?, |out, view| statement::statement(out, view))
        }
        // Done above, before a ledger was needed.
        LedgerCommand::PutSecret
        | LedgerCommand::Discover(_)
        | LedgerCommand::MakeProfile(_)
        | LedgerCommand::Enroll(_)
        | LedgerCommand::Reenroll(_)
        | LedgerCommand::RegisterIdentity(_) => Ok(()),
    }
}

/// How far the chain is, what the channel is configured to, and the roles.
#[derive(Serialize)]
struct Status {
    chain: vitro_ledger::ChainInfo,
    channel: vitro_ledger::ChannelConfig,
    roles: vitro_contract::RolesStatus,
}

async fn status(client: &Client<Ledger>, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let chain = client.channel().chain_info().await.map_err(vitro_client::ClientError::from)?;
    let channel = client.channel().channel_config().await.map_err(vitro_client::ClientError::from)?;
    let status = Status { chain, channel, roles: client.roles().await? };
    screen.show(&status, |out, status| {
        output::line(out, &format!("blocks    {}", status.chain.height))?;
        output::line(out, &format!("newest    {}", status.chain.current_block_hash))?;
        let size = &status.channel.batch_size;
        output::line(
            out,
            &format!(
                "a block   is cut after {}, {} transactions or {} bytes; no transaction above {} bytes",
                status.channel.batch_timeout, size.max_message_count, size.preferred_max_bytes, size.absolute_max_bytes
            ),
        )?;
        print::roles(out, &status.roles)
    })
}

/// Stores a profile with its key in the operator's secret. A party's own profile is refused by its role, where the ledger knows it.
async fn put_secret(
    text: &str,
    profile: &ConnectionProfile,
    session: &Session,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    check_no_admin(&profile.identity.certificate_pem)?;
    let ledger = Ledger::from_profile(profile).map_err(vitro_client::ClientError::from)?;
    let roles = Client::new(ledger).roles().await?;
    if let Some(roles) = roles.in_force
        && roles.operator.as_str() != profile.identity.msp
    {
        return Err(CliError::Refused(format!(
            "this is a profile of {}, and only the operator's ({}) belongs in the operator's account",
            profile.identity.msp, roles.operator
        )));
    }
    let name = session.stack.resource("fabric");
    let put = session.secrets().put_secret_value().secret_id(&name).secret_string(text).send().await;
    let put = put.map_err(|e| CliError::aws("PutSecretValue", &e))?;
    let stored = serde_json::json!({
        "secret": name, "version": put.version_id, "msp": profile.identity.msp, "channel": profile.channel,
    });
    screen.show(&stored, |out, _| output::line(out, &format!("stored  {name} ({})", profile.identity.msp)))
}

/// What the functions hold signs without anybody looking on: that is no admin's key, which agrees to things for its organization.
fn check_no_admin(certificate: &str) -> Result<(), CliError> {
    let facts = crate::pki::read_certificate(certificate)?;
    if facts.units.iter().any(|unit| unit == "admin") {
        return Err(CliError::Refused(format!(
            "{} is an admin: the functions need a client's identity, and an admin's key stays with its owner",
            facts.name
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    async fn run_with(profile: &std::path::Path, command: &str) -> (String, String) {
        let line = format!("vitro --customer acme ledger --profile {} {command}", profile.display());
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Ledger(args) = cli.command else { panic!("{line}") };
        let mut out = Vec::new();
        let error = run(args, &cli.global, 0, &mut out).await.unwrap_err();
        (String::from_utf8(out).unwrap(), format!("{error} {error:?} {}", vitro_cloud::batch::chain(&error)))
    }

    #[tokio::test]
    async fn a_profiles_key_is_never_shown() {
        let key = crate::pki::key_pem(&crate::pki::new_key().unwrap());
        let body: String = key.lines().filter(|line| !line.starts_with('-')).collect();
        let node = |name: &str| serde_json::json!({ "name": name, "msp": "OperatorMSP", "address": "https://127.0.0.1:1", "tls_ca_pem": "" });
        let whole = |key: serde_json::Value| {
            serde_json::json!({
                "channel": "c", "chaincode": "vitro", "peers": [node("p")], "orderers": [node("o")],
                "endorsers": { "required": ["OperatorMSP"] },
                "identity": { "msp": "OperatorMSP", "certificate_pem": "", "key_pem": key },
            })
        };
        let folder = tempfile::tempdir().unwrap();
        let broken = key.replace(&body[..20], "AAAAAAAAAAAAAAAAAAAA");
        let texts = [
            whole(key.as_str().into()).to_string(),
            whole(serde_json::json!([key.as_str()])).to_string(),
            whole(broken.as_str().into()).to_string(),
            key.to_string(),
        ];
        for (index, text) in texts.iter().enumerate() {
            let path = folder.path().join(format!("{index}.json"));
            files::write_secret(&path, text).unwrap();
            let (out, error) = run_with(&path, "status").await;
            for line in body.as_bytes().chunks(20).filter(|part| part.len() == 20) {
                let part = String::from_utf8_lossy(line);
                assert!(!out.contains(&*part) && !error.contains(&*part), "{index}: {error}");
            }
        }
    }

    #[test]
    fn no_admins_key_goes_to_the_functions() {
        let of = |unit: &str| {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, "alice");
            params.distinguished_name.push(rcgen::DnType::OrganizationalUnitName, unit);
            params.self_signed(&crate::pki::new_key().unwrap()).unwrap().pem()
        };
        assert!(check_no_admin(&of("client")).is_ok());
        let refused = check_no_admin(&of("admin")).unwrap_err().to_string();
        assert!(refused.contains("alice is an admin"), "{refused}");
    }

    #[tokio::test]
    async fn a_profile_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("open.json");
        files::write_public(&path, "{}").unwrap();
        assert!(run_with(&path, "status").await.1.contains("0600"));
    }
}
