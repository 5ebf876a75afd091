use chrono::{DateTime, Utc};
use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::TeamCommand::*;
use super::TeamEvent::*;
use super::*;
use crate::testing::sealed;

mod closing;

fn given(events: Vec<TeamEvent>) -> AggregateTestExecutor<Team> {
    TestFramework::<Team>::with(()).given(events)
}

fn user(n: u128) -> UserId {
    UserId(Uuid::from_u128(n))
}

/// SHA-256 of an invite's secret.
const TOKEN: &str = "t";

fn renamed(name: &str, new: &str, old: &str) -> TeamEvent {
    let (old_slug_kept, slug_was_kept) = (new != old, false);
    TeamRenamed {
        name: name.parse().unwrap(),
        slug: slug(new),
        old_slug: slug(old),
        old_slug_kept,
        slug_was_kept,
    }
}

fn invite(n: u128) -> InviteId {
    InviteId(Uuid::from_u128(n))
}

fn day(n: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(n * 86_400, 0).unwrap()
}

fn slug(text: &str) -> Slug {
    text.parse().unwrap()
}

fn created() -> TeamEvent {
    TeamCreated { name: "Acme".parse().unwrap(), slug: slug("acme"), owner: user(1) }
}

fn added(n: u128, role: MemberRole) -> TeamEvent {
    TeamMemberAdded { user_id: user(n), role }
}

fn invited(role: MemberRole) -> TeamEvent {
    TeamMemberInvited {
        invite_id: invite(1),
        email: sealed("bob@example.org"),
        email_hash: "bob".into(),
        role,
        token_hash: "t".into(),
        token: sealed("t"),
        invited_by: user(1),
        expires_at: day(7),
    }
}

fn ask_invite(
    n: u128,
    email_hash: &str,
    role: MemberRole,
    by: MemberRole,
    invitee: Option<UserId>,
) -> TeamCommand {
    InviteMember {
        invite_id: invite(n),
        email: sealed("bob@example.org"),
        email_hash: email_hash.into(),
        role,
        token_hash: "t".into(),
        token: sealed("t"),
        invited_by: user(1),
        by,
        invitee,
        expires_at: day(7),
    }
}

fn accept(n: u128, email_hash: &str, at: DateTime<Utc>) -> TeamCommand {
    let token_hash = TOKEN.to_owned();
    AcceptInvite { invite_id: invite(1), user_id: user(n), email_hash: email_hash.into(), token_hash, at }
}

fn accepted(n: u128) -> TeamEvent {
    TeamInviteAccepted { invite_id: invite(1), email_hash: "bob".into(), user_id: user(n) }
}

#[test]
fn a_team_is_created_once_with_an_owner() {
    let create = |name: &str| CreateTeam { name: name.parse().unwrap(), slug: slug("acme"), owner: user(1) };
    given(vec![]).when(create("Acme")).then_expect_events(vec![created()]);
    given(vec![created()]).when(create("Acme")).then_expect_events(vec![]);
    given(vec![created()]).when(create("Other")).then_expect_error(TeamError::Exists);
}

#[test]
fn an_unknown_or_deleted_team_does_nothing() {
    let deleted = || vec![created(), TeamDeleted { slug: slug("acme") }];
    for start in [vec![], deleted()] {
        given(start.clone())
            .when(RenameTeam { name: None, slug: Some(slug("b")) })
            .then_expect_error(TeamError::Unknown);
        given(start).when(accept(2, "bob", day(1))).then_expect_error(TeamError::Unknown);
    }
    given(deleted()).when(CloseTeam { at: day(1) }).then_expect_events(vec![]);
    given(deleted()).when(PurgeTeam { at: day(90) }).then_expect_events(vec![]);
    given(deleted()).when(ReopenTeam).then_expect_error(TeamError::Unknown);
}

#[test]
fn a_rename_says_what_the_slug_was() {
    given(vec![created()])
        .when(RenameTeam { name: None, slug: Some(slug("b")) })
        .then_expect_events(vec![renamed("Acme", "b", "acme")]);
    given(vec![created()])
        .when(RenameTeam { name: Some("Acme".parse().unwrap()), slug: None })
        .then_expect_events(vec![]);
}

#[test]
fn a_slug_that_a_team_had_leads_to_it_for_ever_and_can_be_its_slug_again() {
    let back = TeamRenamed {
        name: "Acme".parse().unwrap(),
        slug: slug("acme"),
        old_slug: slug("b"),
        old_slug_kept: true,
        slug_was_kept: true,
    };
    given(vec![created(), renamed("Acme", "b", "acme")])
        .when(RenameTeam { name: None, slug: Some(slug("acme")) })
        .then_expect_events(vec![back.clone()]);
    assert_eq!(Team::claims(TeamId(Uuid::from_u128(1)), &back), vec![], "both are the team's already");
}

#[test]
fn an_owner_gives_the_team_to_a_member() {
    let start = || vec![created(), added(2, MemberRole::Viewer)];
    let give = |from, to| TransferOwnership { from: user(from), to: user(to) };
    let changed = |n, role, old_role| TeamMemberRoleChanged { user_id: user(n), role, old_role };
    given(start()).when(give(1, 2)).then_expect_events(vec![
        changed(2, MemberRole::Owner, MemberRole::Viewer),
        changed(1, MemberRole::Admin, MemberRole::Owner),
    ]);
    given(vec![created(), added(2, MemberRole::Owner)]).when(give(1, 2)).then_expect_events(vec![changed(
        1,
        MemberRole::Admin,
        MemberRole::Owner,
    )]);
    given(start()).when(give(1, 1)).then_expect_events(vec![]);
    given(start()).when(give(1, 9)).then_expect_error(TeamError::UnknownMember);
    given(start()).when(give(2, 1)).then_expect_error(TeamError::OwnersOnly);
    given(start()).when(give(9, 2)).then_expect_error(TeamError::OwnersOnly);
}

#[test]
fn roles_change_and_only_owners_touch_owners() {
    let start = || vec![created(), added(2, MemberRole::Admin)];
    let change = |role, by| ChangeMemberRole { user_id: user(2), role, by };
    given(start()).when(change(MemberRole::Viewer, MemberRole::Admin)).then_expect_events(vec![
        TeamMemberRoleChanged { user_id: user(2), role: MemberRole::Viewer, old_role: MemberRole::Admin },
    ]);
    given(start()).when(change(MemberRole::Admin, MemberRole::Admin)).then_expect_events(vec![]);
    given(start())
        .when(change(MemberRole::Owner, MemberRole::Admin))
        .then_expect_error(TeamError::OwnersOnly);
    given(start())
        .when(ChangeMemberRole { user_id: user(9), role: MemberRole::Admin, by: MemberRole::Owner })
        .then_expect_error(TeamError::UnknownMember);
}

#[test]
fn the_last_owner_stays() {
    given(vec![created()])
        .when(RemoveMember { user_id: user(1), by: MemberRole::Owner })
        .then_expect_error(TeamError::LastOwner);
    given(vec![created()])
        .when(ChangeMemberRole { user_id: user(1), role: MemberRole::Admin, by: MemberRole::Owner })
        .then_expect_error(TeamError::LastOwner);
    given(vec![created(), added(2, MemberRole::Owner)])
        .when(RemoveMember { user_id: user(1), by: MemberRole::Owner })
        .then_expect_events(vec![TeamMemberRemoved { user_id: user(1), role: MemberRole::Owner }]);
    given(vec![created(), added(2, MemberRole::Admin)])
        .when(RemoveMember { user_id: user(1), by: MemberRole::Admin })
        .then_expect_error(TeamError::OwnersOnly);
}

#[test]
fn an_address_is_invited_once() {
    let start = || vec![created()];
    given(start())
        .when(ask_invite(1, "bob", MemberRole::Viewer, MemberRole::Admin, None))
        .then_expect_events(vec![invited(MemberRole::Viewer)]);
    given(vec![created(), invited(MemberRole::Viewer)])
        .when(ask_invite(1, "bob", MemberRole::Viewer, MemberRole::Admin, None))
        .then_expect_events(vec![]);
    given(vec![created(), invited(MemberRole::Viewer)])
        .when(ask_invite(2, "bob", MemberRole::Viewer, MemberRole::Admin, None))
        .then_expect_error(TeamError::AlreadyInvited);
    given(start())
        .when(ask_invite(1, "bob", MemberRole::Owner, MemberRole::Admin, None))
        .then_expect_error(TeamError::OwnersOnly);
    given(start())
        .when(ask_invite(1, "ann", MemberRole::Viewer, MemberRole::Owner, Some(user(1))))
        .then_expect_error(TeamError::AlreadyMember);
}

#[test]
fn an_invite_is_accepted_once_by_its_address_in_time() {
    let start = || vec![created(), invited(MemberRole::Developer)];
    given(start())
        .when(accept(2, "bob", day(1)))
        .then_expect_events(vec![accepted(2), added(2, MemberRole::Developer)]);
    given(start()).when(accept(2, "eve", day(1))).then_expect_error(TeamError::UnknownInvite);
    given(start()).when(accept(2, "bob", day(7))).then_expect_error(TeamError::InviteOver);
    let used =
        || vec![created(), invited(MemberRole::Developer), accepted(2), added(2, MemberRole::Developer)];
    given(used()).when(accept(2, "bob", day(1))).then_expect_events(vec![]);
    given(used()).when(accept(3, "bob", day(1))).then_expect_error(TeamError::InviteOver);
    given(vec![created()]).when(accept(2, "bob", day(1))).then_expect_error(TeamError::UnknownInvite);
}

#[test]
fn an_invite_is_worth_what_its_inviter_is_worth_when_it_is_accepted() {
    let demoted =
        TeamMemberRoleChanged { user_id: user(1), role: MemberRole::Admin, old_role: MemberRole::Owner };
    given(vec![created(), invited(MemberRole::Owner), added(5, MemberRole::Owner), demoted])
        .when(accept(2, "bob", day(1)))
        .then_expect_error(TeamError::InviterLostRight);
    let gone = TeamMemberRemoved { user_id: user(1), role: MemberRole::Owner };
    given(vec![created(), invited(MemberRole::Viewer), added(5, MemberRole::Owner), gone])
        .when(accept(2, "bob", day(1)))
        .then_expect_error(TeamError::InviterLostRight);
}

#[test]
fn whoever_could_not_vouch_when_it_is_accepted_cannot_invite() {
    for by in [MemberRole::Viewer, MemberRole::Developer] {
        given(vec![created()])
            .when(ask_invite(1, "bob", MemberRole::Viewer, by, None))
            .then_expect_error(TeamError::AdminsOnly);
    }
}

#[test]
fn an_invite_that_is_sent_again_has_another_secret_and_another_voucher() {
    let start = || vec![created(), added(5, MemberRole::Admin), invited(MemberRole::Viewer)];
    let resend = |hash: &str, by| ResendInvite {
        invite_id: invite(1),
        token_hash: hash.into(),
        token: sealed("new"),
        invited_by: user(5),
        by,
        expires_at: day(9),
    };
    let resent = || TeamInviteResent {
        invite_id: invite(1),
        token_hash: "new".into(),
        token: sealed("new"),
        invited_by: user(5),
        expires_at: day(9),
    };
    let after = || [start(), vec![resent()]].concat();
    let accept_new = |at| AcceptInvite {
        invite_id: invite(1),
        user_id: user(2),
        email_hash: "bob".into(),
        token_hash: "new".into(),
        at,
    };
    given(start()).when(resend("new", MemberRole::Admin)).then_expect_events(vec![resent()]);
    given(after()).when(resend("new", MemberRole::Admin)).then_expect_events(vec![]);
    given(start()).when(resend("new", MemberRole::Viewer)).then_expect_error(TeamError::AdminsOnly);
    given(after()).when(accept(2, "bob", day(1))).then_expect_error(TeamError::InviteOver);
    given(after())
        .when(accept_new(day(8)))
        .then_expect_events(vec![accepted(2), added(2, MemberRole::Viewer)]);
    let gone = TeamMemberRemoved { user_id: user(5), role: MemberRole::Admin };
    given([after(), vec![gone]].concat())
        .when(accept_new(day(1)))
        .then_expect_error(TeamError::InviterLostRight);
    given(after())
        .when(ExpireInvite { invite_id: invite(1), at: day(7) })
        .then_expect_error(TeamError::InviteStillOpen);
    let revoked = TeamInviteRevoked { invite_id: invite(1), email_hash: "bob".into() };
    given([start(), vec![revoked]].concat())
        .when(resend("new", MemberRole::Admin))
        .then_expect_error(TeamError::InviteOver);
}

#[test]
fn an_invite_is_revoked_or_expires() {
    let start = || vec![created(), invited(MemberRole::Viewer)];
    let revoked = || TeamInviteRevoked { invite_id: invite(1), email_hash: "bob".into() };
    let revoke = || RevokeInvite { invite_id: invite(1) };
    let expire = |at| ExpireInvite { invite_id: invite(1), at };
    given(start()).when(revoke()).then_expect_events(vec![revoked()]);
    given(vec![created(), invited(MemberRole::Viewer), revoked()]).when(revoke()).then_expect_events(vec![]);
    given(vec![created()]).when(revoke()).then_expect_error(TeamError::UnknownInvite);
    given(vec![created(), invited(MemberRole::Viewer), revoked()])
        .when(accept(2, "bob", day(1)))
        .then_expect_error(TeamError::InviteOver);
    given(start()).when(expire(day(6))).then_expect_error(TeamError::InviteStillOpen);
    given(start())
        .when(expire(day(7)))
        .then_expect_events(vec![TeamInviteExpired { invite_id: invite(1), email_hash: "bob".into() }]);
}

#[test]
fn installations_come_change_and_go() {
    let id = InstallationId(Uuid::from_u128(4));
    let connected =
        || TeamInstallationConnected { installation_id: id, github_id: 42, organization: "acme".into() };
    let connect = || ConnectInstallation { installation_id: id, github_id: 42, organization: "acme".into() };
    let suspend = || ChangeInstallationStatus { installation_id: id, status: InstallationStatus::Suspended };
    given(vec![created()]).when(connect()).then_expect_events(vec![connected()]);
    given(vec![created(), connected()]).when(connect()).then_expect_events(vec![]);
    given(vec![created(), connected()]).when(suspend()).then_expect_events(vec![
        TeamInstallationStatusChanged { installation_id: id, status: InstallationStatus::Suspended },
    ]);
    given(vec![created()]).when(suspend()).then_expect_error(TeamError::UnknownInstallation);
    given(vec![created(), connected()])
        .when(RemoveInstallation { installation_id: id })
        .then_expect_events(vec![TeamInstallationRemoved { installation_id: id }]);
    given(vec![created()])
        .when(RemoveInstallation { installation_id: id })
        .then_expect_error(TeamError::UnknownInstallation);
}

#[test]
fn slugs_and_open_invites_are_claimed_and_freed() {
    let id = TeamId(Uuid::from_u128(1));
    let old = |new: &str| TeamRenamed {
        name: "A".parse().unwrap(),
        slug: slug(new),
        old_slug: slug("acme"),
        old_slug_kept: false,
        slug_was_kept: false,
    };
    assert_eq!(Team::claims(id, &created()), vec![Claim::take(ClaimScope::TeamSlug, "acme")]);
    assert_eq!(
        Team::claims(id, &old("b")),
        vec![Claim::free(ClaimScope::TeamSlug, "acme"), Claim::take(ClaimScope::TeamSlug, "b")]
    );
    assert_eq!(Team::claims(id, &old("acme")), vec![]);
    assert_eq!(
        Team::claims(id, &renamed("A", "b", "acme")),
        vec![Claim::take(ClaimScope::TeamSlug, "b")],
        "the slug before stays the team's"
    );
    let key = format!("{id}/bob");
    assert_eq!(
        Team::claims(id, &invited(MemberRole::Viewer)),
        vec![Claim::take(ClaimScope::TeamInvite, &key)]
    );
    assert_eq!(Team::claims(id, &accepted(2)), vec![Claim::free(ClaimScope::TeamInvite, &key)]);
}
