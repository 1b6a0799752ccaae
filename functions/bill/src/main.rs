//! The bill function

fn main() {}
