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

/// The bytes of a vector's field: hexadecimal, or a head, a run of zeros and a tail.
pub(crate) fn un(field: &Value) -> Vec<u8> {
    let text = |field: &Value| hex::decode(field.as_str().unwrap()).unwrap();
    match field {
        Value::Object(parts) => {
            let zeros = usize::try_from(parts["zeros"].as_u64().unwrap()).unwrap();
            [text(&parts["head"]), vec![0; zeros], text(&parts["tail"])].concat()
        }
        field => text(field),
    }
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
