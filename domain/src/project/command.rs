//! What can be asked of a project.

use chrono::{DateTime, Utc};
use ipnet::IpNet;

use super::{Availability, EnvironmentType, NewEnvVar, ProjectSettings, Protection, PullRequest, TokenScope};
use crate::ids::{EnvironmentId, HookId, TeamId, TokenId};
use crate::sealed::Sealed;
use crate::values::{BranchName, BranchPattern, CommitSha, DisplayName, EnvKey, GitUsername, HostKey};

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
        /// The branches whose pushes it gets from then on: `Some(None)` is the one it follows.
        branch_pattern: Option<Option<BranchPattern>>,
        /// Who may use what is deployed there.
        protection: Option<Protection>,
    },
    /// Ends an environment.
    DeleteEnvironment {
        /// Its id.
        environment_id: EnvironmentId,
    },
    /// Makes the preview of a pull request, or has it follow the pull request.
    KeepPreview {
        /// Its id, when it is made.
        environment_id: EnvironmentId,
        /// What the pull request is at, and how long the preview is kept for that.
        pull_request: PullRequest,
    },
    /// Allows what a fork brings to be built.
    ApprovePreview {
        /// The preview.
        environment_id: EnvironmentId,
        /// The very commit; what is pushed later needs another approval.
        commit: CommitSha,
    },
    /// Ends a preview whose time is over.
    ExpirePreview {
        /// The preview.
        environment_id: EnvironmentId,
        /// The end that has come; it stays when it has another by now.
        expires_at: DateTime<Utc>,
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
    /// Sets several variables, all or none.
    SetEnvVars {
        /// The one environment they are for.
        environment_id: Option<EnvironmentId>,
        /// They.
        vars: Vec<NewEnvVar>,
        /// Whether other variables of the same place are deleted.
        replace: bool,
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
    /// Sets what opens the repository over https.
    SetRepositoryToken {
        /// The host that it is for.
        host: String,
        /// The name that goes with it.
        username: GitUsername,
        /// The token.
        token: Sealed,
    },
    /// Forgets what opens the repository over https.
    RemoveRepositoryToken,
    /// Makes a key pair for reading over ssh, in the place of the one before.
    MakeDeployKey {
        /// The public half.
        public_key: HostKey,
        /// The private half.
        secret: Sealed,
        /// Until when the one before works.
        overlap_until: DateTime<Utc>,
    },
    /// Forgets the key pair.
    RemoveDeployKey,
    /// Says which keys an ssh server proves itself with; none is believed any more when there are none.
    PinHostKeys {
        /// The server, with its port when it is not 22.
        host: String,
        /// Its keys.
        keys: Vec<HostKey>,
    },
    /// Makes a webhook.
    CreatePushHook {
        /// Its id.
        hook_id: HookId,
        /// Its name.
        name: DisplayName,
        /// What its deliveries are signed with.
        secret: Sealed,
        /// The last four characters of that.
        last_four: String,
    },
    /// Gives a webhook another secret.
    RotatePushHook {
        /// Its id.
        hook_id: HookId,
        /// What its deliveries are signed with.
        secret: Sealed,
        /// The last four characters of that.
        last_four: String,
        /// Until when the secret before works.
        overlap_until: DateTime<Utc>,
    },
    /// Ends a webhook.
    DeletePushHook {
        /// Its id.
        hook_id: HookId,
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
            Self::KeepPreview { .. } => "KeepPreview",
            Self::ApprovePreview { .. } => "ApprovePreview",
            Self::ExpirePreview { .. } => "ExpirePreview",
            Self::SetEnvVar { .. } => "SetEnvVar",
            Self::SetEnvVars { .. } => "SetEnvVars",
            Self::DeleteEnvVar { .. } => "DeleteEnvVar",
            Self::RevealEnvVars { .. } => "RevealEnvVars",
            Self::CreateProjectToken { .. } => "CreateProjectToken",
            Self::RotateProjectToken { .. } => "RotateProjectToken",
            Self::RevokeProjectToken { .. } => "RevokeProjectToken",
            Self::SetRepositoryToken { .. } => "SetRepositoryToken",
            Self::RemoveRepositoryToken => "RemoveRepositoryToken",
            Self::MakeDeployKey { .. } => "MakeDeployKey",
            Self::RemoveDeployKey => "RemoveDeployKey",
            Self::PinHostKeys { .. } => "PinHostKeys",
            Self::CreatePushHook { .. } => "CreatePushHook",
            Self::RotatePushHook { .. } => "RotatePushHook",
            Self::DeletePushHook { .. } => "DeletePushHook",
        }
    }
}
