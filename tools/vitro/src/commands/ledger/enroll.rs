//! `vitro ledger enroll`, `reenroll` and `register-identity`: identities of the ledger from a Fabric CA.

use std::path::PathBuf;

use serde::Serialize;
use vitro_ledger::{IdentityProfile, SecretPem};
use zeroize::Zeroizing;

use super::{CaArgs, CertificateArgs, EnrollArgs, ReenrollArgs, RegisterIdentityArgs, Screen};
use crate::cli::Global;
use crate::error::CliError;
use crate::fabric_ca::{FabricCa, Issued, Registration, Wanted};
use crate::identity::{self, IdentityPlace, Slot};
use crate::instant::show_seconds;
use crate::network::NetworkPart;
use crate::{files, output, pki};

/// Seconds of a day.
const DAY: i64 = 86_400;

impl CaArgs {
    /// A client of the CA that is meant.
    async fn open(&self, msp: &str, global: &Global) -> Result<FabricCa, CliError> {
        let name = self.ca_name.clone();
        if let Some(path) = &self.part {
            let part = NetworkPart::from_json(&path.display().to_string(), &files::read(path)?)?;
            let named = part.authorities.iter().find(|authority| authority.msp == msp);
            let named = named.ok_or_else(|| CliError::NotFound(format!("{} names no CA of {msp}", path.display())))?;
            return FabricCa::new(&named.address, name, &named.tls_ca_pem);
        }
        match (&self.ca, &self.tls_ca) {
            (Some(address), Some(tls_ca)) => FabricCa::new(address, name, &tls_ca.read(global).await?),
            _ => Err(CliError::Usage("name the CA with --ca and --tls-ca, or with --part".into())),
        }
    }
}

impl CertificateArgs {
    fn wanted(&self) -> Wanted {
        Wanted {
            hosts: self.hosts.clone(),
            profile: self.enrollment_profile.clone(),
            attributes: self.attributes.clone(),
        }
    }
}

/// A new identity as it is shown.
#[derive(Serialize)]
struct Enrolled<'a> {
    msp: &'a str,
    name: &'a str,
    role: Option<&'static str>,
    units: &'a [String],
    serial: &'a str,
    not_after: String,
    written: String,
}

pub(super) async fn enroll(
    args: &EnrollArgs,
    global: &Global,
    now: i64,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    // A secret may be good for one use: where the identity goes is looked at before.
    let slot = Slot::open(&args.out, global).await?;
    slot.admits(&args.msp, &args.enrollment_id, args.replace)?;
    let ca = args.ca.open(&args.msp, global).await?;
    let secret = args.enrollment_secret.read(global).await?;
    let key = pki::new_key()?;
    let issued = ca.enroll(&args.enrollment_id, &secret, &args.certificate.wanted(), &key, now).await?;
    put(slot, &args.out, &args.msp, &issued, &key, global, screen).await
}

pub(super) async fn reenroll(
    args: &ReenrollArgs,
    global: &Global,
    now: i64,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let held = identity::read(&args.identity, global).await?;
    let held = held.identity();
    let facts = pki::read_certificate(&held.certificate_pem)?;
    let until = show_seconds(facts.validity.not_after);
    if let Some(days) = args.within_days
        && facts.validity.not_after.saturating_sub(now) > i64::from(days) * DAY
    {
        let kept = serde_json::json!({ "msp": held.msp, "name": facts.name, "not_after": until, "written": null });
        return screen
            .show(&kept, |out, _| output::line(out, &format!("kept     {} is good until {until}", facts.name)));
    }
    let key = match (&held.key_pem, args.reuse_key) {
        (Some(key), true) => pki::read_key(key.expose())?,
        _ => pki::new_key()?,
    };
    let ca = args.ca.open(&held.msp, global).await?;
    let issued = ca.reenroll(held, &args.certificate.wanted(), &key, now).await?;
    let slot = Slot::open(&args.identity, global).await?;
    // Somebody else may have put another identity there meanwhile.
    slot.admits(&held.msp, &facts.name, false)?;
    put(slot, &args.identity, &held.msp, &issued, &key, global, screen).await
}

async fn put(
    slot: Slot,
    place: &IdentityPlace,
    msp: &str,
    issued: &Issued,
    key: &rcgen::KeyPair,
    global: &Global,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let identity = IdentityProfile {
        msp: msp.to_owned(),
        certificate_pem: issued.certificate.clone(),
        key_pem: Some(SecretPem::new(key.serialize_pem())),
    };
    if let Err(error) = slot.put(identity.clone(), global).await {
        return Err(rescue(&identity, &issued.facts.serial, &error));
    }
    let enrolled = Enrolled {
        msp,
        name: &issued.facts.name,
        role: issued.role(),
        units: &issued.facts.units,
        serial: &issued.facts.serial,
        not_after: show_seconds(issued.facts.validity.not_after),
        written: place.to_string(),
    };
    screen.show(&enrolled, |out, one| {
        output::line(out, &format!("enrolled {} of {msp}, good until {}", one.name, one.not_after))?;
        match one.role {
            Some(role) => output::line(out, &format!("role     {role}"))?,
            None => output::line(out, "role     none that Fabric knows by organizational unit")?,
        }
        output::line(out, &format!("written  {}", one.written))
    })
}

/// Keeps in a file what its place did not take: the secret that it came by may be used up.
fn rescue(identity: &IdentityProfile, serial: &str, error: &CliError) -> CliError {
    let path = PathBuf::from(format!("identity-{serial}.json"));
    let text = serde_json::to_string_pretty(identity).map(|text| Zeroizing::new(text + "\n"));
    let kept =
        text.map_err(|e| CliError::malformed("the identity", e)).and_then(|text| files::write_secret(&path, &text));
    match kept {
        Ok(()) => CliError::Refused(format!("{error}; the new identity lies in {} instead", path.display())),
        Err(lost) => CliError::Refused(format!("{error}; nor could the new identity be kept ({lost}): it is lost")),
    }
}

pub(super) async fn register(
    args: &RegisterIdentityArgs,
    global: &Global,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    if identity::read_text(&args.secret_out, global).await?.is_some() {
        return Err(CliError::Refused(format!("{} holds something already", args.secret_out)));
    }
    let registrar = identity::read(&args.identity, global).await?;
    let registrar = registrar.identity();
    let ca = args.ca.open(&registrar.msp, global).await?;
    let registration = Registration {
        id: args.enrollment_id.clone(),
        kind: args.kind.clone(),
        affiliation: args.affiliation.clone(),
        max_enrollments: args.max_enrollments,
        attributes: args.attributes.clone(),
    };
    let secret = ca.register(registrar, &registration).await?;
    identity::write_text(&args.secret_out, &secret, global).await?;
    let told = serde_json::json!({
        "id": args.enrollment_id, "type": args.kind, "secret_written": args.secret_out.to_string(),
    });
    screen.show(&told, |out, _| {
        output::line(out, &format!("registered {} as {}", args.enrollment_id, args.kind))?;
        output::line(out, &format!("its secret {}", args.secret_out))
    })
}
