//! AWS IoT's control plane behind [`Iot`].

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_iot::Client;
use aws_sdk_iot::error::ProvideErrorMetadata;
use aws_sdk_iot::types::{AttributePayload, CaCertificateStatus, CertificateStatus, ThingPrincipalType};
use vitro_cloud::CloudError;
use vitro_proof::DeviceId;

use crate::ports::{CertificateState, Iot, IotCertificate};

const SERVICE: &str = "iot";
const NOT_FOUND: Option<&str> = Some("ResourceNotFoundException");

/// AWS IoT in the function's own account and region.
#[derive(Clone, Debug)]
pub struct AwsIot(Client);

impl AwsIot {
    /// Over the SDK's client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(client)
    }
}

fn missing(what: &str) -> CloudError {
    CloudError::damaged("AWS IoT's answer", format!("it holds no {what}"))
}

#[async_trait]
impl Iot for AwsIot {
    async fn certificate(&self, id: &str) -> Result<IotCertificate, CloudError> {
        let found =
            self.0.describe_certificate().certificate_id(id).send().await.map_err(|error| match error.code() {
                NOT_FOUND => CloudError::NotFound(format!("the certificate {id}")),
                _ => CloudError::service(SERVICE, "DescribeCertificate", error),
            })?;
        let found = found.certificate_description.ok_or_else(|| missing("certificate"))?;
        let state = match found.status {
            Some(CertificateStatus::Active) => CertificateState::Active,
            Some(CertificateStatus::Inactive) => CertificateState::Inactive,
            Some(CertificateStatus::PendingActivation) => CertificateState::Pending,
            Some(CertificateStatus::Revoked) => CertificateState::Revoked,
            other => {
                return Err(CloudError::damaged(format!("the certificate {id}"), format!("its status is {other:?}")));
            }
        };
        Ok(IotCertificate {
            arn: found.certificate_arn.ok_or_else(|| missing("ARN"))?,
            pem: found.certificate_pem.ok_or_else(|| missing("PEM"))?,
            state,
        })
    }

    async fn authority(&self, id: &str) -> Result<Option<String>, CloudError> {
        let found = match self.0.describe_ca_certificate().certificate_id(id).send().await {
            Ok(found) => found.certificate_description.ok_or_else(|| missing("authority"))?,
            Err(error) if error.code() == NOT_FOUND => return Ok(None),
            Err(error) => return Err(CloudError::service(SERVICE, "DescribeCACertificate", error)),
        };
        let active = found.status == Some(CaCertificateStatus::Active);
        Ok(found.certificate_pem.filter(|_| active))
    }

    async fn thing(&self, thing: &DeviceId) -> Result<Option<BTreeMap<String, String>>, CloudError> {
        match self.0.describe_thing().thing_name(thing.as_str()).send().await {
            Ok(found) => Ok(Some(found.attributes.unwrap_or_default().into_iter().collect())),
            Err(error) if error.code() == NOT_FOUND => Ok(None),
            Err(error) => Err(CloudError::service(SERVICE, "DescribeThing", error)),
        }
    }

    async fn create_thing(&self, thing: &DeviceId, attributes: &BTreeMap<String, String>) -> Result<(), CloudError> {
        let attributes = attributes.clone().into_iter().collect();
        let payload = AttributePayload::builder().set_attributes(Some(attributes)).build();
        match self.0.create_thing().thing_name(thing.as_str()).attribute_payload(payload).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("ResourceAlreadyExistsException") => {
                Err(CloudError::Exists(format!("a thing {thing} with other attributes")))
            }
            Err(error) => Err(CloudError::service(SERVICE, "CreateThing", error)),
        }
    }

    async fn attach(&self, thing: &DeviceId, arn: &str, policy: &str) -> Result<(), CloudError> {
        let attached = self.0.attach_policy().policy_name(policy).target(arn).send().await;
        attached.map_err(|error| CloudError::service(SERVICE, "AttachPolicy", error))?;
        self.0
            .attach_thing_principal()
            .thing_name(thing.as_str())
            .principal(arn)
            .thing_principal_type(ThingPrincipalType::ExclusiveThing)
            .send()
            .await
            .map_err(|error| CloudError::service(SERVICE, "AttachThingPrincipal", error))?;
        Ok(())
    }

    async fn set_active(&self, id: &str, active: bool) -> Result<(), CloudError> {
        let status = if active { CertificateStatus::Active } else { CertificateStatus::Inactive };
        let updated = self.0.update_certificate().certificate_id(id).new_status(status).send().await;
        updated.map(|_| ()).map_err(|error| CloudError::service(SERVICE, "UpdateCertificate", error))
    }
}
