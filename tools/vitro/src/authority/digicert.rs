//! DigiCert IoT Trust Manager: an enrollment profile issues devices' certificates by its REST API.
//!
//! [`POST /iot/api/v1/certificate`] takes a request and gives `pem`, the certificate and perhaps those above it; a profile that wants
//! a person's approval gives none. `GET` of the same path finds a certificate by its serial number, [`PUT …/revoke`] revokes it.
//!
//! [`POST /iot/api/v1/certificate`]: https://dev.digicert.com/digicert-one/iot-device-manager/iot-certificates/request-certificate/
//! [`PUT …/revoke`]: https://dev.digicert.com/digicert-one/iot-device-manager/iot-certificates/revoke-certificate/

use std::path::Path;

use async_trait::async_trait;
use serde_json::{Value, json};
use vitro_proof::DeviceId;
use vitro_proof::chain::{RevocationReason, Serial};
use zeroize::Zeroizing;

use super::http::{ApiKey, HttpClient};
use super::settings::DigiCertSettings;
use super::{Authority, check_issued, shown_issuers};
use crate::error::CliError;
use crate::files;
use crate::pki::{self, CertificateFacts, Validity};

/// The variable that holds the API key where no file is named.
const KEY_VARIABLE: &str = "VITRO_DIGICERT_API_KEY";
const CERTIFICATES: &str = "/iot/api/v1/certificate";

/// An enrollment profile of DigiCert IoT Trust Manager.
#[derive(Debug)]
pub struct DigiCert {
    client: HttpClient,
    profile: String,
    certificate: String,
    issuers: Vec<String>,
    facts: CertificateFacts,
    crl: Option<String>,
}

impl DigiCert {
    /// Reads the folder's certificates and the API key.
    ///
    /// # Errors
    /// [`CliError::File`]; [`CliError::Refused`] if others can read the key; [`CliError::Usage`] if there is none.
    pub fn open(folder: &Path, settings: &DigiCertSettings) -> Result<Self, CliError> {
        let key = match &settings.api_key_file {
            Some(path) => files::read_secret(&folder.join(path))?,
            None => Zeroizing::new(std::env::var(KEY_VARIABLE).map_err(|_| {
                CliError::Usage(format!("DigiCert's API key: name its file in authority.toml, or set {KEY_VARIABLE}"))
            })?),
        };
        let path = folder.join(&settings.chain);
        let mut chain = pki::split(&files::read(&path)?);
        if chain.is_empty() {
            return Err(CliError::malformed(path.display().to_string(), "it holds no certificate"));
        }
        let certificate = chain.remove(0);
        Ok(Self {
            client: HttpClient::new(&settings.url, ApiKey::new(&key)?)?,
            profile: settings.enrollment_profile.clone(),
            issuers: shown_issuers(&certificate, &chain)?,
            facts: pki::read_certificate(&certificate)?,
            certificate,
            crl: settings.crl_url.clone(),
        })
    }

    async fn sign(&self, request: &str, name: &str) -> Result<String, CliError> {
        let body = json!({
            "csr": request,
            "enrollment_profile_id": self.profile,
            "device_attributes": [{ "id": "DEVICE_IDENTIFIER", "value": name }],
        });
        let answer = self.client.send("request a certificate", "POST", CERTIFICATES, Some(&body)).await?;
        let pem = answer["pem"].as_str().map(pki::split).unwrap_or_default();
        pem.into_iter().next().ok_or_else(|| {
            let status = answer["status"].as_str().unwrap_or("unknown");
            CliError::Refused(format!("DigiCert gave no certificate for {name}: the request is {status}"))
        })
    }

    /// DigiCert's own id of a certificate.
    async fn id(&self, serial: &Serial) -> Result<String, CliError> {
        let path = format!("{CERTIFICATES}?serial_number={serial}");
        let found = self.client.send("find a certificate", "GET", &path, None).await?;
        let records = found["records"].as_array().map(Vec::as_slice).unwrap_or_default();
        let same = |record: &&Value| {
            let number = record["serial_number"].as_str().unwrap_or_default().replace(':', "").to_lowercase();
            number.parse::<Serial>().is_ok_and(|number| number == *serial)
        };
        let id = records.iter().find(same).and_then(|record| record["id"].as_str());
        id.map(str::to_owned).ok_or_else(|| CliError::NotFound(format!("DigiCert knows no certificate {serial}")))
    }
}

#[async_trait]
impl Authority for DigiCert {
    fn certificate(&self) -> &str {
        &self.certificate
    }

    fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    fn issuers(&self) -> &[String] {
        &self.issuers
    }

    /// The enrollment profile says how long a certificate is good.
    fn decides_validity(&self) -> bool {
        true
    }

    async fn issue(&self, request: &str, thing: &DeviceId, _: Validity) -> Result<String, CliError> {
        pki::check_request(request, thing.as_str())?;
        let certificate = self.sign(request, thing.as_str()).await?;
        check_issued(self, &certificate, thing)?;
        Ok(certificate)
    }

    async fn prove_possession(&self, code: &str, _: Validity) -> Result<String, CliError> {
        self.sign(&pki::request_for(code, &pki::new_key()?)?, code).await
    }

    async fn revoke(&self, serials: &[Serial], reason: RevocationReason, _: i64) -> Result<(), CliError> {
        let reason = match reason {
            RevocationReason::Unspecified => "unspecified",
            RevocationReason::KeyCompromise => "key_compromise",
            RevocationReason::AffiliationChanged => "affiliation_changed",
            RevocationReason::CessationOfOperation => "cessation_of_operation",
            RevocationReason::CertificateHold => "certificate_hold",
            RevocationReason::PrivilegeWithdrawn => "privilege_withdrawn",
            RevocationReason::AaCompromise => "aa_compromise",
            RevocationReason::CaCompromise | RevocationReason::Superseded => {
                return Err(CliError::Usage(format!("DigiCert takes no reason {reason} for a device's certificate")));
            }
        };
        let mut ids = Vec::new();
        for serial in serials {
            ids.push(self.id(serial).await?);
        }
        for id in ids {
            let path = format!("{CERTIFICATES}/{id}/revoke");
            self.client.send("revoke a certificate", "PUT", &path, Some(&json!({ "reason": reason }))).await?;
        }
        Ok(())
    }

    fn crl_location(&self) -> Option<&str> {
        self.crl.as_deref()
    }
}

#[cfg(test)]
mod tests;
