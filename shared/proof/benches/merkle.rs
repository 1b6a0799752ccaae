//! The Merkle root of a day's 1,440 leaves beside one stream of SHA-256 over the same number of blocks.
//!
//! An inner node is a hash of 65 bytes, which with its padding is two blocks of 64 bytes. So the tree costs two blocks a node, and
//! the stream beside it hashes as many.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use vitro_proof::Leaf;
use vitro_proof::crypto::sha256;
use vitro_proof::merkle;

const LEAVES: usize = 1440;
const BLOCKS: usize = (LEAVES - 1) * 2;

fn main() {
    let leaves: Vec<Leaf> = (0..LEAVES).map(|i| Leaf(sha256(&[&i.to_be_bytes()]).0)).collect();
    // The padding of the stream itself is one more block, which is left out of its input.
    let stream = vec![0x5a_u8; (BLOCKS - 1) * 64];
    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("merkle root of 1440 leaves", |b| b.iter(|| merkle::root(black_box(&leaves))));
    criterion.bench_function("one stream of SHA-256 over as many blocks", |b| b.iter(|| sha256(&[black_box(&stream)])));
    criterion.final_summary();
    // Cargo says so when it measures; else the benchmark is only tried out.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    // Taken in turns, so that whatever else the machine does meets both.
    let (mut tree, mut flat) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        tree.push(time(|| _ = black_box(merkle::root(black_box(&leaves)))));
        flat.push(time(|| _ = black_box(sha256(&[black_box(&stream)]))));
    }
    let (tree, flat) = (median(tree), median(flat));
    println!(
        "merkle root {:.1} us, one stream {:.1} us, ratio {:.3}",
        tree.as_secs_f64() * 1e6,
        flat.as_secs_f64() * 1e6,
        tree.as_secs_f64() / flat.as_secs_f64()
    );
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
