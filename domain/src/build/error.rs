//! Why a build's command is refused.

use thiserror::Error;

/// Refusals of the build aggregate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BuildError {
    /// No build with this id.
    #[error("this build does not exist")]
    Unknown,
    /// The id belongs to another build already.
    #[error("this build exists already")]
    Exists,
    /// It ended before.
    #[error("this build has ended already")]
    AlreadyFinished,
    /// The report comes from a worker that has lost its lease.
    #[error("another worker has taken this build over")]
    StaleFence,
    /// No worker has taken it yet.
    #[error("this build has not been started")]
    NotStarted,
}
