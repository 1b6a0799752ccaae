//! The seeds and the corpus of the fuzz targets (`fuzz/`), by the very bodies that the fuzzer runs.

use std::path::PathBuf;

use crate::bodies;
use crate::made::seeds::{Input, input, of, seeds};
use crate::vectors::{load, un};

type Body = fn(&[u8]) -> bool;

/// Every target and its body.
const TARGETS: &[(&str, Body)] = &[
    ("envelope", bodies::envelope::run),
    ("pack", bodies::pack::run),
    ("block", bodies::block::run),
    ("command", bodies::command::run),
    ("encrypted", bodies::encrypted::run),
    #[cfg(feature = "chain")]
    ("chain", bodies::chain::run),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The files of a folder below `fuzz/`, with their names.
fn files(of: &str, target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder().join(of).join(target);
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn the_committed_seeds_are_current() {
    let seeds = seeds();
    for target in ["envelope", "pack", "block", "command", "encrypted", "chain"] {
        let mut made: Vec<(String, Vec<u8>)> = seeds
            .iter()
            .filter(|seed| seed.target == target)
            .map(|seed| (seed.name.clone(), seed.bytes.clone()))
            .collect();
        made.sort();
        assert!(made.len() > 3, "{target}");
        assert!(
            files("seeds", target) == made,
            "fuzz/seeds/{target} has changed: `cargo run -p vitro-proof --example vectors`"
        );
    }
}

#[test]
fn every_seed_is_accepted_all_the_way() {
    for (target, body) in TARGETS {
        for (name, bytes) in files("seeds", target) {
            assert!(body(&bytes), "{target}/{name} is refused: it teaches the fuzzer nothing");
        }
    }
}

#[test]
fn the_corpus_holds() {
    for (target, body) in TARGETS {
        let corpus = files("corpus", target);
        assert!(corpus.len() > 20, "{target}: {} inputs", corpus.len());
        let accepted = corpus.iter().filter(|(_, bytes)| body(bytes)).count();
        assert!(accepted > 0, "{target}: nothing of the corpus is accepted");
    }
}

/// What the vectors hold, as inputs: nearly all of it is refused, each for another reason.
fn vectors() -> Vec<Input> {
    let mut inputs = Vec::new();
    let mut all = |target, way, file: &str, set: &str, field: &str| {
        for (at, vector) in of(&load(file), set).iter().enumerate() {
            let name = format!("{file}-{set}-{field}-{at}");
            inputs.push(input(target, &name, way, &un(&vector[field])));
        }
    };
    use bodies::{block, command, der, encrypted, envelope, pack};
    all("envelope", envelope::WHOLE, "envelopes.json", "vectors", "envelope");
    all("envelope", envelope::WHOLE, "invalid-envelopes.json", "vectors", "envelope");
    all("envelope", envelope::ITEM, "packs.json", "vectors", "payload");
    all("pack", pack::PACK, "packs.json", "vectors", "payload");
    all("block", block::WHOLE, "chain.json", "vectors", "message");
    all("block", block::WHOLE, "refused-blocks.json", "vectors", "message");
    all("command", command::WHOLE, "messages.json", "commands", "envelope");
    all("command", command::WHOLE, "messages.json", "replies", "envelope");
    all("encrypted", encrypted::SEALED, "confidential.json", "refused", "sealed");
    all("chain", der::ways::CERTIFICATE, "chains.json", "chains", "leaf");
    all("chain", der::ways::LIST, "chains.json", "lists", "list");
    inputs
}

#[test]
fn and_so_do_the_vectors() {
    for input in vectors() {
        if let Some((_, body)) = TARGETS.iter().find(|(target, _)| *target == input.target) {
            body(&input.bytes);
        }
    }
}

/// Not a test: `make fuzz-vectors` lays the vectors beside the corpus, for a run that starts from them as well.
#[test]
#[ignore = "writes files below target/"]
fn lay_out_the_vectors() {
    for input in vectors() {
        let folder = folder().join("../target/fuzz/vectors").join(input.target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(input.name), input.bytes).unwrap();
    }
}
