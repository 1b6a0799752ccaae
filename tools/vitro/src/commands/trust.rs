//! `vitro trust`: the authorities whose devices this installation takes, and where their revocation lists are.

mod announce;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use vitro_cloud::archive::Archive;
use vitro_cloud::identities::CertificateIdentity;
use vitro_cloud::trust::{
    PKIX_CERTIFICATE, TrustStore, TrustedAuthority, certificate_der, certificate_key, certificate_pem,
};
use vitro_proof::UnixMillis;
use vitro_proof::chain::{Certificate, ChainFault, check_authority};

use crate::error::CliError;
use crate::files;
use crate::instant::show_millis;
use crate::output;
use crate::session::Session;

/// What to do with the trust store.
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Trust a root, or an intermediate that a trusted authority signed; or say anew where its revocation list is
    Add(AddArgs),
    /// List the trusted authorities and how their revocation lists stand
    List(ListArgs),
    /// Show an authority
    Show(ShowArgs),
    /// Let the devices of an authority announce themselves at their first connection, or end that
    Announce(announce::AnnounceArgs),
    /// Trust an authority no longer; its registered devices stay registered
    Remove(RemoveArgs),
}

/// Arguments of `trust add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The authority's certificate (PEM)
    #[arg(value_name = "CERTIFICATE")]
    pub certificate: PathBuf,
    /// Where its revocation list is (http://, https:// or s3://bucket/key); without one, none of its certificates is taken
    #[arg(long, value_name = "URL", value_parser = parse_url)]
    pub crl: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `trust list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `trust show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Its name, or its id or the beginning of it (8 digits at least)
    pub authority: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `trust remove`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Its name, or its id or the beginning of it (8 digits at least)
    pub authority: String,
}

/// Reads the place of a list. Credentials have no place in it: it is shown and logged.
fn parse_url(text: &str) -> Result<String, String> {
    let rest = ["http://", "https://", "s3://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let rest = rest.ok_or("it begins with http://, https:// or s3://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_empty() || host.contains('@') || !plain || path.is_empty() && text.starts_with("s3://") {
        return Err("a host or bucket and a path are wanted, without credentials".into());
    }
    Ok(text.to_owned())
}

/// An authority as it is printed.
#[derive(Serialize)]
struct Shown<'a> {
    id: String,
    name: &'a str,
    kind: &'static str,
    parent: Option<String>,
    serial: String,
    not_after: String,
    announces: bool,
    crl_url: Option<&'a str>,
    crl_number: Option<String>,
    crl_this_update: Option<String>,
    crl_next_update: Option<String>,
    crl_key: Option<&'a str>,
    crl_checked: Option<String>,
    crl_fault: Option<&'a str>,
    crl_fault_detail: Option<&'a str>,
    revoked: Option<String>,
}

impl<'a> Shown<'a> {
    fn of(authority: &'a TrustedAuthority) -> Self {
        let crl = authority.crl.as_ref();
        let fault = authority.check.as_ref().and_then(|check| check.fault.as_ref());
        Self {
            id: authority.id.to_string(),
            name: &authority.name,
            kind: if authority.parent.is_some() { "intermediate" } else { "root" },
            parent: authority.parent.map(|parent| parent.to_string()),
            serial: authority.identity.serial.to_string(),
            not_after: show_millis(authority.not_after.0),
            announces: authority.announces,
            crl_url: authority.crl_url.as_deref(),
            crl_number: crl.map(|crl| crl.number.to_string()),
            crl_this_update: crl.map(|crl| show_millis(crl.this_update.0)),
            crl_next_update: crl.map(|crl| show_millis(crl.next_update.0)),
            crl_key: crl.map(|crl| crl.key.as_str()),
            crl_checked: authority.check.as_ref().map(|check| show_millis(check.at.0)),
            crl_fault: fault.map(|fault| fault.0.as_str()),
            crl_fault_detail: fault.map(|fault| fault.1.as_str()),
            revoked: authority.revoked_at.map(|at| show_millis(at.0)),
        }
    }

    /// How its list stands, in a word.
    fn list(&self, now: i64, next_update: Option<UnixMillis>) -> String {
        match (next_update, self.crl_fault) {
            (_, Some(fault)) => fault.to_owned(),
            (None, None) if self.crl_url.is_none() => "none".into(),
            (None, None) => "not seen yet".into(),
            (Some(next), None) if next.0 <= now.saturating_mul(1000) => "expired".into(),
            (Some(_), None) => format!("good until {}", self.crl_next_update.as_deref().unwrap_or_default()),
        }
    }
}

/// Runs a command on the trust store.
///
/// # Errors
/// [`CliError`].
pub async fn run(command: &TrustCommand, session: &Session, now: i64, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        TrustCommand::Add(args) => add(args, session, now, out).await,
        TrustCommand::List(args) => list(args, session, now, out).await,
        TrustCommand::Show(args) => show(args, session, now, out).await,
        TrustCommand::Announce(args) => announce::run(args, session, out).await,
        TrustCommand::Remove(args) => remove(args, session, out).await,
    }
}

async fn add(args: &AddArgs, session: &Session, now: i64, out: &mut dyn Write) -> Result<(), CliError> {
    let what = || args.certificate.display().to_string();
    let der = certificate_der(&files::read(&args.certificate)?).map_err(|e| CliError::malformed(what(), e))?;
    let store = session.trust();
    let authority = authority(&der, args.crl.clone(), &store.authorities().await?, now)
        .map_err(|refusal| CliError::Refused(format!("{}: {refusal}", what())))?;
    session.archive().await?.put_once(&certificate_key(authority.id), der, PKIX_CERTIFICATE).await?;
    let new = store.add(&authority).await?;
    // One that was there keeps what is known of it.
    let authority = store.authorities().await?.into_iter().find(|one| one.id == authority.id).unwrap_or(authority);
    if args.json {
        return output::json(out, &Shown::of(&authority));
    }
    let kind = if authority.parent.is_some() { "intermediate" } else { "root" };
    let state = if new { "trusted" } else { "trusted already" };
    output::line(out, &format!("{state}  {kind}  {}  {}", authority.name, authority.id))?;
    match &authority.crl_url {
        Some(url) => output::line(out, &format!("revocation list  {url}")),
        None => output::line(out, "it has no revocation list: what it signs is refused until it has one (--crl)"),
    }
}

/// What the store keeps of a certificate, if that is an authority's that may stand there: a root by itself, an intermediate below one
/// that is there.
fn authority(
    der: &[u8],
    crl_url: Option<String>,
    known: &[TrustedAuthority],
    now: i64,
) -> Result<TrustedAuthority, String> {
    let certificate = Certificate::read(der).map_err(|e| e.to_string())?;
    let name = certificate.common_name().ok_or("it has not one common name")?.to_owned();
    if certificate.not_after().seconds() < now {
        return Err(format!("it expired at {}", show_millis(certificate.not_after().0)));
    }
    let (parent, issuer_key) = if certificate.is_self_issued() {
        check_authority(der, der).map_err(|fault| fault.to_string())?;
        (None, certificate.key_hash())
    } else {
        let signed = |issuer: &&TrustedAuthority| check_authority(der, &issuer.certificate).is_ok();
        let issuer = known.iter().find(signed).ok_or_else(|| {
            let faults = known.iter().filter_map(|issuer| check_authority(der, &issuer.certificate).err());
            let named = faults.into_iter().find(|fault| !matches!(fault, ChainFault::UnknownCa { .. }));
            named.map_or_else(|| "no trusted authority signed it".to_owned(), |fault| fault.to_string())
        })?;
        if issuer.revoked_at.is_some() {
            return Err(format!("its issuer {} is revoked", issuer.name));
        }
        (Some(issuer.id), issuer.key_hash)
    };
    Ok(TrustedAuthority {
        id: certificate.id().0,
        certificate: der.to_vec(),
        name,
        key_hash: certificate.key_hash(),
        identity: CertificateIdentity::new(issuer_key, certificate.serial().clone()),
        parent,
        not_after: certificate.not_after(),
        crl_url,
        added_at: UnixMillis(now.saturating_mul(1000)),
        announces: false,
        crl: None,
        check: None,
        applied: None,
        revoked_at: None,
    })
}

async fn list(args: &ListArgs, session: &Session, now: i64, out: &mut dyn Write) -> Result<(), CliError> {
    let authorities = session.trust().authorities().await?;
    let shown: Vec<Shown<'_>> = authorities.iter().map(Shown::of).collect();
    if args.json {
        return output::json(out, &shown);
    }
    let row = |(authority, shown): (&TrustedAuthority, &Shown<'_>)| {
        vec![
            shown.name.to_owned(),
            shown.id[..16].to_owned(),
            if shown.revoked.is_some() { "revoked" } else { shown.kind }.to_owned(),
            if shown.announces { "yes" } else { "no" }.to_owned(),
            shown.list(now, authority.crl.as_ref().map(|crl| crl.next_update)),
        ]
    };
    let rows: Vec<Vec<String>> = authorities.iter().zip(&shown).map(row).collect();
    output::table(out, &["NAME", "ID", "KIND", "ANNOUNCES", "REVOCATION LIST"], &rows)
}

async fn show(args: &ShowArgs, session: &Session, now: i64, out: &mut dyn Write) -> Result<(), CliError> {
    let authorities = session.trust().authorities().await?;
    let authority = find(&authorities, &args.authority)?;
    let shown = Shown::of(authority);
    if args.json {
        return output::json(out, &shown);
    }
    let list = shown.list(now, authority.crl.as_ref().map(|crl| crl.next_update));
    for (name, value) in [
        ("authority", shown.name),
        ("id", &shown.id),
        ("kind", shown.kind),
        ("parent", shown.parent.as_deref().unwrap_or("-")),
        ("ends", &shown.not_after),
        ("announces", if shown.announces { "yes" } else { "no" }),
        ("list at", shown.crl_url.unwrap_or("-")),
        ("list", &list),
        ("list number", shown.crl_number.as_deref().unwrap_or("-")),
        ("fault", shown.crl_fault_detail.unwrap_or("-")),
        ("revoked", shown.revoked.as_deref().unwrap_or("-")),
    ] {
        output::line(out, &format!("{name:<12} {value}"))?;
    }
    output::line(out, certificate_pem(&authority.certificate).trim_end())
}

async fn remove(args: &RemoveArgs, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let store = session.trust();
    let authorities = store.authorities().await?;
    let authority = find(&authorities, &args.authority)?;
    if let Some(child) = authorities.iter().find(|child| child.parent == Some(authority.id)) {
        return Err(CliError::Refused(format!("{} stands below it: remove that first", child.name)));
    }
    if authority.announces {
        let end = "its devices still announce themselves here: end that with `vitro trust announce --off`";
        return Err(CliError::Refused(end.into()));
    }
    store.remove(authority.id).await?;
    output::line(out, &format!("{} is no longer trusted", authority.name))
}

/// The authority that a person means.
fn find<'a>(known: &'a [TrustedAuthority], text: &str) -> Result<&'a TrustedAuthority, CliError> {
    let means = |authority: &&TrustedAuthority| {
        authority.name == text || text.len() >= 8 && authority.id.to_string().starts_with(text)
    };
    let mut found = known.iter().filter(means);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(CliError::NotFound(format!("no trusted authority is {text:?}"))),
        _ => Err(CliError::Usage(format!("several authorities are {text:?}: name it by its id"))),
    }
}
