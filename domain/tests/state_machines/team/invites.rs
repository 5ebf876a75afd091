//! The rules of invites.

use domain::ids::InviteId;
use domain::team::TeamCommand::*;
use domain::team::TeamEvent::*;
use domain::team::{MemberRole, TeamCommand, TeamError};

use super::{End, Invite, Rules};
use crate::machine::Answer;

impl Rules {
    /// Only who could vouch for somebody when he comes may invite him.
    fn may_vouch(&self, role: MemberRole, by: MemberRole) -> Result<(), TeamError> {
        self.may_touch(&[role], by)?;
        let may = matches!(by, MemberRole::Owner | MemberRole::Admin);
        may.then_some(()).ok_or(TeamError::AdminsOnly)
    }

    pub(super) fn obey_resend(&mut self, command: TeamCommand) -> Answer<Self> {
        let ResendInvite { invite_id, token_hash, token, invited_by, by, expires_at } = command else {
            unreachable!("called with a resend only")
        };
        let Some(invite) = self.invites.get(&invite_id) else { return Err(TeamError::UnknownInvite) };
        if invite.end.is_some() {
            return Err(TeamError::InviteOver);
        }
        self.may_vouch(invite.role, by)?;
        if invite.token_hash == token_hash {
            return Ok(vec![]);
        }
        let invite = self.invites.get_mut(&invite_id).unwrap();
        (invite.token_hash, invite.invited_by, invite.expires_at) =
            (token_hash.clone(), invited_by, expires_at);
        Ok(vec![TeamInviteResent { invite_id, token_hash, token, invited_by, expires_at }])
    }

    pub(super) fn obey_invite(&mut self, command: TeamCommand) -> Answer<Self> {
        let InviteMember {
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
        self.may_vouch(role, by)?;
        if invitee.is_some_and(|invitee| self.members.contains_key(&invitee)) {
            return Err(TeamError::AlreadyMember);
        }
        if self.invites.values().any(|it| it.email_hash == email_hash && it.end.is_none()) {
            return Err(TeamError::AlreadyInvited);
        }
        let invite = Invite {
            email_hash: email_hash.clone(),
            token_hash: token_hash.clone(),
            role,
            invited_by,
            expires_at,
            end: None,
        };
        self.invites.insert(invite_id, invite);
        Ok(vec![TeamMemberInvited {
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

    pub(super) fn obey_accept(&mut self, command: TeamCommand) -> Answer<Self> {
        let AcceptInvite { invite_id, user_id, email_hash, token_hash, at } = command else {
            unreachable!("called with an acceptance only")
        };
        // To whom it was not sent it does not exist.
        let Some(invite) = self.invites.get_mut(&invite_id).filter(|it| it.email_hash == email_hash) else {
            return Err(TeamError::UnknownInvite);
        };
        match invite.end {
            Some(End::Accepted(by)) if by == user_id => return Ok(vec![]),
            Some(_) => return Err(TeamError::InviteOver),
            None if invite.expires_at <= at || invite.token_hash != token_hash => {
                return Err(TeamError::InviteOver);
            }
            None => {}
        }
        if self.members.contains_key(&user_id) {
            return Err(TeamError::AlreadyMember);
        }
        let worth = match self.members.get(&invite.invited_by) {
            Some(MemberRole::Owner) => true,
            Some(MemberRole::Admin) => invite.role != MemberRole::Owner,
            _ => false,
        };
        if !worth {
            return Err(TeamError::InviterLostRight);
        }
        invite.end = Some(End::Accepted(user_id));
        let role = invite.role;
        self.members.insert(user_id, role);
        Ok(vec![TeamInviteAccepted { invite_id, email_hash, user_id }, TeamMemberAdded { user_id, role }])
    }

    /// Revoking and expiring.
    pub(super) fn obey_end(&mut self, invite_id: InviteId, command: &TeamCommand) -> Answer<Self> {
        let Some(invite) = self.invites.get_mut(&invite_id) else { return Err(TeamError::UnknownInvite) };
        let email_hash = invite.email_hash.clone();
        match (invite.end, command) {
            (None, ExpireInvite { at, .. }) if *at < invite.expires_at => Err(TeamError::InviteStillOpen),
            (None, ExpireInvite { .. }) => {
                invite.end = Some(End::Expired);
                Ok(vec![TeamInviteExpired { invite_id, email_hash }])
            }
            (None, _) => {
                invite.end = Some(End::Revoked);
                Ok(vec![TeamInviteRevoked { invite_id, email_hash }])
            }
            (Some(End::Accepted(_)), RevokeInvite { .. }) => Err(TeamError::InviteOver),
            (Some(_), _) => Ok(vec![]),
        }
    }
}
