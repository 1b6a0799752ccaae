//! The summarize function

fn main() {}
