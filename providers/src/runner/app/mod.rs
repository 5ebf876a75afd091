//! What a repository's app is and needs: found, given its tools, packed; and why it failed, in plain words.

pub mod detect;
pub mod explain;
pub mod package;
pub mod toolchain;
