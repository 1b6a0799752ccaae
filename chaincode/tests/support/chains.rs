//! Authorities and devices' certificates that are the same in every run: what one run found, another finds again.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber, SignatureAlgorithm, SigningKey, SubjectPublicKeyInfo,
    date_time_ymd,
};
use vitro_contract::testing::TestDevice;
use vitro_proof::crypto::{Signer, SoftwareSigner, sha256};

/// The SubjectPublicKeyInfo of a P-256 key before its point.
const SPKI: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";

/// A key that signs a message always alike.
struct Key {
    signer: SoftwareSigner,
    point: [u8; 65],
}

impl Key {
    fn new(seed: u8) -> Self {
        let signer = SoftwareSigner::from_scalar(&[seed; 32]).unwrap();
        let point = *signer.public_key().as_bytes();
        Self { signer, point }
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let raw = self.signer.sign_digest(&sha256(&[message]).0).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(der_signature(&raw))
    }
}

/// A raw signature as X.509 wants it: a DER sequence of two integers, whose lengths fit one byte each.
fn der_signature(raw: &[u8; 64]) -> Vec<u8> {
    let part = |bytes: &[u8]| {
        let digits: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
        let sign = digits.first().is_none_or(|first| first & 0x80 != 0).then_some(0);
        let integer: Vec<u8> = sign.into_iter().chain(digits).collect();
        [vec![2, u8::try_from(integer.len()).unwrap()], integer].concat()
    };
    let parts = [part(&raw[..32]), part(&raw[32..])].concat();
    [vec![0x30, u8::try_from(parts.len()).unwrap()], parts].concat()
}

fn params(name: &str, until: (i32, u8, u8)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(7));
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until.0, until.1, until.2);
    params
}

/// The customer's authorities: one that agreements pin, and one below it that certifies devices.
pub(crate) struct Authorities {
    /// The one that is pinned.
    pub(crate) root: Vec<u8>,
    plant_der: Vec<u8>,
    plant: Issuer<'static, Key>,
}

impl Authorities {
    pub(crate) fn new() -> Self {
        let authority = |name: &str| {
            let mut params = params(name, (2040, 1, 1));
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params
        };
        let (root_params, root_key) = (authority("Customer"), Key::new(101));
        let root = root_params.self_signed(&root_key).unwrap().der().to_vec();
        let (plant_params, plant_key) = (authority("Plant"), Key::new(102));
        let of_root = Issuer::new(root_params, root_key);
        let plant_der = plant_params.signed_by(&plant_key, &of_root).unwrap().der().to_vec();
        Self { root, plant_der, plant: Issuer::new(plant_params, plant_key) }
    }

    /// A device's chain, which ends with 2026-03-02 if it is to end soon. One that is not whole leads nowhere.
    pub(crate) fn chain(&self, device: &TestDevice, ends: bool, whole: bool) -> Vec<Vec<u8>> {
        let mut params = params(device.thing().as_str(), if ends { (2026, 3, 3) } else { (2039, 1, 1) });
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let point = device.entry.public_key.as_bytes();
        let spki = [hex::decode(SPKI).unwrap().as_slice(), point].concat();
        let key = SubjectPublicKeyInfo::from_der(&spki).unwrap();
        let leaf = params.signed_by(&key, &self.plant).unwrap().der().to_vec();
        if whole { vec![leaf, self.plant_der.clone()] } else { vec![leaf] }
    }
}
