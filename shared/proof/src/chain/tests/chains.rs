use rcgen::{
    BasicConstraints, CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P384_SHA384,
    SanType,
};

use super::made::*;
use crate::chain::{BrokenLink, CertificateId, ChainFault, ChainPolicy, Crl, RevocationReason, verify_chain};
use crate::error::Reason;
use crate::ids::UnixMillis;

fn code<T>(verdict: Result<T, ChainFault>) -> &'static str {
    match verdict {
        Ok(_) => "good",
        Err(fault) => fault.reason(),
    }
}

fn cause(world: &World) -> BrokenLink {
    match world.verify() {
        Err(ChainFault::BadChain { cause, .. }) => cause,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_chain_says_who_it_is() {
    let world = World::new();
    let verified = world.verify().unwrap();
    assert_eq!(verified.common_name, "dev-1");
    assert_eq!(verified.serial.to_string(), "03");
    assert_eq!(verified.certificate, CertificateId::of(&world.leaf));
    assert_eq!(verified.issuers, [CertificateId::of(&world.between.der), CertificateId::of(&world.root.der)]);
    assert_eq!(verified.not_before, UnixMillis((NOW - 86_400) * 1000));
    let between = crate::chain::Certificate::read(&world.between.der).unwrap();
    assert_eq!(verified.issuer_key, between.key_hash());
    assert_eq!(between.common_name(), Some("Between"));
    assert!(between.is_authority());
}

#[test]
fn chains_of_any_depth_up_to_six_between() {
    for depth in 0..=7_u64 {
        let root = Authority::root("Root");
        let mut above = vec![Authority::root("Other")];
        let mut lists = vec![Crl::verify(&root.list(&list_params(1, &[])), &root.der).unwrap()];
        for level in 0..depth {
            let params = authority_params(&format!("Level {level}"), 10 + level);
            let next = if level == 0 { root.below(&params) } else { above.last().unwrap().below(&params) };
            lists.push(Crl::verify(&next.list(&list_params(1, &[])), &next.der).unwrap());
            above.push(next);
        }
        let issuer = if depth == 0 { &root } else { above.last().unwrap() };
        let leaf = issuer.sign(&device_params("dev-1", 3), &key());
        // Any order, and with what does not belong there.
        let mut pool: Vec<&[u8]> = above.iter().map(|authority| authority.der.as_slice()).collect();
        pool.push(b"nonsense");
        pool.push(&root.der);
        pool.push(&leaf);
        let wanted = if depth > 6 { "unknown_ca" } else { "good" };
        assert_eq!(code(verify(&leaf, &pool, &[&root.der], &lists, NOW)), wanted, "{depth}");
        pool.reverse();
        let verdict = verify(&leaf, &pool, &[&above[0].der, b"nonsense", &root.der], &lists, NOW);
        assert_eq!(code(verdict), wanted, "{depth}");
    }
}

#[test]
fn strangers_are_unknown() {
    let (world, other) = (World::new(), World::new());
    let lists: Vec<Crl> = Vec::new();
    // Same names, other keys: told by the key identifiers.
    assert_eq!(code(verify(&world.leaf, &[&other.between.der], &[&other.root.der], &lists, NOW)), "unknown_ca");
    assert_eq!(code(verify(&world.leaf, &[], &[&world.root.der], &lists, NOW)), "unknown_ca");
    assert_eq!(code(verify(&world.leaf, &[&world.between.der], &[], &lists, NOW)), "unknown_ca");
    // The device's certificate is not its own authority.
    assert_eq!(code(verify(&world.leaf, &[&world.leaf], &[&world.leaf], &lists, NOW)), "unknown_ca");
    let own = Authority::root("dev-1");
    assert_eq!(code(verify(&own.der, &[], &[&world.root.der], &lists, NOW)), "unknown_ca");
    // A name and no key identifier: the signature tells.
    let mut device = device_params("dev-1", 3);
    device.use_authority_key_identifier_extension = false;
    let forged = other.between.sign(&device, &key());
    let verdict = verify(&forged, &[&world.between.der], &[&world.root.der], &lists, NOW);
    assert!(matches!(verdict, Err(ChainFault::BadChain { cause: BrokenLink::Signature, .. })), "{verdict:?}");
    assert_eq!(code(verify(b"nonsense", &[], &[&world.root.der], &lists, NOW)), "bad_chain");
}

#[test]
fn keys_are_of_p_256() {
    let foreign = || KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let mut world = World::new();
    world.leaf = world.between.sign(&device_params("dev-1", 3), &foreign());
    assert_eq!(code(world.verify()), "wrong_curve");
    let between = world.root.below_with_key(&authority_params("Between", 2), foreign());
    let leaf = between.sign(&device_params("dev-1", 3), &key());
    assert_eq!(code(verify(&leaf, &[&between.der], &[&world.root.der], &[], NOW)), "wrong_curve");
    let root = Authority::self_signed(&authority_params("Root", 1), foreign());
    let leaf = root.sign(&device_params("dev-1", 3), &key());
    assert_eq!(code(verify(&leaf, &[], &[&root.der], &[], NOW)), "wrong_curve");
}

#[test]
fn an_authority_must_be_allowed_to_sign() {
    let mut params = authority_params("Between", 2);
    params.is_ca = IsCa::ExplicitNoCa;
    let mut world = World::new();
    world.between = world.root.below(&params);
    world.leaf = world.between.sign(&device_params("dev-1", 3), &key());
    let verdict = verify(&world.leaf, &[&world.between.der], &[&world.root.der], &[], NOW);
    assert!(matches!(verdict, Err(ChainFault::BadChain { cause: BrokenLink::NotAnAuthority, .. })), "{verdict:?}");

    let mut params = authority_params("Between", 2);
    params.key_usages = vec![KeyUsagePurpose::CrlSign];
    assert_eq!(cause(&World::with(&params, &device_params("dev-1", 3))), BrokenLink::KeyUsage);
    params.key_usages = vec![];
    world.between = world.root.below(&params);
    world.leaf = world.between.sign(&device_params("dev-1", 3), &key());
    let verdict = verify(&world.leaf, &[&world.between.der], &[&world.root.der], &[], NOW);
    assert!(matches!(verdict, Err(ChainFault::BadChain { cause: BrokenLink::KeyUsage, .. })), "{verdict:?}");
}

#[test]
fn path_lengths_count_from_the_root_down() {
    let limited = |name: &str, limit| {
        let mut params = authority_params(name, 7);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(limit));
        params
    };
    for (root_limit, between_limit, wanted) in [(2, 1, "good"), (2, 0, "bad_chain"), (1, 1, "bad_chain")] {
        let root = Authority::self_signed(&limited("Root", root_limit), key());
        let one = root.below(&limited("One", between_limit));
        let two = one.below(&authority_params("Two", 8));
        let leaf = two.sign(&device_params("dev-1", 3), &key());
        let lists = [&root, &one, &two].map(|a| Crl::verify(&a.list(&list_params(1, &[])), &a.der).unwrap());
        let verdict = verify(&leaf, &[&one.der, &two.der], &[&root.der], &lists, NOW);
        assert!(!matches!(verdict, Err(ChainFault::BadChain { ref cause, .. }) if *cause != BrokenLink::PathLength));
        assert_eq!(code(verdict), wanted, "{root_limit} {between_limit}");
    }
}

#[test]
fn a_device_is_no_authority_and_a_client() {
    let mut params = device_params("dev-1", 3);
    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    assert_eq!(code(World::with(&authority_params("B", 2), &params).verify()), "not_a_device_certificate");
    params.key_usages = vec![];
    assert_eq!(code(World::with(&authority_params("B", 2), &params).verify()), "not_a_device_certificate");
    let mut params = device_params("dev-1", 3);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert_eq!(code(World::with(&authority_params("B", 2), &params).verify()), "not_a_device_certificate");
    params.extended_key_usages = vec![];
    assert_eq!(code(World::with(&authority_params("B", 2), &params).verify()), "good");
    let mut params = device_params("dev-1", 3);
    params.distinguished_name.push(DnType::CommonName, "dev-1");
    params.distinguished_name.remove(DnType::CommonName);
    assert_eq!(code(World::with(&authority_params("B", 2), &params).verify()), "not_a_device_certificate");
    let mut params = authority_params("dev-1", 3);
    params.key_usages.push(KeyUsagePurpose::DigitalSignature);
    assert_eq!(code(World::with(&authority_params("B", 2), &params).verify()), "not_a_device_certificate");
    // An authority that is for servers cannot vouch for clients: webpki looks at the whole path.
    let mut params = authority_params("B", 2);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    assert_eq!(code(World::with(&params, &device_params("dev-1", 3)).verify()), "not_a_device_certificate");
}

#[test]
fn name_constraints_bind() {
    let mut between = authority_params("Between", 2);
    between.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("acme.example".into())],
        excluded_subtrees: vec![],
    });
    let named = |name: &str| {
        let mut device = device_params("dev-1", 3);
        device.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        device
    };
    assert_eq!(code(World::with(&between, &named("dev-1.acme.example")).verify()), "good");
    assert_eq!(cause(&World::with(&between, &named("dev-1.other.example"))), BrokenLink::Names);
}

#[test]
fn unknown_critical_extensions_are_refused() {
    let extension = |critical| {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
        extension.set_criticality(critical);
        vec![extension]
    };
    let mut device = device_params("dev-1", 3);
    device.custom_extensions = extension(false);
    assert_eq!(code(World::with(&authority_params("B", 2), &device).verify()), "good");
    device.custom_extensions = extension(true);
    assert_eq!(cause(&World::with(&authority_params("B", 2), &device)), BrokenLink::Extension);
}

#[test]
fn each_certificate_has_its_time() {
    let set = |params: &mut rcgen::CertificateParams, from: i64, to: i64| {
        (params.not_before, params.not_after) = (at(NOW + from), at(NOW + to));
    };
    for (from, to, leaf, issuer) in [
        (-10, -1, "certificate_expired", "issuer_expired"),
        (1, 10, "certificate_not_yet_valid", "issuer_not_yet_valid"),
        (-10, 0, "good", "good"),
        (0, 10, "good", "good"),
    ] {
        let mut device = device_params("dev-1", 3);
        set(&mut device, from, to);
        assert_eq!(code(World::with(&authority_params("B", 2), &device).verify()), leaf);
        let mut between = authority_params("B", 2);
        set(&mut between, from, to);
        assert_eq!(code(World::with(&between, &device_params("dev-1", 3)).verify()), issuer);
        let mut params = authority_params("Root", 1);
        set(&mut params, from, to);
        let root = Authority::self_signed(&params, key());
        let leaf = root.sign(&device_params("dev-1", 3), &key());
        let lists = [Crl::verify(&root.list(&list_params(1, &[])), &root.der).unwrap()];
        assert_eq!(code(verify(&leaf, &[], &[&root.der], &lists, NOW)), issuer);
    }
    // The last second is a whole one.
    let mut device = device_params("dev-1", 3);
    set(&mut device, -10, 0);
    let world = World::with(&authority_params("B", 2), &device);
    let policy = ChainPolicy::WithoutRevocation;
    let at = |millis| verify_chain(&world.leaf, &[&world.between.der], &[&world.root.der], &[], millis, policy);
    assert_eq!(code(at(UnixMillis(NOW * 1000 + 999))), "good");
    assert_eq!(code(at(UnixMillis(NOW * 1000 + 1000))), "certificate_expired");
    assert_eq!(code(at(UnixMillis(i64::MIN))), "issuer_not_yet_valid");
    assert_eq!(code(at(UnixMillis(i64::MAX))), "issuer_expired");
}

#[test]
fn every_issuer_has_a_current_list() {
    let mut world = World::new();
    let lists = |which: &[usize]| -> Vec<Crl> {
        let all = [(&world.lists[0], &world.root.der), (&world.lists[1], &world.between.der)];
        which.iter().map(|at| Crl::verify(all[*at].0, all[*at].1).unwrap()).collect()
    };
    let verdict = |which: &[usize]| verify(&world.leaf, &[&world.between.der], &[&world.root.der], &lists(which), NOW);
    for which in [&[][..], &[0], &[1]] {
        assert_eq!(code(verdict(which)), "crl_missing", "{which:?}");
    }
    assert_eq!(code(verdict(&[1, 0])), "good");
    // From nextUpdate on, a list is out of date; before thisUpdate, there is none.
    assert_eq!(code(world.verify_at(NOW + 3599)), "good");
    assert_eq!(code(world.verify_at(NOW + 3600)), "crl_expired");
    assert_eq!(code(world.verify_at(NOW - 3600)), "good");
    assert_eq!(code(world.verify_at(NOW - 3601)), "crl_missing");
    // Without revocation, nothing is asked for.
    let policy = ChainPolicy::WithoutRevocation;
    let now = UnixMillis(NOW * 1000);
    let verdict = verify_chain(&world.leaf, &[&world.between.der], &[&world.root.der], &[], now, policy);
    assert_eq!(code(verdict), "good");

    world.lists[1] = world.between.list(&list_params(2, &[3, 4]));
    let revoked =
        ChainFault::CertificateRevoked { at: UnixMillis((NOW - 60) * 1000), reason: RevocationReason::Unspecified };
    assert_eq!(world.verify(), Err(revoked));
    world.lists[1] = world.between.list(&list_params(3, &[2, 4]));
    assert_eq!(code(world.verify()), "good");
    world.lists[0] = world.root.list(&list_params(2, &[2]));
    assert_eq!(code(world.verify()), "issuer_revoked");
}

#[test]
fn the_newest_list_counts() {
    let mut world = World::new();
    let root = Crl::verify(&world.lists[0], &world.root.der).unwrap();
    let list = |number, serials| Crl::verify(&world.between.list(&list_params(number, serials)), &world.between.der);
    let lists = [root, list(7, &[3]).unwrap(), list(9, &[]).unwrap(), list(8, &[3]).unwrap()];
    assert_eq!(code(verify(&world.leaf, &[&world.between.der], &[&world.root.der], &lists, NOW)), "good");
    // A list in several parts says nothing of a certificate that is not of its part.
    let part = |place: &str, scope| {
        let mut params = list_params(1, &[]);
        let distribution_point = CrlDistributionPoint { uris: vec![place.to_owned()] };
        params.issuing_distribution_point = Some(CrlIssuingDistributionPoint { distribution_point, scope });
        params
    };
    world.lists[1] = world.between.list(&part("http://crl.example/1", None));
    assert_eq!(code(world.verify()), "crl_missing");
    let mut device = device_params("dev-1", 3);
    device.crl_distribution_points = vec![CrlDistributionPoint { uris: vec!["http://crl.example/1".into()] }];
    world.leaf = world.between.sign(&device, &key());
    assert_eq!(code(world.verify()), "good");
    world.lists[1] = world.between.list(&part("http://crl.example/2", None));
    assert_eq!(code(world.verify()), "crl_missing");
    world.lists[1] = world.between.list(&part("http://crl.example/1", Some(CrlScope::UserCertsOnly)));
    assert_eq!(code(world.verify()), "good");
    world.lists[1] = world.between.list(&part("http://crl.example/1", Some(CrlScope::CaCertsOnly)));
    assert_eq!(code(world.verify()), "crl_missing");
}

#[test]
fn a_renewed_authority_is_found() {
    let world = World::new();
    // The same name and key twice: one certificate has expired.
    let between_key = key();
    let pem = between_key.serialize_pem();
    let again = || KeyPair::from_pem(&pem).unwrap();
    let mut old = authority_params("Between", 2);
    old.not_after = at(NOW - 1);
    let old = world.root.below_with_key(&old, again());
    let new = world.root.below_with_key(&authority_params("Between", 9), again());
    let leaf = old.sign(&device_params("dev-1", 3), &key());
    let lists = [
        Crl::verify(&world.lists[0], &world.root.der).unwrap(),
        Crl::verify(&new.list(&list_params(1, &[])), &new.der).unwrap(),
    ];
    for pool in [[&old.der[..], &new.der], [&new.der[..], &old.der]] {
        assert_eq!(
            verify(&leaf, &pool, &[&world.root.der], &lists, NOW).unwrap().issuers[0],
            CertificateId::of(&new.der)
        );
    }
    assert_eq!(code(verify(&leaf, &[&old.der], &[&world.root.der], &lists, NOW)), "issuer_expired");
    // With neither list, the path that came furthest is told.
    assert_eq!(code(verify(&leaf, &[&old.der, &new.der], &[&world.root.der], &lists[..1], NOW)), "crl_missing");
}

#[test]
fn many_authorities_of_one_name_end() {
    let world = World::new();
    let mut params = authority_params("Between", 2);
    params.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(vec![1]);
    params.is_ca = IsCa::NoCa;
    // Each could have issued each: without bounds, the paths would be too many to count.
    let pool: Vec<Authority> = (0..40).map(|_| Authority::self_signed(&authority_params("Loop", 5), key())).collect();
    let mut device = device_params("dev-1", 3);
    device.use_authority_key_identifier_extension = false;
    let leaf = pool[0].sign(&device, &key());
    let pool: Vec<&[u8]> = pool.iter().map(|authority| authority.der.as_slice()).collect();
    assert_eq!(code(verify(&leaf, &pool, &[&world.root.der], &[], NOW)), "unknown_ca");
}

#[test]
fn a_pinned_authority_is_a_root() {
    // The operator trusts an authority that another one signed, and knows nothing of that one.
    let world = World::new();
    let list = [Crl::verify(&world.lists[1], &world.between.der).unwrap()];
    let verified = verify(&world.leaf, &[], &[&world.between.der], &list, NOW).unwrap();
    assert_eq!(verified.issuers, [CertificateId::of(&world.between.der)]);
}
