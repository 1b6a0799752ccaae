//! Makes authorities, certificates and lists.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    RevokedCertParams, SerialNumber,
};
use time::OffsetDateTime;

use crate::chain::{ChainFault, ChainPolicy, Crl, CrlFault, VerifiedChain, signature, verify_with};
use crate::ids::UnixMillis;

/// When most tests take place, in seconds.
pub(super) const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

pub(super) fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

pub(super) fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn params(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    (params.not_before, params.not_after) = (at(NOW - DAY), at(NOW + DAY));
    params
}

/// An authority: its certificate and the means to sign.
pub(super) struct Authority {
    pub(super) der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

pub(super) fn authority_params(name: &str, serial: u64) -> CertificateParams {
    let mut params = params(name, serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    pub(super) fn root(name: &str) -> Self {
        Self::self_signed(&authority_params(name, 1), key())
    }

    pub(super) fn self_signed(params: &CertificateParams, key: KeyPair) -> Self {
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { der, issuer: Issuer::new(signing(params), key) }
    }

    /// An authority below this one.
    pub(super) fn below(&self, params: &CertificateParams) -> Self {
        self.below_with_key(params, key())
    }

    pub(super) fn below_with_key(&self, params: &CertificateParams, key: KeyPair) -> Self {
        let mut params = params.clone();
        params.use_authority_key_identifier_extension = true;
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Self { der, issuer: Issuer::new(signing(&params), key) }
    }

    pub(super) fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Vec<u8> {
        params.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }

    pub(super) fn list(&self, params: &CertificateRevocationListParams) -> Vec<u8> {
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

/// rcgen refuses to sign lists for an authority that may not; the tests want such lists.
fn signing(params: &CertificateParams) -> CertificateParams {
    let mut params = params.clone();
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(super) fn device_params(name: &str, serial: u64) -> CertificateParams {
    let mut params = params(name, serial);
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

pub(super) fn revoked(serial: u64) -> RevokedCertParams {
    RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: at(NOW - 60),
        reason_code: None,
        invalidity_date: None,
    }
}

pub(super) fn list_params(number: u64, serials: &[u64]) -> CertificateRevocationListParams {
    CertificateRevocationListParams {
        this_update: at(NOW - 3600),
        next_update: at(NOW + 3600),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(|serial| revoked(*serial)).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

/// A root, one authority between, a device, and a list for each issuer.
pub(super) struct World {
    pub(super) root: Authority,
    pub(super) between: Authority,
    pub(super) leaf: Vec<u8>,
    pub(super) lists: Vec<Vec<u8>>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(&authority_params("Between", 2), &device_params("dev-1", 3))
    }

    pub(super) fn with(between: &CertificateParams, device: &CertificateParams) -> Self {
        let root = Authority::root("Root");
        let between = root.below(between);
        let leaf = between.sign(device, &key());
        let lists = vec![root.list(&list_params(1, &[])), between.list(&list_params(1, &[]))];
        Self { root, between, leaf, lists }
    }

    pub(super) fn verify(&self) -> Result<VerifiedChain, ChainFault> {
        self.verify_at(NOW)
    }

    pub(super) fn verify_at(&self, now: i64) -> Result<VerifiedChain, ChainFault> {
        let lists = [(&self.lists[0], &self.root.der), (&self.lists[1], &self.between.der)];
        let lists: Vec<Crl> = lists.iter().map(|(list, issuer)| Crl::verify(list, issuer).unwrap()).collect();
        verify(&self.leaf, &[&self.between.der], &[&self.root.der], &lists, now)
    }
}

/// Verifies with both backends, which must agree.
pub(super) fn verify(
    leaf: &[u8],
    issuers: &[&[u8]],
    roots: &[&[u8]],
    lists: &[Crl],
    now: i64,
) -> Result<VerifiedChain, ChainFault> {
    let lists: Vec<&Crl> = lists.iter().collect();
    let now = UnixMillis(now * 1000);
    let verdict = verify_with(&signature::Pure, leaf, issuers, roots, &lists, now, ChainPolicy::WithRevocation);
    #[cfg(feature = "aws-lc")]
    assert_eq!(verdict, verify_with(&signature::AwsLc, leaf, issuers, roots, &lists, now, ChainPolicy::WithRevocation));
    verdict
}

/// Reads a list with both backends, which must agree.
pub(super) fn read_list(der: &[u8], issuer: &[u8]) -> Result<Crl, CrlFault> {
    let verdict = Crl::verify_with(&signature::Pure, der, issuer);
    #[cfg(feature = "aws-lc")]
    {
        let other = Crl::verify_with(&signature::AwsLc, der, issuer);
        assert_eq!(verdict.as_ref().map(Crl::hash), other.as_ref().map(Crl::hash));
    }
    verdict
}
