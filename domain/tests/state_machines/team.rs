//! The rules of a team.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, Utc};
use domain::claim::ClaimScope;
use domain::ids::{InstallationId, InviteId, UserId};
use domain::sealed::KeyOwner;
use domain::team::TeamCommand::*;
use domain::team::TeamEvent::*;
use domain::team::{InstallationStatus, MemberRole, Team, TeamCommand, TeamError, TeamEvent};
use domain::values::{DisplayName, Slug};
use proptest::prelude::*;

use super::machine::{Answer, ID, Model, name};
use super::values::{id, ids, sealings, texts};

/// A team's books.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    names: Option<(DisplayName, Slug)>,
    /// Names in URLs that it had before.
    before: BTreeSet<Slug>,
    closed: bool,
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

fn roles() -> impl Strategy<Value = MemberRole> {
    use MemberRole::*;
    prop::sample::select(&[Viewer, Developer, Admin, Owner][..])
}

/// Who asks is an owner most of the time.
fn askers() -> impl Strategy<Value = MemberRole> {
    prop_oneof![2 => Just(MemberRole::Owner), 1 => roles()]
}

fn days(count: u64) -> impl Strategy<Value = DateTime<Utc>> {
    (0..count).prop_map(|day| DateTime::UNIX_EPOCH + Days::new(day))
}

/// Hashes of secrets.
fn secrets() -> impl Strategy<Value = String> {
    texts(&["first", "second"])
}

fn hashes() -> impl Strategy<Value = String> {
    texts(&["ann", "bob"])
}

fn invites(inviters: BoxedStrategy<UserId>) -> impl Strategy<Value = TeamCommand> {
    let seal = || sealings(KeyOwner::Invite(id::<InviteId>(1)));
    let what = (ids(4), seal(), hashes(), roles(), (seal(), secrets()), days(5));
    (what, inviters, askers(), prop::option::weighted(0.3, ids(4))).prop_map(
        |((invite_id, email, email_hash, role, (token, token_hash), expires_at), invited_by, by, invitee)| {
            InviteMember {
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
            }
        },
    )
}

fn installations() -> impl Strategy<Value = TeamCommand> {
    use InstallationStatus::*;
    let status = prop::sample::select(&[Active, Suspended, Unknown][..]);
    prop_oneof![
        ids(2).prop_map(|installation_id| ConnectInstallation {
            installation_id,
            github_id: 7,
            organization: "acme".to_owned()
        }),
        (ids(2), status)
            .prop_map(|(installation_id, status)| ChangeInstallationStatus { installation_id, status }),
        ids(2).prop_map(|installation_id| RemoveInstallation { installation_id }),
    ]
}

impl Model for Rules {
    type Of = Team;

    fn births() -> BoxedStrategy<TeamCommand> {
        (texts(&["Acme", "Bolt"]), texts(&["acme", "bolt"]), ids(2))
            .prop_map(|(name, slug, owner)| CreateTeam { name, slug, owner })
            .boxed()
    }

    fn commands(&self) -> BoxedStrategy<TeamCommand> {
        let rename = (prop::option::of(texts(&["Acme", "Bolt"])), prop::option::of(texts(&["acme", "bolt"])));
        prop_oneof![
            8 => rename.prop_map(|(name, slug)| RenameTeam { name, slug }),
            1 => Just(DeleteTeam),
            6 => (self.some_member(), roles()).prop_map(|(user_id, role)| AddMember { user_id, role }),
            15 => (self.some_member(), roles(), askers())
                .prop_map(|(user_id, role, by)| ChangeMemberRole { user_id, role, by }),
            10 => (self.some_member(), askers()).prop_map(|(user_id, by)| RemoveMember { user_id, by }),
            5 => (self.some_member(), self.some_member())
                .prop_map(|(from, to)| TransferOwnership { from, to }),
            30 => invites(self.some_member()),
            10 => self.resends(),
            6 => ids(5).prop_map(|invite_id| RevokeInvite { invite_id }),
            40 => (self.some_invite(), ids(4), days(3))
                .prop_map(|((invite_id, email_hash, token_hash), user_id, at)| AcceptInvite {
                    invite_id, user_id, email_hash, token_hash, at
                }),
            6 => (ids(5), days(6)).prop_map(|(invite_id, at)| ExpireInvite { invite_id, at }),
            15 => installations(),
        ]
        .boxed()
    }

    fn is_born(&self) -> bool {
        self.names.is_some()
    }

    fn obey(&mut self, command: TeamCommand) -> Answer<Self> {
        let Some((name, slug)) = self.names.clone() else { return self.begin(command) };
        if self.closed {
            return if matches!(command, DeleteTeam) { Ok(vec![]) } else { Err(TeamError::Unknown) };
        }
        match command {
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
            DeleteTeam => {
                let mut events = vec![];
                for (&invite_id, invite) in self.invites.iter_mut().filter(|(_, it)| it.end.is_none()) {
                    invite.end = Some(End::Revoked);
                    let email_hash = invite.email_hash.clone();
                    events.push(TeamInviteRevoked { invite_id, email_hash });
                }
                self.closed = true;
                events.push(TeamDeleted { slug });
                Ok(events)
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
        let slug = self.names.iter().filter(|_| !self.closed);
        let open = self.invites.values().filter(|invite| invite.end.is_none());
        let before = self.before.iter().map(|slug| name(ClaimScope::TeamSlug, slug.as_str()));
        slug.map(|(_, slug)| name(ClaimScope::TeamSlug, slug.as_str()))
            .chain(open.map(|it| name(ClaimScope::TeamInvite, &format!("{ID}/{}", it.email_hash))))
            .chain(before)
            .collect()
    }

    fn check(&self, state: &Team, history: &[TeamEvent]) {
        let lives = self.names.is_some() && !self.closed;
        for user in (1..=5).map(id::<UserId>) {
            let role = self.members.get(&user).copied().filter(|_| lives);
            assert_eq!(state.role(user), role, "the role of {user}");
            let alone = role == Some(MemberRole::Owner) && self.owners().count() == 1;
            assert_eq!(state.is_last_owner(user), alone, "whether {user} is the last owner");
        }
        let owners = (1..=5).filter(|&user| state.role(id(user)) == Some(MemberRole::Owner)).count();
        assert!(!lives || owners > 0, "a living team has an owner");

        let (mut members, mut over) = (BTreeSet::new(), BTreeSet::new());
        for event in history {
            match event {
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
    /// A member most of the time.
    fn some_member(&self) -> BoxedStrategy<UserId> {
        let members: Vec<_> = self.members.keys().copied().chain([id(1)]).collect();
        prop_oneof![4 => prop::sample::select(members), 1 => ids(4)].boxed()
    }

    /// An open invite, its address and its secret most of the time.
    fn some_invite(&self) -> BoxedStrategy<(InviteId, String, String)> {
        let open = self.invites.iter().filter(|(_, invite)| invite.end.is_none());
        let mut some: Vec<_> =
            open.map(|(id, it)| (*id, it.email_hash.clone(), it.token_hash.clone())).collect();
        some.push((id(1), "ann".to_owned(), "first".to_owned()));
        prop_oneof![3 => prop::sample::select(some), 1 => (ids(5), hashes(), secrets())].boxed()
    }

    fn resends(&self) -> BoxedStrategy<TeamCommand> {
        let seal = sealings(KeyOwner::Invite(id::<InviteId>(1)));
        (self.some_invite(), secrets(), seal, self.some_member(), askers(), days(6))
            .prop_map(|((invite_id, ..), token_hash, token, invited_by, by, expires_at)| ResendInvite {
                invite_id,
                token_hash,
                token,
                invited_by,
                by,
                expires_at,
            })
            .boxed()
    }

    /// Only who could vouch for somebody when he comes may invite him.
    fn may_vouch(&self, role: MemberRole, by: MemberRole) -> Result<(), TeamError> {
        self.may_touch(&[role], by)?;
        let may = matches!(by, MemberRole::Owner | MemberRole::Admin);
        may.then_some(()).ok_or(TeamError::AdminsOnly)
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

    fn obey_resend(&mut self, command: TeamCommand) -> Answer<Self> {
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

    fn obey_invite(&mut self, command: TeamCommand) -> Answer<Self> {
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

    fn obey_accept(&mut self, command: TeamCommand) -> Answer<Self> {
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
    fn obey_end(&mut self, invite_id: InviteId, command: &TeamCommand) -> Answer<Self> {
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
