//! The form in which a log travels: NDJSON, a record a line.
//!
//! A header; every event, exactly as it is stored; the receipts of idempotency keys; keys and what processes have yet
//! to do; a trailer with counts and the SHA-256 of every byte before it. What is a function of the events (names that
//! are taken, query tables) does not travel: it is derived where it arrives.

pub(crate) mod export;
pub(crate) mod import;
mod record;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The first line says what it is.
const FORMAT: &str = "mastra-admin log";
/// Raised when older tools would read it wrong.
const VERSION: u32 = 1;

/// How many records there are of a kind, in the order in which the kinds stand in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Counts {
    pub(crate) events: i64,
    pub(crate) receipts: i64,
    pub(crate) keys: i64,
    pub(crate) processes: i64,
    pub(crate) work: i64,
}

/// What a file holds, as its last line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trailer {
    pub(crate) counts: Counts,
    /// SHA-256 of every byte before the trailer, in hex.
    pub(crate) sha256: String,
}

/// Hashes lines as they pass.
#[derive(Clone, Default)]
struct Hasher(Sha256);

impl Hasher {
    fn take(&mut self, line: &[u8]) {
        self.0.update(line);
    }

    fn hex(self) -> String {
        hex::encode(self.0.finalize())
    }
}
