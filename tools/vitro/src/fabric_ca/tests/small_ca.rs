//! A small CA over TLS that answers in the form of the recorded exchange, and can do wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use time::OffsetDateTime;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;
use crate::authority::stub::{Asked, read};

/// The secret that everybody is registered with.
pub(super) const SECRET: &str = "rIght-Secret";

/// What the CA does.
#[derive(Clone, Copy)]
pub(super) enum Behaviour {
    /// What it should.
    Good,
    /// It certifies a key of its own.
    OtherKey,
    /// It certifies another name.
    OtherName,
    /// Its certificate's time is over.
    Expired,
    /// Another authority than the one it shows has signed.
    OtherIssuer,
}

pub(super) struct SmallCa {
    root: String,
    issuer: Issuer<'static, KeyPair>,
    pub(super) tls_ca: String,
    tls: (String, KeyPair),
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let key = pki::new_key().unwrap();
    let validity = pki::Validity::new(RECORDED - YEAR, RECORDED + 10 * YEAR).unwrap();
    let pem = pki::root_certificate(name, &key, validity, 1).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&pem, key).unwrap();
    (pem, issuer)
}

fn params(name: &str, unit: Option<&str>, not_after: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(unit) = unit {
        params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.not_before = OffsetDateTime::from_unix_timestamp(RECORDED - YEAR).unwrap();
    params.not_after = OffsetDateTime::from_unix_timestamp(not_after).unwrap();
    params
}

impl SmallCa {
    pub(super) fn new() -> Self {
        let (root, issuer) = authority("small CA");
        let (tls_ca, tls_issuer) = authority("small TLS CA");
        let key = pki::new_key().unwrap();
        let mut server = params("small CA's server", None, RECORDED + YEAR);
        // The connection judges by the real clock.
        server.not_before = rcgen::date_time_ymd(2020, 1, 1);
        server.not_after = rcgen::date_time_ymd(2050, 1, 1);
        server.subject_alt_names = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().subject_alt_names;
        let certificate = server.signed_by(&key, &tls_issuer).unwrap().pem();
        Self { root, issuer, tls_ca, tls: (certificate, key) }
    }

    /// An identity that it has issued.
    pub(super) fn member(&self, name: &str, unit: &str, not_after: i64) -> IdentityProfile {
        let key = pki::new_key().unwrap();
        let certificate = params(name, Some(unit), not_after).signed_by(&key, &self.issuer).unwrap();
        IdentityProfile {
            msp: "RcMSP".into(),
            certificate_pem: certificate.pem(),
            key_pem: Some(SecretPem::new(pki::key_pem(&key).to_string())),
        }
    }

    pub(super) async fn serve(&self, behaviour: Behaviour) -> Server {
        let chain = vec![pki::der(&self.tls.0).unwrap().into()];
        let key = PrivateKeyDer::from_pem_slice(self.tls.1.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let desk = Desk {
            behaviour,
            root: self.root.clone(),
            issuer: Issuer::from_ca_cert_pem(
                &self.root,
                KeyPair::from_pem(&self.issuer.key().serialize_pem()).unwrap(),
            )
            .unwrap(),
        };
        let count = asked.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that does not trust us goes away.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let request = read(&mut stream).await;
                count.fetch_add(1, Ordering::SeqCst);
                let (status, body) = desk.answer(&request);
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(head.as_bytes()).await.unwrap();
                let _ = stream.shutdown().await;
            }
        });
        Server { address, asked, task }
    }
}

pub(super) struct Server {
    address: std::net::SocketAddr,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(super) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// How many requests came.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Who answers.
struct Desk {
    behaviour: Behaviour,
    root: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Desk {
    fn answer(&self, asked: &Asked) -> (u16, String) {
        let Some(name) = self.caller(asked) else {
            return (401, text(&recorded("used_up"), "answer").to_owned());
        };
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        let request = CertificateSigningRequestParams::from_pem(text(&body, "certificate_request")).unwrap();
        let stranger = authority("stranger").1;
        let mine = pki::new_key().unwrap();
        let (mut name, mut not_after, mut issuer) = (name.as_str(), RECORDED + YEAR, &self.issuer);
        let mut key: &dyn PublicKeyData = &request.public_key;
        match self.behaviour {
            Behaviour::Good => {}
            Behaviour::OtherKey => key = &mine,
            Behaviour::OtherName => name = "mallory",
            Behaviour::Expired => not_after = RECORDED - 1,
            Behaviour::OtherIssuer => issuer = &stranger,
        }
        let certificate = params(name, Some("client"), not_after).signed_by(&Shown(key), issuer).unwrap();
        let result = json!({
            "Cert": STANDARD.encode(certificate.pem()),
            "ServerInfo": { "CAName": "ca-rc", "CAChain": STANDARD.encode(&self.root), "Version": "1.5.21" },
        });
        (201, json!({ "result": result, "errors": [], "messages": [], "success": true }).to_string())
    }

    /// Who asks, by secret or by token.
    fn caller(&self, asked: &Asked) -> Option<String> {
        let authorization = asked.header("authorization")?;
        let line = asked.line.strip_suffix(" HTTP/1.1")?;
        if let Some(pair) = authorization.strip_prefix("Basic ") {
            let pair = String::from_utf8(STANDARD.decode(pair).ok()?).ok()?;
            let (id, secret) = pair.split_once(':')?;
            return (line.ends_with("/enroll") && secret == SECRET).then(|| id.to_owned());
        }
        let pem = String::from_utf8(STANDARD.decode(authorization.split_once('.')?.0).ok()?).ok()?;
        let der = pki::der(&pem).ok()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let root = pki::read_certificate(&self.root).unwrap();
        let ours = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, root.public_key.as_bytes())
            .verify(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data);
        let holds = ours.is_ok() && token_holds(&authorization, line, &asked.body);
        holds.then(|| pki::read_certificate(&pem).unwrap().name)
    }
}

/// A public key, whatever it is of.
struct Shown<'a>(&'a dyn PublicKeyData);

impl PublicKeyData for Shown<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.0.algorithm()
    }
}
