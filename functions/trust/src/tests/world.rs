//! What trust stands on, in memory. Every call passes the fuse before and after its work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use vitro_cloud::CloudError;
use vitro_cloud::devices::{Cause, Device, LastGood, StatusChange, StatusStore, Suspend};
use vitro_cloud::identities::{CertificateHolder, CertificateIdentity};
use vitro_cloud::memory::{Fuse, MemoryArchive, MemoryDevices, MemoryOutbox};
use vitro_cloud::sources::DeviceSource;
use vitro_cloud::trust::{AcceptedCrl, CrlCheck, TrustStore, TrustedAuthority};
use vitro_proof::{DeviceId, Hash, SequenceNumber, UnixMillis};

use super::LAST_GOOD;
use crate::Fault;
use crate::fetch::Fetch;
use crate::ports::{Certificates, Registry};

/// Everything that is kept beside the registry; the fuse burns before and after each call's work.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Kept {
    pub(super) authorities: Vec<TrustedAuthority>,
    pub(super) holders: Vec<(CertificateIdentity, CertificateHolder)>,
    pub(super) revoked: BTreeSet<String>,
    /// AWS IoT refuses to revoke this certificate.
    pub(super) stubborn: Option<String>,
    pub(super) lists: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) fuse: Fuse,
    pub(super) kept: Arc<Mutex<Kept>>,
    pub(super) devices: MemoryDevices,
    pub(super) archive: MemoryArchive,
    pub(super) outbox: MemoryOutbox,
}

impl World {
    fn around<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> Result<T, CloudError> {
        self.fuse.point()?;
        let done = work(&mut self.kept.lock().unwrap());
        self.fuse.point()?;
        Ok(done)
    }

    fn authority(&self, id: Hash, work: impl FnOnce(&mut TrustedAuthority)) -> Result<(), CloudError> {
        self.around(|kept| work(kept.authorities.iter_mut().find(|authority| authority.id == id).unwrap()))
    }

    pub(super) fn kept(&self) -> Kept {
        self.kept.lock().unwrap().clone()
    }

    pub(super) async fn device(&self, name: &str) -> Device {
        DeviceSource::device(&self.devices, &name.parse().unwrap()).await.unwrap().unwrap()
    }
}

#[async_trait]
impl TrustStore for World {
    async fn authorities(&self) -> Result<Vec<TrustedAuthority>, CloudError> {
        self.around(|kept| kept.authorities.clone())
    }

    async fn accept(&self, authority: Hash, crl: &AcceptedCrl) -> Result<bool, CloudError> {
        let mut is_newer = false;
        self.authority(authority, |authority| {
            is_newer = authority.crl.as_ref().is_none_or(|known| known.number < crl.number);
            if is_newer {
                authority.crl = Some(crl.clone());
            }
        })?;
        Ok(is_newer)
    }

    async fn note_check(&self, authority: Hash, check: &CrlCheck) -> Result<(), CloudError> {
        self.authority(authority, |authority| authority.check = Some(check.clone()))
    }

    async fn note_applied(&self, authority: Hash, digest: Hash, at: UnixMillis) -> Result<(), CloudError> {
        self.authority(authority, |authority| authority.applied = Some((digest, at)))
    }

    async fn note_revoked(&self, authority: Hash, at: UnixMillis) -> Result<(), CloudError> {
        self.authority(authority, |authority| _ = authority.revoked_at.get_or_insert(at))
    }
}

#[async_trait]
impl Registry for World {
    async fn device(&self, id: &DeviceId) -> Result<Option<Device>, CloudError> {
        DeviceSource::device(&self.devices, id).await
    }

    async fn holders(
        &self,
        identities: &[CertificateIdentity],
    ) -> Result<Vec<(CertificateIdentity, CertificateHolder)>, CloudError> {
        let is_asked = |(identity, _): &&(CertificateIdentity, CertificateHolder)| identities.contains(identity);
        self.around(|kept| kept.holders.iter().filter(is_asked).cloned().collect())
    }

    async fn under_issuer(&self, issuer_key: Hash) -> Result<Vec<CertificateHolder>, CloudError> {
        let is_under = |(identity, _): &&(CertificateIdentity, CertificateHolder)| identity.issuer_key == issuer_key;
        self.around(|kept| kept.holders.iter().filter(is_under).map(|(_, holder)| holder.clone()).collect())
    }

    async fn withdraw(&self, id: &DeviceId, certificate_id: &str) -> Result<(), CloudError> {
        self.fuse.point()?;
        let mut device = DeviceSource::device(&self.devices, id).await?.unwrap();
        assert_ne!(device.certificate_id, certificate_id, "never its newest");
        device.certificate_ids.remove(certificate_id);
        self.devices.put(device);
        self.fuse.point()
    }
}

#[async_trait]
impl Suspend for World {
    async fn suspend(
        &self,
        id: &DeviceId,
        at: UnixMillis,
        last_good: Option<SequenceNumber>,
        cause: Cause,
    ) -> Result<StatusChange, CloudError> {
        self.devices.suspend(id, at, last_good, cause).await
    }
}

#[async_trait]
impl LastGood for World {
    async fn highest_before(&self, _: &DeviceId, _: UnixMillis) -> Result<Option<SequenceNumber>, CloudError> {
        self.around(|_| Some(LAST_GOOD))
    }
}

#[async_trait]
impl Certificates for World {
    async fn revoke(&self, certificate_id: &str) -> Result<(), CloudError> {
        self.around(|kept| {
            if kept.stubborn.as_deref() == Some(certificate_id) {
                return Err(CloudError::NotFound(format!("the certificate {certificate_id}")));
            }
            kept.revoked.insert(certificate_id.into());
            Ok(())
        })?
    }
}

#[async_trait]
impl Fetch for World {
    async fn fetch(&self, url: &str) -> Result<Vec<u8>, Fault> {
        let found = self.kept.lock().unwrap().lists.get(url).cloned();
        found.ok_or_else(|| Fault::Unreachable(format!("nothing at {url}")))
    }
}
