//! mastra-admin
fn main() {}
