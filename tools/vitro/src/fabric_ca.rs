//! A client of a Fabric CA: enrols, enrols anew before the certificate expires, registers others.
//!
//! The calls are those of its REST API (`/api/v1/enroll`, `reenroll`, `register`) as versions from 1.4 on have them. What a CA gives is
//! believed only after it was checked: key, name, time, and the chain to the CA's root. Secrets and keys are in no error and no Debug.
//!
//! [The CA's own guide](https://hyperledger-fabric-ca.readthedocs.io/en/latest/users-guide.html).

mod answer;
mod issued;
mod registration;
mod token;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde::Serialize;
use vitro_ledger::IdentityProfile;
use zeroize::Zeroizing;

use crate::error::CliError;
use crate::transport::{Request, Roots, Transport};

pub use issued::Issued;
pub use registration::{Attribute, Registration};

/// A Fabric CA, or one of several CAs of a server.
#[derive(Debug)]
pub struct FabricCa {
    transport: Transport,
    name: Option<String>,
}

/// What a certificate is asked for, beside the name.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Names or addresses that a server is reached by.
    pub hosts: Vec<String>,
    /// The CA's signing profile, such as `tls`; none for the CA's default, an enrolment certificate.
    pub profile: Option<String>,
    /// Attributes that the certificate shall show; an optional one (`name:opt`) is left out where the identity has it not.
    pub attributes: Vec<String>,
}

/// The body of `enroll` and `reenroll`.
#[derive(Serialize)]
struct Body<'a> {
    certificate_request: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    hosts: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
    #[serde(rename = "CAName", skip_serializing_if = "Option::is_none")]
    ca_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attr_reqs: Vec<AttributeRequest<'a>>,
}

#[derive(Serialize)]
struct AttributeRequest<'a> {
    name: &'a str,
    optional: bool,
}

impl FabricCa {
    /// A client of the CA at an address, whose TLS certificate comes from one of these authorities.
    ///
    /// # Errors
    /// [`CliError::Usage`] if the address is not https; [`CliError::Malformed`] if the authorities are none.
    pub fn new(address: &str, name: Option<String>, tls_ca: &str) -> Result<Self, CliError> {
        Ok(Self { transport: Transport::new(address, Roots::Only(tls_ca))?, name })
    }

    /// Enrols: a certificate for a new key, by the secret that registration gave.
    ///
    /// # Errors
    /// [`CliError::Refused`] if the CA refuses, [`CliError::NotTaken`] if it gives what is not right; [`CliError::Remote`] if it does not answer.
    pub async fn enroll(
        &self,
        id: &str,
        secret: &str,
        wanted: &Wanted,
        key: &KeyPair,
        now: i64,
    ) -> Result<Issued, CliError> {
        if id.is_empty() || id.contains(':') {
            return Err(CliError::Usage(format!("`{id}` is no enrollment id: it must not be empty or hold a colon")));
        }
        let body = self.body(id, wanted, key)?;
        let pair = Zeroizing::new(format!("{id}:{secret}"));
        let authorization = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let answer: answer::Enrolled = self.post("enroll", body, &authorization).await?;
        Issued::check(&answer, id, key.public_key_raw(), now)
    }

    /// Enrols anew: a certificate for a key, by an identity whose certificate is still good.
    ///
    /// # Errors
    /// As [`FabricCa::enroll`]; [`CliError::Refused`] if the identity has no key, or is not good any more.
    pub async fn reenroll(
        &self,
        holder: &IdentityProfile,
        wanted: &Wanted,
        key: &KeyPair,
        now: i64,
    ) -> Result<Issued, CliError> {
        let facts = crate::pki::read_certificate(&holder.certificate_pem)?;
        if facts.validity.not_after < now {
            return Err(CliError::Refused(format!(
                "the certificate of {} has expired: only an enrollment secret helps now (`vitro ledger enroll`)",
                facts.name
            )));
        }
        let body = self.body(&facts.name, wanted, key)?;
        let authorization = token::of(holder, "POST", &path("reenroll"), body.as_bytes())?;
        let answer: answer::Enrolled = self.post("reenroll", body, &authorization).await?;
        Issued::check(&answer, &facts.name, key.public_key_raw(), now)
    }

    /// Registers somebody, as an identity that may; gives the secret by which the new one enrols.
    ///
    /// # Errors
    /// As [`FabricCa::reenroll`].
    pub async fn register(
        &self,
        registrar: &IdentityProfile,
        registration: &Registration,
    ) -> Result<Zeroizing<String>, CliError> {
        let body = registration.body(self.name.as_deref())?;
        let authorization = token::of(registrar, "POST", &path("register"), body.as_bytes())?;
        let answer: answer::Registered = self.post("register", body, &authorization).await?;
        Ok(answer.secret())
    }

    fn body(&self, id: &str, wanted: &Wanted, key: &KeyPair) -> Result<String, CliError> {
        let request = request(id, &wanted.hosts, key)?;
        let attributes = wanted.attributes.iter().map(|text| match text.strip_suffix(":opt") {
            Some(name) => AttributeRequest { name, optional: true },
            None => AttributeRequest { name: text, optional: false },
        });
        let body = Body {
            certificate_request: &request,
            hosts: &wanted.hosts,
            profile: wanted.profile.as_deref(),
            ca_name: self.name.as_deref(),
            attr_reqs: attributes.collect(),
        };
        serde_json::to_string(&body).map_err(|e| CliError::malformed("the request", e))
    }

    async fn post<T: serde::de::DeserializeOwned>(
        &self,
        call: &'static str,
        body: String,
        authorization: &str,
    ) -> Result<T, CliError> {
        let headers = [("authorization", authorization), ("content-type", "application/json")];
        let request = Request { call, method: "POST", path: &path(call), headers: &headers, body: Some(body) };
        let (status, body) = self.transport.send(request).await?;
        answer::read(call, status, Zeroizing::new(body))
    }
}

fn path(call: &str) -> String {
    format!("/api/v1/{call}")
}

/// A request for a name (RFC 2986). Of the subject the CA takes the name alone; organizational units are its own word.
fn request(id: &str, hosts: &[String], key: &KeyPair) -> Result<String, CliError> {
    let fault = |e| CliError::certificate("making a certificate request", e);
    let mut params = CertificateParams::new(hosts.to_vec()).map_err(fault)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, id);
    params.serialize_request(key).and_then(|request| request.pem()).map_err(fault)
}

#[cfg(test)]
mod tests;
