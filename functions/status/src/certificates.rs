//! Certificates in AWS IoT: where each one stands, and how it gets elsewhere.

use async_trait::async_trait;
use aws_sdk_iot::error::ProvideErrorMetadata;
use aws_sdk_iot::types::CertificateStatus;
use vitro_cloud::CloudError;
use vitro_cloud::devices::Connection;

const SERVICE: &str = "iot";

/// Where a certificate stands in AWS IoT, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It may connect.
    Active,
    /// It may not for now.
    Inactive,
    /// It never may again.
    Revoked,
    /// Something in between that AWS knows, such as a transfer; it may not connect.
    Other(String),
}

/// What became of a wish to change a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is so now.
    Done,
    /// There is no such certificate.
    Missing,
    /// AWS IoT does not allow it; trying again does not help.
    Stuck(String),
}

/// Certificates in AWS IoT.
#[async_trait]
pub trait Certificates: Send + Sync {
    /// Where a certificate stands; nothing if there is none of this id.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn state(&self, id: &str) -> Result<Option<State>, CloudError>;

    /// Brings a certificate somewhere else.
    ///
    /// # Errors
    /// [`CloudError`] if it may go better later.
    async fn change(&self, id: &str, state: &State) -> Result<Changed, CloudError>;
}

impl From<Connection> for State {
    fn from(connection: Connection) -> Self {
        match connection {
            Connection::Active => Self::Active,
            Connection::Inactive => Self::Inactive,
            Connection::Revoked => Self::Revoked,
        }
    }
}

/// AWS IoT itself.
#[derive(Clone, Debug)]
pub struct AwsCertificates(aws_sdk_iot::Client);

impl AwsCertificates {
    /// Over a client.
    #[must_use]
    pub fn new(client: aws_sdk_iot::Client) -> Self {
        Self(client)
    }
}

#[async_trait]
impl Certificates for AwsCertificates {
    async fn state(&self, id: &str) -> Result<Option<State>, CloudError> {
        let found = match self.0.describe_certificate().certificate_id(id).send().await {
            Ok(found) => found.certificate_description,
            Err(error) if error.code() == Some("ResourceNotFoundException") => None,
            Err(error) => return Err(CloudError::service(SERVICE, "DescribeCertificate", error)),
        };
        Ok(found.and_then(|description| description.status).map(|status| match status {
            CertificateStatus::Active => State::Active,
            CertificateStatus::Inactive => State::Inactive,
            CertificateStatus::Revoked => State::Revoked,
            other => State::Other(other.as_str().to_owned()),
        }))
    }

    async fn change(&self, id: &str, state: &State) -> Result<Changed, CloudError> {
        let status = match state {
            State::Active => CertificateStatus::Active,
            State::Inactive => CertificateStatus::Inactive,
            State::Revoked => CertificateStatus::Revoked,
            State::Other(other) => return Ok(Changed::Stuck(format!("{other} is nothing to wish for"))),
        };
        match self.0.update_certificate().certificate_id(id).new_status(status).send().await {
            Ok(_) => Ok(Changed::Done),
            Err(error) => match error.code() {
                Some("ResourceNotFoundException") => Ok(Changed::Missing),
                Some(code @ ("CertificateStateException" | "InvalidRequestException")) => {
                    Ok(Changed::Stuck(error.message().unwrap_or(code).to_owned()))
                }
                _ => Err(CloudError::service(SERVICE, "UpdateCertificate", error)),
            },
        }
    }
}
