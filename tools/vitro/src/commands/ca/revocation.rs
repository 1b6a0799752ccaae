//! `vitro ca revoke` and `vitro ca crl`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;
use vitro_proof::DeviceId;
use vitro_proof::chain::{RevocationReason, Serial};

use super::open;
use crate::authority::{Authority, LocalAuthority, Settings};
use crate::cli::Global;
use crate::error::CliError;
use crate::files;
use crate::instant::show_seconds;
use crate::output;
use crate::pki::{self, Validity};

/// A list is good for a week: long enough to survive a holiday, short enough that an old one does not count for ever.
const DEFAULT_HOURS: u32 = 7 * 24;

/// Arguments of `ca revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The authority's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// What to revoke.
    #[command(flatten)]
    pub what: What,
    /// Why
    #[arg(long, value_enum, default_value_t = ReasonArg::Unspecified)]
    pub reason: ReasonArg,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What to revoke.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct What {
    /// The certificate with this serial number (hexadecimal)
    #[arg(long, value_name = "HEX")]
    pub serial: Option<Serial>,
    /// The first certificate of this file (PEM): a device's, or an authority's below this one
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// Every certificate that this local authority issued to a device
    #[arg(long, value_name = "THING")]
    pub device: Option<DeviceId>,
}

/// Why a certificate is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReasonArg {
    /// Nobody says
    Unspecified,
    /// Its private key is or may be known to others
    KeyCompromise,
    /// The key of the authority that it belongs to is or may be known to others
    CaCompromise,
    /// Its device belongs to somebody else now
    AffiliationChanged,
    /// Another certificate has taken its place
    Superseded,
    /// Its device is not used any more
    CessationOfOperation,
    /// What it stood for was taken back
    PrivilegeWithdrawn,
}

impl From<ReasonArg> for RevocationReason {
    fn from(reason: ReasonArg) -> Self {
        match reason {
            ReasonArg::Unspecified => Self::Unspecified,
            ReasonArg::KeyCompromise => Self::KeyCompromise,
            ReasonArg::CaCompromise => Self::CaCompromise,
            ReasonArg::AffiliationChanged => Self::AffiliationChanged,
            ReasonArg::Superseded => Self::Superseded,
            ReasonArg::CessationOfOperation => Self::CessationOfOperation,
            ReasonArg::PrivilegeWithdrawn => Self::PrivilegeWithdrawn,
        }
    }
}

/// Arguments of `ca crl`.
#[derive(Debug, Args)]
pub struct CrlArgs {
    /// The authority's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// In how many hours the next list is due; after that, no device of this authority is believed
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(1..=87_600))]
    pub next_update_hours: Option<u32>,
    /// Put a copy here
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Revokes certificates. Nobody is told yet: that is what a list is for.
pub(super) async fn revoke(
    args: &RevokeArgs,
    authority: &dyn Authority,
    now: i64,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let serials = serials(args, authority)?;
    authority.revoke(&serials, args.reason.into(), now).await?;
    let reason = RevocationReason::from(args.reason);
    if args.json {
        return output::json(out, &json!({ "serials": serials, "reason": reason.as_str() }));
    }
    for serial in &serials {
        output::line(out, &format!("revoked  {serial}  ({reason})"))?;
    }
    if Settings::read(&args.folder)? == Settings::Local {
        output::line(out, &format!("publish it: vitro ca crl {}", args.folder.display()))?;
    }
    Ok(())
}

fn serials(args: &RevokeArgs, authority: &dyn Authority) -> Result<Vec<Serial>, CliError> {
    if let Some(serial) = &args.what.serial {
        return Ok(vec![serial.clone()]);
    }
    if let Some(path) = &args.what.certificate {
        return certificate_serial(path, authority).map(|serial| vec![serial]);
    }
    let device = args.what.device.as_ref().map(DeviceId::as_str).unwrap_or_default();
    if Settings::read(&args.folder)? != Settings::Local {
        return Err(CliError::Usage("--device: only a local authority knows; give --serial or --certificate".into()));
    }
    let journal = LocalAuthority::open(&args.folder)?.journal()?;
    let found: Vec<Serial> =
        journal.all_issued().filter(|issued| issued.name == device).map(|issued| issued.serial.clone()).collect();
    if found.is_empty() {
        return Err(CliError::NotFound(format!("{} has issued nothing to {device}", authority.facts().name)));
    }
    Ok(found)
}

/// The number of a certificate that this authority signed.
fn certificate_serial(path: &Path, authority: &dyn Authority) -> Result<Serial, CliError> {
    let pem = pki::split(&files::read(path)?).into_iter().next();
    let pem = pem.ok_or_else(|| CliError::malformed(path.display().to_string(), "it holds no certificate"))?;
    let facts = pki::read_certificate(&pem)?;
    if facts.issuer != authority.facts().name {
        let why = format!("{} is by {:?}, not by {:?}", path.display(), facts.issuer, authority.facts().name);
        return Err(CliError::Refused(why));
    }
    Ok(facts.serial.parse()?)
}

/// Makes a local authority's next list.
pub(super) async fn crl(args: &CrlArgs, global: &Global, now: i64, out: &mut dyn Write) -> Result<(), CliError> {
    if Settings::read(&args.folder)? != Settings::Local {
        if args.next_update_hours.is_some() || args.out.is_some() {
            return Err(CliError::Usage("this authority makes its own lists".into()));
        }
        let authority = open(&args.folder, global).await?;
        let place = authority.crl_location().ok_or_else(|| {
            CliError::NotFound(format!("{} does not say where its revocation list is", authority.facts().name))
        })?;
        return if args.json { output::json(out, &json!({ "crl": place })) } else { output::line(out, place) };
    }
    let authority = LocalAuthority::open(&args.folder)?;
    let hours = i64::from(args.next_update_hours.unwrap_or(DEFAULT_HOURS));
    let validity = Validity::new(now, now.saturating_add(hours * 3600))?;
    let made = authority.new_list(validity)?;
    if let Some(path) = &args.out {
        files::replace(path, &made.der)?;
    }
    let next_update = show_seconds(validity.not_after);
    if args.json {
        let shown = json!({
            "number": made.number,
            "revoked": made.revoked,
            "this_update": show_seconds(validity.not_before),
            "next_update": next_update,
            "file": made.path.display().to_string(),
        });
        return output::json(out, &shown);
    }
    let count = made.revoked;
    output::line(out, &format!("list {}  {count} revoked  next by {next_update}  {}", made.number, made.path.display()))
}
