//! Closing, reopening, purging.

use super::*;

fn closed() -> TeamEvent {
    TeamClosed { until: day(31) }
}

#[test]
fn a_team_is_closed_for_thirty_days_and_can_be_reopened() {
    given(vec![created()]).when(CloseTeam { at: day(1) }).then_expect_events(vec![closed()]);
    given(vec![created(), closed()]).when(CloseTeam { at: day(2) }).then_expect_events(vec![]);
    given(vec![created(), closed()]).when(ReopenTeam).then_expect_events(vec![TeamReopened {}]);
    given(vec![created(), closed(), TeamReopened {}]).when(ReopenTeam).then_expect_events(vec![]);
    given(vec![created(), closed(), TeamReopened {}])
        .when(CloseTeam { at: day(2) })
        .then_expect_events(vec![TeamClosed { until: day(32) }]);
    given(vec![]).when(CloseTeam { at: day(1) }).then_expect_error(TeamError::Unknown);
}

#[test]
fn a_closed_team_is_purged_when_its_time_is_over_and_not_before() {
    let purge = |n| PurgeTeam { at: day(n) };
    let start = || vec![created(), invited(MemberRole::Viewer), closed()];
    given(start()).when(purge(30)).then_expect_error(TeamError::StillRestorable);
    given(start()).when(purge(31)).then_expect_events(vec![
        TeamInviteRevoked { invite_id: invite(1), email_hash: "bob".into() },
        TeamDeleted { slug: slug("acme") },
    ]);
    given(vec![created()]).when(purge(31)).then_expect_error(TeamError::NotClosed);
    given(vec![created(), closed(), TeamReopened {}]).when(purge(31)).then_expect_error(TeamError::NotClosed);
    let again = TeamClosed { until: day(40) };
    given(vec![created(), closed(), TeamReopened {}, again])
        .when(purge(31))
        .then_expect_error(TeamError::StillRestorable);
}

#[test]
fn nobody_comes_into_a_closed_team_and_who_is_gone_stays_gone() {
    let start = || {
        let admin = added(2, MemberRole::Admin);
        vec![created(), admin, invited(MemberRole::Viewer), closed()]
    };
    let refused = |command| given(start()).when(command).then_expect_error(TeamError::Unknown);
    refused(accept(3, "bob", day(1)));
    refused(AddMember { user_id: user(3), role: MemberRole::Viewer });
    refused(ask_invite(2, "cat", MemberRole::Viewer, MemberRole::Owner, None));
    refused(RevokeInvite { invite_id: invite(1) });
    refused(RenameTeam { name: None, slug: Some(slug("b")) });
    refused(TransferOwnership { from: user(1), to: user(2) });
    let rank = |role| ChangeMemberRole { user_id: user(2), role, by: MemberRole::Owner };
    refused(rank(MemberRole::Owner));
    given(start()).when(rank(MemberRole::Viewer)).then_expect_events(vec![TeamMemberRoleChanged {
        user_id: user(2),
        role: MemberRole::Viewer,
        old_role: MemberRole::Admin,
    }]);
    given(start()).when(AddMember { user_id: user(2), role: MemberRole::Viewer }).then_expect_events(vec![]);
    let remove = |n| RemoveMember { user_id: user(n), by: MemberRole::Owner };
    given(start())
        .when(remove(2))
        .then_expect_events(vec![TeamMemberRemoved { user_id: user(2), role: MemberRole::Admin }]);
    given(start()).when(remove(1)).then_expect_error(TeamError::LastOwner);
    given(start())
        .when(ExpireInvite { invite_id: invite(1), at: day(8) })
        .then_expect_events(vec![TeamInviteExpired { invite_id: invite(1), email_hash: "bob".into() }]);
}

#[test]
fn nobody_has_a_role_in_a_closed_team_until_it_is_reopened() {
    let mut team = Team::default();
    for (event, role, open) in [
        (created(), Some(MemberRole::Owner), true),
        (closed(), None, false),
        (TeamReopened {}, Some(MemberRole::Owner), true),
        (TeamDeleted { slug: slug("acme") }, None, false),
    ] {
        team.apply(event);
        assert_eq!((team.role(user(1)), team.is_open(), team.is_last_owner(user(1))), (role, open, open));
    }
    let id = TeamId(Uuid::from_u128(1));
    assert_eq!(Team::claims(id, &closed()), vec![], "its slug stays its own");
}
