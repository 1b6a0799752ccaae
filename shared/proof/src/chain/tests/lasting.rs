use super::made::*;
use crate::chain::{
    CertificateId, ChainFault, LastingChain, SeenSignatures, check_anchor, lasting_with, signature, verify_lasting,
};
use crate::ids::UnixMillis;

const DAY: i64 = 86_400;

/// Verifies with both backends, which must agree.
fn lasting(leaf: &[u8], issuers: &[&[u8]], roots: &[&[u8]]) -> Result<Vec<LastingChain>, ChainFault> {
    let verdict = lasting_with(&signature::Pure, leaf, issuers, roots);
    #[cfg(feature = "aws-lc")]
    assert_eq!(verdict, lasting_with(&signature::AwsLc, leaf, issuers, roots));
    verdict
}

fn seconds(chain: &LastingChain) -> (i64, i64) {
    (chain.not_before.seconds(), chain.not_after.seconds())
}

#[test]
fn a_chain_is_good_while_all_of_it_is() {
    let root = Authority::root("Root");
    let mut params = authority_params("Between", 2);
    (params.not_before, params.not_after) = (at(NOW - 7), at(NOW + 5 * DAY));
    let between = root.below(&params);
    let mut device = device_params("dev-1", 3);
    (device.not_before, device.not_after) = (at(NOW - 3 * DAY), at(NOW + 60));
    let leaf = between.sign(&device, &key());
    let chains = lasting(&leaf, &[&between.der], &[&root.der]).unwrap();
    assert_eq!(chains.iter().map(seconds).collect::<Vec<_>>(), [(NOW - 7, NOW + 60)]);
    assert_eq!(chains[0].chain.common_name, "dev-1");
    assert_eq!(chains[0].chain.issuers.last(), Some(&CertificateId::of(&root.der)));
    for (second, good) in [(NOW - 8, false), (NOW - 7, true), (NOW + 60, true), (NOW + 61, false)] {
        assert_eq!(chains[0].holds_at(UnixMillis(second * 1000 + 999)), good, "{second}");
    }
    // Up to the authority between, if that is what is pinned: nothing above it is asked.
    let pinned = lasting(&leaf, &[&root.der], &[&between.der]).unwrap();
    assert_eq!(pinned.iter().map(seconds).collect::<Vec<_>>(), [(NOW - 7, NOW + 60)]);
    assert_eq!(pinned[0].chain.issuers, [CertificateId::of(&between.der)]);
}

#[test]
fn what_is_never_good_as_a_whole_is_not_good() {
    let root = Authority::root("Root");
    let mut device = device_params("dev-1", 3);
    (device.not_before, device.not_after) = (at(NOW + 2 * DAY), at(NOW + 3 * DAY));
    let leaf = root.sign(&device, &key());
    // The root has ended before the device's certificate begins.
    assert!(matches!(lasting(&leaf, &[], &[&root.der]), Err(ChainFault::IssuerExpired { .. })));
    let stranger = Authority::root("Root");
    assert!(matches!(lasting(&leaf, &[], &[&stranger.der]), Err(ChainFault::UnknownCa { .. })));
    let world = World::new();
    assert!(matches!(lasting(&world.leaf, &[], &[&world.root.der]), Err(ChainFault::UnknownCa { .. })));
    let mut forged = world.leaf.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert!(lasting(&forged, &[&world.between.der], &[&world.root.der]).is_err());
}

#[test]
fn every_path_tells_its_time() {
    // One authority, certified by two roots for two times.
    let (one, two) = (Authority::root("One"), Authority::root("Two"));
    let shared = key();
    let mut params = authority_params("Between", 2);
    (params.not_before, params.not_after) = (at(NOW - DAY), at(NOW - 60));
    let pem = shared.serialize_pem();
    let again = || rcgen::KeyPair::from_pem(&pem).unwrap();
    let early = one.below_with_key(&params, again());
    (params.not_before, params.not_after) = (at(NOW - 90), at(NOW + DAY));
    let late = two.below_with_key(&params, again());
    let leaf = late.sign(&device_params("dev-1", 3), &key());
    let roots = [one.der.as_slice(), &two.der];
    let mut spans: Vec<_> = lasting(&leaf, &[&early.der, &late.der], &roots).unwrap().iter().map(seconds).collect();
    spans.sort_unstable();
    assert_eq!(spans, [(NOW - DAY, NOW - 60), (NOW - 90, NOW + DAY)]);
    assert_eq!(lasting(&leaf, &[&early.der, &late.der], &roots[..1]).unwrap().len(), 1);
}

#[test]
fn an_anchor_is_an_authority() {
    let world = World::new();
    check_anchor(&world.root.der).unwrap();
    check_anchor(&world.between.der).unwrap();
    assert!(matches!(check_anchor(&world.leaf), Err(ChainFault::BadChain { .. })));
    assert!(matches!(check_anchor(b"nonsense"), Err(ChainFault::BadChain { .. })));
}

#[test]
fn a_signature_that_was_verified_is_not_verified_again() {
    let world = World::new();
    let (seen, issuers, roots) =
        (SeenSignatures::default(), [world.between.der.as_slice()], [world.root.der.as_slice()]);
    let first = verify_lasting(&world.leaf, &issuers, &roots, &seen).unwrap();
    assert_eq!(seen.len(), 3, "of the root, the authority between and the device, each once");
    assert_eq!(verify_lasting(&world.leaf, &issuers, &roots, &seen).unwrap(), first);
    let another = world.between.sign(&device_params("dev-2", 4), &key());
    verify_lasting(&another, &issuers, &roots, &seen).unwrap();
    assert_eq!(seen.len(), 4);
    // What is remembered is of those very bytes: a changed certificate is refused, and not remembered.
    let mut forged = another;
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(verify_lasting(&forged, &issuers, &roots, &seen).is_err());
    assert_eq!(seen.len(), 4);
}
