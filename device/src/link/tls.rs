//! Mutual TLS with the device's key, wherever that key is: the handshake is signed through the same trait as the envelopes.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use p256::pkcs8::EncodePublicKey;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::sign::{CertifiedKey, Signer as TlsSigner, SigningKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, SignatureAlgorithm, SignatureScheme};
use vitro_proof::crypto::sha256;
use vitro_proof::{PublicKey, UnixMillis};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::{DeviceFolder, SharedSigner};
use crate::error::DeviceError;

/// AWS IoT takes MQTT on port 443 as well, told by this protocol name.
const AWS_ALPN: &[u8] = b"x-amzn-mqtt-ca";

/// The TLS configuration of a device: the folder's authorities, its certificate, its key.
///
/// # Errors
/// [`DeviceError::Config`] names the file that is wrong, also where certificate and key do not belong together.
pub fn client_config(folder: &DeviceFolder, signer: &SharedSigner) -> Result<ClientConfig, DeviceError> {
    let broker = &folder.config.broker;
    let (ca, certificate) = (folder.resolve(&broker.ca), folder.resolve(&broker.certificate));
    let mut roots = RootCertStore::empty();
    for authority in certificates(&ca)? {
        roots.add(authority).map_err(|e| in_file(&ca, &e))?;
    }
    let key = TlsKey { signer: signer.clone(), spki: spki(&signer.public_key())? };
    let certified = CertifiedKey::new(certificates(&certificate)?, Arc::new(key));
    certified.keys_match().map_err(|_| in_file(&certificate, &"the certificate is not of the device's key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| DeviceError::Config(e.to_string()))?
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    if broker.port == 443 {
        config.alpn_protocols = vec![AWS_ALPN.to_vec()];
    }
    Ok(config)
}

/// From when to when the device's certificate is good.
///
/// # Errors
/// [`DeviceError::Config`] names the file.
pub fn validity(folder: &DeviceFolder) -> Result<RangeInclusive<UnixMillis>, DeviceError> {
    let path = folder.resolve(&folder.config.broker.certificate);
    let found = certificates(&path)?;
    // There is one, or it would have been told.
    let der = found.first().map(|certificate| certificate.as_ref()).unwrap_or_default();
    let (_, certificate) = X509Certificate::from_der(der).map_err(|e| in_file(&path, &e))?;
    let validity = certificate.validity();
    let millis = |time: x509_parser::time::ASN1Time| UnixMillis(time.timestamp().saturating_mul(1000));
    // The last second is a whole one.
    Ok(millis(validity.not_before)..=UnixMillis(millis(validity.not_after).0.saturating_add(999)))
}

fn in_file(path: &Path, why: &dyn fmt::Display) -> DeviceError {
    DeviceError::Config(format!("{}: {why}", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, DeviceError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|e| in_file(path, &e))?.collect();
    let found = found.map_err(|e| in_file(path, &e))?;
    if found.is_empty() { Err(in_file(path, &"no certificate in it")) } else { Ok(found) }
}

fn spki(key: &PublicKey) -> Result<Vec<u8>, DeviceError> {
    let bad = |e: &dyn fmt::Display| DeviceError::Config(format!("the device's public key: {e}"));
    let key = p256::PublicKey::from_sec1_bytes(key.as_bytes()).map_err(|e| bad(&e))?;
    Ok(key.to_public_key_der().map_err(|e| bad(&e))?.into_vec())
}

/// The device's key as TLS sees it.
#[derive(Clone)]
struct TlsKey {
    signer: SharedSigner,
    spki: Vec<u8>,
}

impl fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsKey({})", self.signer.public_key())
    }
}

impl SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn TlsSigner>> {
        offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256).then(|| Box::new(self.clone()) as Box<dyn TlsSigner>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.spki.as_slice().into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl TlsSigner for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let failed = |e: &dyn fmt::Display| rustls::Error::General(e.to_string());
        let raw = self.signer.sign_digest(&sha256(&[message]).0).map_err(|e| failed(&e))?;
        let signature = p256::ecdsa::Signature::from_slice(&raw).map_err(|e| failed(&e))?;
        // TLS has signatures in DER, envelopes have them raw.
        Ok(signature.to_der().as_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
