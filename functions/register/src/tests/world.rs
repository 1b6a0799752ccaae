//! AWS in memory, as far as a device's way in needs it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use vitro_cloud::CloudError;
use vitro_cloud::devices::{Cause, Device, LastGood, StatusChange, Suspend, Suspension};
use vitro_cloud::identities::{CertificateHolder, CertificateIdentity, NewCertificate, Origin, Registration};
use vitro_cloud::manifest::Expected;
use vitro_cloud::memory::Fuse;
use vitro_cloud::rule_event::RuleEvent;
use vitro_cloud::trust::{AcceptedCrl, CrlCheck, TrustStore, TrustedAuthority};
use vitro_proof::{DeviceId, Hash, PublicKey, SequenceNumber, UnixMillis};

use crate::ports::{CertificateState, Iot, IotCertificate, Keep, ManifestSource, Registry};

/// Everything that is kept, and the fuse that every call passes before and after its work.
#[derive(Clone, Default)]
pub(super) struct World {
    pub(super) fuse: Fuse,
    pub(super) kept: Arc<Mutex<Kept>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Kept {
    pub(super) certificates: BTreeMap<String, (String, Option<CertificateState>)>,
    pub(super) things: BTreeMap<DeviceId, BTreeMap<String, String>>,
    pub(super) attached: BTreeMap<String, DeviceId>,
    pub(super) devices: BTreeMap<DeviceId, Device>,
    pub(super) keys: BTreeMap<[u8; 65], DeviceId>,
    pub(super) expected: BTreeMap<DeviceId, Expected>,
    pub(super) authorities: Vec<TrustedAuthority>,
    pub(super) refused: BTreeMap<(String, String), Option<DeviceId>>,
    /// A certificate was let in before the registry knew its device.
    pub(super) too_early: bool,
    /// Whose certificates are or were registered.
    pub(super) holders: BTreeMap<CertificateIdentity, CertificateHolder>,
    /// A list that comes in the moment in which a certificate is registered.
    pub(super) comes: Option<AcceptedCrl>,
}

impl World {
    fn around<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> Result<T, CloudError> {
        self.fuse.point()?;
        let done = work(&mut self.kept.lock().unwrap());
        self.fuse.point()?;
        Ok(done)
    }

    pub(super) fn kept(&self) -> Kept {
        self.kept.lock().unwrap().clone()
    }

    pub(super) fn change(&self, work: impl FnOnce(&mut Kept)) {
        work(&mut self.kept.lock().unwrap());
    }
}

#[async_trait]
impl Iot for World {
    async fn certificate(&self, id: &str) -> Result<IotCertificate, CloudError> {
        let found = self.around(|kept| kept.certificates.get(id).cloned())?;
        let (pem, state) = found.ok_or_else(|| CloudError::NotFound(id.into()))?;
        Ok(IotCertificate { arn: id.into(), pem, state: state.unwrap() })
    }

    async fn authority(&self, _: &str) -> Result<Option<String>, CloudError> {
        self.around(|_| None)
    }

    async fn thing(&self, thing: &DeviceId) -> Result<Option<BTreeMap<String, String>>, CloudError> {
        self.around(|kept| kept.things.get(thing).cloned())
    }

    async fn create_thing(&self, thing: &DeviceId, attributes: &BTreeMap<String, String>) -> Result<(), CloudError> {
        self.around(|kept| {
            kept.things.entry(thing.clone()).or_insert_with(|| attributes.clone());
        })
    }

    async fn attach(&self, thing: &DeviceId, arn: &str, policy: &str) -> Result<(), CloudError> {
        assert_eq!(policy, "policy");
        self.around(|kept| _ = kept.attached.insert(arn.into(), thing.clone()))
    }

    async fn set_active(&self, id: &str, active: bool) -> Result<(), CloudError> {
        self.around(|kept| {
            let known = kept.devices.values().any(|device| device.certificate_ids.contains(id));
            kept.too_early |= active && !known;
            let state = if active { CertificateState::Active } else { CertificateState::Inactive };
            kept.certificates.get_mut(id).unwrap().1 = Some(state);
        })
    }
}

#[async_trait]
impl Registry for World {
    async fn device(&self, id: &DeviceId) -> Result<Option<Device>, CloudError> {
        self.around(|kept| kept.devices.get(id).cloned())
    }

    async fn holder_of_key(&self, key: &PublicKey) -> Result<Option<DeviceId>, CloudError> {
        self.around(|kept| kept.keys.get(key.as_bytes()).cloned())
    }

    async fn holder_of_certificate(
        &self,
        identity: &CertificateIdentity,
    ) -> Result<Option<CertificateHolder>, CloudError> {
        self.around(|kept| kept.holders.get(identity).cloned())
    }

    async fn register(&self, device: &Device, certificate: &NewCertificate) -> Result<Registration, CloudError> {
        self.around(|kept| {
            if let Some(list) = kept.comes.take() {
                kept.authorities[0].crl = Some(list);
            }
            kept.keys.insert(*device.public_key.as_bytes(), device.id.clone());
            let holder = CertificateHolder { device: device.id.clone(), certificate_id: certificate.id.clone() };
            kept.holders.insert(certificate.identity.clone(), holder);
            let admitting = (certificate.origin == Origin::Announced).then(|| certificate.id.clone());
            match kept.devices.get_mut(&device.id) {
                None => {
                    let device = Device { admitting: admitting.into_iter().collect(), ..device.clone() };
                    kept.devices.insert(device.id.clone(), device);
                    Registration::New
                }
                Some(known) if known.certificate_ids.contains(&certificate.id) => Registration::Known,
                Some(known) => {
                    known.certificate_ids.insert(certificate.id.clone());
                    known.admitting.extend(admitting);
                    if certificate.is_newest_of(known) {
                        known.certificate_id.clone_from(&certificate.id);
                        known.certificate.clone_from(&certificate.pem);
                    }
                    Registration::Renewed
                }
            }
        })
    }

    async fn note_admitted(&self, id: &DeviceId, certificate: &str) -> Result<(), CloudError> {
        self.around(|kept| _ = kept.devices.get_mut(id).unwrap().admitting.remove(certificate))
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
        self.around(|kept| {
            let device = kept.devices.get_mut(id).unwrap();
            let next = device.suspended(&Suspension { at, last_good, cause });
            let changed = next.is_some();
            *device = next.unwrap_or_else(|| device.clone());
            StatusChange { device: device.clone(), changed }
        })
    }
}

#[async_trait]
impl LastGood for World {
    async fn highest_before(&self, _: &DeviceId, _: UnixMillis) -> Result<Option<SequenceNumber>, CloudError> {
        self.around(|_| Some(SequenceNumber(41)))
    }
}

#[async_trait]
impl ManifestSource for World {
    async fn expected(&self, thing: &DeviceId) -> Result<Option<Expected>, CloudError> {
        self.around(|kept| kept.expected.get(thing).cloned())
    }
}

#[async_trait]
impl Keep for World {
    async fn refuse(
        &self,
        event: &RuleEvent,
        thing: Option<&DeviceId>,
        reason: &str,
        _: &str,
    ) -> Result<(), CloudError> {
        self.around(|kept| _ = kept.refused.insert((reason.into(), event.id()), thing.cloned()))
    }
}

#[async_trait]
impl TrustStore for World {
    async fn authorities(&self) -> Result<Vec<TrustedAuthority>, CloudError> {
        self.around(|kept| kept.authorities.clone())
    }

    async fn accept(&self, _: Hash, _: &AcceptedCrl) -> Result<bool, CloudError> {
        unreachable!("register accepts no list")
    }

    async fn note_check(&self, _: Hash, _: &CrlCheck) -> Result<(), CloudError> {
        unreachable!("nor does it look at one")
    }

    async fn note_applied(&self, _: Hash, _: Hash, _: UnixMillis) -> Result<(), CloudError> {
        unreachable!("nor does it carry one out")
    }

    async fn note_revoked(&self, _: Hash, _: UnixMillis) -> Result<(), CloudError> {
        unreachable!("nor does it revoke")
    }
}
