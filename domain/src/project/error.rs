//! Why a project's command is refused.

use thiserror::Error;

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
    /// No such variable.
    #[error("this environment variable is not set")]
    UnknownEnvVar,
    /// The runner sets it.
    #[error("{0} is set by the platform and cannot be changed")]
    ReservedEnvVar(String),
    /// More variables than an environment can carry.
    #[error("a project has at most 500 environment variables")]
    TooManyEnvVars,
    /// No such token.
    #[error("this token does not exist")]
    UnknownToken,
}
