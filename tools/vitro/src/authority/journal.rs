//! What a local authority has signed and revoked: `journal.jsonl`, one event a line, only ever appended to.
//!
//! A line is on disk before what it speaks of leaves the process, so there is no certificate that the journal does not know and no list
//! whose number could be given away twice. A last line without its end was cut short by a crash: what it spoke of never left.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vitro_proof::UnixMillis;
use vitro_proof::chain::{Revocation, RevocationReason, Serial};

use crate::error::CliError;
use crate::pki::{CertificateFacts, Validity};

/// The journal's name in the authority's folder.
const JOURNAL_FILE: &str = "journal.jsonl";

/// A certificate that was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// Its serial number.
    pub serial: Serial,
    /// Its common name.
    pub name: String,
    /// SHA-256 of its DER in hex.
    pub certificate: String,
    /// Its first second, Unix.
    pub not_before: i64,
    /// Its last second, Unix.
    pub not_after: i64,
}

impl Issued {
    /// What the journal keeps of a certificate.
    ///
    /// # Errors
    /// [`CliError::Proof`] if its serial number is none.
    pub fn of(facts: &CertificateFacts) -> Result<Self, CliError> {
        Ok(Self {
            serial: facts.serial.parse()?,
            name: facts.name.clone(),
            certificate: facts.id.clone(),
            not_before: facts.validity.not_before,
            not_after: facts.validity.not_after,
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase", deny_unknown_fields)]
enum Event {
    Issued(Issued),
    Revoked { serial: Serial, at: i64, reason: RevocationReason },
    List { number: u64, this_update: i64, next_update: i64 },
}

/// The journal, read and locked against other processes until it is dropped.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    issued: BTreeMap<Serial, Issued>,
    revoked: BTreeMap<Serial, Revocation>,
    last_list: u64,
}

impl Journal {
    /// Opens the journal of a folder, or begins one. Waits while another process has it.
    ///
    /// # Errors
    /// [`CliError::File`]; [`CliError::Malformed`] if a line cannot be read.
    pub fn open(folder: &Path) -> Result<Self, CliError> {
        let path = folder.join(JOURNAL_FILE);
        let fail = |e| CliError::file(&path, e);
        let new = !path.exists();
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path).map_err(fail)?;
        file.lock().map_err(fail)?;
        if new {
            sync_folder(folder)?;
        }
        let mut text = String::new();
        file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut text)).map_err(fail)?;
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            file.set_len(u64::try_from(whole).unwrap_or(u64::MAX)).and_then(|()| file.sync_all()).map_err(fail)?;
        }
        let mut journal =
            Self { path: path.clone(), file, issued: BTreeMap::new(), revoked: BTreeMap::new(), last_list: 0 };
        for (at, line) in text[..whole].lines().enumerate() {
            let event = serde_json::from_str(line)
                .map_err(|e| CliError::malformed(format!("{}, line {}", path.display(), at + 1), e))?;
            journal.apply(event);
        }
        Ok(journal)
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Issued(issued) => _ = self.issued.insert(issued.serial.clone(), issued),
            Event::Revoked { serial, at, reason } => {
                let revocation = Revocation { at: UnixMillis(at.saturating_mul(1000)), reason };
                self.revoked.entry(serial).or_insert(revocation);
            }
            Event::List { number, .. } => self.last_list = self.last_list.max(number),
        }
    }

    fn append(&mut self, event: Event) -> Result<(), CliError> {
        let mut line = serde_json::to_vec(&event).map_err(|e| CliError::malformed("JSON", e))?;
        line.push(b'\n');
        self.file.write_all(&line).and_then(|()| self.file.sync_all()).map_err(|e| CliError::file(&self.path, e))?;
        self.apply(event);
        Ok(())
    }

    /// Notes a certificate before it is given away.
    ///
    /// # Errors
    /// [`CliError::File`].
    pub fn issue(&mut self, issued: Issued) -> Result<(), CliError> {
        self.append(Event::Issued(issued))
    }

    /// Notes a revocation. One that is there stays as it is.
    ///
    /// # Errors
    /// [`CliError::NotFound`] if the authority has not issued it; [`CliError::File`].
    pub fn revoke(&mut self, serial: &Serial, reason: RevocationReason, now: i64) -> Result<(), CliError> {
        if !self.issued.contains_key(serial) {
            return Err(CliError::NotFound(format!("{}: no certificate {serial} was issued", self.path.display())));
        }
        if self.revoked.contains_key(serial) {
            return Ok(());
        }
        self.append(Event::Revoked { serial: serial.clone(), at: now, reason })
    }

    /// Takes the number of a new list, for good.
    ///
    /// # Errors
    /// [`CliError::File`].
    pub fn next_list(&mut self, validity: Validity) -> Result<u64, CliError> {
        let number = self.last_list + 1;
        let Validity { not_before: this_update, not_after: next_update } = validity;
        self.append(Event::List { number, this_update, next_update })?;
        Ok(number)
    }

    /// A certificate that was issued.
    #[must_use]
    pub fn issued(&self, serial: &Serial) -> Option<&Issued> {
        self.issued.get(serial)
    }

    /// Every certificate that was issued, by serial number.
    pub fn all_issued(&self) -> impl Iterator<Item = &Issued> {
        self.issued.values()
    }

    /// What was revoked, by serial number.
    #[must_use]
    pub fn revoked(&self) -> &BTreeMap<Serial, Revocation> {
        &self.revoked
    }
}

/// Makes a new name in a folder survive a power cut.
fn sync_folder(folder: &Path) -> Result<(), CliError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| CliError::file(folder, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(serial: &str) -> Issued {
        Issued {
            serial: serial.parse().unwrap(),
            name: "dev-1".into(),
            certificate: "ab".into(),
            not_before: 1,
            not_after: 2,
        }
    }

    const VALIDITY: Validity = Validity { not_before: 10, not_after: 20 };

    #[test]
    fn what_was_noted_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let serial: Serial = "0a".parse().unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        assert!(matches!(journal.revoke(&serial, RevocationReason::Unspecified, 5), Err(CliError::NotFound(_))));
        journal.issue(issued("0a")).unwrap();
        journal.issue(issued("0b")).unwrap();
        journal.revoke(&serial, RevocationReason::KeyCompromise, 5).unwrap();
        journal.revoke(&serial, RevocationReason::Unspecified, 9).unwrap();
        assert_eq!(journal.next_list(VALIDITY).unwrap(), 1);
        drop(journal);
        let mut journal = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.all_issued().count(), 2);
        let first = Revocation { at: UnixMillis(5000), reason: RevocationReason::KeyCompromise };
        assert_eq!(journal.revoked().iter().collect::<Vec<_>>(), [(&serial, &first)]);
        assert_eq!(journal.next_list(VALIDITY).unwrap(), 2);
    }

    #[test]
    fn a_line_that_was_cut_short_never_happened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(JOURNAL_FILE);
        let mut journal = Journal::open(folder.path()).unwrap();
        journal.issue(issued("0a")).unwrap();
        journal.issue(issued("0b")).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for end in first..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let mut journal = Journal::open(folder.path()).unwrap();
            assert_eq!(journal.all_issued().count(), 1, "{end}");
            journal.issue(issued("0c")).unwrap();
            drop(journal);
            assert_eq!(Journal::open(folder.path()).unwrap().all_issued().count(), 2);
        }
        std::fs::write(&path, b"nonsense\n").unwrap();
        assert!(matches!(Journal::open(folder.path()), Err(CliError::Malformed { .. })));
    }
}
