//! What can happen to a project.

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Availability, DeployKey, EnvVar, Environment, ProjectSettings, RepositoryToken, TokenScope};
use crate::ids::{EnvironmentId, HookId, TeamId, TokenId};
use crate::sealed::Sealed;
use crate::values::{CommitSha, DisplayName, EnvKey, GitUsername, HostKey, Slug};

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
    /// A person allowed a commit of a fork to be built and deployed to its preview.
    #[serde(rename = "project.preview_approved")]
    ProjectPreviewApproved {
        /// The preview.
        environment_id: EnvironmentId,
        /// That commit and no other.
        commit: CommitSha,
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
    /// The repository opens over https by this.
    #[serde(rename = "project.repository_token_set")]
    ProjectRepositoryTokenSet {
        /// The host that it is for; no other is ever sent it.
        host: String,
        /// The name that goes with it.
        username: GitUsername,
        /// The token, under the project's key.
        token: Sealed,
        /// What was set until now, without the token itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old: Option<RepositoryToken>,
    },
    /// What opened the repository over https is forgotten.
    #[serde(rename = "project.repository_token_removed")]
    ProjectRepositoryTokenRemoved {
        /// What was set until now, without the token itself.
        old: RepositoryToken,
    },
    /// A key pair for reading over ssh exists.
    #[serde(rename = "project.deploy_key_made")]
    ProjectDeployKeyMade {
        /// The public half, for the git host.
        public_key: HostKey,
        /// The private half, under the project's key.
        secret: Sealed,
        /// The one before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old: Option<DeployKey>,
        /// Until when the one before is used besides.
        overlap_until: DateTime<Utc>,
    },
    /// The key pair is used no more, nor one before it.
    #[serde(rename = "project.deploy_key_removed")]
    ProjectDeployKeyRemoved {
        /// It.
        old: DeployKey,
    },
    /// An ssh server is known by these keys, and by these alone; by none when there are none.
    #[serde(rename = "project.host_keys_pinned")]
    ProjectHostKeysPinned {
        /// The server, with its port when it is not 22.
        host: String,
        /// Its keys.
        keys: Vec<HostKey>,
        /// Those until now, also of another server.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        old_keys: Vec<HostKey>,
    },
    /// Git hosts may tell of pushes by a webhook.
    #[serde(rename = "project.push_hook_created")]
    ProjectPushHookCreated {
        /// Its id.
        hook_id: HookId,
        /// Its name.
        name: DisplayName,
        /// What its deliveries are signed with, under the project's key.
        secret: Sealed,
        /// The last four characters of that, shown in lists.
        last_four: String,
    },
    /// A webhook has another secret. The one before works for a while longer, those before it no more.
    #[serde(rename = "project.push_hook_rotated")]
    ProjectPushHookRotated {
        /// Its id.
        hook_id: HookId,
        /// What its deliveries are signed with, under the project's key.
        secret: Sealed,
        /// The last four characters of that.
        last_four: String,
        /// From when on the secret before proves nothing.
        overlap_until: DateTime<Utc>,
    },
    /// Nobody tells of anything by this webhook any more.
    #[serde(rename = "project.push_hook_deleted")]
    ProjectPushHookDeleted {
        /// Its id.
        hook_id: HookId,
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
            Self::ProjectPreviewApproved { .. } => "project.preview_approved",
            Self::ProjectEnvVarSet { .. } => "project.env_var_set",
            Self::ProjectEnvVarDeleted { .. } => "project.env_var_deleted",
            Self::ProjectEnvVarsRevealed { .. } => "project.env_vars_revealed",
            Self::ProjectTokenCreated { .. } => "project.token_created",
            Self::ProjectTokenRotated { .. } => "project.token_rotated",
            Self::ProjectTokenRevoked { .. } => "project.token_revoked",
            Self::ProjectRepositoryTokenSet { .. } => "project.repository_token_set",
            Self::ProjectRepositoryTokenRemoved { .. } => "project.repository_token_removed",
            Self::ProjectDeployKeyMade { .. } => "project.deploy_key_made",
            Self::ProjectDeployKeyRemoved { .. } => "project.deploy_key_removed",
            Self::ProjectHostKeysPinned { .. } => "project.host_keys_pinned",
            Self::ProjectPushHookCreated { .. } => "project.push_hook_created",
            Self::ProjectPushHookRotated { .. } => "project.push_hook_rotated",
            Self::ProjectPushHookDeleted { .. } => "project.push_hook_deleted",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}
