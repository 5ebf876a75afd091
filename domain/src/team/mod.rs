//! A team: the tenant. It has members with roles, invites, and installations of the GitHub App.
//!
//! Invariants: a living team has an owner. Only owners make, change or remove owners; that nobody gives what he does
//! not hold is asked before, of the policy, which knows custom roles too. A team that is closed stops, and loses nothing
//! until it is purged.

mod closing;
mod command;
mod error;
mod event;
mod invite;

use std::collections::{BTreeMap, BTreeSet};

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

use self::closing::Life;
use self::invite::{Invite, InviteState};
use crate::claim::{Claim, ClaimScope};
use crate::fact::{Fact, Stored};
use crate::ids::{InstallationId, InviteId, TeamId, UserId};
use crate::values::{DisplayName, Slug};

pub use closing::RESTORABLE;
pub use command::TeamCommand;
pub use error::TeamError;
pub use event::TeamEvent;

/// The role of a member, in the short form of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    /// Reads.
    Viewer,
    /// Makes projects and deploys.
    #[serde(alias = "member")]
    Developer,
    /// Manages the team, but not its owners.
    Admin,
    /// Everything.
    Owner,
}

/// What GitHub says of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstallationStatus {
    /// It works.
    Active,
    /// GitHub refuses it for now.
    Suspended,
    /// Nothing was heard yet.
    Unknown,
}

/// Only what is needed to decide.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Team {
    names: Option<(DisplayName, Slug)>,
    /// Slugs it had before: they lead to it for ever.
    old_slugs: BTreeSet<Slug>,
    life: Life,
    members: BTreeMap<UserId, MemberRole>,
    invites: BTreeMap<InviteId, Invite>,
    installations: BTreeMap<InstallationId, InstallationStatus>,
}

impl Team {
    /// Whether it is neither closed nor deleted.
    pub fn is_open(&self) -> bool {
        self.life == Life::Open
    }

    /// The role of a member; `None` for everybody else, and in a team that is closed or deleted.
    pub fn role(&self, user_id: UserId) -> Option<MemberRole> {
        if self.is_open() { self.members.get(&user_id).copied() } else { None }
    }

    /// Whether nobody would own the team without this member.
    pub fn is_last_owner(&self, user_id: UserId) -> bool {
        self.is_open() && self.keeps_an_owner_without(user_id).is_err()
    }

    fn decide(&self, command: TeamCommand) -> Result<Vec<TeamEvent>, TeamError> {
        use TeamCommand::*;
        use TeamEvent::*;
        let Some((name, slug)) = self.names.clone() else {
            return match command {
                CreateTeam { name, slug, owner } => Ok(vec![TeamCreated { name, slug, owner }]),
                _ => Err(TeamError::Unknown),
            };
        };
        if !self.is_open() && !self.goes_on(&command) {
            return self.decide_closed(command, slug);
        }
        match command {
            CreateTeam { name: n, slug: s, owner } => {
                let same = n == name && s == slug && self.members.contains_key(&owner);
                if same { Ok(vec![]) } else { Err(TeamError::Exists) }
            }
            RenameTeam { name: new_name, slug: new_slug } => {
                let (new_name, new_slug) =
                    (new_name.unwrap_or(name.clone()), new_slug.unwrap_or(slug.clone()));
                if new_name == name && new_slug == slug {
                    return Ok(vec![]);
                }
                Ok(vec![TeamRenamed {
                    old_slug_kept: new_slug != slug,
                    slug_was_kept: self.old_slugs.contains(&new_slug),
                    name: new_name,
                    slug: new_slug,
                    old_slug: slug,
                }])
            }
            CloseTeam { at } => Ok(vec![TeamClosed { until: at + RESTORABLE }]),
            ReopenTeam => Ok(vec![]),
            PurgeTeam { .. } => Err(TeamError::NotClosed),
            AddMember { user_id, role } => self.add(user_id, role),
            ChangeMemberRole { user_id, role, by } => self.change_role(user_id, role, by),
            TransferOwnership { from, to } => self.transfer(from, to),
            RemoveMember { user_id, by } => self.remove(user_id, by),
            invite @ (InviteMember { .. }
            | ResendInvite { .. }
            | RevokeInvite { .. }
            | AcceptInvite { .. }
            | ExpireInvite { .. }) => self.decide_invite(invite),
            ConnectInstallation { installation_id, github_id, organization } => {
                if self.installations.contains_key(&installation_id) {
                    return Ok(vec![]);
                }
                Ok(vec![TeamInstallationConnected { installation_id, github_id, organization }])
            }
            ChangeInstallationStatus { installation_id, status } => {
                match self.installations.get(&installation_id) {
                    None => Err(TeamError::UnknownInstallation),
                    Some(known) if *known == status => Ok(vec![]),
                    Some(_) => Ok(vec![TeamInstallationStatusChanged { installation_id, status }]),
                }
            }
            RemoveInstallation { installation_id } if self.installations.contains_key(&installation_id) => {
                Ok(vec![TeamInstallationRemoved { installation_id }])
            }
            RemoveInstallation { .. } => Err(TeamError::UnknownInstallation),
        }
    }

    fn add(&self, user_id: UserId, role: MemberRole) -> Result<Vec<TeamEvent>, TeamError> {
        if role == MemberRole::Owner {
            return Err(TeamError::OwnersOnly);
        }
        let is_member = self.members.contains_key(&user_id);
        Ok(if is_member { vec![] } else { vec![TeamEvent::TeamMemberAdded { user_id, role }] })
    }

    fn change_role(
        &self,
        user_id: UserId,
        role: MemberRole,
        by: MemberRole,
    ) -> Result<Vec<TeamEvent>, TeamError> {
        let old_role = *self.members.get(&user_id).ok_or(TeamError::UnknownMember)?;
        if old_role == role {
            return Ok(vec![]);
        }
        self.owners_only(old_role.max(role), by)?;
        self.keeps_an_owner_without(user_id)?;
        Ok(vec![TeamEvent::TeamMemberRoleChanged { user_id, role, old_role }])
    }

    fn transfer(&self, from: UserId, to: UserId) -> Result<Vec<TeamEvent>, TeamError> {
        let changed = |user_id, role, old_role| TeamEvent::TeamMemberRoleChanged { user_id, role, old_role };
        if self.members.get(&from) != Some(&MemberRole::Owner) {
            return Err(TeamError::OwnersOnly);
        }
        let old_role = *self.members.get(&to).ok_or(TeamError::UnknownMember)?;
        if from == to {
            return Ok(vec![]);
        }
        let up = (old_role != MemberRole::Owner).then(|| changed(to, MemberRole::Owner, old_role));
        Ok(up.into_iter().chain([changed(from, MemberRole::Admin, MemberRole::Owner)]).collect())
    }

    fn remove(&self, user_id: UserId, by: MemberRole) -> Result<Vec<TeamEvent>, TeamError> {
        let role = *self.members.get(&user_id).ok_or(TeamError::UnknownMember)?;
        self.owners_only(role, by)?;
        self.keeps_an_owner_without(user_id)?;
        Ok(vec![TeamEvent::TeamMemberRemoved { user_id, role }])
    }

    fn owners_only(&self, touched: MemberRole, by: MemberRole) -> Result<(), TeamError> {
        if touched == MemberRole::Owner && by != MemberRole::Owner {
            return Err(TeamError::OwnersOnly);
        }
        Ok(())
    }

    fn keeps_an_owner_without(&self, user_id: UserId) -> Result<(), TeamError> {
        let is_owner = |(id, role): (&UserId, &MemberRole)| *role == MemberRole::Owner && *id != user_id;
        let was_owner = self.members.get(&user_id) == Some(&MemberRole::Owner);
        if was_owner && !self.members.iter().any(is_owner) {
            return Err(TeamError::LastOwner);
        }
        Ok(())
    }
}

impl Aggregate for Team {
    const TYPE: &'static str = "team";
    type Command = TeamCommand;
    type Event = TeamEvent;
    type Error = TeamError;
    type Services = ();

    async fn handle(
        &mut self,
        command: TeamCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), TeamError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: TeamEvent) {
        use TeamEvent::*;
        match event {
            TeamCreated { name, slug, owner } => {
                self.names = Some((name, slug));
                self.members.insert(owner, MemberRole::Owner);
            }
            TeamRenamed { name, slug, old_slug, old_slug_kept, .. } => {
                self.old_slugs.remove(&slug);
                if old_slug_kept {
                    self.old_slugs.insert(old_slug);
                }
                self.names = Some((name, slug));
            }
            TeamClosed { until } => self.life = Life::Closed { until },
            TeamReopened {} => self.life = Life::Open,
            TeamDeleted { .. } => self.life = Life::Deleted,
            TeamMemberAdded { user_id, role } | TeamMemberRoleChanged { user_id, role, .. } => {
                self.members.insert(user_id, role);
            }
            TeamMemberRemoved { user_id, .. } => {
                self.members.remove(&user_id);
            }
            TeamMemberInvited { invite_id, email_hash, role, token_hash, invited_by, expires_at, .. } => {
                let state = InviteState::Open;
                let invite = Invite { state, email_hash, token_hash, role, invited_by, expires_at };
                self.invites.insert(invite_id, invite);
            }
            TeamInviteResent { invite_id, token_hash, invited_by, expires_at, .. } => {
                if let Some(invite) = self.invites.get_mut(&invite_id) {
                    *invite = Invite { token_hash, invited_by, expires_at, ..invite.clone() };
                }
            }
            TeamInviteRevoked { invite_id, .. } | TeamInviteExpired { invite_id, .. } => {
                self.close_invite(invite_id, InviteState::Over);
            }
            TeamInviteAccepted { invite_id, user_id, .. } => {
                self.close_invite(invite_id, InviteState::Accepted(user_id));
            }
            TeamInstallationConnected { installation_id, .. } => {
                self.installations.insert(installation_id, InstallationStatus::Active);
            }
            TeamInstallationStatusChanged { installation_id, status } => {
                self.installations.insert(installation_id, status);
            }
            TeamInstallationRemoved { installation_id } => {
                self.installations.remove(&installation_id);
            }
        }
    }
}

impl Stored for Team {
    type Id = TeamId;

    /// 2: it knows its earlier slugs, and the secrets of its invites by their hashes. 3: it can be closed.
    const STATE_VERSION: i32 = 3;

    fn claims(id: TeamId, event: &TeamEvent) -> Vec<Claim> {
        use TeamEvent::*;
        let invite = |hash: &str| format!("{id}/{hash}");
        match event {
            TeamCreated { slug, .. } => vec![Claim::take(ClaimScope::TeamSlug, slug.as_str())],
            TeamRenamed { slug, old_slug, old_slug_kept, slug_was_kept, .. } if slug != old_slug => {
                let free = (!old_slug_kept).then(|| Claim::free(ClaimScope::TeamSlug, old_slug.as_str()));
                let take = (!slug_was_kept).then(|| Claim::take(ClaimScope::TeamSlug, slug.as_str()));
                free.into_iter().chain(take).collect()
            }
            TeamDeleted { slug } => vec![Claim::free(ClaimScope::TeamSlug, slug.as_str())],
            TeamMemberInvited { email_hash, .. } => {
                vec![Claim::take(ClaimScope::TeamInvite, invite(email_hash))]
            }
            TeamInviteRevoked { email_hash, .. }
            | TeamInviteAccepted { email_hash, .. }
            | TeamInviteExpired { email_hash, .. } => {
                vec![Claim::free(ClaimScope::TeamInvite, invite(email_hash))]
            }
            _ => vec![],
        }
    }

    fn fact(id: TeamId, event: TeamEvent) -> Fact {
        Fact::Team(id, event)
    }
}

#[cfg(test)]
mod tests;
