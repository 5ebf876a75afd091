//! What a project is told once and changes rarely.

use serde::{Deserialize, Serialize};

use super::{Previews, PullRequest};
use crate::ids::{EnvironmentId, InstallationId, SecretId};
use crate::sealed::Sealed;
use crate::values::{
    BranchName, BranchPattern, CommandLine, DisplayName, EnvKey, HealthGate, PathFilter, RelativePath,
    RepoUrl, ResourcePlan, Slug, Standing,
};

/// How many servers of a deployment run side by side at most.
pub const MAX_REPLICAS: u8 = 10;

/// The settings of a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProjectSettings {
    /// Its name.
    pub name: DisplayName,
    /// Its name in URLs, unique in its team.
    pub slug: Slug,
    /// Where its code is; none when all of it is uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_url: Option<RepoUrl>,
    /// The branch of its production environment.
    pub branch: BranchName,
    /// The app's directory in the repository.
    pub project_root: RelativePath,
    /// Mastra's source directory below it.
    pub mastra_directory: RelativePath,
    /// Instead of the package manager's install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install_command: Option<CommandLine>,
    /// Instead of the package manager's `run build`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_command: Option<CommandLine>,
    /// The port that the code sets by itself, when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How many servers of a deployment run side by side; 0 is one that may sleep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_scale: Option<u8>,
    /// When its servers count as healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthGate>,
    /// Limits of builds and servers.
    #[serde(default)]
    pub resources: ResourcePlan,
    /// The GitHub installation that opens the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation_id: Option<InstallationId>,
    /// The repository's id at its host, which it keeps whatever its name: pushes are known by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository_id: Option<i64>,
    /// What a push must touch to be built; anything when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watch_paths: Vec<PathFilter>,
    /// What pull requests get; nothing when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previews: Option<Previews>,
    /// Days that its telemetry is kept, besides today, where they are fewer than the installation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry_days: Option<u16>,
    /// Rows of telemetry that are taken in on a day (UTC); any number when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry_rows: Option<u32>,
}

impl ProjectSettings {
    /// The repository as its host knows it: the id that it keeps, and where it is now. Only one that was chosen through
    /// an installation is known so.
    pub fn hosted(&self) -> Option<(i64, &RepoUrl)> {
        self.repository_id.zip(self.repo_url.as_ref())
    }

    /// How many servers of a deployment run side by side while it serves.
    pub fn replicas(&self) -> u8 {
        self.min_scale.unwrap_or(1).clamp(1, MAX_REPLICAS)
    }
}

/// What an environment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnvironmentType {
    /// The real thing; every project has exactly one.
    Production,
    /// A rehearsal.
    Staging,
    /// One change, for a while.
    Preview,
}

/// Who may use what is deployed to an environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protection {
    /// Everybody.
    #[default]
    Public,
    /// Whoever may read the project.
    Team,
    /// Programs with a token of the project that may read it.
    Token,
}

impl Protection {
    /// Whether everybody may.
    pub fn is_public(&self) -> bool {
        *self == Self::Public
    }
}

/// An environment of a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Its id.
    pub id: EnvironmentId,
    /// Its name.
    pub name: DisplayName,
    /// Its name in URLs, made of its name.
    pub slug: Slug,
    /// What it is for.
    pub kind: EnvironmentType,
    /// The branch it follows, instead of the project's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<BranchName>,
    /// The branches whose pushes it gets, instead of that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_pattern: Option<BranchPattern>,
    /// Who may use what is deployed there.
    #[serde(default, skip_serializing_if = "Protection::is_public")]
    pub protection: Protection,
    /// The pull request that it is the preview of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequest>,
}

/// Who sees an environment variable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    /// The running server only.
    #[default]
    Runtime,
    /// Install and build only.
    Build,
    /// Both.
    Both,
}

impl Availability {
    /// Whether the running server sees it.
    pub fn at_run_time(self) -> bool {
        self != Self::Build
    }

    /// Whether install and build see it.
    pub fn at_build_time(self) -> bool {
        self != Self::Runtime
    }
}

/// An environment variable as it was set once; its value is found by `value_id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnvVar {
    /// Its name.
    pub key: EnvKey,
    /// The one environment it is for; all of the project when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_id: Option<EnvironmentId>,
    /// The sealed value.
    pub value_id: SecretId,
    /// Keyed hash of the value.
    pub mark: String,
    /// Whether people may no longer see it.
    pub sensitive: bool,
    /// Who sees it.
    pub availability: Availability,
}

impl EnvVar {
    /// Whether the running server has it: when it was meant for it and nothing forbids its name.
    pub fn is_at_run_time(&self) -> bool {
        self.availability.at_run_time() && !self.key.is_reserved()
    }

    /// Whether install and build have it.
    pub fn is_at_build_time(&self) -> bool {
        self.availability.at_build_time() && self.key.standing() == Standing::Allowed
    }
}

/// A value for a variable of a place that is named beside it.
#[derive(Clone, Debug)]
pub struct NewEnvVar {
    /// Its name.
    pub key: EnvKey,
    /// Its value.
    pub value: Sealed,
    /// Whether people may no longer see it.
    pub sensitive: bool,
    /// Who sees it.
    pub availability: Availability,
}

/// What a project token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TokenScope {
    /// Build and deploy.
    #[serde(rename = "deploy")]
    Deploy,
    /// Send telemetry.
    #[serde(rename = "telemetry:write")]
    TelemetryWrite,
    /// Read telemetry.
    #[serde(rename = "telemetry:read")]
    TelemetryRead,
    /// Read the project, its builds and deployments.
    #[serde(rename = "read")]
    Read,
}
