//! Keys and certificates, made at the first start: for each organization a CA, a TLS CA, a node and two users, told apart by
//! their OU (client, peer, admin, orderer) as cryptogen does with NodeOUs.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use vitro_ledger::{Identity, PemSigner};

use crate::error::DevledgerError;
use crate::organizations::Organization;

/// The file that tells that a folder is complete; another one with each set of files.
const COMPLETE: &str = "complete-2";

/// A certificate and its key, in PEM. Has no Debug: the key is secret.
pub(crate) struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: String,
}

/// All that one organization has.
pub(crate) struct Material {
    /// Its MSP id.
    pub msp: &'static str,
    /// The certificate that its members' certificates chain to.
    pub ca: String,
    /// The certificate that its node's TLS certificate chains to.
    pub tls_ca: String,
    /// Its peer or orderer.
    pub node: Pair,
    /// Its node's TLS certificate.
    pub tls: Pair,
    /// A TLS certificate for its clients.
    pub client_tls: Pair,
    /// A user with OU admin.
    pub admin: Pair,
    /// A user with OU client.
    pub user: Pair,
}

impl Material {
    /// Reads an organization's folder, or makes it.
    ///
    /// # Errors
    /// [`DevledgerError::File`], [`DevledgerError::Certificates`].
    pub(crate) fn load_or_make(
        folder: &Path,
        organization: Organization,
        host: IpAddr,
    ) -> Result<Self, DevledgerError> {
        let folder = folder.join(organization.name);
        if !folder.join(COMPLETE).exists() {
            make(&folder, organization, host)?;
        }
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(DevledgerError::file(path))
        };
        let pair = |name: &str| -> Result<Pair, DevledgerError> {
            Ok(Pair { certificate: read(&format!("{name}.cert.pem"))?, key: read(&format!("{name}.key.pem"))? })
        };
        Ok(Self {
            msp: organization.msp,
            ca: read("ca.cert.pem")?,
            tls_ca: read("tls-ca.cert.pem")?,
            node: pair("node")?,
            tls: pair("tls")?,
            client_tls: pair("client-tls")?,
            admin: pair("admin")?,
            user: pair("user1")?,
        })
    }

    /// The node's identity.
    ///
    /// # Errors
    /// [`DevledgerError::Certificates`] if the key is damaged.
    pub(crate) fn node_identity(&self) -> Result<Identity, DevledgerError> {
        let signer = PemSigner::from_pem(&self.node.key).map_err(fault)?;
        Ok(Identity::new(self.msp, &self.node.certificate, std::sync::Arc::new(signer)))
    }
}

fn fault(error: impl ToString) -> DevledgerError {
    DevledgerError::Certificates(error.to_string())
}

/// Makes a folder anew; a file that is written last tells that it is complete.
fn make(folder: &Path, organization: Organization, host: IpAddr) -> Result<(), DevledgerError> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(DevledgerError::file(folder))?;
    }
    fs::create_dir_all(folder).map_err(DevledgerError::file(folder))?;
    let domain = format!("{}.example.com", organization.name);
    let ca = authority(folder, "ca", &format!("ca.{domain}"), &domain)?;
    let tls_ca = authority(folder, "tls-ca", &format!("tlsca.{domain}"), &domain)?;
    let node_role = if organization.name == "orderer" { "orderer" } else { "peer" };
    let members = [("node", node_role), ("admin", "admin"), ("user1", "client")];
    for (name, role) in members {
        let mut params = parameters(&format!("{name}@{domain}"), &domain, Some(role))?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        issue(folder, name, &params, &ca)?;
    }
    let mut params = parameters(&format!("{node_role}0.{domain}"), &domain, None)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![
        SanType::DnsName("localhost".try_into().map_err(fault)?),
        SanType::DnsName(format!("{node_role}0.{domain}").try_into().map_err(fault)?),
        SanType::IpAddress(host),
    ];
    issue(folder, "tls", &params, &tls_ca)?;
    let mut params = parameters(&format!("client.{domain}"), &domain, None)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    issue(folder, "client-tls", &params, &tls_ca)?;
    write(&folder.join(COMPLETE), b"", 0o644)
}

fn parameters(name: &str, domain: &str, role: Option<&str>) -> Result<CertificateParams, DevledgerError> {
    let mut params = CertificateParams::new(Vec::new()).map_err(fault)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CountryName, "US");
    subject.push(DnType::OrganizationName, domain);
    if let Some(role) = role {
        subject.push(DnType::OrganizationalUnitName, role);
    }
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2050, 1, 1);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn authority(
    folder: &Path,
    name: &str,
    common_name: &str,
    domain: &str,
) -> Result<Issuer<'static, KeyPair>, DevledgerError> {
    let mut params = parameters(common_name, domain, None)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(fault)?;
    let certificate = params.self_signed(&key).map_err(fault)?;
    write(&path(folder, name, "cert"), certificate.pem().as_bytes(), 0o644)?;
    write(&path(folder, name, "key"), key.serialize_pem().as_bytes(), 0o600)?;
    Ok(Issuer::new(params, key))
}

fn issue(
    folder: &Path,
    name: &str,
    params: &CertificateParams,
    issuer: &Issuer<'static, KeyPair>,
) -> Result<(), DevledgerError> {
    let key = KeyPair::generate().map_err(fault)?;
    let certificate = params.signed_by(&key, issuer).map_err(fault)?;
    write(&path(folder, name, "cert"), certificate.pem().as_bytes(), 0o644)?;
    write(&path(folder, name, "key"), key.serialize_pem().as_bytes(), 0o600)
}

fn path(folder: &Path, name: &str, kind: &str) -> PathBuf {
    folder.join(format!("{name}.{kind}.pem"))
}

/// Writes a file so that it is there whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DevledgerError> {
    let draft = path.with_extension("draft");
    let written = || {
        // A draft that a kill left behind may have another mode.
        let _ = fs::remove_file(&draft);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    written().map_err(DevledgerError::file(path))
}
