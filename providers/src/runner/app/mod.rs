//! What a repository's app is and needs: found, given its tools, packed; and why it failed, in plain words.

pub mod built;
pub mod detect;
pub mod explain;
mod manifest;
mod node_version;
pub mod package;
mod plain;
mod preflight;
pub(in crate::runner) mod recipe;
pub mod toolchain;
mod tools;

#[cfg(test)]
mod tests;
