//! Why a project's command is refused.

use thiserror::Error;

use crate::values::EnvKey;

/// Refusals of the project aggregate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProjectError {
    /// No project with this id, or it was deleted.
    #[error("this project does not exist")]
    Unknown,
    /// The id belongs to another project already.
    #[error("this project exists already")]
    Exists,
    /// No such environment.
    #[error("this environment does not exist in the project")]
    UnknownEnvironment,
    /// Its name gives a slug that another environment has, or none.
    #[error("the project has an environment of this name already, or no URL can be made of the name")]
    EnvironmentNameTaken,
    /// A project has one production environment.
    #[error("a project has exactly one production environment")]
    ProductionIsFixed,
    /// As many pull requests have previews.
    #[error("a project has at most 100 previews of pull requests")]
    TooManyPreviews,
    /// It is no preview, or of commits of the repository itself.
    #[error("only previews of pull requests from forks are approved")]
    NothingToApprove,
    /// What was approved is not what would be built.
    #[error("the pull request is at another commit by now: look at that one")]
    PullRequestMoved,
    /// No such variable.
    #[error("this environment variable is not set")]
    UnknownEnvVar,
    /// Nobody may set it.
    #[error("{key} cannot be set: {why}")]
    ReservedEnvVar {
        /// Its name.
        key: EnvKey,
        /// Why not.
        why: &'static str,
    },
    /// Install and build may not have it.
    #[error("{key} can be for the running server only: {why}")]
    EnvVarNotAtBuild {
        /// Its name.
        key: EnvKey,
        /// Why not.
        why: &'static str,
    },
    /// More variables than an environment can carry.
    #[error("a project has at most 500 environment variables")]
    TooManyEnvVars,
    /// No such token.
    #[error("this token does not exist")]
    UnknownToken,
    /// No token opens the repository.
    #[error("no token is set for the repository")]
    NoRepositoryToken,
    /// There is no key pair.
    #[error("the project has no deploy key")]
    NoDeployKey,
    /// No such webhook.
    #[error("this webhook does not exist")]
    UnknownPushHook,
    /// More webhooks than anybody needs.
    #[error("a project has at most 20 webhooks of git hosts")]
    TooManyPushHooks,
}
