//! The Merkle tree hash of RFC 9162, section 2.1, over a run's leaves, with inclusion proofs.
//!
//! Our leaves are hashed already, with the 0x00 prefix ([`crate::ids::Leaf`]); inner nodes are SHA-256(0x01 || left || right); the
//! empty tree's root is the hash of nothing.

use sha2::{Digest, Sha256};

use crate::crypto::sha256;
use crate::ids::{Hash, Leaf};

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update([0x01]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

/// The root over the leaves in their order.
#[must_use]
pub fn root(leaves: &[Leaf]) -> Hash {
    let mut level: Vec<[u8; 32]> = leaves.iter().map(|leaf| leaf.0).collect();
    if level.is_empty() {
        return sha256(&[]);
    }
    // Pairing neighbours and carrying an odd last one up gives RFC 9162's tree: each split is at the largest power of two.
    while level.len() > 1 {
        let half = level.len().div_ceil(2);
        for i in 0..half {
            level[i] = match level.get(2 * i + 1) {
                Some(right) => node(&level[2 * i], right),
                None => level[2 * i],
            };
        }
        level.truncate(half);
    }
    Hash(level[0])
}

/// The nodes of a level of the tree, from left to right; level 0 are the leaves. Each is the root of a run of its own.
#[must_use]
pub fn nodes(leaves: &[Leaf], level: u8) -> Vec<Hash> {
    let width = 1usize.checked_shl(level.into()).unwrap_or(usize::MAX);
    leaves.chunks(width).map(root).collect()
}

/// The path that proves that the leaf at `index` is in the tree over `leaves`: the siblings from the bottom up
/// (RFC 9162, section 2.1.3.1). Nothing if there is no such leaf.
#[must_use]
pub fn inclusion_proof(leaves: &[Leaf], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let mut level: Vec<[u8; 32]> = leaves.iter().map(|leaf| leaf.0).collect();
    let mut path = Vec::new();
    let mut at = index;
    while level.len() > 1 {
        if let Some(sibling) = level.get(at ^ 1) {
            path.push(Hash(*sibling));
        }
        level = level.chunks(2).map(|pair| if pair.len() == 2 { node(&pair[0], &pair[1]) } else { pair[0] }).collect();
        at /= 2;
    }
    Some(path)
}

/// Checks an inclusion proof as RFC 9162, section 2.1.3.2 does.
#[must_use]
pub fn verify_inclusion(leaf: Leaf, index: u64, count: u64, path: &[Hash], root: Hash) -> bool {
    if index >= count {
        return false;
    }
    let (mut fn_, mut sn) = (index, count - 1);
    let mut hash = leaf.0;
    for sibling in path {
        if sn == 0 {
            return false;
        }
        if fn_ & 1 == 1 || fn_ == sn {
            hash = node(&sibling.0, &hash);
            while fn_ & 1 == 0 && fn_ != 0 {
                fn_ >>= 1;
                sn >>= 1;
            }
        } else {
            hash = node(&hash, &sibling.0);
        }
        fn_ >>= 1;
        sn >>= 1;
    }
    sn == 0 && hash == root.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition of RFC 9162, section 2.1.1, word for word.
    fn definition(leaves: &[Leaf]) -> [u8; 32] {
        match leaves {
            [] => sha256(&[]).0,
            [leaf] => leaf.0,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node(&definition(&leaves[..split]), &definition(&leaves[split..]))
            }
        }
    }

    fn leaves(count: usize) -> Vec<Leaf> {
        (0..count).map(|i| Leaf(sha256(&[&i.to_be_bytes()]).0)).collect()
    }

    #[test]
    fn the_empty_tree_is_the_hash_of_nothing() {
        assert_eq!(root(&[]).to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn every_size_agrees_with_the_definition_and_proves_every_leaf() {
        for count in 0..70 {
            let leaves = leaves(count);
            let root = root(&leaves);
            assert_eq!(root.0, definition(&leaves));
            assert!(inclusion_proof(&leaves, count).is_none());
            for index in 0..count {
                let path = inclusion_proof(&leaves, index).unwrap();
                assert!(verify_inclusion(leaves[index], index as u64, count as u64, &path, root));
            }
        }
    }

    #[test]
    fn each_level_is_made_of_the_one_below() {
        for count in 1..40 {
            let leaves = leaves(count);
            let mut below: Vec<Hash> = leaves.iter().map(|leaf| Hash(leaf.0)).collect();
            for level in 0..64 {
                assert_eq!(nodes(&leaves, level), below, "{count} {level}");
                let pair = |pair: &[Hash]| if let [l, r] = pair { Hash(node(&l.0, &r.0)) } else { pair[0] };
                below = below.chunks(2).map(pair).collect();
            }
            assert_eq!(below, [root(&leaves)]);
            // A node is the root over its own leaves.
            for (at, node) in nodes(&leaves, 3).into_iter().enumerate() {
                assert_eq!(node, root(&leaves[at * 8..count.min(at * 8 + 8)]));
            }
        }
        assert_eq!(nodes(&[], 0), []);
    }

    proptest! {
        #[test]
        fn a_proof_holds_for_its_own_place_only(count in 1usize..300, at in any::<prop::sample::Index>(), other in any::<prop::sample::Index>()) {
            let leaves = leaves(count);
            let (index, wrong) = (at.index(count), other.index(count));
            let root = root(&leaves);
            let path = inclusion_proof(&leaves, index).unwrap();
            prop_assert!(verify_inclusion(leaves[index], index as u64, count as u64, &path, root));
            if wrong != index {
                prop_assert!(!verify_inclusion(leaves[index], wrong as u64, count as u64, &path, root));
                prop_assert!(!verify_inclusion(leaves[wrong], index as u64, count as u64, &path, root));
            }
        }
    }
}
