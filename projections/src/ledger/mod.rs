//! The ledger: a Merkle tree over the log, its checkpoints signed, chained, and told to witnesses outside the
//! database, so that nobody changes, removes, swaps or adds an event unnoticed.
//!
//! It is a reader of the log of its own: it hashes rows as the database has them, not events as we understand
//! them, and what it writes is evidence that no rebuild may touch. Format: `docs/ledger.md`; why: ADR 0011.
//!
//! Invariant: a checkpoint is signed only on top of one that is authentic and whose tree is whole.

mod anchored;
mod close;
mod key;
mod keyring;
mod leaf;
mod note;
mod proof;
mod store;
mod tree;
mod verify;
mod writer;

use thiserror::Error;

pub use close::{BATCH, close, rotate};
pub use key::{KeyError, PublicKey, read_public};
pub use keyring::KeyRing;
pub use note::{Checkpoint, NotACheckpoint, Signed};
pub use proof::{Disproof, Extension, Proof, Proven, extension, prove};
pub use store::{AnchorStatus, Status, newest, status};
pub use tree::{Hash, proves_consistency};
pub use verify::{Finding, Report, verify};
pub use writer::{Ledger, LedgerOptions};

/// Why the ledger cannot be read or continued.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The database could not be reached, or refused.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The file of an anchor cannot be read.
    #[error("the anchor cannot be read: {0}")]
    Anchor(#[from] std::io::Error),
    /// Its key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A checkpoint is not written as one.
    #[error("checkpoint {number}: {source}")]
    Checkpoint {
        /// Its number.
        number: i64,
        /// What is wrong.
        source: NotACheckpoint,
    },
    /// Its tables are not what they were when they were signed, or the log has a hole.
    #[error("{0}; `replay-tool ledger verify` says more")]
    Damaged(String),
    /// There are checkpoints, and no key to continue them.
    #[error(
        "the key that signs the ledger is not here ({0}): put it back, or begin a new one with \
         `replay-tool ledger rotate-key --lost`"
    )]
    NoKey(std::path::PathBuf),
    /// The key is another than that of the newest checkpoint, which names no successor.
    #[error(
        "checkpoint {number} was signed by another key than ours ({ours}) and names no successor: put the right \
         key back, or begin a new one with `replay-tool ledger rotate-key --lost`"
    )]
    OtherKey {
        /// The newest checkpoint.
        number: i64,
        /// Our key.
        ours: PublicKey,
    },
    /// Another process is writing a checkpoint at this moment.
    #[error("another process is writing a checkpoint")]
    Busy,
}
