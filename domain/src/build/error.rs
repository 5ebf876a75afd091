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
    /// The report carries a fence that no worker of this build was given.
    #[error("no worker of this build has this token")]
    UnknownFence,
    /// Only what waits in the queue can be passed over.
    #[error("this build is running already")]
    AlreadyStarted,
    /// A worker says that it was cancelled, and nobody has asked for that.
    #[error("nobody has asked for the end of this build")]
    NotCancelled,
    /// It has no artifact to remove.
    #[error("this build has no artifact")]
    NoArtifact,
    /// No worker has taken it yet.
    #[error("this build has not been started")]
    NotStarted,
}
