use rcgen::{
    CrlDistributionPoint, CrlIssuingDistributionPoint, KeyUsagePurpose, RevocationReason as Reasons, SerialNumber,
};

use super::made::*;
use crate::chain::{ChainFault, Crl, CrlFault, CrlNumber, RevocationReason, Serial};
use crate::error::Reason;
use crate::ids::UnixMillis;

fn code(verdict: Result<Crl, CrlFault>) -> &'static str {
    verdict.map_or_else(|fault| fault.reason(), |_| "good")
}

#[test]
fn a_list_says_what_is_revoked() {
    let root = Authority::root("Root");
    let mut params = list_params(12, &[7, 9, 300]);
    params.revoked_certs[1].reason_code = Some(Reasons::KeyCompromise);
    params.revoked_certs[2].reason_code = Some(Reasons::CertificateHold);
    let list = read_list(&root.list(&params), &root.der).unwrap();
    assert_eq!(list.number(), CrlNumber::from(12));
    assert_eq!((list.this_update().seconds(), list.next_update().seconds()), (NOW - 3600, NOW + 3600));
    let said: Vec<_> = list.revoked().map(|(serial, what)| (serial.to_string(), what.reason)).collect();
    let wanted = [
        ("012c".to_owned(), RevocationReason::CertificateHold),
        ("07".to_owned(), RevocationReason::Unspecified),
        ("09".to_owned(), RevocationReason::KeyCompromise),
    ];
    assert_eq!(said, wanted);
    assert_eq!(list.revocation(&"07".parse().unwrap()).unwrap().at, UnixMillis((NOW - 60) * 1000));
    assert!(list.revocation(&"08".parse().unwrap()).is_none());
}

#[test]
fn a_held_certificate_is_not_believed() {
    let mut world = World::new();
    let mut params = list_params(2, &[3]);
    params.revoked_certs[0].reason_code = Some(Reasons::CertificateHold);
    world.lists[1] = world.between.list(&params);
    let verdict = world.verify();
    assert!(
        matches!(verdict, Err(ChainFault::CertificateRevoked { reason: RevocationReason::CertificateHold, .. })),
        "{verdict:?}"
    );
}

#[test]
fn a_list_is_of_its_authority() {
    let (root, other) = (Authority::root("Root"), Authority::root("Root"));
    let list = root.list(&list_params(1, &[]));
    assert_eq!(code(read_list(&list, &root.der)), "good");
    assert_eq!(code(read_list(&list, &other.der)), "crl_bad_signature");
    assert_eq!(code(read_list(&list, &Authority::root("Other").der)), "crl_other_issuer");
    assert_eq!(code(read_list(&list, b"nonsense")), "crl_other_issuer");
    let mut params = authority_params("Root", 1);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let silent = Authority::self_signed(&params, key());
    assert_eq!(code(read_list(&silent.list(&list_params(1, &[])), &silent.der)), "crl_other_issuer");
    // A device with the authority's name cannot sign for it.
    let mut params = device_params("Root", 1);
    params.key_usages.push(KeyUsagePurpose::CrlSign);
    let device = Authority::self_signed(&params, key());
    assert_eq!(code(read_list(&device.list(&list_params(1, &[])), &device.der)), "crl_other_issuer");
}

#[test]
fn lists_of_other_kinds_are_refused() {
    let root = Authority::root("Root");
    let good = root.list(&list_params(1, &[]));
    assert_eq!(code(read_list(&good[1..], &root.der)), "crl_unreadable");
    assert_eq!(code(read_list(&[&good[..], &[0]].concat(), &root.der)), "crl_unreadable");
    assert_eq!(code(read_list(b"", &root.der)), "crl_unreadable");
    let mut params = list_params(1, &[7]);
    params.revoked_certs[0].reason_code = Some(Reasons::RemoveFromCrl);
    assert_eq!(code(read_list(&root.list(&params), &root.der)), "crl_unsupported");
    let mut params = list_params(1, &[]);
    params.crl_number = SerialNumber::from_slice(&[1; 21]);
    assert_eq!(code(read_list(&root.list(&params), &root.der)), "crl_unreadable");
    params.crl_number = SerialNumber::from_slice(&[0xff; 19]);
    assert_eq!(read_list(&root.list(&params), &root.der).unwrap().number().to_string(), "ff".repeat(19));
    let distribution_point = CrlDistributionPoint { uris: vec!["http://crl.example".into()] };
    params.issuing_distribution_point = Some(CrlIssuingDistributionPoint { distribution_point, scope: None });
    assert_eq!(code(read_list(&root.list(&params), &root.der)), "good");
}

#[test]
fn a_list_is_current_and_never_older() {
    let root = Authority::root("Root");
    let der = root.list(&list_params(5, &[]));
    let at = |seconds: i64| Crl::parse_and_verify(&der, &root.der, UnixMillis(seconds * 1000));
    assert_eq!(code(at(NOW)), "good");
    assert_eq!(code(at(NOW - 3600)), "good");
    assert_eq!(code(at(NOW - 3601)), "crl_not_yet_valid");
    assert_eq!(code(at(NOW + 3600)), "crl_stale");
    let list = at(NOW).unwrap();
    assert!(list.check_follows(CrlNumber::from(4)).is_ok());
    assert!(list.check_follows(CrlNumber::from(5)).is_ok());
    let fault = list.check_follows(CrlNumber::from(256)).unwrap_err();
    assert_eq!((fault.reason(), fault.to_string().as_str()), ("crl_number_backwards", "its number 5 is below 100"));
}

#[test]
fn numbers_and_serials_have_one_form() {
    for (text, number) in [("0", 0), ("1", 1), ("ff", 255), ("100", 256)] {
        assert_eq!(text.parse::<CrlNumber>().unwrap(), CrlNumber::from(number));
        assert_eq!(CrlNumber::from(number).to_string(), text);
    }
    assert!("".parse::<CrlNumber>().is_err() && "x".parse::<CrlNumber>().is_err());
    assert!(format!("1{}", "0".repeat(40)).parse::<CrlNumber>().is_err());
    assert!(CrlNumber::from_bytes(&[9; 21]).is_err());
    assert!(CrlNumber::from(u64::MAX) < CrlNumber::from_bytes(&[1, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap());
    assert_eq!("00ab".parse::<Serial>().unwrap(), Serial::from_bytes(&[0xab]).unwrap());
    for bad in ["", "0", "00", &"11".repeat(21)] {
        assert!(bad.parse::<Serial>().is_err(), "{bad}");
    }
    let json = serde_json::to_string(&CrlNumber::from(256)).unwrap();
    assert_eq!((json.as_str(), serde_json::from_str(&json).unwrap()), ("\"100\"", CrlNumber::from(256)));
}
