//! The rules of a team.

mod commands;
mod invites;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, Utc};
use domain::claim::ClaimScope;
use domain::ids::{InstallationId, InviteId, UserId};
use domain::team::TeamCommand::*;
use domain::team::TeamEvent::*;
use domain::team::{InstallationStatus, MemberRole, Team, TeamCommand, TeamError, TeamEvent};
use domain::values::{DisplayName, Slug};
use proptest::prelude::*;

use crate::machine::{Answer, ID, Model, name};
use crate::values::{id, ids, texts};

/// A team's books.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    names: Option<(DisplayName, Slug)>,
    /// Names in URLs that it had before.
    before: BTreeSet<Slug>,
    /// Since it was closed: when it may be purged.
    closed: Option<DateTime<Utc>>,
    purged: bool,
    members: BTreeMap<UserId, MemberRole>,
    invites: BTreeMap<InviteId, Invite>,
    installations: BTreeMap<InstallationId, InstallationStatus>,
}

#[derive(Clone, Debug)]
struct Invite {
    email_hash: String,
    token_hash: String,
    role: MemberRole,
    invited_by: UserId,
    expires_at: DateTime<Utc>,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// By this user.
    Accepted(UserId),
    Revoked,
    Expired,
}

impl Model for Rules {
    type Of = Team;

    fn births() -> BoxedStrategy<TeamCommand> {
        (texts(&["Acme", "Bolt"]), texts(&["acme", "bolt"]), ids(2))
            .prop_map(|(name, slug, owner)| CreateTeam { name, slug, owner })
            .boxed()
    }

    fn commands(&self) -> BoxedStrategy<TeamCommand> {
        self.some_command()
    }

    fn is_born(&self) -> bool {
        self.names.is_some()
    }

    fn obey(&mut self, command: TeamCommand) -> Answer<Self> {
        let Some((name, slug)) = self.names.clone() else { return self.begin(command) };
        if let Some(answer) = self.obey_without_life(&command) {
            return answer;
        }
        match command {
            CloseTeam { at } => {
                let until = at + Days::new(30);
                self.closed = Some(until);
                Ok(vec![TeamClosed { until }])
            }
            ReopenTeam => Ok(vec![]),
            PurgeTeam { .. } => Err(TeamError::NotClosed),
            CreateTeam { name: n, slug: s, owner } => {
                let same = (n, s) == (name, slug) && self.members.contains_key(&owner);
                if same { Ok(vec![]) } else { Err(TeamError::Exists) }
            }
            RenameTeam { name: new_name, slug: new_slug } => {
                let news = (new_name.unwrap_or(name.clone()), new_slug.unwrap_or(slug.clone()));
                if news == (name, slug.clone()) {
                    return Ok(vec![]);
                }
                self.names = Some(news.clone());
                let slug_was_kept = self.before.remove(&news.1);
                let old_slug_kept = news.1 != slug && self.before.insert(slug.clone());
                let (name, new) = news;
                Ok(vec![TeamRenamed { name, slug: new, old_slug: slug, old_slug_kept, slug_was_kept }])
            }
            AddMember { role: MemberRole::Owner, .. } => Err(TeamError::OwnersOnly),
            AddMember { user_id, .. } if self.members.contains_key(&user_id) => Ok(vec![]),
            AddMember { user_id, role } => {
                self.members.insert(user_id, role);
                Ok(vec![TeamMemberAdded { user_id, role }])
            }
            ChangeMemberRole { user_id, role, by } => {
                let Some(&old_role) = self.members.get(&user_id) else {
                    return Err(TeamError::UnknownMember);
                };
                if role == old_role {
                    return Ok(vec![]);
                }
                self.may_touch(&[role, old_role], by)?;
                self.may_lose(user_id)?;
                self.members.insert(user_id, role);
                Ok(vec![TeamMemberRoleChanged { user_id, role, old_role }])
            }
            RemoveMember { user_id, by } => {
                let Some(&role) = self.members.get(&user_id) else { return Err(TeamError::UnknownMember) };
                self.may_touch(&[role], by)?;
                self.may_lose(user_id)?;
                self.members.remove(&user_id);
                Ok(vec![TeamMemberRemoved { user_id, role }])
            }
            TransferOwnership { from, to } => self.obey_transfer(from, to),
            InviteMember { .. } => self.obey_invite(command),
            ResendInvite { .. } => self.obey_resend(command),
            AcceptInvite { .. } => self.obey_accept(command),
            RevokeInvite { invite_id } | ExpireInvite { invite_id, .. } => self.obey_end(invite_id, &command),
            installation => self.obey_installation(installation),
        }
    }

    fn names(&self) -> BTreeSet<String> {
        let slug = self.names.iter().filter(|_| !self.purged);
        let open = self.invites.values().filter(|invite| invite.end.is_none());
        let before = self.before.iter().map(|slug| name(ClaimScope::TeamSlug, slug.as_str()));
        slug.map(|(_, slug)| name(ClaimScope::TeamSlug, slug.as_str()))
            .chain(open.map(|it| name(ClaimScope::TeamInvite, &format!("{ID}/{}", it.email_hash))))
            .chain(before)
            .collect()
    }

    fn check(&self, state: &Team, history: &[TeamEvent]) {
        let lives = self.names.is_some() && self.closed.is_none() && !self.purged;
        for user in (1..=5).map(id::<UserId>) {
            let role = self.members.get(&user).copied().filter(|_| lives);
            assert_eq!(state.role(user), role, "the role of {user}");
            let alone = role == Some(MemberRole::Owner) && self.owners().count() == 1;
            assert_eq!(state.is_last_owner(user), alone, "whether {user} is the last owner");
        }
        assert_eq!(state.is_open(), self.names.is_none() || lives, "whether it is open");
        assert!(
            self.purged || self.names.is_none() || self.owners().count() > 0,
            "a closed one keeps an owner"
        );
        let owners = (1..=5).filter(|&user| state.role(id(user)) == Some(MemberRole::Owner)).count();
        assert!(!lives || owners > 0, "a living team has an owner");

        let (mut members, mut over) = (BTreeSet::new(), BTreeSet::new());
        let (mut closed, mut ended) = (false, false);
        for event in history {
            assert!(!ended, "nothing comes after the end");
            match event {
                TeamClosed { .. } => assert!(!std::mem::replace(&mut closed, true), "it was open"),
                TeamReopened {} => assert!(std::mem::replace(&mut closed, false), "it was closed"),
                TeamDeleted { .. } => ended = true,
                TeamMemberAdded { .. } | TeamMemberInvited { .. } if closed => panic!("nobody comes in"),
                TeamCreated { owner: user_id, .. } | TeamMemberAdded { user_id, .. } => {
                    assert!(members.insert(user_id), "nobody is a member twice");
                }
                TeamMemberRemoved { user_id, .. } => assert!(members.remove(user_id)),
                TeamInviteAccepted { invite_id, .. }
                | TeamInviteRevoked { invite_id, .. }
                | TeamInviteExpired { invite_id, .. } => {
                    assert!(over.insert(invite_id), "an invite ends once");
                }
                _ => {}
            }
        }
    }
}

impl Rules {
    fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// The answer of a team that is closed or gone, unless it is that of an open one.
    fn obey_without_life(&mut self, command: &TeamCommand) -> Option<Answer<Self>> {
        if self.purged {
            let quiet = matches!(command, CloseTeam { .. } | PurgeTeam { .. });
            return Some(if quiet { Ok(vec![]) } else { Err(TeamError::Unknown) });
        }
        let until = self.closed?;
        Some(match command {
            // The world goes on taking away.
            RemoveMember { .. }
            | ExpireInvite { .. }
            | ChangeInstallationStatus { .. }
            | RemoveInstallation { .. } => return None,
            ChangeMemberRole { user_id, role, .. } if self.members.get(user_id) > Some(role) => return None,
            AddMember { user_id, .. } if self.members.contains_key(user_id) => Ok(vec![]),
            CloseTeam { .. } => Ok(vec![]),
            ReopenTeam => {
                self.closed = None;
                Ok(vec![TeamReopened {}])
            }
            PurgeTeam { at } if *at < until => Err(TeamError::StillRestorable),
            PurgeTeam { .. } => Ok(self.purge()),
            _ => Err(TeamError::Unknown),
        })
    }

    fn purge(&mut self) -> Vec<TeamEvent> {
        let mut events = vec![];
        for (&invite_id, invite) in self.invites.iter_mut().filter(|(_, it)| it.end.is_none()) {
            invite.end = Some(End::Revoked);
            let email_hash = invite.email_hash.clone();
            events.push(TeamInviteRevoked { invite_id, email_hash });
        }
        self.purged = true;
        events.extend(self.names.clone().map(|(_, slug)| TeamDeleted { slug }));
        events
    }

    fn obey_transfer(&mut self, from: UserId, to: UserId) -> Answer<Self> {
        if self.members.get(&from) != Some(&MemberRole::Owner) {
            return Err(TeamError::OwnersOnly);
        }
        let Some(&old_role) = self.members.get(&to) else { return Err(TeamError::UnknownMember) };
        if from == to {
            return Ok(vec![]);
        }
        let mut events = vec![];
        for (user_id, role, old_role) in
            [(to, MemberRole::Owner, old_role), (from, MemberRole::Admin, MemberRole::Owner)]
        {
            self.members.insert(user_id, role);
            if role != old_role {
                events.push(TeamMemberRoleChanged { user_id, role, old_role });
            }
        }
        Ok(events)
    }

    fn begin(&mut self, command: TeamCommand) -> Answer<Self> {
        let CreateTeam { name, slug, owner } = command else { return Err(TeamError::Unknown) };
        self.names = Some((name.clone(), slug.clone()));
        self.members.insert(owner, MemberRole::Owner);
        Ok(vec![TeamCreated { name, slug, owner }])
    }

    fn owners(&self) -> impl Iterator<Item = &UserId> {
        self.members.iter().filter(|(_, role)| **role == MemberRole::Owner).map(|(user, _)| user)
    }

    /// Owners are the matter of owners.
    fn may_touch(&self, roles: &[MemberRole], by: MemberRole) -> Result<(), TeamError> {
        let allowed = by == MemberRole::Owner || !roles.contains(&MemberRole::Owner);
        allowed.then_some(()).ok_or(TeamError::OwnersOnly)
    }

    /// Whether others than this one own the team too.
    fn may_lose(&self, user: UserId) -> Result<(), TeamError> {
        let alone = self.owners().eq([&user]);
        (!alone).then_some(()).ok_or(TeamError::LastOwner)
    }

    fn obey_installation(&mut self, command: TeamCommand) -> Answer<Self> {
        match command {
            ConnectInstallation { installation_id, github_id, organization } => {
                if self.installations.contains_key(&installation_id) {
                    return Ok(vec![]);
                }
                self.installations.insert(installation_id, InstallationStatus::Active);
                Ok(vec![TeamInstallationConnected { installation_id, github_id, organization }])
            }
            ChangeInstallationStatus { installation_id, status } => {
                let known =
                    self.installations.get_mut(&installation_id).ok_or(TeamError::UnknownInstallation)?;
                let before = std::mem::replace(known, status);
                let event = TeamInstallationStatusChanged { installation_id, status };
                Ok(if before == status { vec![] } else { vec![event] })
            }
            RemoveInstallation { installation_id } => match self.installations.remove(&installation_id) {
                Some(_) => Ok(vec![TeamInstallationRemoved { installation_id }]),
                None => Err(TeamError::UnknownInstallation),
            },
            _ => unreachable!("answered before"),
        }
    }
}
