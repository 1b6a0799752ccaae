//! Certificates and revocation lists.

use std::sync::LazyLock;

use vitro_proof::chain::{
    Certificate, CertificateId, ChainFault, ChainPolicy, Crl, CrlFault, CrlNumber, Serial, VerifiedChain,
    check_authority, verify_chain,
};
use vitro_proof::crypto::SoftwareSigner;
use vitro_proof::{Reason, Signer, UnixMillis};

use super::Anybody;
use super::der::{self, BETWEEN, Purpose, ROOT, authority, device, ways};

/// 2027-01-15T08:00:00Z.
pub(crate) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// An authority below the root, and the root.
struct Authorities {
    root: SoftwareSigner,
    root_der: Vec<u8>,
    between: SoftwareSigner,
    between_der: Vec<u8>,
}

static AUTHORITIES: LazyLock<Authorities> = LazyLock::new(|| {
    let (root, between) = (der::signer(ROOT), der::signer(BETWEEN));
    let root_der = der::signed(&der::certificate(&[1], ROOT, ROOT, &root.public_key(), Purpose::Authority), &root);
    let between_der = der::signed(&authority(), &root);
    Authorities { root, root_der, between, between_der }
});

pub(crate) fn run(data: &[u8]) -> bool {
    let Some((way, data)) = data.split_first() else { return false };
    if data.len() > 16 * 1024 {
        return false;
    }
    match way % 5 {
        ways::CERTIFICATE => read(data),
        ways::LIST => Crl::verify(data, &AUTHORITIES.between_der).is_ok_and(|list| check_list(&list)),
        ways::SIGNED_LIST => signed_list(data),
        ways::SIGNED_DEVICE => signed_device(data),
        _ => signed_authority(data),
    }
}

/// Anybody's certificate.
fn read(bytes: &[u8]) -> bool {
    let known = [&AUTHORITIES.root_der[..], &AUTHORITIES.between_der];
    let verdict = verify_chain(bytes, &[known[1]], &[known[0]], &[], NOW, ChainPolicy::WithoutRevocation);
    let alone = verify_chain(bytes, &[bytes], &[bytes], &[], NOW, ChainPolicy::WithoutRevocation);
    let _ = check_authority(bytes, bytes).map_err(|fault| fault.to_string());
    for fault in [&verdict, &alone].into_iter().filter_map(|verdict| verdict.as_ref().err()) {
        assert!(!fault.reason().is_empty() && fault.to_string().len() < 4096);
    }
    let Ok(certificate) = Certificate::read(bytes) else {
        assert!(matches!(verdict, Err(ChainFault::BadChain { .. })));
        return false;
    };
    assert_eq!((certificate.der(), certificate.id()), (bytes, CertificateId::of(bytes)));
    let serial = certificate.serial();
    assert!((1..=20).contains(&serial.as_bytes().len()) && serial.as_bytes()[0] != 0);
    assert_eq!(serial.to_string().parse::<Serial>().unwrap(), *serial);
    let _ = (certificate.common_name(), certificate.crl_urls(), certificate.is_self_issued());
    assert!(Certificate::read(&[bytes, &[0]].concat()).is_err());
    if let Ok(verified) = &verdict {
        check_verified(verified, &certificate);
    }
    verdict.is_ok()
}

fn check_verified(verified: &VerifiedChain, certificate: &Certificate<'_>) {
    assert_eq!((&verified.serial, verified.certificate), (certificate.serial(), certificate.id()));
    assert_eq!(Some(verified.common_name.as_str()), certificate.common_name());
    assert_eq!(Some(verified.public_key), certificate.public_key());
    assert!(!certificate.is_authority(), "a device is no authority");
    assert!(verified.not_before.seconds() <= NOW.seconds() && NOW.seconds() <= verified.not_after.seconds());
    assert!(!verified.issuers.is_empty());
}

/// Every serial number that a list revokes is revoked, however it was written.
fn check_list(list: &Crl) -> bool {
    assert_eq!(list.number().to_string().parse::<CrlNumber>().unwrap(), list.number());
    assert!(list.check_follows(list.number()).is_ok());
    let current = list.check_current(NOW).is_ok();
    assert_eq!(current, list.this_update() <= NOW && NOW < list.next_update());
    let entries: Vec<&Serial> = list.revoked().map(|(serial, _)| serial).collect();
    assert!(entries.windows(2).all(|pair| pair[0] < pair[1]));
    for serial in entries.iter().take(2) {
        assert!((1..=20).contains(&serial.as_bytes().len()));
        assert!(list.revocation(serial).is_some());
        let leaf = der::signed(&device(serial.as_bytes()), &AUTHORITIES.between);
        assert!(verify_under(&leaf, &[list]).is_err(), "serial number {serial}");
    }
    current && !entries.is_empty()
}

/// A device's chain with these lists of the authority below the root, and an empty one of the root.
fn verify_under(leaf: &[u8], lists: &[&Crl]) -> Result<VerifiedChain, ChainFault> {
    static OF_ROOT: LazyLock<Crl> = LazyLock::new(|| {
        let list = der::signed(&der::list(ROOT, &[1], &[], &[]), &AUTHORITIES.root);
        Crl::verify(&list, &AUTHORITIES.root_der).unwrap()
    });
    let lists: Vec<&Crl> = lists.iter().copied().chain([&*OF_ROOT]).collect();
    let Authorities { root_der, between_der, .. } = &*AUTHORITIES;
    verify_chain(leaf, &[between_der], &[root_der], &lists, NOW, ChainPolicy::WithRevocation)
}

/// What of a list is signed, signed by its authority.
fn signed_list(part: &[u8]) -> bool {
    let issuer = &AUTHORITIES.between_der;
    // Whatever can be read before the signature is asked for.
    let forged = Crl::verify(&der::signed(part, &Anybody), issuer);
    assert!(forged.is_err(), "a forged list");
    if !matches!(forged, Err(CrlFault::BadSignature)) {
        return false;
    }
    Crl::verify(&der::signed(part, &AUTHORITIES.between), issuer).is_ok_and(|list| check_list(&list))
}

/// What of a device's certificate is signed, signed by the authority below the root.
fn signed_device(part: &[u8]) -> bool {
    let Authorities { root_der, between, between_der, .. } = &*AUTHORITIES;
    let forged = der::signed(part, &Anybody);
    if Certificate::read(&forged).is_err() {
        return false;
    }
    let verify =
        |leaf: &[u8], now| verify_chain(leaf, &[between_der], &[root_der], &[], now, ChainPolicy::WithoutRevocation);
    assert!(verify(&forged, NOW).is_err());
    let leaf = der::signed(part, between);
    let certificate = Certificate::read(&leaf).unwrap();
    let Ok(verified) = verify(&leaf, NOW) else { return false };
    check_verified(&verified, &certificate);
    assert_eq!(verified.issuers, [between_der, root_der].map(|der| CertificateId::of(der)));
    // Its time ends.
    let after = UnixMillis(verified.not_after.0.saturating_add(1000));
    assert!(matches!(
        verify(&leaf, after),
        Err(ChainFault::CertificateExpired { .. } | ChainFault::IssuerExpired { .. })
    ));
    // And it can be revoked, whatever its serial number looks like.
    let list = |entries: &[(&[u8], u8)]| {
        let list = der::signed(&der::list(BETWEEN, &[7], entries, &[]), between);
        Crl::verify(&list, between_der).unwrap()
    };
    assert!(verify_under(&leaf, &[]).is_err(), "no list, no belief");
    let good = verify_under(&leaf, &[&list(&[])]).is_ok();
    let revoked = verify_under(&leaf, &[&list(&[(verified.serial.as_bytes(), 1)])]);
    assert!(matches!(revoked, Err(ChainFault::CertificateRevoked { .. })), "{revoked:?}");
    good
}

/// What of an authority's certificate is signed, signed by the root; a device below it.
fn signed_authority(part: &[u8]) -> bool {
    let Authorities { root, root_der, between, .. } = &*AUTHORITIES;
    let der = der::signed(part, root);
    let Ok(certificate) = Certificate::read(&der) else { return false };
    let leaf = der::signed(&device(&[3]), between);
    let verdict = verify_chain(&leaf, &[&der], &[root_der], &[], NOW, ChainPolicy::WithoutRevocation);
    let Ok(verified) = verdict else { return false };
    assert!(certificate.is_authority());
    assert_eq!(verified.issuers, [&der, root_der].map(|der| CertificateId::of(der)));
    assert_eq!(check_authority(&der, root_der), Ok(()));
    true
}
