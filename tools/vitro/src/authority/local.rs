//! An authority whose key lies in a folder.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rcgen::{Issuer, KeyPair};
use vitro_proof::DeviceId;
use vitro_proof::UnixMillis;
use vitro_proof::chain::{Crl, RevocationReason, Serial};

use super::{Authority, Issued, Journal, shown_issuers};
use crate::error::CliError;
use crate::files;
use crate::pki::{self, CertificateFacts, Validity};

/// An authority whose key lies in a folder: `ca.cert.pem`, `ca.key.pem` with mode 0600, `chain.pem` with the authorities above it,
/// if any, `journal.jsonl` with what it signed and revoked, and `ca.crl`, its newest revocation list.
pub struct LocalAuthority {
    folder: PathBuf,
    certificate: String,
    above: Vec<String>,
    issuers: Vec<String>,
    facts: CertificateFacts,
    issuer: Issuer<'static, KeyPair>,
}

/// A revocation list that was just made.
#[derive(Debug)]
pub struct NewList {
    /// The list in DER.
    pub der: Vec<u8>,
    /// Its number.
    pub number: u64,
    /// How many certificates it revokes.
    pub revoked: usize,
    /// Where it lies.
    pub path: PathBuf,
}

impl LocalAuthority {
    fn paths(folder: &Path) -> (PathBuf, PathBuf) {
        (folder.join("ca.cert.pem"), folder.join("ca.key.pem"))
    }

    fn new_folder(folder: &Path) -> Result<KeyPair, CliError> {
        let (certificate_path, key_path) = Self::paths(folder);
        if certificate_path.exists() || key_path.exists() {
            return Err(CliError::Refused(format!("{} already holds an authority", folder.display())));
        }
        files::private_folder(folder)?;
        pki::new_key()
    }

    /// Makes a new root authority in a folder, with at most `path_length` levels of authorities below it.
    ///
    /// # Errors
    /// [`CliError::Refused`] if the folder already holds one; [`CliError::File`]; [`CliError::Certificate`].
    pub fn create(folder: &Path, name: &str, validity: Validity, path_length: u8) -> Result<Self, CliError> {
        let key = Self::new_folder(folder)?;
        let certificate = pki::root_certificate(name, &key, validity, path_length)?;
        Self::write(folder, certificate, Vec::new(), key)
    }

    /// Makes an authority below this one. The journal of this one knows it, so that it can be revoked.
    ///
    /// # Errors
    /// [`CliError::Refused`] if this one may have none below it, the validity is not within its own, or the folder already holds an
    /// authority; [`CliError::File`]; [`CliError::Certificate`].
    pub fn create_below(
        &self,
        folder: &Path,
        name: &str,
        validity: Validity,
        path_length: Option<u8>,
    ) -> Result<Self, CliError> {
        self.check_within(validity)?;
        if name == self.facts.name {
            return Err(CliError::Refused("an authority cannot carry the name of the one above it".into()));
        }
        let most = match self.facts.path_length {
            Some(0) => {
                let why = format!("{} may sign devices only: make it with --path-length", self.facts.name);
                return Err(CliError::Refused(why));
            }
            Some(length) => u8::try_from(length - 1).unwrap_or(u8::MAX),
            None => u8::MAX,
        };
        let path_length = path_length.unwrap_or(if most == u8::MAX { 0 } else { most });
        if path_length > most {
            let why = format!("{} allows at most {most} levels of authorities below it", self.facts.name);
            return Err(CliError::Refused(why));
        }
        let key = Self::new_folder(folder)?;
        let certificate = pki::intermediate_certificate(name, &key, &self.issuer, validity, path_length)?;
        Journal::open(&self.folder)?.issue(Issued::of(&pki::read_certificate(&certificate)?)?)?;
        let above = [std::slice::from_ref(&self.certificate), self.above.as_slice()].concat();
        Self::write(folder, certificate, above, key)
    }

    fn write(folder: &Path, certificate: String, above: Vec<String>, key: KeyPair) -> Result<Self, CliError> {
        let (certificate_path, key_path) = Self::paths(folder);
        files::write_secret(&key_path, &pki::key_pem(&key))?;
        if !above.is_empty() {
            files::replace(&folder.join("chain.pem"), above.concat())?;
        }
        files::write_public(&certificate_path, &certificate)?;
        Self::assemble(folder, certificate, above, key)
    }

    /// Opens the authority in a folder.
    ///
    /// # Errors
    /// [`CliError::File`]; [`CliError::Refused`] if others can read the key or it is not the certificate's.
    pub fn open(folder: &Path) -> Result<Self, CliError> {
        let (certificate_path, key_path) = Self::paths(folder);
        let certificate = files::read(&certificate_path)?;
        let key = pki::read_key(&files::read_secret(&key_path)?)?;
        let chain = folder.join("chain.pem");
        let above = if chain.exists() { pki::split(&files::read(&chain)?) } else { Vec::new() };
        Self::assemble(folder, certificate, above, key)
    }

    fn assemble(folder: &Path, certificate: String, above: Vec<String>, key: KeyPair) -> Result<Self, CliError> {
        let facts = pki::read_certificate(&certificate)?;
        if facts.public_key != pki::public_key(&key)? {
            return Err(CliError::Refused("the authority's key does not belong to its certificate".into()));
        }
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)
            .map_err(|e| CliError::certificate("reading the authority's certificate", e))?;
        let issuers = shown_issuers(&certificate, &above)?;
        Ok(Self { folder: folder.to_owned(), certificate, above, issuers, facts, issuer })
    }

    /// The authorities above it (PEM), its issuer first, the root last; none above a root.
    #[must_use]
    pub fn above(&self) -> &[String] {
        &self.above
    }

    /// What it signed and revoked.
    ///
    /// # Errors
    /// [`CliError::File`]; [`CliError::Malformed`].
    pub fn journal(&self) -> Result<Journal, CliError> {
        Journal::open(&self.folder)
    }

    fn check_within(&self, validity: Validity) -> Result<(), CliError> {
        let own = self.facts.validity;
        if validity.not_before < own.not_before || validity.not_after > own.not_after {
            return Err(CliError::Refused("the certificate would be good when its authority's is not".into()));
        }
        Ok(())
    }

    fn noted(&self, certificate: String) -> Result<String, CliError> {
        self.journal()?.issue(Issued::of(&pki::read_certificate(&certificate)?)?)?;
        Ok(certificate)
    }

    /// Makes the next revocation list, with everything that was ever revoked, and keeps it as `ca.crl`.
    ///
    /// # Errors
    /// [`CliError::File`]; [`CliError::Certificate`].
    pub fn new_list(&self, validity: Validity) -> Result<NewList, CliError> {
        let mut journal = self.journal()?;
        let revoked: Vec<_> = journal.revoked().iter().map(|(serial, what)| (serial.clone(), *what)).collect();
        let number = journal.next_list(validity)?;
        let der = pki::revocation_list(&self.issuer, number, validity, &revoked)?;
        // What is published is what those who read it will take.
        let this_update = UnixMillis(validity.not_before.saturating_mul(1000));
        Crl::parse_and_verify(&der, &pki::der(&self.certificate)?, this_update).map_err(|fault| {
            CliError::Certificate { what: "checking the revocation list", detail: fault.to_string() }
        })?;
        let path = self.folder.join("ca.crl");
        files::replace(&path, &der)?;
        Ok(NewList { der, number, revoked: revoked.len(), path })
    }
}

#[async_trait]
impl Authority for LocalAuthority {
    fn certificate(&self) -> &str {
        &self.certificate
    }

    fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    fn issuers(&self) -> &[String] {
        &self.issuers
    }

    async fn issue(&self, request: &str, thing: &DeviceId, validity: Validity) -> Result<String, CliError> {
        self.check_within(validity)?;
        self.noted(pki::sign_device(request, thing, &self.issuer, validity)?)
    }

    async fn prove_possession(&self, code: &str, validity: Validity) -> Result<String, CliError> {
        self.noted(pki::verification_certificate(code, &self.issuer, validity)?)
    }

    async fn revoke(&self, serials: &[Serial], reason: RevocationReason, now: i64) -> Result<(), CliError> {
        let mut journal = self.journal()?;
        // All or nothing: a number that was mistyped is told before anything is noted.
        if let Some(unknown) = serials.iter().find(|serial| journal.issued(serial).is_none()) {
            return Err(CliError::NotFound(format!("{} has not issued a certificate {unknown}", self.facts.name)));
        }
        serials.iter().try_for_each(|serial| journal.revoke(serial, reason, now))
    }
}

#[cfg(test)]
mod tests {
    use super::super::check_issued;
    use super::*;

    const VALIDITY: Validity = Validity { not_before: 1_700_000_000, not_after: 1_800_000_000 };

    fn block<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn issue(authority: &LocalAuthority, thing: &str, validity: Validity) -> Result<String, CliError> {
        let thing: DeviceId = thing.parse().unwrap();
        let request = pki::request(&thing, &pki::new_key().unwrap()).unwrap();
        block(authority.issue(&request, &thing, validity))
    }

    #[test]
    fn an_authority_survives_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let made = LocalAuthority::create(folder.path(), "Acme", VALIDITY, 1).unwrap();
        let opened = LocalAuthority::open(folder.path()).unwrap();
        assert_eq!(made.facts(), opened.facts());
        assert_eq!(made.certificate(), opened.certificate());
        assert!(matches!(LocalAuthority::create(folder.path(), "Acme", VALIDITY, 1), Err(CliError::Refused(_))));
    }

    #[test]
    fn a_foreign_key_is_refused() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        LocalAuthority::create(one.path(), "One", VALIDITY, 1).unwrap();
        LocalAuthority::create(two.path(), "Two", VALIDITY, 1).unwrap();
        std::fs::copy(two.path().join("ca.cert.pem"), one.path().join("ca.cert.pem")).unwrap();
        assert!(matches!(LocalAuthority::open(one.path()), Err(CliError::Refused(_))));
    }

    #[test]
    fn no_certificate_outlives_its_authority() {
        let folder = tempfile::tempdir().unwrap();
        let authority = LocalAuthority::create(folder.path(), "Acme", VALIDITY, 1).unwrap();
        let late = Validity { not_before: VALIDITY.not_before, not_after: VALIDITY.not_after + 1 };
        assert!(matches!(issue(&authority, "dev-1", late), Err(CliError::Refused(_))));
        assert!(issue(&authority, "dev-1", VALIDITY).is_ok());
        let below = authority.create_below(&folder.path().join("below"), "Below", late, None);
        assert!(matches!(below, Err(CliError::Refused(_))));
    }

    #[test]
    fn authorities_stand_below_each_other_as_far_as_they_may() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let top = LocalAuthority::create(&path("top"), "Top", VALIDITY, 2).unwrap();
        assert!(matches!(top.create_below(&path("x"), "Top", VALIDITY, None), Err(CliError::Refused(_))), "its name");
        assert!(matches!(top.create_below(&path("x"), "X", VALIDITY, Some(2)), Err(CliError::Refused(_))));
        let one = top.create_below(&path("one"), "One", VALIDITY, None).unwrap();
        let two = one.create_below(&path("two"), "Two", VALIDITY, None).unwrap();
        assert!(matches!(two.create_below(&path("x"), "X", VALIDITY, None), Err(CliError::Refused(_))));
        assert!(!path("x").exists());
        let two = LocalAuthority::open(&path("two")).unwrap();
        assert_eq!(two.above(), [one.certificate().to_owned(), top.certificate().to_owned()]);
        assert_eq!(two.issuers(), [two.certificate().to_owned(), one.certificate().to_owned()]);
        assert_eq!(top.issuers(), [top.certificate().to_owned()]);

        let leaf = issue(&two, "dev-1", VALIDITY).unwrap();
        check_issued(&two, &leaf, &"dev-1".parse().unwrap()).unwrap();
        assert!(check_issued(&one, &leaf, &"dev-1".parse().unwrap()).is_err());
        assert!(check_issued(&two, &leaf, &"dev-2".parse().unwrap()).is_err());
        let ders: Vec<_> =
            [&leaf, two.certificate(), one.certificate(), top.certificate()].map(|pem| pki::der(pem).unwrap()).into();
        let now = VALIDITY.not_before;
        let lists = [&top, &one, &two].map(|authority| {
            let validity = Validity { not_before: now, not_after: now + 3600 };
            Crl::verify(&authority.new_list(validity).unwrap().der, &pki::der(authority.certificate()).unwrap())
                .unwrap()
        });
        let lists: Vec<&Crl> = lists.iter().collect();
        let verified = vitro_proof::chain::verify_chain(
            &ders[0],
            &[&ders[1], &ders[2]],
            &[&ders[3]],
            &lists,
            UnixMillis(now * 1000),
            vitro_proof::chain::ChainPolicy::WithRevocation,
        );
        assert_eq!(verified.unwrap().issuers.len(), 3);
    }

    #[test]
    fn lists_grow_and_hold_everything_revoked() {
        let root = tempfile::tempdir().unwrap();
        let top = LocalAuthority::create(&root.path().join("top"), "Top", VALIDITY, 1).unwrap();
        let below = top.create_below(&root.path().join("below"), "Below", VALIDITY, None).unwrap();
        let leaf = pki::read_certificate(&issue(&top, "dev-1", VALIDITY).unwrap()).unwrap();
        let serials: Vec<Serial> = [&leaf, below.facts()].map(|facts| facts.serial.parse().unwrap()).into();
        let now = VALIDITY.not_before + 100;
        let list = |from: i64| top.new_list(Validity { not_before: from, not_after: from + 3600 }).unwrap();
        assert_eq!((list(now).number, list(now).number, list(now).revoked), (1, 2, 0));
        block(top.revoke(&serials[..1], RevocationReason::KeyCompromise, now)).unwrap();
        block(top.revoke(&serials, RevocationReason::Superseded, now + 5)).unwrap();
        let made = list(now + 10);
        assert_eq!((made.number, made.revoked), (4, 2));
        assert_eq!(std::fs::read(&made.path).unwrap(), made.der);
        let read = Crl::verify(&made.der, &pki::der(top.certificate()).unwrap()).unwrap();
        assert_eq!(read.revocation(&serials[0]).unwrap().reason, RevocationReason::KeyCompromise, "the first stays");
        assert_eq!(read.revocation(&serials[1]).unwrap().at, UnixMillis((now + 5) * 1000));
        let stranger: Serial = "77".parse().unwrap();
        let unknown = [serials[0].clone(), stranger];
        assert!(matches!(
            block(below.revoke(&unknown, RevocationReason::Unspecified, now)),
            Err(CliError::NotFound(_))
        ));
    }
}
