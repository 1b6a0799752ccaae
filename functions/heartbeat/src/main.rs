//! The heartbeat function

fn main() {}
