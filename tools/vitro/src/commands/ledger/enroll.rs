//! `vitro ledger enroll`, `reenroll` and `register-identity`: identities of the ledger from a Fabric CA.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};
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

/// So many days before a profile's certificate for TLS ends it is told, where `--within-days` says nothing else.
const WARNED: u32 = 30;

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
    let issued = match ca.enroll(&args.enrollment_id, &secret, &args.certificate.wanted(), &key, now).await {
        Err(CliError::NotTaken { why, certificate }) => {
            return Err(rescue_refused(Path::new(""), &args.msp, &why, certificate, &key));
        }
        issued => issued?,
    };
    put(slot, &args.out, &args.msp, &issued, &key, global, screen).await
}

pub(super) async fn reenroll(
    args: &ReenrollArgs,
    global: &Global,
    now: i64,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let holder = identity::read(&args.identity, global).await?;
    let held = holder.identity();
    let facts = pki::read_certificate(&held.certificate_pem)?;
    keeps_its_kind(&facts, args.certificate.enrollment_profile.as_deref())?;
    let soon = i64::from(args.within_days.unwrap_or(WARNED)) * DAY;
    if let Some(warning) = holder.client_tls().and_then(|tls| client_tls_ends(&tls.certificate_pem, now, soon)) {
        // A closed standard error leaves nothing to tell anybody.
        let _ = writeln!(std::io::stderr(), "vitro: {}: {warning}", args.identity);
    }
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

/// Asked for no profile, the CA gives an enrolment certificate: one for TLS would be lost by that.
fn keeps_its_kind(facts: &pki::CertificateFacts, profile: Option<&str>) -> Result<(), CliError> {
    if !facts.for_tls || profile.is_some() {
        return Ok(());
    }
    Err(CliError::Refused(format!(
        "the certificate of {} is one for TLS: name the CA's profile for these (--enrollment-profile tls), or '' for its default",
        facts.name
    )))
}

/// What to say of a profile's certificate for TLS that ends within so many seconds: it is another one than the identity's, and not renewed.
fn client_tls_ends(pem: &str, now: i64, within: i64) -> Option<String> {
    let validity = match pki::validity(pem) {
        Ok(validity) => validity,
        Err(error) => return Some(format!("its client_tls cannot be read: {error}")),
    };
    let ends = validity.not_after.saturating_sub(now) <= within;
    ends.then(|| {
        let until = show_seconds(validity.not_after);
        format!("its client_tls is good until {until} and is not renewed here: reenroll the identity that it was taken from, and make the profile anew")
    })
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
        return Err(rescue(Path::new(""), &identity, &issued.facts.serial, &error));
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

/// Keeps in a file of a folder what its place did not take: the secret that it came by may be used up.
fn rescue(folder: &Path, identity: &IdentityProfile, serial: &str, error: &CliError) -> CliError {
    match keep_identity(folder, serial, identity) {
        Ok(kept) => CliError::Refused(format!("{error}; the new identity lies in {kept} instead")),
        Err(lost) => CliError::Refused(format!("{error}; nor could the new identity be kept ({lost}): it is lost")),
    }
}

/// The same of what is not taken, with the key: it may be good on a machine whose clock is right, or for whoever looks into it.
fn rescue_refused(folder: &Path, msp: &str, why: &str, certificate: String, key: &rcgen::KeyPair) -> CliError {
    // What it says of itself is not believed, not even its serial number.
    let name = hex::encode(&Sha256::digest(&certificate)[..8]);
    let key_pem = Some(SecretPem::new(key.serialize_pem()));
    let identity = IdentityProfile { msp: msp.to_owned(), certificate_pem: certificate, key_pem };
    match keep_identity(folder, &format!("not-taken-{name}"), &identity) {
        Ok(kept) => {
            CliError::Refused(format!("{why}; it lies with its key in {kept}, since the secret may be used up"))
        }
        Err(lost) => CliError::Refused(format!("{why}; nor could it be kept with its key ({lost}): it is lost")),
    }
}

fn keep_identity(folder: &Path, name: &str, identity: &IdentityProfile) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(identity).map_err(|e| CliError::malformed("the identity", e))?;
    keep(folder, &format!("identity-{name}.json"), &Zeroizing::new(text + "\n"))
}

/// Writes a secret to a new file of a folder, whose path is returned.
fn keep(folder: &Path, name: &str, text: &str) -> Result<String, CliError> {
    let path = folder.join(name);
    files::write_secret(&path, text).map(|()| path.display().to_string())
}

/// Keeps an enrollment secret that its place did not take: the CA tells it once, and registers nobody twice.
fn rescue_secret(folder: &Path, msp: &str, id: &str, secret: &str, error: &CliError) -> CliError {
    let plain: String = id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    // Ids that look alike so do not share a file.
    let mark = hex::encode(&Sha256::digest(format!("{msp}:{id}"))[..4]);
    match keep(folder, &format!("enrollment-secret-{plain}-{mark}"), secret) {
        Ok(kept) => CliError::Refused(format!("{error}; {id} is registered, and its secret lies in {kept} instead")),
        Err(lost) => CliError::Refused(format!(
            "{error}; {id} is registered, and its secret could not be kept either ({lost}): the CA's administrator must give it a new one"
        )),
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
    // The CA tells the secret once: a place that takes nothing is found out before.
    if let IdentityPlace::File(path) = &args.secret_out {
        files::try_place(path)?;
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
    if let Err(error) = identity::write_text(&args.secret_out, &secret, global).await {
        return Err(rescue_secret(Path::new(""), &registrar.msp, &args.enrollment_id, &secret, &error));
    }
    let told = serde_json::json!({
        "id": args.enrollment_id, "type": args.kind, "secret_written": args.secret_out.to_string(),
    });
    screen.show(&told, |out, _| {
        output::line(out, &format!("registered {} as {}", args.enrollment_id, args.kind))?;
        output::line(out, &format!("its secret {}", args.secret_out))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: i64 = 1_795_869_605;

    fn certificate(days: i64) -> (String, rcgen::KeyPair) {
        let key = pki::new_key().unwrap();
        let validity = pki::Validity::new(NOW - DAY, NOW + days * DAY).unwrap();
        (pki::root_certificate("alice", &key, validity, 0).unwrap(), key)
    }

    /// That the one file of a folder is private and named in the message; removes it.
    fn kept(folder: &Path, told: &CliError) {
        let entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).collect();
        let [entry] = &entries[..] else { panic!("{entries:?}") };
        assert!(told.to_string().contains(&entry.path().display().to_string()), "{told}");
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_file(entry.path()).unwrap();
    }

    #[test]
    fn what_a_ca_gives_once_is_kept_whatever_becomes_of_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let (pem, key) = certificate(10);
        let broken = || CliError::Usage("the place is broken".into());
        let read = |name: &str| {
            let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
            assert!(path.display().to_string().contains(name), "{path:?}");
            files::read_secret(&path).unwrap()
        };

        let told = rescue_refused(folder.path(), "RcMSP", "it expired", pem.clone(), &key);
        let identity: IdentityProfile = serde_json::from_str(&read("identity-not-taken-")).unwrap();
        assert_eq!((identity.msp.as_str(), &identity.certificate_pem), ("RcMSP", &pem));
        let same = pki::read_key(identity.key_pem.as_ref().unwrap().expose()).unwrap();
        assert_eq!(same.public_key_raw(), key.public_key_raw());
        assert!(told.to_string().starts_with("it expired; ") && told.exit_code() == 1, "{told}");
        assert!(!format!("{told} {told:?}").contains("PRIVATE"));
        kept(folder.path(), &told);

        let told = rescue(folder.path(), &identity, "0a1b", &broken());
        assert!(read("identity-0a1b.json").contains("RcMSP"));
        kept(folder.path(), &told);

        let told = rescue_secret(folder.path(), "RcMSP", "../a publisher", "hidden", &broken());
        assert_eq!(read("enrollment-secret-___a_publisher-").as_str(), "hidden");
        assert!(told.to_string().starts_with("the place is broken; ../a publisher is registered"), "{told}");
        kept(folder.path(), &told);
        let lost = rescue_secret(&folder.path().join("none"), "RcMSP", "a", "hidden", &broken());
        assert!(lost.to_string().contains("must give it a new one"));
        assert!(!format!("{told} {told:?} {lost} {lost:?}").contains("hidden"));
    }

    #[test]
    fn a_certificate_for_tls_becomes_no_other_unasked() {
        let mut facts = pki::read_certificate(&certificate(10).0).unwrap();
        assert!(keeps_its_kind(&facts, None).is_ok());
        facts.for_tls = true;
        let refused = keeps_its_kind(&facts, None).unwrap_err();
        assert!(matches!(refused, CliError::Refused(_)) && refused.to_string().contains("--enrollment-profile tls"));
        assert!(keeps_its_kind(&facts, Some("tls")).is_ok() && keeps_its_kind(&facts, Some("")).is_ok());
    }

    #[test]
    fn a_profiles_certificate_for_tls_that_ends_is_told() {
        let pem = certificate(10).0;
        assert_eq!(client_tls_ends(&pem, NOW, 9 * DAY), None);
        assert!(client_tls_ends(&pem, NOW, 10 * DAY).unwrap().contains("is good until 2026-12-08"));
        assert!(client_tls_ends(&pem, NOW + 11 * DAY, 0).is_some());
        assert!(client_tls_ends("junk", NOW, 0).unwrap().contains("cannot be read"));
    }
}
