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

#[test]
fn the_bare_files_are_current() {
    for (name, bytes) in made::raw() {
        assert!(std::fs::read(folder().join(name)).unwrap() == bytes, "{name} has changed");
    }
}

#[test]
fn the_units_are_those_of_the_page() {
    let page = std::fs::read_to_string(folder().join("../../docs/formats.md")).unwrap();
    let block = page.split("```units\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(block.split_whitespace().collect::<Vec<_>>(), vitro_proof::sensors::UNITS);
}

#[test]
fn every_reason_has_a_code_of_its_own() {
    use vitro_proof::{BlockFault, ContentFault, EnvelopeFault, Reason};
    let mut codes: Vec<&str> = vec![
        EnvelopeFault::NotAnEnvelope("").reason(),
        EnvelopeFault::TooLarge(0).reason(),
        EnvelopeFault::TrailingBytes(0).reason(),
        EnvelopeFault::WrongAlgorithm.reason(),
        EnvelopeFault::UnknownHeader(String::new()).reason(),
        EnvelopeFault::WrongKind.reason(),
        EnvelopeFault::BadContentType.reason(),
        ContentFault::UnreadablePack.reason(),
        ContentFault::TooManyRecords.reason(),
        ContentFault::Encrypted.reason(),
        ContentFault::BadEncryption.reason(),
        ContentFault::Undecryptable.reason(),
        ContentFault::ForeignName.reason(),
        ContentFault::UnknownSensor.reason(),
        ContentFault::UnitMismatch.reason(),
        ContentFault::NoValue.reason(),
        ContentFault::SeveralValues.reason(),
        ContentFault::NotANumber.reason(),
        ContentFault::NumberOutOfRange.reason(),
        ContentFault::SumOnly.reason(),
        ContentFault::RelativeTime.reason(),
        ContentFault::BadTime.reason(),
        ContentFault::DuplicateRecord.reason(),
        ContentFault::OutsideDay.reason(),
        ContentFault::Decrease.reason(),
        BlockFault::NotABlock(String::new()).reason(),
        BlockFault::OtherDevice.reason(),
        BlockFault::DigestMismatch.reason(),
        BlockFault::BadLength(0).reason(),
        BlockFault::NotContiguous("").reason(),
        BlockFault::BrokenChain.reason(),
        BlockFault::Fork.reason(),
        BlockFault::BadOpening(String::new()).reason(),
        BlockFault::BadSummaries(String::new()).reason(),
        BlockFault::BadLabel.reason(),
        BlockFault::Encrypted(String::new()).reason(),
        BlockFault::Undecryptable(String::new()).reason(),
    ];
    let all = codes.len();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), all);
    assert!(codes.iter().all(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
}
