//! How a team decides about its invites.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{MemberRole, Team, TeamCommand, TeamError, TeamEvent};
use crate::ids::{InviteId, UserId};

/// An invite as the team remembers it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Invite {
    pub(super) state: InviteState,
    pub(super) email_hash: String,
    pub(super) token_hash: String,
    pub(super) role: MemberRole,
    pub(super) invited_by: UserId,
    pub(super) expires_at: DateTime<Utc>,
}

/// Whether it can still be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum InviteState {
    /// It can.
    Open,
    /// This user did.
    Accepted(UserId),
    /// Revoked or expired.
    Over,
}

impl Invite {
    pub(super) fn is_open(&self) -> bool {
        self.state == InviteState::Open
    }

    pub(super) fn revoked(&self, invite_id: InviteId) -> TeamEvent {
        TeamEvent::TeamInviteRevoked { invite_id, email_hash: self.email_hash.clone() }
    }
}

impl Team {
    pub(super) fn close_invite(&mut self, invite_id: InviteId, state: InviteState) {
        if let Some(invite) = self.invites.get_mut(&invite_id) {
            invite.state = state;
        }
    }

    pub(super) fn decide_invite(&self, command: TeamCommand) -> Result<Vec<TeamEvent>, TeamError> {
        match command {
            TeamCommand::InviteMember { .. } => self.invite(command),
            TeamCommand::ResendInvite { invite_id, token_hash, token, invited_by, by, expires_at } => {
                let invite = self.known_invite(invite_id)?;
                if !invite.is_open() {
                    return Err(TeamError::InviteOver);
                }
                self.may_invite(invite.role, by)?;
                if invite.token_hash == token_hash {
                    return Ok(vec![]);
                }
                Ok(vec![TeamEvent::TeamInviteResent { invite_id, token_hash, token, invited_by, expires_at }])
            }
            TeamCommand::RevokeInvite { invite_id } => {
                let invite = self.known_invite(invite_id)?;
                match invite.state {
                    InviteState::Open => Ok(vec![invite.revoked(invite_id)]),
                    InviteState::Accepted(_) => Err(TeamError::InviteOver),
                    InviteState::Over => Ok(vec![]),
                }
            }
            TeamCommand::AcceptInvite { invite_id, user_id, email_hash, token_hash, at } => {
                self.accept(invite_id, user_id, &email_hash, &token_hash, at)
            }
            TeamCommand::ExpireInvite { invite_id, at } => {
                let invite = self.known_invite(invite_id)?;
                if !invite.is_open() {
                    return Ok(vec![]);
                }
                if at < invite.expires_at {
                    return Err(TeamError::InviteStillOpen);
                }
                let email_hash = invite.email_hash.clone();
                Ok(vec![TeamEvent::TeamInviteExpired { invite_id, email_hash }])
            }
            _ => unreachable!("only commands about invites are passed on"),
        }
    }

    fn known_invite(&self, invite_id: InviteId) -> Result<&Invite, TeamError> {
        self.invites.get(&invite_id).ok_or(TeamError::UnknownInvite)
    }

    /// What is asked when it is accepted is asked at once too, so that nobody gets an invite that is worth nothing.
    fn may_invite(&self, role: MemberRole, by: MemberRole) -> Result<(), TeamError> {
        self.owners_only(role, by)?;
        if can_vouch(by, role) { Ok(()) } else { Err(TeamError::AdminsOnly) }
    }

    fn invite(&self, command: TeamCommand) -> Result<Vec<TeamEvent>, TeamError> {
        let TeamCommand::InviteMember {
            invite_id,
            email,
            email_hash,
            role,
            token_hash,
            token,
            invited_by,
            by,
            invitee,
            expires_at,
        } = command
        else {
            unreachable!("called with an invite only")
        };
        if self.invites.contains_key(&invite_id) {
            return Ok(vec![]);
        }
        self.may_invite(role, by)?;
        if invitee.is_some_and(|user| self.members.contains_key(&user)) {
            return Err(TeamError::AlreadyMember);
        }
        if self.invites.values().any(|invite| invite.is_open() && invite.email_hash == email_hash) {
            return Err(TeamError::AlreadyInvited);
        }
        Ok(vec![TeamEvent::TeamMemberInvited {
            invite_id,
            email,
            email_hash,
            role,
            token_hash,
            token,
            invited_by,
            expires_at,
        }])
    }

    fn accept(
        &self,
        invite_id: InviteId,
        user_id: UserId,
        email_hash: &str,
        token_hash: &str,
        at: DateTime<Utc>,
    ) -> Result<Vec<TeamEvent>, TeamError> {
        let invite = self.known_invite(invite_id)?;
        if invite.email_hash != email_hash {
            return Err(TeamError::UnknownInvite);
        }
        match invite.state {
            InviteState::Accepted(by) if by == user_id => return Ok(vec![]),
            InviteState::Accepted(_) | InviteState::Over => return Err(TeamError::InviteOver),
            InviteState::Open if at >= invite.expires_at || invite.token_hash != token_hash => {
                return Err(TeamError::InviteOver);
            }
            InviteState::Open => {}
        }
        if self.members.contains_key(&user_id) {
            return Err(TeamError::AlreadyMember);
        }
        let inviter = self.members.get(&invite.invited_by).copied();
        if !inviter.is_some_and(|inviter| can_vouch(inviter, invite.role)) {
            return Err(TeamError::InviterLostRight);
        }
        let (role, email_hash) = (invite.role, invite.email_hash.clone());
        Ok(vec![
            TeamEvent::TeamInviteAccepted { invite_id, email_hash, user_id },
            TeamEvent::TeamMemberAdded { user_id, role },
        ])
    }
}

/// Whether a member of this rank may bring somebody in as that.
fn can_vouch(by: MemberRole, role: MemberRole) -> bool {
    by >= MemberRole::Admin && by >= role
}
