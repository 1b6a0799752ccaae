//! The Crystal gateway agent and the replayer of recorded days

fn main() {}
