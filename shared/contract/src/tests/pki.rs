//! Authorities and devices' certificates.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SerialNumber, SubjectPublicKeyInfo,
};
use time::OffsetDateTime;
use vitro_proof::{LocalDay, PublicKey};

use crate::calendar::{utc_end, utc_midnight};

/// The SubjectPublicKeyInfo of a P-256 key before its point.
const SPKI: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

/// From the first second of one day to the last of another, in UTC.
pub(super) fn days(first: LocalDay, last: LocalDay) -> (i64, i64) {
    (utc_midnight(first), utc_end(last) - 1)
}

fn params(name: &str, (from, to): (i64, i64)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(7));
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (at(from), at(to));
    params
}

/// Whoever signs certificates.
pub(super) struct Authority {
    pub(super) der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn params(name: &str, valid: (i64, i64)) -> CertificateParams {
        let mut params = params(name, valid);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    pub(super) fn root(name: &str, valid: (i64, i64)) -> Self {
        let (params, key) = (Self::params(name, valid), KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
        Self { der: params.self_signed(&key).unwrap().der().to_vec(), issuer: Issuer::new(params, key) }
    }

    /// An authority below this one.
    pub(super) fn below(&self, name: &str, valid: (i64, i64)) -> Self {
        let (params, key) = (Self::params(name, valid), KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Self { der, issuer: Issuer::new(params, key) }
    }

    /// A device's certificate for a key that only the device has.
    pub(super) fn certify(&self, name: &str, key: &PublicKey, valid: (i64, i64)) -> Vec<u8> {
        let mut params = params(name, valid);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let spki = [hex::decode(SPKI).unwrap().as_slice(), key.as_bytes()].concat();
        params.signed_by(&SubjectPublicKeyInfo::from_der(&spki).unwrap(), &self.issuer).unwrap().der().to_vec()
    }
}
