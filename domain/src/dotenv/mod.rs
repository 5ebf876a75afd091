//! Variables as text: `.env` files, read and written.
//!
//! Where readers of such files agree, this one does as they do (npm's `dotenv` first: it is what Mastra projects use).
//! Where they differ, a line is refused rather than guessed. Nothing is ever expanded, and no environment is touched.
//!
//! Invariant: what [`write()`] writes, [`read()`] reads back to the same bytes.

mod read;
mod write;

use crate::values::EnvKey;

pub use read::read;
pub use write::write;

/// A variable of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The line that it begins on, from 1.
    pub line: usize,
    /// Its name.
    pub key: EnvKey,
    /// Its value.
    pub value: String,
}

/// Why a line is refused. It never holds a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// The name that stands there, when it is one.
    pub key: Option<EnvKey>,
    /// What is wrong.
    pub why: &'static str,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("line", &self.line).field("key", &self.key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
