//! What register stands on.

use std::collections::BTreeMap;

use async_trait::async_trait;
use vitro_cloud::archive::Archive;
use vitro_cloud::devices::{Device, LastGood, Suspend};
use vitro_cloud::identities::{CertificateHolder, CertificateIdentity, Identities, NewCertificate, Registration};
use vitro_cloud::manifest::{Expected, Manifest};
use vitro_cloud::parked::{Parked, ParkedState, ParkedTable};
use vitro_cloud::quarantine::Quarantine;
use vitro_cloud::queue::Outbox;
use vitro_cloud::rule_event::RuleEvent;
use vitro_cloud::trust::TrustStore;
use vitro_cloud::{Clock, CloudError};
use vitro_proof::{DeviceId, PublicKey};

/// Whether AWS IoT lets a certificate connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateState {
    /// It announced itself and waits for a decision.
    Pending,
    /// It was refused, or is held back.
    Inactive,
    /// It may connect.
    Active,
    /// It never may again.
    Revoked,
}

/// A certificate as AWS IoT has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IotCertificate {
    /// Its ARN.
    pub arn: String,
    /// The certificate in PEM.
    pub pem: String,
    /// Whether it may connect.
    pub state: CertificateState,
}

/// AWS IoT's control plane.
#[async_trait]
pub trait Iot: Send + Sync {
    /// A certificate by its id.
    ///
    /// # Errors
    /// [`CloudError::NotFound`] if there is none; [`CloudError::Service`].
    async fn certificate(&self, id: &str) -> Result<IotCertificate, CloudError>;

    /// The certificate of a registered, active authority in PEM; nothing if there is none.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    async fn authority(&self, id: &str) -> Result<Option<String>, CloudError>;

    /// A thing's attributes; nothing if there is no such thing.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    async fn thing(&self, thing: &DeviceId) -> Result<Option<BTreeMap<String, String>>, CloudError>;

    /// Creates a thing. It is no error if it is there with these attributes.
    ///
    /// # Errors
    /// [`CloudError::Exists`] if it is there with others.
    async fn create_thing(&self, thing: &DeviceId, attributes: &BTreeMap<String, String>) -> Result<(), CloudError>;

    /// Attaches a certificate to its policy and to its thing, to no other thing besides.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    async fn attach(&self, thing: &DeviceId, arn: &str, policy: &str) -> Result<(), CloudError>;

    /// Lets a certificate connect, or not.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    async fn set_active(&self, id: &str, active: bool) -> Result<(), CloudError>;
}

/// The registry with its identities.
#[async_trait]
pub trait Registry: Suspend {
    /// A device as it is now; nothing if it is not registered.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn device(&self, id: &DeviceId) -> Result<Option<Device>, CloudError>;

    /// Who holds a key.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn holder_of_key(&self, key: &PublicKey) -> Result<Option<DeviceId>, CloudError>;

    /// Whose certificate this is or was.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn holder_of_certificate(
        &self,
        identity: &CertificateIdentity,
    ) -> Result<Option<CertificateHolder>, CloudError>;

    /// Registers a device with its key and certificate, as [`Identities::register`] has it.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn register(&self, device: &Device, certificate: &NewCertificate) -> Result<Registration, CloudError>;

    /// Notes that a registered certificate is active.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn note_admitted(&self, id: &DeviceId, certificate: &str) -> Result<(), CloudError>;
}

#[async_trait]
impl Registry for Identities {
    async fn device(&self, id: &DeviceId) -> Result<Option<Device>, CloudError> {
        self.devices().get(id).await
    }

    async fn holder_of_key(&self, key: &PublicKey) -> Result<Option<DeviceId>, CloudError> {
        Self::holder_of_key(self, key).await
    }

    async fn holder_of_certificate(
        &self,
        identity: &CertificateIdentity,
    ) -> Result<Option<CertificateHolder>, CloudError> {
        Self::holder_of_certificate(self, identity).await
    }

    async fn register(&self, device: &Device, certificate: &NewCertificate) -> Result<Registration, CloudError> {
        Self::register(self, device, certificate).await
    }

    async fn note_admitted(&self, id: &DeviceId, certificate: &str) -> Result<(), CloudError> {
        self.devices().note_admitted(id, certificate).await
    }
}

/// The manifest, to be read.
#[async_trait]
pub trait ManifestSource: Send + Sync {
    /// What is expected under a name.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn expected(&self, thing: &DeviceId) -> Result<Option<Expected>, CloudError>;
}

#[async_trait]
impl ManifestSource for Manifest {
    async fn expected(&self, thing: &DeviceId) -> Result<Option<Expected>, CloudError> {
        self.get(thing).await
    }
}

/// Where refused announcements are kept.
#[async_trait]
pub trait Keep: Send + Sync {
    /// Keeps the whole event with its reason, and tells operators. `thing` is the name that the certificate has. The same event for
    /// the same reason again changes nothing.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn refuse(
        &self,
        event: &RuleEvent,
        thing: Option<&DeviceId>,
        reason: &str,
        detail: &str,
    ) -> Result<(), CloudError>;
}

/// The quarantine bucket and the table `parked`.
pub struct AwsKeep {
    /// The bucket.
    pub quarantine: Quarantine,
    /// The table.
    pub parked: ParkedTable,
}

#[async_trait]
impl Keep for AwsKeep {
    async fn refuse(
        &self,
        event: &RuleEvent,
        thing: Option<&DeviceId>,
        reason: &str,
        detail: &str,
    ) -> Result<(), CloudError> {
        let key = self.quarantine.put(event, reason, detail, 1).await?;
        let row = Parked {
            reason: reason.to_owned(),
            id: event.id(),
            state: ParkedState::Open,
            device: thing.cloned(),
            object: Some((self.quarantine.bucket().to_owned(), key)),
            detail: detail.to_owned(),
            received: event.received,
        };
        self.parked.park(&row).await
    }
}

/// Everything behind traits.
pub struct Ports {
    /// AWS IoT.
    pub iot: Box<dyn Iot>,
    /// The registry with its identities.
    pub registry: Box<dyn Registry>,
    /// The manifest.
    pub manifest: Box<dyn ManifestSource>,
    /// The trust store.
    pub trust: Box<dyn TrustStore>,
    /// The archive, where the lists are.
    pub archive: Box<dyn Archive>,
    /// The time series.
    pub readings: Box<dyn LastGood>,
    /// The queues.
    pub outbox: Box<dyn Outbox>,
    /// Quarantine and parked rows.
    pub keep: Box<dyn Keep>,
    /// The time.
    pub clock: Box<dyn Clock>,
}
