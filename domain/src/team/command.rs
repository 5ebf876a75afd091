//! What can be asked of a team.

use chrono::{DateTime, Utc};

use super::{InstallationStatus, MemberRole};
use crate::ids::{InstallationId, InviteId, UserId};
use crate::sealed::Sealed;
use crate::values::{DisplayName, Slug};

/// Commands of a team.
#[derive(Clone, Debug)]
pub enum TeamCommand {
    /// Makes the team.
    CreateTeam {
        /// Its name.
        name: DisplayName,
        /// Its slug.
        slug: Slug,
        /// Its first owner.
        owner: UserId,
    },
    /// Changes what is given.
    RenameTeam {
        /// New name.
        name: Option<DisplayName>,
        /// New slug.
        slug: Option<Slug>,
    },
    /// Closes the team: it stops, and can be reopened for a while.
    CloseTeam {
        /// Now.
        at: DateTime<Utc>,
    },
    /// Opens it again as it was.
    ReopenTeam,
    /// Ends a closed team for good, once its time is over.
    PurgeTeam {
        /// Now.
        at: DateTime<Utc>,
    },
    /// Takes somebody in whom a sign-in provider counts among its members. Whoever is a member already stays as he is.
    AddMember {
        /// Who.
        user_id: UserId,
        /// As what; not as an owner.
        role: MemberRole,
    },
    /// Gives a member another role.
    ChangeMemberRole {
        /// Who.
        user_id: UserId,
        /// The new role.
        role: MemberRole,
        /// The role of who asks: only an owner touches owners.
        by: MemberRole,
    },
    /// Makes another member owner in the place of who asks, who is an admin from then on.
    TransferOwnership {
        /// Who asks; an owner.
        from: UserId,
        /// The member who owns the team from then on.
        to: UserId,
    },
    /// Ends a membership; also used to leave.
    RemoveMember {
        /// Who.
        user_id: UserId,
        /// The role of who asks: only an owner removes owners.
        by: MemberRole,
    },
    /// Invites an address.
    InviteMember {
        /// The invite.
        invite_id: InviteId,
        /// The address.
        email: Sealed,
        /// Keyed hash of the address.
        email_hash: String,
        /// As what.
        role: MemberRole,
        /// SHA-256 of the secret, hex.
        token_hash: String,
        /// The secret, sealed for the mail.
        token: Sealed,
        /// By whom.
        invited_by: UserId,
        /// The role of who invites: only an owner invites owners.
        by: MemberRole,
        /// The user who has this address already, when there is one.
        invitee: Option<UserId>,
        /// Until when.
        expires_at: DateTime<Utc>,
    },
    /// Sends an open invite once more, with another secret: the one before is worth nothing from then on.
    ResendInvite {
        /// The invite.
        invite_id: InviteId,
        /// SHA-256 of the new secret, hex.
        token_hash: String,
        /// The new secret, sealed for the mail.
        token: Sealed,
        /// Who vouches for it from then on.
        invited_by: UserId,
        /// The role of who asks.
        by: MemberRole,
        /// Until when.
        expires_at: DateTime<Utc>,
    },
    /// Takes an invite back.
    RevokeInvite {
        /// The invite.
        invite_id: InviteId,
    },
    /// Accepts an invite.
    AcceptInvite {
        /// The invite.
        invite_id: InviteId,
        /// By whom.
        user_id: UserId,
        /// Keyed hash of that user's address.
        email_hash: String,
        /// SHA-256 of the secret that he has, hex.
        token_hash: String,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Ends an invite whose time is over.
    ExpireInvite {
        /// The invite.
        invite_id: InviteId,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Connects an installation of the GitHub App.
    ConnectInstallation {
        /// Our id.
        installation_id: InstallationId,
        /// GitHub's id.
        github_id: i64,
        /// Login of the account.
        organization: String,
    },
    /// Notes what GitHub says of an installation.
    ChangeInstallationStatus {
        /// Our id.
        installation_id: InstallationId,
        /// The new status.
        status: InstallationStatus,
    },
    /// Disconnects an installation.
    RemoveInstallation {
        /// Our id.
        installation_id: InstallationId,
    },
}

impl TeamCommand {
    /// The name kept in the envelope.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateTeam { .. } => "CreateTeam",
            Self::RenameTeam { .. } => "RenameTeam",
            Self::CloseTeam { .. } => "CloseTeam",
            Self::ReopenTeam => "ReopenTeam",
            Self::PurgeTeam { .. } => "PurgeTeam",
            Self::AddMember { .. } => "AddMember",
            Self::ChangeMemberRole { .. } => "ChangeMemberRole",
            Self::TransferOwnership { .. } => "TransferOwnership",
            Self::RemoveMember { .. } => "RemoveMember",
            Self::InviteMember { .. } => "InviteMember",
            Self::ResendInvite { .. } => "ResendInvite",
            Self::RevokeInvite { .. } => "RevokeInvite",
            Self::AcceptInvite { .. } => "AcceptInvite",
            Self::ExpireInvite { .. } => "ExpireInvite",
            Self::ConnectInstallation { .. } => "ConnectInstallation",
            Self::ChangeInstallationStatus { .. } => "ChangeInstallationStatus",
            Self::RemoveInstallation { .. } => "RemoveInstallation",
        }
    }
}
