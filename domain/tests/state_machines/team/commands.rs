//! What may be asked of a team.

use chrono::{DateTime, Days, Utc};
use domain::ids::{InviteId, UserId};
use domain::sealed::KeyOwner;
use domain::team::TeamCommand::*;
use domain::team::{InstallationStatus, MemberRole, TeamCommand};
use proptest::prelude::*;

use super::Rules;
use crate::values::{id, ids, sealings, texts};

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

impl Rules {
    /// Any, aimed so that most of them are about something.
    pub(super) fn some_command(&self) -> BoxedStrategy<TeamCommand> {
        let rename = (prop::option::of(texts(&["Acme", "Bolt"])), prop::option::of(texts(&["acme", "bolt"])));
        prop_oneof![
            8 => rename.prop_map(|(name, slug)| RenameTeam { name, slug }),
            2 => days(3).prop_map(|at| CloseTeam { at }),
            if self.is_closed() { 40 } else { 1 } => Just(ReopenTeam),
            if self.is_closed() { 10 } else { 1 } => days(40).prop_map(|at| PurgeTeam { at }),
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
}
