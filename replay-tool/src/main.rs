//! replay-tool
fn main() {}
