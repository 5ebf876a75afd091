//! What git hosts tell of pull requests, and what they are shown of previews and deployments.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::values::{BranchName, CommitSha};

/// A pull request that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequestNews {
    /// The repository's id there.
    pub repository: i64,
    /// Its number in it.
    pub number: u32,
    /// Whether what it brings may be another, or it was opened or closed.
    pub is_of_interest: bool,
    /// When it changed, by the host's clock.
    pub updated_at: Option<DateTime<Utc>>,
}

/// A pull request, as the host has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPullRequest {
    /// Whether it is neither merged nor closed.
    pub is_open: bool,
    /// The branch it brings, which may be one of a fork.
    pub branch: BranchName,
    /// What that is at.
    pub head: CommitSha,
    /// Whether its commits are in somebody else's repository.
    pub is_fork: bool,
    /// When it changed last, by the host's clock.
    pub updated_at: DateTime<Utc>,
}

/// A pull request in the list of those that are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPullRequest {
    /// Its number.
    pub number: u32,
    /// What its branch is at.
    pub head: CommitSha,
    /// Whether its commits are in somebody else's repository.
    pub is_fork: bool,
    /// When it changed last, by the host's clock.
    pub updated_at: DateTime<Utc>,
}

/// What is said below a pull request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// Stands in it unseen, and in no other.
    pub mark: String,
    /// Markdown.
    pub text: String,
}

/// A deployment as hosts show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDeployment {
    /// What it is of: a host has one deployment of it.
    pub build: String,
    /// Its commit.
    pub commit: CommitSha,
    /// Name of the environment there.
    pub environment: String,
    /// Whether people use it.
    pub is_production: bool,
    /// Whether the environment goes away by itself.
    pub is_transient: bool,
    /// How far it is.
    pub state: DeploymentState,
    /// A few words.
    pub description: String,
    /// Where it is reached.
    pub url: Option<String>,
    /// Where there is more.
    pub log_url: String,
}

/// How far a deployment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentState {
    /// It waits for its turn.
    Queued,
    /// It is worked on.
    InProgress,
    /// It serves.
    Success,
    /// It does not.
    Failure,
    /// Nobody looked to the end.
    Error,
    /// It has served, or never will.
    Inactive,
}
