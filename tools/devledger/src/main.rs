//! A development ledger: Fabric's gRPC services in one process

fn main() {}
