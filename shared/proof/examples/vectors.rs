//! Writes the test vectors below `tests/vectors/`: `cargo run -p vitro-proof --example vectors`.
#![allow(clippy::unwrap_used)]

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
}
