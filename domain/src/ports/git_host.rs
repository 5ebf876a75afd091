//! A git host that tells of pushes and opens private repositories to its installations: GitHub first.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use super::host_shown::{
    Comment, DeploymentState, HostDeployment, HostPullRequest, OpenPullRequest, PullRequestNews,
};
use crate::ids::ProjectId;
use crate::push::Push;
use crate::secret::Secret;
use crate::values::{BranchName, CommitSha, RelativePath, RepoUrl};

/// A git host.
#[async_trait]
pub trait GitHost: Send + Sync {
    /// Its stored name: `github`.
    fn id(&self) -> &'static str;

    /// Proves a delivery by its headers and its body, and says what it is. Nothing of it is believed before.
    fn receive(&self, header: &Headers<'_>, body: &[u8]) -> Result<Received, ReceiveError>;

    /// What a delivery that was received tells.
    fn read(&self, kind: &str, body: &[u8]) -> Result<HostNews, Unreadable>;

    /// Where somebody installs the App for his account; `state` comes back with him.
    async fn install_url(&self, state: &str) -> Result<String, HostError>;

    /// The installation with this id, if whoever holds `code` sees all it opens. Without a code the host's word is only
    /// that there is one; whether that is enough is for [`GitHost::proves_people`] to say.
    async fn installation(&self, id: i64, code: Option<&str>) -> Result<Installation, HostError>;

    /// What an installation is now; nothing when there is none any more.
    async fn installation_now(&self, _id: i64) -> Result<Option<Installation>, HostError> {
        Err(HostError::NotConfigured)
    }

    /// Whether it can tell who somebody is there: then a code is asked for.
    fn proves_people(&self) -> bool;

    /// A page of the repositories that an installation opens, those whose full name has `search` in it.
    async fn repositories(
        &self,
        installation: i64,
        search: &str,
        page: Page,
    ) -> Result<Part<HostRepository>, HostError>;

    /// The repository of an address, if the installation opens it.
    async fn repository(&self, installation: i64, url: &RepoUrl) -> Result<HostRepository, HostError>;

    /// A page of the branches of a repository, by its full name.
    async fn branches(
        &self,
        installation: i64,
        name: &str,
        page: Page,
    ) -> Result<Part<HostBranch>, HostError>;

    /// The Mastra apps in a repository, found without cloning it. The default branch when none is given.
    async fn apps(
        &self,
        installation: i64,
        name: &str,
        branch: Option<&BranchName>,
    ) -> Result<Vec<HostApp>, HostError>;

    /// The body of a delivery that the host would have sent of this; [`GitHost::read`] reads it.
    fn tell(&self, told: &Received) -> Vec<u8>;

    /// Shows beside a commit what became of it, in the place of what its context showed before.
    async fn show(
        &self,
        installation: i64,
        repository: (i64, &RepoUrl),
        commit: &CommitSha,
        status: &CommitStatus,
    ) -> Result<(), HostError>;

    /// What a pull request is now.
    async fn pull_request(
        &self,
        _installation: i64,
        _repository: (i64, &RepoUrl),
        _number: u32,
    ) -> Result<HostPullRequest, HostError> {
        Err(HostError::NotConfigured)
    }

    /// A page of the pull requests of a repository that are open.
    async fn open_pull_requests(
        &self,
        _installation: i64,
        _repository: (i64, &RepoUrl),
        _page: Page,
    ) -> Result<Part<OpenPullRequest>, HostError> {
        Err(HostError::NotConfigured)
    }

    /// Says something below a pull request, in the place of what was said before: of what has the id `known`, or else
    /// what has its mark. The id of what is there then.
    async fn comment(
        &self,
        _installation: i64,
        _repository: (i64, &RepoUrl),
        _number: u32,
        _comment: &Comment,
        _known: Option<i64>,
    ) -> Result<i64, HostError> {
        Err(HostError::NotConfigured)
    }

    /// Shows what became of a deployment: the one with the id `known`, or else the one of the same build. Its id.
    async fn show_deployment(
        &self,
        _installation: i64,
        _repository: (i64, &RepoUrl),
        _deployment: &HostDeployment,
        _known: Option<i64>,
    ) -> Result<i64, HostError> {
        Err(HostError::NotConfigured)
    }

    /// What opens one repository for reading for at least five minutes.
    async fn token(&self, installation: i64, repository: i64) -> Result<Secret, HostError>;
}

/// Looks a header up by its name.
pub type Headers<'a> = dyn Fn(&str) -> Option<String> + Send + Sync + 'a;

/// What is shown beside a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitStatus {
    /// How far it is.
    pub state: CommitState,
    /// Whose word it is; each has one state for a commit.
    pub context: String,
    /// A few words; hosts cut what is longer than 140 characters.
    pub description: String,
    /// Where there is more.
    pub url: String,
}

/// How far a commit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CommitState {
    /// It is worked on.
    Pending,
    /// It serves, or is ready to.
    Success,
    /// It does not.
    Failure,
    /// Nobody looked to the end.
    Error,
}

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// From 1.
    pub number: u32,
    /// How many a page, 100 at most.
    pub size: u8,
}

/// What a page has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<T> {
    /// Them.
    pub items: Vec<T>,
    /// The next page, if there is one.
    pub next: Option<u32>,
}

/// A delivery that its sender has signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Its id, which it keeps when it is sent again.
    pub id: String,
    /// What it is about: `push`.
    pub kind: String,
    /// What happened to that: `renamed`.
    pub action: Option<String>,
    /// The installation that it is of.
    pub installation: Option<i64>,
    /// The repository that it is of.
    pub repository: Option<i64>,
    /// The project whose own webhook told it.
    pub project: Option<ProjectId>,
    /// That repository's full name.
    pub repository_name: Option<String>,
    /// The ref that moved.
    pub reference: Option<String>,
    /// Where it moved to.
    pub commit: Option<String>,
    /// Login of who did it.
    pub sender: Option<String>,
}

/// Why a delivery is not received.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReceiveError {
    /// No secret is set: the host has no webhooks here.
    #[error("there are no webhooks of this host")]
    Closed,
    /// It was not signed by the host. The text is for operators and names no secret.
    #[error("{0}")]
    Unproved(&'static str),
    /// It was signed and is no delivery.
    #[error("{0}")]
    Malformed(Unreadable),
}

/// A field that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field} {why}")]
pub struct Unreadable {
    /// Which field.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl Unreadable {
    /// That field, for that reason.
    pub fn new(field: impl Into<String>, why: impl ToString) -> Self {
        Self { field: field.into(), why: why.to_string() }
    }
}

/// What a host tells.
#[derive(Clone, Debug, PartialEq)]
pub enum HostNews {
    /// A ref moved.
    Push(Push),
    /// A pull request changed.
    PullRequest(PullRequestNews),
    /// Something became of an installation.
    Installation {
        /// Its id there.
        id: i64,
        /// What became of it.
        change: InstallationChange,
    },
    /// Something became of a repository.
    Repository {
        /// Its id there.
        id: i64,
        /// What became of it.
        change: RepositoryChange,
    },
    /// Only to try the connection.
    Ping,
    /// Nothing that matters here.
    Other,
}

/// What became of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallationChange {
    /// It works.
    Active,
    /// It is refused for now.
    Suspended,
    /// It is gone.
    Removed,
}

/// What became of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepositoryChange {
    /// It has another address.
    Moved(RepoUrl),
    /// It is gone.
    Deleted,
    /// Nothing that matters here.
    Other,
}

/// An installation, as the host knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Its id there.
    pub id: i64,
    /// Login of its account.
    pub account: String,
    /// Whether the host refuses it for now.
    pub is_suspended: bool,
}

/// A repository, as the host knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRepository {
    /// Its id there, which it keeps whatever its name.
    pub id: i64,
    /// Its full name: `acme/agent`.
    pub name: String,
    /// Its address.
    pub url: RepoUrl,
    /// The branch that it shows first.
    pub default_branch: String,
    /// Whether not everybody may read it.
    pub is_private: bool,
}

/// A branch, as the host knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostBranch {
    /// Its name.
    pub name: String,
    /// Its head.
    pub commit: String,
}

/// A Mastra app in a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostApp {
    /// Its directory in the repository.
    pub project_root: RelativePath,
    /// Mastra's source directory below it; none was found when absent.
    pub mastra_directory: Option<RelativePath>,
    /// The range of `@mastra/core` that it asks for.
    pub core: String,
    /// Name of its package.
    pub name: Option<String>,
}

/// Why a host does not serve.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HostError {
    /// The operator has not connected it.
    #[error("the operator has not connected this git host")]
    NotConfigured,
    /// It has no such thing, or does not show it to this installation.
    #[error("{0}")]
    NotFound(String),
    /// It does not allow this.
    #[error("{0}")]
    Refused(String),
    /// It does not answer as it should: worth another try, after so many seconds when it says so.
    #[error("{why}")]
    Unavailable {
        /// What it said.
        why: String,
        /// How long to wait.
        retry_after: Option<u64>,
    },
}
