//! Why a deployment's command is refused.

use thiserror::Error;

/// Refusals of the deployment aggregate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeploymentError {
    /// No deployment with this id.
    #[error("this deployment does not exist")]
    Unknown,
    /// The id belongs to another deployment already.
    #[error("this deployment exists already")]
    Exists,
    /// It ended before.
    #[error("this deployment has ended already")]
    AlreadyOver,
    /// The report comes from a worker that has lost its lease.
    #[error("another worker has taken this deployment over")]
    StaleFence,
    /// The report carries a fence that no worker of this deployment was given.
    #[error("no worker of this deployment has this token")]
    UnknownFence,
    /// Nothing is gone back from: it never served, or did not fail.
    #[error("only a deployment that served and failed can be rolled back")]
    NothingToGoBackFrom,
    /// A deployment that serves has one server at least.
    #[error("a deployment that serves has an address")]
    NoAddress,
    /// No worker has taken it yet.
    #[error("this deployment has not been started")]
    NotStarted,
}
