//! The committed vectors are what this code makes, and what it decides about them is what it decided when it made them.

use std::path::PathBuf;

use serde_json::Value;

use crate::made;

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

pub(crate) fn load(name: &str) -> Value {
    let text = std::fs::read_to_string(folder().join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_committed_vectors_are_current() {
    for (name, value) in made::files() {
        assert!(
            load(name) == value,
            "{name} has changed: a frozen format, or `cargo run -p vitro-proof --example vectors`"
        );
    }
}
