//! AWS IoT's control plane behind [`Certificates`].

use async_trait::async_trait;
use aws_sdk_iot::Client;
use aws_sdk_iot::error::ProvideErrorMetadata;
use aws_sdk_iot::types::CertificateStatus;
use vitro_cloud::CloudError;

use crate::ports::Certificates;

/// AWS IoT in the function's own account and region.
#[derive(Clone, Debug)]
pub struct AwsCertificates(Client);

impl AwsCertificates {
    /// Over the SDK's client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(client)
    }
}

#[async_trait]
impl Certificates for AwsCertificates {
    async fn revoke(&self, certificate_id: &str) -> Result<(), CloudError> {
        let update = self.0.update_certificate().certificate_id(certificate_id).new_status(CertificateStatus::Revoked);
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(()),
            Err(error) => Err(CloudError::service("iot", "UpdateCertificate", error)),
        }
    }
}
