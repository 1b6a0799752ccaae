//! Not a bit of a chain or of a list can be changed.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::made::*;
use crate::chain::{Certificate, ChainPolicy, Crl, verify_chain};
use crate::ids::UnixMillis;

static WORLD: LazyLock<World> = LazyLock::new(World::new);
static LISTS: LazyLock<[Crl; 2]> = LazyLock::new(|| {
    let list = |at: usize, issuer: &Authority| Crl::verify(&WORLD.lists[at], &issuer.der).unwrap();
    [list(0, &WORLD.root), list(1, &WORLD.between)]
});

fn flipped(der: &[u8], bit: usize) -> Vec<u8> {
    let mut der = der.to_vec();
    der[bit / 8] ^= 1 << (bit % 8);
    der
}

fn good(leaf: &[u8], between: &[u8], root: &[u8]) -> bool {
    let [one, two] = &*LISTS;
    let now = UnixMillis(NOW * 1000);
    verify_chain(leaf, &[between], &[root], &[one, two], now, ChainPolicy::WithRevocation).is_ok()
}

/// Every bit, not a sample: there are some ten thousand.
#[test]
fn no_bit_can_be_flipped() {
    let (leaf, between, root) = (&WORLD.leaf, &WORLD.between.der, &WORLD.root.der);
    assert!(good(leaf, between, root));
    for bit in 0..leaf.len() * 8 {
        assert!(!good(&flipped(leaf, bit), between, root), "leaf, bit {bit}");
    }
    for bit in 0..between.len() * 8 {
        assert!(!good(leaf, &flipped(between, bit), root), "between, bit {bit}");
    }
    for bit in 0..root.len() * 8 {
        let root = flipped(root, bit);
        // With another issuer's name it is a pinned authority, whose signature nobody can check.
        let pinned =
            Certificate::read(&root).is_ok_and(|root| !root.is_self_issued() && root.common_name() == Some("Root"));
        assert!(pinned || !good(leaf, between, &root), "root, bit {bit}");
    }
    let list = WORLD.between.list(&list_params(3, &[5, 6]));
    for bit in 0..list.len() * 8 {
        assert!(Crl::verify(&flipped(&list, bit), between).is_err(), "list, bit {bit}");
    }
}

proptest! {
    /// Cut, lengthened or overwritten bytes never pass, and nothing panics.
    #[test]
    fn no_bytes_can_be_changed(
        which in 0..4_usize,
        start in 0..2000_usize,
        cut in 0..40_usize,
        put in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut parts = [WORLD.leaf.clone(), WORLD.between.der.clone(), WORLD.root.der.clone(), WORLD.lists[1].clone()];
        let part = &mut parts[which];
        let start = start % part.len();
        let end = part.len().min(start + cut);
        let before = part.clone();
        part.splice(start..end, put);
        prop_assume!(*part != before);
        if which == 3 {
            prop_assert!(read_list(&parts[3], &WORLD.between.der).is_err());
        } else {
            let pinned = which == 2 && Certificate::read(&parts[2]).is_ok_and(|root| !root.is_self_issued());
            prop_assert!(pinned || !good(&parts[0], &parts[1], &parts[2]));
        }
    }

    /// A stranger's bytes are refused whatever they are.
    #[test]
    fn nonsense_is_refused(der in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(!good(&der, &WORLD.between.der, &WORLD.root.der));
        prop_assert!(read_list(&der, &WORLD.root.der).is_err());
    }
}
