//! What can happen to a team.

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

use super::{InstallationStatus, MemberRole};
use crate::ids::{InstallationId, InviteId, UserId};
use crate::sealed::Sealed;
use crate::values::{DisplayName, Slug};

/// Events of a team.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum TeamEvent {
    /// The team exists; its maker owns it.
    #[serde(rename = "team.created")]
    TeamCreated {
        /// Its name.
        name: DisplayName,
        /// Its name in URLs.
        slug: Slug,
        /// Its first owner.
        owner: UserId,
    },
    /// Name or slug changed.
    #[serde(rename = "team.renamed")]
    TeamRenamed {
        /// The name from now on.
        name: DisplayName,
        /// The slug from now on.
        slug: Slug,
        /// The slug until now.
        old_slug: Slug,
        /// Whether the slug until now stays the team's and leads to it.
        #[serde(default, skip_serializing_if = "is_false")]
        old_slug_kept: bool,
        /// Whether the new slug was kept since an earlier rename.
        #[serde(default, skip_serializing_if = "is_false")]
        slug_was_kept: bool,
    },
    /// The team has stopped. Nothing of it is lost.
    #[serde(rename = "team.closed")]
    TeamClosed {
        /// When it is purged, unless it is reopened.
        until: DateTime<Utc>,
    },
    /// The team goes on as it was.
    #[serde(rename = "team.reopened")]
    TeamReopened {},
    /// The team is no more, and its slug is anybody's. Until there was `team.closed`, this is how a team ended.
    #[serde(rename = "team.deleted")]
    TeamDeleted {
        /// The slug it had.
        slug: Slug,
    },
    /// Somebody belongs to the team.
    #[serde(rename = "team.member_added")]
    TeamMemberAdded {
        /// Who.
        user_id: UserId,
        /// As what.
        role: MemberRole,
    },
    /// A member has another role.
    #[serde(rename = "team.member_role_changed")]
    TeamMemberRoleChanged {
        /// Who.
        user_id: UserId,
        /// The role from now on.
        role: MemberRole,
        /// The role until now.
        old_role: MemberRole,
    },
    /// Somebody no longer belongs to the team.
    #[serde(rename = "team.member_removed")]
    TeamMemberRemoved {
        /// Who.
        user_id: UserId,
        /// The role until now.
        role: MemberRole,
    },
    /// An address is invited.
    #[serde(rename = "team.member_invited")]
    TeamMemberInvited {
        /// The invite.
        invite_id: InviteId,
        /// The address, under the invite's own key.
        email: Sealed,
        /// Keyed hash of the address.
        email_hash: String,
        /// As what.
        role: MemberRole,
        /// SHA-256 of the secret in the mail, hex.
        token_hash: String,
        /// The secret itself, sealed, until the mail is sent.
        token: Sealed,
        /// By whom.
        invited_by: UserId,
        /// Until when it can be accepted.
        expires_at: DateTime<Utc>,
    },
    /// An open invite has another secret.
    #[serde(rename = "team.invite_resent")]
    TeamInviteResent {
        /// The invite.
        invite_id: InviteId,
        /// SHA-256 of the secret in the mail, hex; the one before is worth nothing.
        token_hash: String,
        /// The secret itself, sealed, until the mail is sent.
        token: Sealed,
        /// Who vouches for it from now on.
        invited_by: UserId,
        /// Until when it can be accepted.
        expires_at: DateTime<Utc>,
    },
    /// An invite cannot be accepted any more.
    #[serde(rename = "team.invite_revoked")]
    TeamInviteRevoked {
        /// The invite.
        invite_id: InviteId,
        /// Keyed hash of its address.
        email_hash: String,
    },
    /// An invite was accepted.
    #[serde(rename = "team.invite_accepted")]
    TeamInviteAccepted {
        /// The invite.
        invite_id: InviteId,
        /// Keyed hash of its address.
        email_hash: String,
        /// By whom.
        user_id: UserId,
    },
    /// An invite ran out of time.
    #[serde(rename = "team.invite_expired")]
    TeamInviteExpired {
        /// The invite.
        invite_id: InviteId,
        /// Keyed hash of its address.
        email_hash: String,
    },
    /// An installation of the GitHub App belongs to the team.
    #[serde(rename = "team.installation_connected")]
    TeamInstallationConnected {
        /// Our id.
        installation_id: InstallationId,
        /// GitHub's id.
        github_id: i64,
        /// Login of the account it is installed on.
        organization: String,
    },
    /// GitHub suspended, resumed or lost an installation.
    #[serde(rename = "team.installation_status_changed")]
    TeamInstallationStatusChanged {
        /// Our id.
        installation_id: InstallationId,
        /// The status from now on.
        status: InstallationStatus,
    },
    /// An installation no longer belongs to the team.
    #[serde(rename = "team.installation_removed")]
    TeamInstallationRemoved {
        /// Our id.
        installation_id: InstallationId,
    },
}

impl DomainEvent for TeamEvent {
    fn event_type(&self) -> String {
        match self {
            Self::TeamCreated { .. } => "team.created",
            Self::TeamRenamed { .. } => "team.renamed",
            Self::TeamClosed { .. } => "team.closed",
            Self::TeamReopened {} => "team.reopened",
            Self::TeamDeleted { .. } => "team.deleted",
            Self::TeamMemberAdded { .. } => "team.member_added",
            Self::TeamMemberRoleChanged { .. } => "team.member_role_changed",
            Self::TeamMemberRemoved { .. } => "team.member_removed",
            Self::TeamMemberInvited { .. } => "team.member_invited",
            Self::TeamInviteResent { .. } => "team.invite_resent",
            Self::TeamInviteRevoked { .. } => "team.invite_revoked",
            Self::TeamInviteAccepted { .. } => "team.invite_accepted",
            Self::TeamInviteExpired { .. } => "team.invite_expired",
            Self::TeamInstallationConnected { .. } => "team.installation_connected",
            Self::TeamInstallationStatusChanged { .. } => "team.installation_status_changed",
            Self::TeamInstallationRemoved { .. } => "team.installation_removed",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}
