//! Writes the test vectors below `tests/vectors/`, and the seeds of the fuzz targets below `fuzz/seeds/`: `cargo run -p vitro-proof --example vectors`.
#![allow(clippy::unwrap_used)]

#[path = "../../../fuzz/bodies/mod.rs"]
mod bodies;
#[path = "../tests/proof/made/mod.rs"]
mod made;

fn main() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, value) in made::files() {
        std::fs::write(folder.join(name), serde_json::to_string_pretty(&value).unwrap() + "\n").unwrap();
    }
    for (name, bytes) in made::raw() {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for seed in made::seeds::seeds() {
        std::fs::create_dir_all(seeds.join(seed.target)).unwrap();
        std::fs::write(seeds.join(seed.target).join(seed.name), seed.bytes).unwrap();
    }
}
