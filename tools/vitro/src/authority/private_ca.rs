//! AWS Private CA: the key lies in AWS, requests are signed by its API.

use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_acmpca::client::Waiters;
use aws_sdk_acmpca::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_acmpca::primitives::Blob;
use aws_sdk_acmpca::types::{
    CrlConfiguration, CrlType, RevocationReason as Reason, SigningAlgorithm, Validity as Until, ValidityPeriodType,
};
use aws_sdk_acmpca::waiters::certificate_issued::WaitUntilCertificateIssuedError;
use sha2::{Digest, Sha256};
use vitro_proof::DeviceId;
use vitro_proof::chain::{RevocationReason, Serial};

use super::settings::PrivateCaSettings;
use super::{Authority, check_issued, shown_issuers};
use crate::error::CliError;
use crate::pki::{self, CertificateFacts, Validity};

/// An authority of AWS Private CA.
#[derive(Debug)]
pub struct PrivateCa {
    client: aws_sdk_acmpca::Client,
    arn: String,
    template: String,
    wait: Duration,
    certificate: String,
    issuers: Vec<String>,
    facts: CertificateFacts,
    crl: Option<String>,
}

impl PrivateCa {
    /// Finds the authority and its certificates.
    ///
    /// # Errors
    /// [`CliError::Usage`] if the ARN is none; [`CliError::Aws`]; [`CliError::Proof`] if its key is not one of P-256.
    pub async fn open(settings: &PrivateCaSettings, aws: &SdkConfig) -> Result<Self, CliError> {
        let parts: Vec<&str> = settings.arn.split(':').collect();
        let ["arn", partition, "acm-pca", region, _, resource] = parts[..] else {
            return Err(CliError::Usage(format!("{} is no ARN of an authority of AWS Private CA", settings.arn)));
        };
        let region = aws_sdk_acmpca::config::Region::new(region.to_owned());
        let config = aws_sdk_acmpca::config::Builder::from(aws).region(region.clone()).build();
        let client = aws_sdk_acmpca::Client::from_conf(config);
        let found =
            client.get_certificate_authority_certificate().certificate_authority_arn(&settings.arn).send().await;
        let found = found.map_err(|e| CliError::aws("GetCertificateAuthorityCertificate", &e))?;
        let certificate = found.certificate.map(|pem| pki::split(&pem)).unwrap_or_default();
        let [certificate] = certificate.try_into().map_err(|_| {
            CliError::malformed("GetCertificateAuthorityCertificate", "it holds not one certificate of the authority")
        })?;
        let above = found.certificate_chain.map(|chain| pki::split(&chain)).unwrap_or_default();

        let described = client.describe_certificate_authority().certificate_authority_arn(&settings.arn).send().await;
        let described = described.map_err(|e| CliError::aws("DescribeCertificateAuthority", &e))?;
        let revocation = described.certificate_authority.and_then(|authority| authority.revocation_configuration);
        let crl = revocation.and_then(|revocation| revocation.crl_configuration);
        let id = resource.rsplit('/').next().unwrap_or_default();
        Ok(Self {
            client,
            arn: settings.arn.clone(),
            template: settings
                .template
                .clone()
                .unwrap_or_else(|| format!("arn:{partition}:acm-pca:::template/EndEntityClientAuthCertificate/V1")),
            wait: Duration::from_secs(settings.wait_seconds),
            issuers: shown_issuers(&certificate, &above)?,
            facts: pki::read_certificate(&certificate)?,
            certificate,
            crl: crl.and_then(|crl| location(&crl, id, region.as_ref())),
        })
    }

    async fn sign(&self, request: &str, validity: Validity) -> Result<String, CliError> {
        let until = |seconds| Until::builder().r#type(ValidityPeriodType::Absolute).value(seconds).build();
        let malformed = |e: aws_sdk_acmpca::error::BuildError| CliError::malformed("IssueCertificate", e);
        // The same request again within minutes is the same certificate: a run that was cut short is simply repeated.
        let asked = format!("{request}{}{}", validity.not_before, validity.not_after);
        let token = &hex::encode(Sha256::digest(asked))[..32];
        let issued = self
            .client
            .issue_certificate()
            .certificate_authority_arn(&self.arn)
            .csr(Blob::new(request))
            .signing_algorithm(SigningAlgorithm::Sha256Withecdsa)
            .template_arn(&self.template)
            .validity(until(validity.not_after).map_err(malformed)?)
            .validity_not_before(until(validity.not_before).map_err(malformed)?)
            .idempotency_token(token)
            .send()
            .await
            .map_err(|e| CliError::aws("IssueCertificate", &e))?;
        let arn = issued.certificate_arn.ok_or_else(|| CliError::malformed("IssueCertificate", "it holds no ARN"))?;
        let waited = self
            .client
            .wait_until_certificate_issued()
            .certificate_authority_arn(&self.arn)
            .certificate_arn(&arn)
            .wait(self.wait)
            .await;
        let found = waited.map_err(|e| waiting(&arn, e))?.into_result().map_err(|e| get_certificate(&e))?;
        let certificates = found.certificate.map(|pem| pki::split(&pem)).unwrap_or_default();
        certificates.into_iter().next().ok_or_else(|| CliError::malformed("GetCertificate", "it holds no certificate"))
    }
}

type GetCertificateError = SdkError<
    aws_sdk_acmpca::operation::get_certificate::GetCertificateError,
    aws_sdk_acmpca::config::http::HttpResponse,
>;

fn get_certificate(error: &GetCertificateError) -> CliError {
    CliError::aws("GetCertificate", error)
}

/// Waiting too long may succeed later; what the service refused will not.
fn waiting(arn: &str, error: WaitUntilCertificateIssuedError) -> CliError {
    match error {
        WaitUntilCertificateIssuedError::FailureState(state) => match state.into_final_poll().into_result() {
            Err(error) => CliError::Aws {
                call: "GetCertificate",
                code: error.code().map(str::to_owned),
                detail: error.message().unwrap_or("refused").to_owned(),
                retryable: false,
            },
            Ok(_) => CliError::malformed("GetCertificate", "the certificate was not issued"),
        },
        WaitUntilCertificateIssuedError::OperationFailed(failed) => get_certificate(&failed.into_error()),
        other => CliError::Remote {
            call: "GetCertificate",
            detail: format!("{arn} is not issued yet ({other})"),
            retryable: true,
        },
    }
}

/// Where a complete list lies. Those in parts are named by the certificates themselves.
fn location(crl: &CrlConfiguration, id: &str, region: &str) -> Option<String> {
    if !crl.enabled || crl.crl_type.as_ref().is_some_and(|kind| *kind != CrlType::Complete) {
        return None;
    }
    let host = match (&crl.custom_cname, &crl.s3_bucket_name) {
        (Some(name), _) => name.clone(),
        (None, Some(bucket)) => format!("{bucket}.s3.{region}.amazonaws.com"),
        (None, None) => return None,
    };
    let path = crl.custom_path.as_deref().unwrap_or("crl");
    Some(format!("http://{host}/{path}/{id}.crl"))
}

#[async_trait]
impl Authority for PrivateCa {
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
        pki::check_request(request, thing.as_str())?;
        let certificate = self.sign(request, validity).await?;
        check_issued(self, &certificate, thing)?;
        Ok(certificate)
    }

    async fn prove_possession(&self, code: &str, validity: Validity) -> Result<String, CliError> {
        self.sign(&pki::request_for(code, &pki::new_key()?)?, validity).await
    }

    async fn revoke(&self, serials: &[Serial], reason: RevocationReason, _: i64) -> Result<(), CliError> {
        let reason = match reason {
            RevocationReason::Unspecified => Reason::Unspecified,
            RevocationReason::KeyCompromise => Reason::KeyCompromise,
            RevocationReason::CaCompromise => Reason::CertificateAuthorityCompromise,
            RevocationReason::AffiliationChanged => Reason::AffiliationChanged,
            RevocationReason::Superseded => Reason::Superseded,
            RevocationReason::CessationOfOperation => Reason::CessationOfOperation,
            RevocationReason::PrivilegeWithdrawn => Reason::PrivilegeWithdrawn,
            RevocationReason::AaCompromise => Reason::AaCompromise,
            RevocationReason::CertificateHold => {
                return Err(CliError::Usage("AWS Private CA holds no certificates back".into()));
            }
        };
        for serial in serials {
            let bytes: Vec<String> = serial.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            let revoked = self
                .client
                .revoke_certificate()
                .certificate_authority_arn(&self.arn)
                .certificate_serial(bytes.join(":"))
                .revocation_reason(reason.clone())
                .send()
                .await;
            match revoked.map_err(|e| CliError::aws("RevokeCertificate", &e)) {
                Ok(_) => {}
                Err(error) if error.aws_code() == Some("RequestAlreadyProcessedException") => {}
                Err(error) if error.aws_code() == Some("ResourceNotFoundException") => {
                    return Err(CliError::NotFound(format!(
                        "{} has not issued a certificate {serial}",
                        self.facts.name
                    )));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn crl_location(&self) -> Option<&str> {
        self.crl.as_deref()
    }
}

#[cfg(test)]
mod tests;
