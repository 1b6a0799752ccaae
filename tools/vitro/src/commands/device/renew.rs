//! `vitro device renew`: a new certificate for the same key.
//!
//! A device is its key, so nothing else about it changes: not its numbers, not its chain of blocks, not its entry on the ledger. The old
//! certificate stays valid until `--finish`, so that a device that has not taken the new one yet is not locked out.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use aws_sdk_iot::types::CertificateStatus;
use clap::Args;
use serde_json::json;
use vitro_cloud::devices::{Cause, Device, Status};
use vitro_device::config::DeviceFolder;
use vitro_proof::DeviceId;

use super::renewal::Renewal;
use super::{cloud, show};
use crate::authority::{self, Authority};
use crate::error::CliError;
use crate::instant::{ValidityArgs, show_seconds};
use crate::output;
use crate::session::Session;

/// `ingest` refuses nothing on a registry entry older than five seconds. So long, an instance may not have heard of a new certificate.
const HEARD_OF: Duration = Duration::from_secs(6);

/// Arguments of `device renew`.
#[derive(Debug, Args)]
pub struct RenewArgs {
    /// Thing name
    pub thing: DeviceId,
    /// The device's folder
    #[arg(long, value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Folder of the authority that signs the new certificate
    #[arg(long, value_name = "DIR", required_unless_present = "finish", conflicts_with = "finish")]
    pub ca: Option<PathBuf>,
    /// End the overlap: certificates older than the folder's may connect no longer
    #[arg(long)]
    pub finish: bool,
    /// From when to when the new certificate is good.
    #[command(flatten)]
    pub validity: ValidityArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Renews a device's certificate, or ends the overlap of an earlier renewal. Either can be repeated.
pub(super) async fn run(args: &RenewArgs, session: &Session, now: i64, out: &mut dyn Write) -> Result<(), CliError> {
    let broken = |e: vitro_device::DeviceError| CliError::malformed(args.folder.display().to_string(), e);
    let folder = DeviceFolder::open(&args.folder).map_err(broken)?;
    if folder.config.thing != args.thing {
        return Err(CliError::Refused(format!("{} belongs to {}", args.folder.display(), folder.config.thing)));
    }
    let device = session.device(&args.thing).await?;
    if device.status == Status::Retired {
        return Err(CliError::Refused(format!("{} is retired", args.thing)));
    }
    if device.cause == Some(Cause::KeyCompromised) && !args.finish {
        let what = "its key is compromised, and a renewal keeps the key: replace the device";
        let how = "`vitro device new --replaces`, `vitro device exchange`";
        return Err(CliError::Refused(format!("{}: {what} ({how})", args.thing)));
    }
    let signer = folder.signer().map_err(broken)?;
    if signer.public_key() != device.public_key {
        return Err(CliError::Refused(format!("the key in {} is not {}'s", args.folder.display(), args.thing)));
    }
    let renewal = Renewal::new(&args.folder, &folder.resolve(&folder.config.broker.certificate), &args.thing, signer);
    match &args.ca {
        Some(ca) => {
            let authority = authority::open(ca, Some(&session.aws)).await?;
            renew(args, &device, &renewal, authority.as_ref(), session, now, out).await
        }
        None => finish(args, &device, &renewal, session, out).await,
    }
}

/// The new certificate waits in the folder until AWS IoT and the registry know it; only then does the device show it.
async fn renew(
    args: &RenewArgs,
    device: &Device,
    renewal: &Renewal,
    authority: &dyn Authority,
    session: &Session,
    now: i64,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let validity = super::certificate_validity(&args.validity, authority, now)?;
    let certificate = match renewal.waiting(authority)? {
        Some(certificate) => certificate,
        None => {
            let issued = authority.issue(&renewal.request()?, &args.thing, validity).await?;
            renewal.put(&issued, authority)?
        }
    };
    let arn = cloud::admit(session, device, &certificate, authority).await?;
    // From here on the device may show it, so everybody must know it by now.
    tokio::time::sleep(HEARD_OF).await;
    renewal.take()?;
    let facts = &certificate.facts;
    let older = Older::of(device, &facts.id, session).await?;
    let suspended = device.status == Status::Suspended;
    if args.json {
        let shown = json!({
            "thing": args.thing,
            "certificate_id": facts.id,
            "certificate_arn": arn,
            "serial": facts.serial,
            "authority": facts.issuer,
            "not_before": show_seconds(facts.validity.not_before),
            "not_after": show_seconds(facts.validity.not_after),
            "older": older.all(),
            "older_active": older.active,
            "older_revoked": older.revoked,
            "suspended": suspended,
        });
        return output::json(out, &shown);
    }
    output::line(out, &format!("device       {}", args.thing))?;
    output::line(out, &format!("certificate  {} by {}", facts.id, facts.issuer))?;
    let (from, to) = (show_seconds(facts.validity.not_before), show_seconds(facts.validity.not_after));
    output::line(out, &format!("valid        {from} to {to}"))?;
    for what in older.told() {
        output::line(out, &format!("older        {what}"))?;
    }
    if suspended {
        let how = "the new certificate is inactive until `vitro device reinstate`";
        output::line(out, &format!("suspended    ({}) {how}", device.cause.map_or("no cause", Cause::as_str)))?;
    }
    output::line(out, "restart the agent, so that it shows the new certificate")
}

/// A device's certificates but one, by what AWS IoT says of them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Older {
    active: Vec<String>,
    revoked: Vec<String>,
    /// Inactive, or not there: they connect nobody, and may again.
    others: Vec<String>,
}

impl Older {
    async fn of(device: &Device, current: &str, session: &Session) -> Result<Self, CliError> {
        let mut older = Self::default();
        for id in device.certificates().filter(|id| *id != current) {
            older.add(id, show::certificate_status(session, id).await?.as_deref());
        }
        Ok(older)
    }

    fn add(&mut self, id: &str, status: Option<&str>) {
        let group = match status {
            Some("ACTIVE") => &mut self.active,
            Some("REVOKED") => &mut self.revoked,
            _ => &mut self.others,
        };
        group.push(id.to_owned());
    }

    fn all(&self) -> Vec<&String> {
        self.active.iter().chain(&self.revoked).chain(&self.others).collect()
    }

    /// What is so of them, a line each.
    fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        let mut tell = |ids: &[String], what: &str| {
            if !ids.is_empty() {
                told.push(format!("{} {what}", ids.len()));
            }
        };
        tell(&self.active, "may connect until `vitro device renew --finish`");
        tell(&self.revoked, "revoked, and so for good");
        tell(&self.others, "may not connect now");
        if told.is_empty() {
            told.push("none".into());
        }
        told
    }
}

/// Whatever is older than the certificate in the folder may connect no longer.
async fn finish(
    args: &RenewArgs,
    device: &Device,
    renewal: &Renewal,
    session: &Session,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if renewal.is_unfinished() {
        return Err(CliError::Refused("a renewal was cut short: run it again with --ca first".into()));
    }
    let current = renewal.current()?.facts.id;
    if device.certificate_id != current {
        let why = format!("the folder's certificate {current} is not the newest of {}", args.thing);
        return Err(CliError::Refused(why));
    }
    let Older { active, revoked, others } = Older::of(device, &current, session).await?;
    for id in &active {
        cloud::set_certificate_status(session, id, CertificateStatus::Inactive).await?;
    }
    // What was revoked stays so, and what may not connect has nothing to be taken away.
    let inactive: Vec<String> = active.into_iter().chain(others).collect();
    for id in inactive.iter().chain(&revoked) {
        session.devices().forget_certificate(&args.thing, id).await?;
    }
    if args.json {
        let shown = json!({ "thing": args.thing, "certificate_id": current, "inactive": inactive, "revoked": revoked });
        return output::json(out, &shown);
    }
    let and = if revoked.is_empty() { String::new() } else { format!(", {} were revoked before", revoked.len()) };
    output::line(out, &format!("{}  {} older certificates may connect no longer{and}", args.thing, inactive.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_older_certificates_is_told_what_is_so() {
        assert_eq!(Older::default().told(), ["none"]);
        let mut older = Older::default();
        for (id, status) in [("a", Some("REVOKED")), ("b", Some("ACTIVE")), ("c", Some("INACTIVE")), ("d", None)] {
            older.add(id, status);
        }
        assert_eq!((older.active.as_slice(), older.revoked.as_slice()), (&["b".to_owned()][..], &["a".to_owned()][..]));
        let told = older.told();
        assert_eq!(told.len(), 3);
        assert!(told[0].starts_with("1 may connect until") && told[1].starts_with("1 revoked"), "{told:?}");
        assert!(told[2].starts_with("2 may not connect"), "{told:?}");
    }
}
