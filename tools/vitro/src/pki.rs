//! Keys, requests and certificates: P-256 and X.509 (RFC 5280, RFC 2986).
//!
//! This module reads no clock and talks to nobody; [`crate::authority`] keeps an authority on disk.

mod device_key;
mod revocation;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber, SigningKey,
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use vitro_proof::{DeviceId, Hash, PublicKey};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

pub use device_key::DeviceKey;
pub use revocation::revocation_list;

use crate::error::CliError;

/// From when to when a certificate is good, in Unix seconds, both inclusive (RFC 5280, section 4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: i64,
    /// The last second.
    pub not_after: i64,
}

impl Validity {
    /// A validity that is not empty and within the years that a certificate can write.
    ///
    /// # Errors
    /// [`CliError::Usage`].
    pub fn new(not_before: i64, not_after: i64) -> Result<Self, CliError> {
        // 9999-12-31T23:59:59Z is the last instant of a GeneralizedTime.
        if !(0..=253_402_300_799).contains(&not_before) || not_after > 253_402_300_799 {
            return Err(CliError::Usage("the validity must lie in the years 1970 to 9999".into()));
        }
        if not_after <= not_before {
            return Err(CliError::Usage("the validity ends before it begins".into()));
        }
        Ok(Self { not_before, not_after })
    }

    fn dates(self) -> Result<(OffsetDateTime, OffsetDateTime), CliError> {
        Ok((Self::date(self.not_before)?, Self::date(self.not_after)?))
    }

    fn date(seconds: i64) -> Result<OffsetDateTime, CliError> {
        OffsetDateTime::from_unix_timestamp(seconds).map_err(|e| CliError::Usage(format!("validity: {e}")))
    }
}

/// A new P-256 key pair from the operating system's randomness.
///
/// # Errors
/// [`CliError::Certificate`] if the system gives no randomness.
pub fn new_key() -> Result<KeyPair, CliError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| CliError::certificate("making a key", e))
}

/// Reads a private key of P-256 (PKCS 8, PEM).
///
/// # Errors
/// [`CliError::Certificate`].
pub fn read_key(pem: &str) -> Result<KeyPair, CliError> {
    // The library's own message may quote its input, so it is dropped.
    KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256)
        .map_err(|_| CliError::Certificate { what: "reading a key", detail: "not a P-256 key in PKCS 8".into() })
}

/// The private key as PKCS 8 in PEM, wiped when dropped.
#[must_use]
pub fn key_pem(key: &KeyPair) -> Zeroizing<String> {
    Zeroizing::new(key.serialize_pem())
}

/// The public key of a pair, as the registry keeps it.
///
/// # Errors
/// [`CliError::Proof`] if it is no point of P-256.
pub fn public_key(key: &KeyPair) -> Result<PublicKey, CliError> {
    Ok(PublicKey::from_sec1(key.public_key_raw())?)
}

/// A self-signed certificate authority that signs devices and at most `path_length` levels of authorities below it.
///
/// # Errors
/// [`CliError::Certificate`].
pub fn root_certificate(name: &str, key: &KeyPair, validity: Validity, path_length: u8) -> Result<String, CliError> {
    let certificate = authority_params(name, validity, path_length)?
        .self_signed(key)
        .map_err(|e| CliError::certificate("signing the authority", e))?;
    Ok(certificate.pem())
}

/// An authority below another. Whether the other one may sign it is for the caller to know.
///
/// # Errors
/// [`CliError::Certificate`].
pub fn intermediate_certificate(
    name: &str,
    key: &KeyPair,
    issuer: &Issuer<'_, KeyPair>,
    validity: Validity,
    path_length: u8,
) -> Result<String, CliError> {
    let mut params = authority_params(name, validity, path_length)?;
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(key, issuer).map_err(|e| CliError::certificate("signing the authority", e))?;
    Ok(certificate.pem())
}

fn authority_params(name: &str, validity: Validity, path_length: u8) -> Result<CertificateParams, CliError> {
    let mut params = base_params(name, validity)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// What a device asks an authority for: a certificate with its thing name as common name (RFC 2986). The key may be a pair in
/// memory, or a [`DeviceKey`] that signs elsewhere.
///
/// # Errors
/// [`CliError::Certificate`].
pub fn request(thing: &DeviceId, key: &impl SigningKey) -> Result<String, CliError> {
    request_for(thing.as_str(), key)
}

/// A request for any common name: a thing's, or the code by which an authority is registered.
///
/// # Errors
/// [`CliError::Certificate`].
pub fn request_for(name: &str, key: &impl SigningKey) -> Result<String, CliError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params
        .serialize_request(key)
        .and_then(|request| request.pem())
        .map_err(|e| CliError::certificate("making a certificate request", e))
}

/// Reads a request and checks that its key is held and that it is for this name alone.
///
/// # Errors
/// [`CliError::Certificate`]; [`CliError::Refused`] if it is for another name or not for a P-256 key.
pub fn check_request(request_pem: &str, name: &str) -> Result<CertificateSigningRequestParams, CliError> {
    let request = CertificateSigningRequestParams::from_pem(request_pem)
        .map_err(|e| CliError::certificate("reading the certificate request", e))?;
    if *request.public_key.algorithm() != PKCS_ECDSA_P256_SHA256 {
        return Err(CliError::Refused("the request is not for a P-256 key".into()));
    }
    if request.params.distinguished_name != common_name(name) {
        return Err(CliError::Refused(format!("the request is not for {name}")));
    }
    Ok(request)
}

/// Signs a device's request. Only the public key, which the request proves to be held, and the common name are taken from it; the
/// common name must be the thing's.
///
/// # Errors
/// [`CliError::Certificate`]; [`CliError::Refused`] if the request is for another thing or not for a P-256 key.
pub fn sign_device(
    request_pem: &str,
    thing: &DeviceId,
    issuer: &Issuer<'_, KeyPair>,
    validity: Validity,
) -> Result<String, CliError> {
    let request = check_request(request_pem, thing.as_str())?;
    let mut params = base_params(thing.as_str(), validity)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate =
        params.signed_by(&request.public_key, issuer).map_err(|e| CliError::certificate("signing the device", e))?;
    Ok(certificate.pem())
}

/// The certificate by which an authority shows AWS IoT that its key is held: its common name is the registration code of the
/// account and region. Its own key is thrown away.
///
/// # Errors
/// [`CliError::Certificate`].
pub fn verification_certificate(
    code: &str,
    issuer: &Issuer<'_, KeyPair>,
    validity: Validity,
) -> Result<String, CliError> {
    let mut params = base_params(code, validity)?;
    params.use_authority_key_identifier_extension = true;
    let key = new_key()?;
    let certificate =
        params.signed_by(&key, issuer).map_err(|e| CliError::certificate("signing the verification certificate", e))?;
    Ok(certificate.pem())
}

fn base_params(name: &str, validity: Validity) -> Result<CertificateParams, CliError> {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = validity.dates()?;
    params.distinguished_name = common_name(name);
    params.serial_number = Some(serial()?);
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// A random positive serial number of 16 bytes (RFC 5280, section 4.1.2.2: unique with the issuer, at most 20 bytes).
fn serial() -> Result<SerialNumber, CliError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|e| CliError::Certificate { what: "drawing a serial number", detail: e.to_string() })?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// What the registry and the command line need to know of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// SHA-256 of the DER in hex: what AWS IoT calls the certificate's id.
    pub id: String,
    /// The subject's common name.
    pub name: String,
    /// The subject's organizational units: of an identity of a Fabric MSP with NodeOUs, its role among them.
    pub units: Vec<String>,
    /// The issuer's common name.
    pub issuer: String,
    /// The serial number in hex.
    pub serial: String,
    /// From when to when it is good.
    pub validity: Validity,
    /// The subject's public key.
    pub public_key: PublicKey,
    /// Whether it says that it is for TLS, by an extended key usage of a server or a client (RFC 5280, section 4.2.1.12).
    pub for_tls: bool,
    /// How many levels of authorities may stand below it, if it is an authority and says so.
    pub path_length: Option<u32>,
    /// SHA-256 of the subject's SubjectPublicKeyInfo, by which an issuer is known whatever certificate it has.
    pub key_hash: Hash,
}

/// The DER of one certificate in PEM.
///
/// # Errors
/// [`CliError::Certificate`].
pub fn der(pem: &str) -> Result<Vec<u8>, CliError> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes())
        .map_err(|e| CliError::Certificate { what: "reading a certificate", detail: e.to_string() })?;
    Ok(pem.contents)
}

/// The certificates of a PEM file, one by one, each with its line break.
#[must_use]
pub fn split(chain: &str) -> Vec<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let certificates = chain.split_inclusive(END).filter_map(|part| part.find(BEGIN).map(|at| &part[at..]));
    certificates.map(|certificate| format!("{}\n", certificate.replace("\r\n", "\n"))).collect()
}

/// When the first certificate of a PEM text is good, whatever its key is.
///
/// # Errors
/// [`CliError::Certificate`].
pub fn validity(pem: &str) -> Result<Validity, CliError> {
    let der = der(pem)?;
    let (_, certificate) = X509Certificate::from_der(&der)
        .map_err(|e| CliError::Certificate { what: "reading a certificate", detail: e.to_string() })?;
    let validity = certificate.validity();
    Ok(Validity { not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() })
}

/// Reads one certificate in PEM.
///
/// # Errors
/// [`CliError::Certificate`]; [`CliError::Proof`] if its key is not on P-256.
pub fn read_certificate(pem: &str) -> Result<CertificateFacts, CliError> {
    let bad = |detail: String| CliError::Certificate { what: "reading a certificate", detail };
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|e| bad(e.to_string()))?;
    let (rest, certificate) = X509Certificate::from_der(&pem.contents).map_err(|e| bad(e.to_string()))?;
    if !rest.is_empty() {
        return Err(bad("bytes follow the certificate".into()));
    }
    let common_name = |name: &x509_parser::x509::X509Name<'_>| {
        name.iter_common_name().next().and_then(|cn| cn.as_str().ok()).unwrap_or_default().to_owned()
    };
    Ok(CertificateFacts {
        id: hex::encode(Sha256::digest(&pem.contents)),
        name: common_name(certificate.subject()),
        units: certificate
            .subject()
            .iter_organizational_unit()
            .filter_map(|unit| unit.as_str().ok().map(str::to_owned))
            .collect(),
        issuer: common_name(certificate.issuer()),
        serial: hex::encode(certificate.raw_serial()),
        validity: Validity {
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
        },
        public_key: PublicKey::from_sec1(&certificate.public_key().subject_public_key.data)?,
        for_tls: certificate
            .extended_key_usage()
            .ok()
            .flatten()
            .is_some_and(|usage| usage.value.server_auth || usage.value.client_auth),
        path_length: certificate.basic_constraints().ok().flatten().and_then(|found| found.value.path_len_constraint),
        key_hash: Hash(Sha256::digest(certificate.public_key().raw).into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALIDITY: Validity = Validity { not_before: 1_700_000_000, not_after: 1_800_000_000 };

    fn authority() -> (String, Issuer<'static, KeyPair>) {
        let key = new_key().unwrap();
        let pem = root_certificate("Acme devices", &key, VALIDITY, 1).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&pem, key).unwrap();
        (pem, issuer)
    }

    fn der(pem: &str) -> Vec<u8> {
        super::der(pem).unwrap()
    }

    fn verify(leaf: &str, root: &str, at: i64) -> Result<(), webpki::Error> {
        let (leaf, root) = (der(leaf).into(), der(root).into());
        let anchor = webpki::anchor_from_trusted_cert(&root)?;
        let time = rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.unsigned_abs()));
        webpki::EndEntityCert::try_from(&leaf)?
            .verify_for_usage(
                &[webpki::aws_lc_rs::ECDSA_P256_SHA256],
                &[anchor],
                &[],
                time,
                webpki::KeyUsage::client_auth(),
                None,
                None,
            )
            .map(|_| ())
    }

    #[test]
    fn a_device_certificate_verifies_to_its_authority_in_its_time() {
        let (root, issuer) = authority();
        let thing: DeviceId = "dev-1".parse().unwrap();
        let key = new_key().unwrap();
        let validity = Validity::new(1_710_000_000, 1_720_000_000).unwrap();
        let leaf = sign_device(&request(&thing, &key).unwrap(), &thing, &issuer, validity).unwrap();
        assert_eq!(verify(&leaf, &root, 1_715_000_000), Ok(()));
        assert!(verify(&leaf, &root, 1_709_999_999).is_err(), "not yet valid");
        assert!(verify(&leaf, &root, 1_720_000_001).is_err(), "expired");
        assert!(verify(&leaf, &authority().0, 1_715_000_000).is_err(), "another authority");

        let facts = read_certificate(&leaf).unwrap();
        assert_eq!((facts.name.as_str(), facts.issuer.as_str()), ("dev-1", "Acme devices"));
        assert_eq!(facts.validity, validity);
        assert!(facts.for_tls && !read_certificate(&root).unwrap().for_tls);
        assert_eq!(facts.public_key, public_key(&key).unwrap());
        assert_eq!(facts.id, hex::encode(Sha256::digest(der(&leaf))));

        let bytes = der(&leaf);
        let (_, parsed) = X509Certificate::from_der(&bytes).unwrap();
        assert!(!parsed.basic_constraints().unwrap().unwrap().value.ca);
        let usage = parsed.key_usage().unwrap().unwrap().value;
        assert!(usage.digital_signature() && !usage.key_cert_sign());
        assert!(parsed.extended_key_usage().unwrap().unwrap().value.client_auth);
    }

    #[test]
    fn an_authority_is_one_and_says_so() {
        let (root, _) = authority();
        let bytes = der(&root);
        let (_, parsed) = X509Certificate::from_der(&bytes).unwrap();
        let constraints = parsed.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(1));
        let usage = parsed.key_usage().unwrap().unwrap();
        assert!(usage.value.key_cert_sign() && usage.value.crl_sign() && !usage.value.digital_signature());
        parsed.verify_signature(None).unwrap();
    }

    #[test]
    fn a_request_is_signed_for_its_own_thing_alone() {
        let (_, issuer) = authority();
        let key = new_key().unwrap();
        let mine: DeviceId = "dev-1".parse().unwrap();
        let other: DeviceId = "dev-2".parse().unwrap();
        let request = request(&mine, &key).unwrap();
        assert!(matches!(sign_device(&request, &other, &issuer, VALIDITY), Err(CliError::Refused(_))));
        let mut forged = der_of_request(&request);
        let last = forged.len() - 1;
        forged[last] ^= 1;
        assert!(CertificateSigningRequestParams::from_der(&forged.as_slice().into()).is_err(), "possession is proven");
    }

    fn der_of_request(pem: &str) -> Vec<u8> {
        x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1.contents
    }

    #[test]
    fn the_verification_certificate_carries_the_code() {
        let (root, issuer) = authority();
        let pem = verification_certificate(&"a1".repeat(32), &issuer, VALIDITY).unwrap();
        let facts = read_certificate(&pem).unwrap();
        assert_eq!(facts.name, "a1".repeat(32));
        let (bytes, root) = (der(&pem), der(&root));
        let (_, parsed) = X509Certificate::from_der(&bytes).unwrap();
        let (_, root) = X509Certificate::from_der(&root).unwrap();
        parsed.verify_signature(Some(root.public_key())).unwrap();
    }

    #[test]
    fn keys_read_back_everywhere_and_show_nothing() {
        let key = new_key().unwrap();
        let pem = key_pem(&key);
        assert_eq!(read_key(&pem).unwrap().public_key_raw(), key.public_key_raw());
        let signer = vitro_proof::crypto::SoftwareSigner::from_pkcs8_pem(&pem).unwrap();
        assert_eq!(vitro_proof::Signer::public_key(&signer), public_key(&key).unwrap());
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        assert!(!format!("{key:?}").contains(&body[..20]));
        let broken = pem.replace(&body[..20], "AAAAAAAAAAAAAAAAAAAA");
        let shown = format!("{} {0:?}", read_key(&broken).unwrap_err());
        assert!(!shown.contains(&body[20..40]));
    }

    #[test]
    fn a_chain_is_taken_apart() {
        let (one, two) = (authority().0, authority().0);
        assert_eq!(split(&format!("{one}{two}")), [one.clone(), two.clone()]);
        let windows = format!("a comment\r\n{}{two}", one.replace('\n', "\r\n"));
        assert_eq!(split(&windows), [one, two]);
        assert!(split("nothing").is_empty());
    }

    #[test]
    fn a_validity_is_an_interval() {
        assert!(Validity::new(10, 10).is_err());
        assert!(Validity::new(-1, 10).is_err());
        assert!(Validity::new(0, 253_402_300_800).is_err());
    }

    #[test]
    fn serials_are_positive_and_differ() {
        let (a, b) = (serial().unwrap().to_bytes(), serial().unwrap().to_bytes());
        assert_ne!(a, b);
        assert!(a[0] & 0x80 == 0 && a[0] != 0 && a.len() == 16);
    }
}
