use chrono::{DateTime, Utc};
use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::TeamCommand::*;
use super::TeamEvent::*;
use super::*;
use crate::testing::sealed;

fn given(events: Vec<TeamEvent>) -> AggregateTestExecutor<Team> {
    TestFramework::<Team>::with(()).given(events)
}

fn user(n: u128) -> UserId {
    UserId(Uuid::from_u128(n))
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
    AcceptInvite { invite_id: invite(1), user_id: user(n), email_hash: email_hash.into(), at }
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
    given(deleted()).when(DeleteTeam).then_expect_events(vec![]);
}

#[test]
fn a_rename_says_what_the_slug_was() {
    given(vec![created()]).when(RenameTeam { name: None, slug: Some(slug("b")) }).then_expect_events(vec![
        TeamRenamed { name: "Acme".parse().unwrap(), slug: slug("b"), old_slug: slug("acme") },
    ]);
    given(vec![created()])
        .when(RenameTeam { name: Some("Acme".parse().unwrap()), slug: None })
        .then_expect_events(vec![]);
}

#[test]
fn deleting_a_team_revokes_its_open_invites() {
    given(vec![created(), invited(MemberRole::Viewer)]).when(DeleteTeam).then_expect_events(vec![
        TeamInviteRevoked { invite_id: invite(1), email_hash: "bob".into() },
        TeamDeleted { slug: slug("acme") },
    ]);
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
    let renamed =
        |new: &str| TeamRenamed { name: "A".parse().unwrap(), slug: slug(new), old_slug: slug("acme") };
    assert_eq!(Team::claims(id, &created()), vec![Claim::take(ClaimScope::TeamSlug, "acme")]);
    assert_eq!(
        Team::claims(id, &renamed("b")),
        vec![Claim::free(ClaimScope::TeamSlug, "acme"), Claim::take(ClaimScope::TeamSlug, "b")]
    );
    assert_eq!(Team::claims(id, &renamed("acme")), vec![]);
    let key = format!("{id}/bob");
    assert_eq!(
        Team::claims(id, &invited(MemberRole::Viewer)),
        vec![Claim::take(ClaimScope::TeamInvite, &key)]
    );
    assert_eq!(Team::claims(id, &accepted(2)), vec![Claim::free(ClaimScope::TeamInvite, &key)]);
}
