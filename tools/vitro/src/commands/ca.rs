//! `vitro ca`: authorities that vouch for devices.

use std::io::Write;
use std::path::PathBuf;

use aws_config::SdkConfig;
use aws_sdk_iot::types::{AutoRegistrationStatus, CaCertificateStatus};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::authority::{Authority, LocalAuthority};
use crate::error::CliError;
use crate::instant::{ValidityArgs, show_seconds};
use crate::output;
use crate::pki::{CertificateFacts, Validity};

/// An authority is made for long: devices stay in the field for decades, and their certificates end before it does.
const DEFAULT_DAYS: u32 = 20 * 365;

/// What to do with an authority.
#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Make an authority in a folder: P-256 key (mode 0600) and self-signed certificate
    New(NewArgs),
    /// Show an authority's certificate
    Show(ShowArgs),
    /// Tell AWS IoT of an authority, so that it takes the certificates that it signs
    Register(RegisterArgs),
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
    certificate_id: &'a str,
    serial: &'a str,
    not_before: String,
    not_after: String,
    public_key: String,
    folder: String,
}

/// Makes an authority.
///
/// # Errors
/// [`CliError`].
pub fn new(args: &NewArgs, now: i64, out: &mut dyn Write) -> Result<(), CliError> {
    if args.name.is_empty() || args.name.chars().count() > 64 || args.name.chars().any(char::is_control) {
        return Err(CliError::Usage("--name: 1 to 64 characters (RFC 5280, ub-common-name)".into()));
    }
    let validity = args.validity.validity(now, DEFAULT_DAYS)?;
    let authority = LocalAuthority::create(&args.folder, &args.name, validity)?;
    print(authority.facts(), &args.folder, args.json, out)
}

/// Shows an authority. Its key is opened, so that a broken pair is told.
///
/// # Errors
/// [`CliError`].
pub fn show(args: &ShowArgs, out: &mut dyn Write) -> Result<(), CliError> {
    print(LocalAuthority::open(&args.folder)?.facts(), &args.folder, args.json, out)
}

fn print(facts: &CertificateFacts, folder: &std::path::Path, json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let shown = Shown {
        name: &facts.name,
        certificate_id: &facts.id,
        serial: &facts.serial,
        not_before: show_seconds(facts.validity.not_before),
        not_after: show_seconds(facts.validity.not_after),
        public_key: facts.public_key.to_string(),
        folder: folder.display().to_string(),
    };
    if json {
        return output::json(out, &shown);
    }
    output::line(out, &format!("authority    {}", shown.name))?;
    output::line(out, &format!("certificate  {}", shown.certificate_id))?;
    output::line(out, &format!("valid        {} to {}", shown.not_before, shown.not_after))?;
    output::line(out, &format!("folder       {}", shown.folder))
}

/// Registers an authority in AWS IoT and makes it active. AWS wants proof that its key is held: a certificate that it signed, with
/// the account's registration code as common name. Doing it again changes nothing.
///
/// # Errors
/// [`CliError`].
pub async fn register(args: &RegisterArgs, aws: &SdkConfig, now: i64, out: &mut dyn Write) -> Result<(), CliError> {
    let authority = LocalAuthority::open(&args.folder)?;
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
            let proof = authority.prove_possession(&code, Validity::new(now - 3600, now + 86_400)?)?;
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
