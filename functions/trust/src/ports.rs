//! What trust stands on.

use async_trait::async_trait;
use vitro_cloud::CloudError;
use vitro_cloud::archive::Archive;
use vitro_cloud::devices::{Device, LastGood, Suspend};
use vitro_cloud::identities::{CertificateHolder, CertificateIdentity, Identities};
use vitro_cloud::queue::Outbox;
use vitro_cloud::trust::TrustStore;
use vitro_proof::{DeviceId, Hash};

use crate::fetch::Fetch;

/// The registry with its identities.
#[async_trait]
pub trait Registry: Suspend {
    /// A device as it is now.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn device(&self, id: &DeviceId) -> Result<Option<Device>, CloudError>;

    /// Whose certificates these are; those that are no registered device's are left out.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn holders(
        &self,
        identities: &[CertificateIdentity],
    ) -> Result<Vec<(CertificateIdentity, CertificateHolder)>, CloudError>;

    /// Everybody whose certificate a key signed.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn under_issuer(&self, issuer_key: Hash) -> Result<Vec<CertificateHolder>, CloudError>;

    /// Takes one of several certificates from a device, never its newest.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn withdraw(&self, id: &DeviceId, certificate_id: &str) -> Result<(), CloudError>;
}

#[async_trait]
impl Registry for Identities {
    async fn device(&self, id: &DeviceId) -> Result<Option<Device>, CloudError> {
        self.devices().get(id).await
    }

    async fn holders(
        &self,
        identities: &[CertificateIdentity],
    ) -> Result<Vec<(CertificateIdentity, CertificateHolder)>, CloudError> {
        self.holders_of_certificates(identities).await
    }

    async fn under_issuer(&self, issuer_key: Hash) -> Result<Vec<CertificateHolder>, CloudError> {
        Self::under_issuer(self, issuer_key).await
    }

    async fn withdraw(&self, id: &DeviceId, certificate_id: &str) -> Result<(), CloudError> {
        self.devices().forget_certificate(id, certificate_id).await
    }
}

/// AWS IoT, as far as certificates of devices go that stay active.
#[async_trait]
pub trait Certificates: Send + Sync {
    /// Revokes a certificate; it is no error if it is gone.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    async fn revoke(&self, certificate_id: &str) -> Result<(), CloudError>;
}

/// Everything behind traits.
pub struct Ports {
    /// The trust store.
    pub trust: Box<dyn TrustStore>,
    /// The archive, where lists are kept.
    pub archive: Box<dyn Archive>,
    /// Where lists come from.
    pub lists: Box<dyn Fetch>,
    /// The registry.
    pub registry: Box<dyn Registry>,
    /// The time series.
    pub readings: Box<dyn LastGood>,
    /// AWS IoT.
    pub certificates: Box<dyn Certificates>,
    /// The queues.
    pub outbox: Box<dyn Outbox>,
}
