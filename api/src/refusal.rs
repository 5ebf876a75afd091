//! What the refusals of aggregates are called over HTTP.

use commands::StepError;
use domain::build::BuildError;
use domain::deployment::DeploymentError;
use domain::endpoint::EndpointError;
use domain::project::ProjectError;
use domain::role::RoleError;
use domain::role_assignment::RoleAssignmentError;
use domain::team::TeamError;
use domain::user::UserError;
use http::StatusCode;

/// A refusal of an aggregate: its status, its stable code, and the field it is about (or none).
pub(crate) trait Refusal: std::error::Error + 'static {
    fn problem(&self) -> (StatusCode, &'static str, &'static str);
}

pub(crate) const NOT_FOUND: StatusCode = StatusCode::NOT_FOUND;
pub(crate) const CONFLICT: StatusCode = StatusCode::CONFLICT;
pub(crate) const UNPROCESSABLE: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;

impl Refusal for StepError {
    fn problem(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::User(error) => error.problem(),
            Self::Team(error) => error.problem(),
            Self::Project(error) => error.problem(),
            Self::Build(error) => error.problem(),
            Self::Deployment(error) => error.problem(),
            Self::Role(error) => error.problem(),
            Self::RoleAssignment(error) => error.problem(),
        }
    }
}

impl Refusal for UserError {
    fn problem(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unknown | Self::UnknownSession | Self::UnknownToken => (NOT_FOUND, "not_found", ""),
            Self::OtherIdentity => (CONFLICT, "other_identity", ""),
            Self::Disabled => (StatusCode::FORBIDDEN, "account_disabled", ""),
        }
    }
}

impl Refusal for TeamError {
    fn problem(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unknown | Self::UnknownMember | Self::UnknownInvite | Self::UnknownInstallation => {
                (NOT_FOUND, "not_found", "")
            }
            Self::Exists => (CONFLICT, "exists", ""),
            Self::AlreadyMember => (CONFLICT, "already_member", "email"),
            Self::AlreadyInvited => (CONFLICT, "already_invited", "email"),
            Self::LastOwner => (CONFLICT, "last_owner", ""),
            Self::OwnersOnly => (StatusCode::FORBIDDEN, "owners_only", "role"),
            Self::AdminsOnly => (StatusCode::FORBIDDEN, "admins_only", ""),
            Self::InviteOver => (StatusCode::GONE, "invite_over", ""),
            Self::InviterLostRight => (StatusCode::GONE, "inviter_lost_right", ""),
            Self::NotClosed | Self::StillRestorable => (CONFLICT, "wrong_state", ""),
            Self::InviteStillOpen => (CONFLICT, "invite_still_open", ""),
        }
    }
}

impl Refusal for ProjectError {
    fn problem(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unknown | Self::UnknownEnvVar | Self::UnknownToken => (NOT_FOUND, "not_found", ""),
            Self::UnknownEnvironment => (UNPROCESSABLE, "unknown_environment", "environment"),
            Self::Exists => (CONFLICT, "exists", ""),
            Self::EnvironmentNameTaken => (CONFLICT, "name_taken", "name"),
            Self::ProductionIsFixed => (CONFLICT, "production_is_fixed", "type"),
            Self::ReservedEnvVar { .. } => (UNPROCESSABLE, "reserved", "key"),
            Self::EnvVarNotAtBuild { .. } => (UNPROCESSABLE, "not_at_build", "availability"),
            Self::TooManyPreviews => (CONFLICT, "too_many_previews", ""),
            Self::NothingToApprove => (CONFLICT, "nothing_to_approve", ""),
            Self::PullRequestMoved => (CONFLICT, "pull_request_moved", "commitSha"),
            Self::TooManyEnvVars => (UNPROCESSABLE, "too_many", "key"),
            Self::NoRepositoryToken | Self::NoDeployKey | Self::UnknownPushHook => {
                (NOT_FOUND, "not_found", "")
            }
            Self::TooManyPushHooks => (UNPROCESSABLE, "too_many", "name"),
        }
    }
}

impl Refusal for BuildError {
    fn problem(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unknown => (NOT_FOUND, "not_found", ""),
            Self::Exists => (CONFLICT, "exists", ""),
            Self::AlreadyFinished => (CONFLICT, "already_finished", ""),
            Self::StaleFence
            | Self::UnknownFence
            | Self::AlreadyStarted
            | Self::NoArtifact
            | Self::NotCancelled
            | Self::NotStarted => (CONFLICT, "wrong_state", ""),
        }
    }
}

impl Refusal for DeploymentError {
    fn problem(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unknown => (NOT_FOUND, "not_found", ""),
            Self::Exists => (CONFLICT, "exists", ""),
            Self::AlreadyOver => (CONFLICT, "already_over", ""),
            Self::StaleFence
            | Self::UnknownFence
            | Self::NotStarted
            | Self::NoAddress
            | Self::NothingToGoBackFrom => (CONFLICT, "wrong_state", ""),
        }
    }
}

impl Refusal for EndpointError {
    fn problem(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unknown => (NOT_FOUND, "not_found", ""),
            Self::Exists => (CONFLICT, "exists", ""),
            Self::KindIsFixed => (CONFLICT, "kind_is_fixed", ""),
            Self::NotSigned => (CONFLICT, "not_signed", ""),
            Self::IsDisabled => (CONFLICT, "endpoint_disabled", ""),
            Self::NoResult(_) => (UNPROCESSABLE, "no_result", "events"),
            Self::TooMany => (UNPROCESSABLE, "too_many", ""),
            Self::NoRecipient => (UNPROCESSABLE, "required", "to"),
        }
    }
}

impl Refusal for RoleError {
    fn problem(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unknown => (NOT_FOUND, "not_found", ""),
            Self::Exists => (CONFLICT, "exists", ""),
            Self::UnknownParent(_) => (UNPROCESSABLE, "unknown_role", "inherits"),
            Self::Cycle => (UNPROCESSABLE, "cycle", "inherits"),
            Self::TooDeep => (UNPROCESSABLE, "too_deep", "inherits"),
            Self::TooMany(_) => (UNPROCESSABLE, "too_many", "permissions"),
            Self::BadCondition(_) => (UNPROCESSABLE, "invalid", "permissions"),
            Self::Inherited => (CONFLICT, "role_inherited", ""),
        }
    }
}

impl Refusal for RoleAssignmentError {
    fn problem(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unknown => (NOT_FOUND, "not_found", ""),
            Self::Exists => (CONFLICT, "exists", ""),
        }
    }
}
