//! Witnesses outside the database: who changes the log and the ledger with it cannot change what they have seen.

use async_trait::async_trait;
use thiserror::Error;

/// Keeps checkpoints of the ledger where who administers the database does not reach.
#[async_trait]
pub trait Anchor: Send + Sync {
    /// Its stable name, for operators and metrics: no secrets in it.
    fn name(&self) -> &str;

    /// Hands a signed checkpoint over. It is kept when this answers; handing it over again is harmless.
    async fn keep(&self, checkpoint: &AnchoredCheckpoint) -> Result<(), AnchorError>;
}

/// A checkpoint on its way to an anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchoredCheckpoint {
    /// Its number in the chain.
    pub number: i64,
    /// How many events it covers.
    pub size: i64,
    /// The signed note.
    pub note: String,
}

/// The checkpoint was not kept: worth another try.
#[derive(Debug, Error)]
#[error("the anchor failed: {0}")]
pub struct AnchorError(pub String);
