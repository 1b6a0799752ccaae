//! TLS by rustls over Graviola. HTTP/2 is agreed on by ALPN, as gRPC asks for.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::error::ChaincodeError;
use crate::settings::{PeerTls, ServiceTls};

const HTTP2: &[u8] = b"h2";

fn fault(what: &str, detail: impl ToString) -> ChaincodeError {
    ChaincodeError::Tls(format!("{what}: {}", detail.to_string()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls_graviola::default_provider())
}

fn certificates(what: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, ChaincodeError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(fault(what, "no certificate in it")),
        Err(error) => Err(fault(what, error)),
    }
}

/// A key by what its bytes are: a peer writes PKCS#8 under the heading of SEC 1 (`EC PRIVATE KEY`).
fn key(what: &str, pem: &str) -> Result<PrivateKeyDer<'static>, ChaincodeError> {
    let found = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| fault(what, error))?;
    PrivateKeyDer::try_from(found.secret_der().to_vec()).map_err(|error| fault(what, error))
}

fn roots(what: &str, pem: &str) -> Result<RootCertStore, ChaincodeError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(what, pem)? {
        store.add(certificate).map_err(|error| fault(what, error))?;
    }
    Ok(store)
}

/// Towards a peer, which knows the chaincode by the certificate that it made for it.
pub(crate) fn client(tls: &PeerTls) -> Result<ClientConfig, ChaincodeError> {
    let chain = certificates("the client certificate", &tls.certificate_pem)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| fault("versions", error))?
        .with_root_certificates(roots("the peer's root certificate", &tls.root_pem)?)
        .with_client_auth_cert(chain, key("the client key", &tls.key_pem)?)
        .map_err(|error| fault("the client certificate", error))?;
    config.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(config)
}

/// For peers that connect; with a CA of clients, only for those that it certified.
pub(crate) fn server(tls: &ServiceTls) -> Result<ServerConfig, ChaincodeError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| fault("versions", error))?;
    let builder = match &tls.client_ca_pem {
        Some(pem) => {
            let roots = Arc::new(roots("the clients' CA", pem)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            builder.with_client_cert_verifier(verifier.build().map_err(|error| fault("the clients' CA", error))?)
        }
        None => builder.with_no_client_auth(),
    };
    let chain = certificates("the certificate", &tls.certificate_pem)?;
    let mut config = builder
        .with_single_cert(chain, key("the key", &tls.key_pem)?)
        .map_err(|error| fault("the certificate", error))?;
    config.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::KeyPair;

    #[test]
    fn a_key_is_read_by_its_bytes_whatever_the_heading_says() {
        let pkcs8 = KeyPair::generate().unwrap().serialize_pem();
        let mislabelled = pkcs8.replace("BEGIN PRIVATE", "BEGIN EC PRIVATE").replace("END PRIVATE", "END EC PRIVATE");
        assert!(mislabelled.contains("BEGIN EC PRIVATE KEY"));
        for pem in [&pkcs8, &mislabelled] {
            assert!(matches!(key("a key", pem), Ok(PrivateKeyDer::Pkcs8(_))));
        }
        let error = key("a key", "nonsense").unwrap_err();
        assert!(!error.retryable() && error.to_string().starts_with("TLS: a key: "), "{error}");
    }
}
