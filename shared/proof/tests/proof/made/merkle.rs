//! Merkle roots of several sizes, with inclusion proofs.

use serde_json::{Value, json};
use vitro_proof::crypto::sha256;
use vitro_proof::{Leaf, merkle};

pub(super) fn trees() -> Value {
    let vectors: Vec<Value> = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 31, 33, 100, 1440]
        .into_iter()
        .map(|count: usize| {
            let leaves: Vec<Leaf> = (0..count).map(|i| Leaf(sha256(&[&[0], &i.to_be_bytes()]).0)).collect();
            let mut indexes = vec![0, 1, count / 2, count.saturating_sub(2), count.saturating_sub(1)];
            indexes.sort_unstable();
            indexes.dedup();
            let proofs: Vec<Value> = indexes
                .into_iter()
                .filter_map(|index| {
                    let path = merkle::inclusion_proof(&leaves, index)?;
                    let path: Vec<String> = path.iter().map(ToString::to_string).collect();
                    Some(json!({"index": index, "leaf": leaves[index].to_string(), "path": path}))
                })
                .collect();
            json!({"count": count, "root": merkle::root(&leaves).to_string(), "proofs": proofs})
        })
        .collect();
    json!({"about": "Trees of RFC 9162. Leaf i is SHA-256(0x00 || i as 8 bytes, big-endian).", "vectors": vectors})
}
