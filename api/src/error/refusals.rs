//! What an aggregate's refusal is in HTTP. The one place where statuses and codes of refusals are decided.

use std::error::Error;

use domain::build::BuildError;
use domain::claim::ClaimScope;
use domain::deployment::DeploymentError;
use domain::project::ProjectError;
use domain::role::RoleError;
use domain::role_assignment::RoleAssignmentError;
use domain::team::TeamError;
use domain::user::UserError;

use super::Problem;

/// A refusal of an aggregate.
pub(crate) trait Refusal: Error + 'static {
    /// As it goes out.
    fn problem(&self) -> Problem;
}

/// A name that only one may have belongs to another.
pub(super) fn name_taken(scope: ClaimScope) -> Problem {
    let (field, message) = match scope {
        ClaimScope::UserEmail => ("email", "somebody has this address already"),
        ClaimScope::UserIdentity => ("subject", "somebody has this identity already"),
        ClaimScope::TeamSlug => ("slug", "another team has this slug"),
        ClaimScope::ProjectSlug => ("slug", "another project of the team has this slug"),
        ClaimScope::TeamInvite => ("email", "this address has an open invite already"),
    };
    Problem::new(409, "name_taken", "The name is taken").detail(message).field(field, "taken", message)
}

/// What is asked for does not exist in an object that the caller sees.
fn unknown(_: &impl Error) -> Problem {
    Problem::not_found()
}

fn conflict(code: &'static str, error: &impl Error) -> Problem {
    Problem::new(409, code, "This does not go with the present state").detail(error.to_string())
}

fn forbidden(code: &'static str, error: &impl Error) -> Problem {
    Problem::new(403, code, "Not allowed").detail(error.to_string())
}

fn field(name: &str, code: &'static str, error: &impl Error) -> Problem {
    Problem::invalid(name, code, error.to_string())
}

impl Refusal for UserError {
    fn problem(&self) -> Problem {
        match self {
            Self::Unknown | Self::UnknownSession | Self::UnknownToken => unknown(self),
            Self::OtherIdentity => conflict("other_identity", self),
        }
    }
}

impl Refusal for TeamError {
    fn problem(&self) -> Problem {
        match self {
            Self::Unknown | Self::UnknownMember | Self::UnknownInvite | Self::UnknownInstallation => {
                unknown(self)
            }
            Self::Exists => conflict("exists", self),
            Self::AlreadyMember => conflict("already_member", self).field("email", "taken", self.to_string()),
            Self::AlreadyInvited => {
                conflict("already_invited", self).field("email", "taken", self.to_string())
            }
            Self::LastOwner => conflict("last_owner", self),
            Self::OwnersOnly => forbidden("owners_only", self),
            Self::InviteOver => {
                Problem::new(410, "invite_over", "The invite is over").detail(self.to_string())
            }
            Self::InviterLostRight => {
                Problem::new(410, "inviter_lost_right", "The invite is over").detail(self.to_string())
            }
            Self::InviteStillOpen => conflict("invite_still_open", self),
        }
    }
}

impl Refusal for ProjectError {
    fn problem(&self) -> Problem {
        match self {
            Self::Unknown | Self::UnknownEnvironment | Self::UnknownEnvVar | Self::UnknownToken => {
                unknown(self)
            }
            Self::Exists => conflict("exists", self),
            Self::EnvironmentNameTaken => {
                conflict("name_taken", self).field("name", "taken", self.to_string())
            }
            Self::ProductionIsFixed => conflict("production_is_fixed", self),
            Self::ReservedEnvVar(_) => field("key", "reserved", self),
            Self::TooManyEnvVars => conflict("too_many_env_vars", self),
        }
    }
}

impl Refusal for BuildError {
    fn problem(&self) -> Problem {
        match self {
            Self::Unknown => unknown(self),
            Self::Exists => conflict("exists", self),
            Self::AlreadyFinished => conflict("already_finished", self),
            Self::StaleFence => conflict("stale_fence", self),
            Self::NotStarted => conflict("not_started", self),
        }
    }
}

impl Refusal for DeploymentError {
    fn problem(&self) -> Problem {
        match self {
            Self::Unknown => unknown(self),
            Self::Exists => conflict("exists", self),
            Self::AlreadyOver => conflict("already_over", self),
            Self::StaleFence => conflict("stale_fence", self),
            Self::NotStarted => conflict("not_started", self),
        }
    }
}

impl Refusal for RoleError {
    fn problem(&self) -> Problem {
        match self {
            Self::Unknown => unknown(self),
            Self::Exists => conflict("exists", self),
        }
    }
}

impl Refusal for RoleAssignmentError {
    fn problem(&self) -> Problem {
        match self {
            Self::Unknown => unknown(self),
            Self::Exists => conflict("exists", self),
        }
    }
}
