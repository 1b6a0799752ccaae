//! `vitro ca`: authorities that vouch for devices.

mod revocation;

use std::io::Write;
use std::path::{Path, PathBuf};

use aws_config::SdkConfig;
use aws_sdk_iot::types::{AutoRegistrationStatus, CaCertificateStatus};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::authority::{self, Authority, LocalAuthority, Settings};
use crate::cli::Global;
use crate::error::CliError;
use crate::instant::{ValidityArgs, show_seconds};
use crate::output;
use crate::pki::Validity;

/// An authority is made for long: devices stay in the field for decades, and their certificates end before it does.
const DEFAULT_DAYS: u32 = 20 * 365;
/// One below it ends before it, too.
const DEFAULT_DAYS_BELOW: u32 = 10 * 365;

/// What to do with an authority.
#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Make an authority in a folder: P-256 key (mode 0600) and self-signed certificate
    New(NewArgs),
    /// Make an authority below another one
    Intermediate(IntermediateArgs),
    /// Show an authority's certificate
    Show(ShowArgs),
    /// Tell AWS IoT of an authority, so that it takes the certificates that it signs
    Register(RegisterArgs),
    /// Revoke certificates that an authority issued; `ca crl` then says so to the world
    Revoke(revocation::RevokeArgs),
    /// Make a local authority's next revocation list, or say where another publishes its own
    Crl(revocation::CrlArgs),
}

/// Arguments of `ca new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Folder to make
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Name of the authority: its certificate's common name
    #[arg(long)]
    pub name: String,
    /// How many levels of authorities may stand below it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=6))]
    pub path_length: u8,
    /// From when to when it is good.
    #[command(flatten)]
    pub validity: ValidityArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ca intermediate`.
#[derive(Debug, Args)]
pub struct IntermediateArgs {
    /// Folder to make
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Folder of the authority that signs it
    #[arg(long, value_name = "DIR")]
    pub parent: PathBuf,
    /// Name of the authority: its certificate's common name
    #[arg(long)]
    pub name: String,
    /// How many levels of authorities may stand below it; default: as many as its parent allows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=5))]
    pub path_length: Option<u8>,
    /// From when to when it is good.
    #[command(flatten)]
    pub validity: ValidityArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ca show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The authority's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ca register`.
#[derive(Debug, Args)]
pub struct RegisterArgs {
    /// The authority's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Let devices of this authority register themselves at their first connection (they stay inactive until accepted)
    #[arg(long)]
    pub auto_registration: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// An authority as it is printed.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    name: &'a str,
    issuer: &'a str,
    certificate_id: &'a str,
    serial: &'a str,
    path_length: Option<u32>,
    not_before: String,
    not_after: String,
    public_key: String,
    crl: Option<&'a str>,
    folder: String,
}

/// Runs a command on authorities.
///
/// # Errors
/// [`CliError`].
pub async fn run(command: CaCommand, global: &Global, now: i64, out: &mut dyn Write) -> Result<(), CliError> {
    match command {
        CaCommand::New(args) => new(&args, now, out),
        CaCommand::Intermediate(args) => intermediate(&args, now, out),
        CaCommand::Show(args) => print(open(&args.folder, global).await?.as_ref(), &args.folder, args.json, out),
        CaCommand::Register(args) => {
            let aws = crate::session::aws(global).await?;
            register(&args, &aws, now, out).await
        }
        CaCommand::Revoke(args) => {
            revocation::revoke(&args, open(&args.folder, global).await?.as_ref(), now, out).await
        }
        CaCommand::Crl(args) => revocation::crl(&args, global, now, out).await,
    }
}

/// Opens the authority of a folder. AWS is asked for its configuration only where the authority lies there.
pub(super) async fn open(folder: &Path, global: &Global) -> Result<Box<dyn Authority>, CliError> {
    let aws = match Settings::read(folder)? {
        Settings::AwsPrivateCa(_) => Some(crate::session::aws(global).await?),
        Settings::Local | Settings::DigiCert(_) => None,
    };
    authority::open(folder, aws.as_ref()).await
}

fn check_name(name: &str) -> Result<(), CliError> {
    if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
        return Err(CliError::Usage("--name: 1 to 64 characters (RFC 5280, ub-common-name)".into()));
    }
    Ok(())
}

fn new(args: &NewArgs, now: i64, out: &mut dyn Write) -> Result<(), CliError> {
    check_name(&args.name)?;
    let validity = args.validity.validity(now, DEFAULT_DAYS)?;
    let authority = LocalAuthority::create(&args.folder, &args.name, validity, args.path_length)?;
    print(&authority, &args.folder, args.json, out)
}

/// Makes an authority below another. Left out, its validity begins and ends within its parent's.
fn intermediate(args: &IntermediateArgs, now: i64, out: &mut dyn Write) -> Result<(), CliError> {
    check_name(&args.name)?;
    if Settings::read(&args.parent)? != Settings::Local {
        return Err(CliError::Usage("--parent: only an authority whose key lies in a folder signs others here".into()));
    }
    let parent = LocalAuthority::open(&args.parent)?;
    let mut validity = args.validity.validity(now, DEFAULT_DAYS_BELOW)?;
    if args.validity.not_after.is_none() && args.validity.valid_days.is_none() {
        validity.not_after = validity.not_after.min(parent.facts().validity.not_after);
    }
    let authority = parent.create_below(&args.folder, &args.name, validity, args.path_length)?;
    print(&authority, &args.folder, args.json, out)
}

fn print(authority: &dyn Authority, folder: &Path, json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let facts = authority.facts();
    let shown = Shown {
        name: &facts.name,
        issuer: &facts.issuer,
        certificate_id: &facts.id,
        serial: &facts.serial,
        path_length: facts.path_length,
        not_before: show_seconds(facts.validity.not_before),
        not_after: show_seconds(facts.validity.not_after),
        public_key: facts.public_key.to_string(),
        crl: authority.crl_location(),
        folder: folder.display().to_string(),
    };
    if json {
        return output::json(out, &shown);
    }
    output::line(out, &format!("authority    {}", shown.name))?;
    if shown.issuer != shown.name {
        output::line(out, &format!("below        {}", shown.issuer))?;
    }
    output::line(out, &format!("certificate  {}", shown.certificate_id))?;
    output::line(out, &format!("valid        {} to {}", shown.not_before, shown.not_after))?;
    if let Some(crl) = shown.crl {
        output::line(out, &format!("revocations  {crl}"))?;
    }
    output::line(out, &format!("folder       {}", shown.folder))
}

/// Registers an authority in AWS IoT and makes it active. AWS wants proof that its key is held: a certificate that it signed, with
/// the account's registration code as common name. Doing it again changes nothing.
async fn register(args: &RegisterArgs, aws: &SdkConfig, now: i64, out: &mut dyn Write) -> Result<(), CliError> {
    let authority = authority::open(&args.folder, Some(aws)).await?;
    let iot = aws_sdk_iot::Client::new(aws);
    let id = authority.facts().id.clone();
    let known = match iot.describe_ca_certificate().certificate_id(&id).send().await {
        Ok(found) => found.certificate_description,
        Err(error) => match CliError::aws("DescribeCACertificate", &error) {
            error if error.aws_code() == Some("ResourceNotFoundException") => None,
            error => return Err(error),
        },
    };
    let state = match known {
        None => {
            let code = iot.get_registration_code().send().await;
            let code = code.map_err(|e| CliError::aws("GetRegistrationCode", &e))?.registration_code;
            let code = code.ok_or_else(|| CliError::malformed("GetRegistrationCode", "it holds no code"))?;
            let proof = authority.prove_possession(&code, Validity::new(now - 3600, now + 86_400)?).await?;
            iot.register_ca_certificate()
                .ca_certificate(authority.certificate())
                .verification_certificate(proof)
                .set_as_active(true)
                .allow_auto_registration(args.auto_registration)
                .send()
                .await
                .map_err(|e| CliError::aws("RegisterCACertificate", &e))?;
            "registered"
        }
        Some(known) => {
            let wanted =
                if args.auto_registration { AutoRegistrationStatus::Enable } else { AutoRegistrationStatus::Disable };
            if known.status == Some(CaCertificateStatus::Active)
                && known.auto_registration_status == Some(wanted.clone())
            {
                "already registered"
            } else {
                iot.update_ca_certificate()
                    .certificate_id(&id)
                    .new_status(CaCertificateStatus::Active)
                    .new_auto_registration_status(wanted)
                    .send()
                    .await
                    .map_err(|e| CliError::aws("UpdateCACertificate", &e))?;
                "updated"
            }
        }
    };
    if args.json {
        return output::json(
            out,
            &serde_json::json!({ "certificate_id": id, "state": state, "auto_registration": args.auto_registration }),
        );
    }
    output::line(out, &format!("{state}  {}  {id}", authority.facts().name))
}
