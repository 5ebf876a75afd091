//! What can happen to a project.

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Availability, EnvVar, Environment, ProjectSettings, TokenScope};
use crate::ids::{EnvironmentId, TeamId, TokenId};
use crate::sealed::Sealed;
use crate::values::{DisplayName, EnvKey, Slug};

/// Events of a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum ProjectEvent {
    /// The project exists.
    #[serde(rename = "project.created")]
    ProjectCreated {
        /// Its team.
        team_id: TeamId,
        /// Its settings.
        settings: ProjectSettings,
    },
    /// Settings changed.
    #[serde(rename = "project.settings_changed")]
    ProjectSettingsChanged {
        /// Its team.
        team_id: TeamId,
        /// The settings from now on.
        settings: ProjectSettings,
        /// The settings until now.
        old: ProjectSettings,
    },
    /// The project is gone: nothing of it runs any more.
    #[serde(rename = "project.deleted")]
    ProjectDeleted {
        /// Its team.
        team_id: TeamId,
        /// The slug it had.
        slug: Slug,
    },
    /// An environment exists.
    #[serde(rename = "project.environment_created")]
    ProjectEnvironmentCreated {
        /// It.
        environment: Environment,
    },
    /// An environment changed.
    #[serde(rename = "project.environment_changed")]
    ProjectEnvironmentChanged {
        /// It, from now on.
        environment: Environment,
        /// It, until now.
        old: Environment,
    },
    /// An environment is gone, with its variables.
    #[serde(rename = "project.environment_deleted")]
    ProjectEnvironmentDeleted {
        /// Its id.
        environment_id: EnvironmentId,
        /// The slug it had.
        slug: Slug,
    },
    /// A variable has a value.
    #[serde(rename = "project.env_var_set")]
    ProjectEnvVarSet {
        /// Its name.
        key: EnvKey,
        /// The one environment it is for; all when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        environment_id: Option<EnvironmentId>,
        /// Its value, under the project's key.
        value: Sealed,
        /// Whether people may no longer see it.
        sensitive: bool,
        /// Who sees it.
        availability: Availability,
        /// What was set until now, without its value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old: Option<EnvVar>,
    },
    /// A variable is gone.
    #[serde(rename = "project.env_var_deleted")]
    ProjectEnvVarDeleted {
        /// What was set until now, without its value.
        old: EnvVar,
    },
    /// Somebody saw values in clear. Recorded before they were shown.
    #[serde(rename = "project.env_vars_revealed")]
    ProjectEnvVarsRevealed {
        /// Which variables.
        keys: Vec<EnvKey>,
    },
    /// An API token exists.
    #[serde(rename = "project.token_created")]
    ProjectTokenCreated {
        /// Its id.
        token_id: TokenId,
        /// Its name.
        name: DisplayName,
        /// SHA-256 of the plain token, hex.
        hash: String,
        /// Its first characters, shown in lists.
        prefix: String,
        /// Its last four characters, shown in lists; none of tokens that were made before these were kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_four: Option<String>,
        /// From where it is believed; from everywhere when empty.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ip_allowlist: Vec<IpNet>,
        /// What it may do.
        scopes: Vec<TokenScope>,
        /// From when on it is refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<DateTime<Utc>>,
    },
    /// An API token has another secret. The one before works for a while longer, those before it no more.
    #[serde(rename = "project.token_rotated")]
    ProjectTokenRotated {
        /// The token.
        token_id: TokenId,
        /// SHA-256 of the new secret, hex.
        hash: String,
        /// Its first characters.
        prefix: String,
        /// Its last four characters.
        last_four: String,
        /// From when on the secret before is refused.
        overlap_until: DateTime<Utc>,
        /// From when on the token is refused; as before when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<DateTime<Utc>>,
    },
    /// An API token is refused from now on.
    #[serde(rename = "project.token_revoked")]
    ProjectTokenRevoked {
        /// Its id.
        token_id: TokenId,
    },
}

impl DomainEvent for ProjectEvent {
    fn event_type(&self) -> String {
        match self {
            Self::ProjectCreated { .. } => "project.created",
            Self::ProjectSettingsChanged { .. } => "project.settings_changed",
            Self::ProjectDeleted { .. } => "project.deleted",
            Self::ProjectEnvironmentCreated { .. } => "project.environment_created",
            Self::ProjectEnvironmentChanged { .. } => "project.environment_changed",
            Self::ProjectEnvironmentDeleted { .. } => "project.environment_deleted",
            Self::ProjectEnvVarSet { .. } => "project.env_var_set",
            Self::ProjectEnvVarDeleted { .. } => "project.env_var_deleted",
            Self::ProjectEnvVarsRevealed { .. } => "project.env_vars_revealed",
            Self::ProjectTokenCreated { .. } => "project.token_created",
            Self::ProjectTokenRotated { .. } => "project.token_rotated",
            Self::ProjectTokenRevoked { .. } => "project.token_revoked",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
