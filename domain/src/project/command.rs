//! What can be asked of a project.

use chrono::{DateTime, Utc};
use ipnet::IpNet;

use super::{Availability, EnvironmentType, ProjectSettings, TokenScope};
use crate::ids::{EnvironmentId, TeamId, TokenId};
use crate::sealed::Sealed;
use crate::values::{BranchName, DisplayName, EnvKey};

/// Commands of a project.
#[derive(Clone, Debug)]
pub enum ProjectCommand {
    /// Makes the project with its production environment.
    CreateProject {
        /// Its team.
        team_id: TeamId,
        /// Its settings.
        settings: Box<ProjectSettings>,
        /// Id of the production environment.
        production: EnvironmentId,
    },
    /// Puts other settings in place of the present ones.
    ChangeProjectSettings {
        /// The new settings, whole.
        settings: Box<ProjectSettings>,
    },
    /// Ends the project.
    DeleteProject,
    /// Makes an environment.
    CreateEnvironment {
        /// Its id.
        environment_id: EnvironmentId,
        /// Its name; its slug is made of it.
        name: DisplayName,
        /// What it is for.
        kind: EnvironmentType,
        /// The branch it follows.
        branch: Option<BranchName>,
    },
    /// Changes what is given.
    ChangeEnvironment {
        /// Its id.
        environment_id: EnvironmentId,
        /// Its new name; its slug stays.
        name: Option<DisplayName>,
        /// The branch it follows from now on: `Some(None)` is the project's.
        branch: Option<Option<BranchName>>,
    },
    /// Ends an environment.
    DeleteEnvironment {
        /// Its id.
        environment_id: EnvironmentId,
    },
    /// Sets a variable.
    SetEnvVar {
        /// Its name.
        key: EnvKey,
        /// The one environment it is for.
        environment_id: Option<EnvironmentId>,
        /// Its value.
        value: Sealed,
        /// Whether people may no longer see it.
        sensitive: bool,
        /// Who sees it.
        availability: Availability,
    },
    /// Deletes a variable.
    DeleteEnvVar {
        /// Its name.
        key: EnvKey,
        /// The one environment it is for.
        environment_id: Option<EnvironmentId>,
    },
    /// Notes that values are about to be shown.
    RevealEnvVars {
        /// Which variables.
        keys: Vec<EnvKey>,
    },
    /// Makes an API token.
    CreateProjectToken {
        /// Its id.
        token_id: TokenId,
        /// Its name.
        name: DisplayName,
        /// SHA-256 of the plain token, hex.
        hash: String,
        /// Its first characters.
        prefix: String,
        /// Its last four characters.
        last_four: String,
        /// From where it is believed; from everywhere when empty.
        ip_allowlist: Vec<IpNet>,
        /// What it may do.
        scopes: Vec<TokenScope>,
        /// When it ends.
        expires_at: Option<DateTime<Utc>>,
    },
    /// Gives an API token another secret.
    RotateProjectToken {
        /// Its id.
        token_id: TokenId,
        /// SHA-256 of the new secret, hex.
        hash: String,
        /// Its first characters.
        prefix: String,
        /// Its last four characters.
        last_four: String,
        /// Until when the secret before works.
        overlap_until: DateTime<Utc>,
        /// When the token ends; as before when absent.
        expires_at: Option<DateTime<Utc>>,
    },
    /// Ends an API token.
    RevokeProjectToken {
        /// Its id.
        token_id: TokenId,
    },
}

impl ProjectCommand {
    /// The name kept in the envelope.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateProject { .. } => "CreateProject",
            Self::ChangeProjectSettings { .. } => "ChangeProjectSettings",
            Self::DeleteProject => "DeleteProject",
            Self::CreateEnvironment { .. } => "CreateEnvironment",
            Self::ChangeEnvironment { .. } => "ChangeEnvironment",
            Self::DeleteEnvironment { .. } => "DeleteEnvironment",
            Self::SetEnvVar { .. } => "SetEnvVar",
            Self::DeleteEnvVar { .. } => "DeleteEnvVar",
            Self::RevealEnvVars { .. } => "RevealEnvVars",
            Self::CreateProjectToken { .. } => "CreateProjectToken",
            Self::RotateProjectToken { .. } => "RotateProjectToken",
            Self::RevokeProjectToken { .. } => "RevokeProjectToken",
        }
    }
}
