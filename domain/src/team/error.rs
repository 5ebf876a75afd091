//! Why a team's command is refused.

use thiserror::Error;

/// Refusals of the team aggregate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TeamError {
    /// No team with this id, or it is closed or deleted.
    #[error("this team does not exist")]
    Unknown,
    /// Only a team that is closed is purged.
    #[error("this team is not closed")]
    NotClosed,
    /// Its time is not over.
    #[error("this team is closed and can still be restored")]
    StillRestorable,
    /// The id belongs to another team already.
    #[error("this team exists already")]
    Exists,
    /// The user is not a member.
    #[error("this user is not a member of the team")]
    UnknownMember,
    /// The user is a member already.
    #[error("this user is a member of the team already")]
    AlreadyMember,
    /// The team would be left without an owner.
    #[error("a team keeps at least one owner: make somebody else owner first")]
    LastOwner,
    /// Only an owner may do this to an owner or make one.
    #[error("only an owner can add, change or remove owners")]
    OwnersOnly,
    /// Whoever invites vouches for the invite, and must be able to until it is accepted.
    #[error("only admins and owners of the team can invite: nobody could accept an invite of anybody else")]
    AdminsOnly,
    /// No such invite, or it is not for this person.
    #[error("this invite does not exist")]
    UnknownInvite,
    /// The address has an open invite already.
    #[error("this address has an open invite already")]
    AlreadyInvited,
    /// The invite was used, revoked or ran out of time.
    #[error("this invite is no longer valid")]
    InviteOver,
    /// Who invited has lost the right since.
    #[error("who invited you can no longer do so: ask for a new invite")]
    InviterLostRight,
    /// The invite still has time.
    #[error("this invite has not expired yet")]
    InviteStillOpen,
    /// No such installation.
    #[error("this installation does not exist")]
    UnknownInstallation,
}
