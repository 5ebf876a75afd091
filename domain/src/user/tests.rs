use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::UserCommand::*;
use super::UserEvent::*;
use super::*;
use crate::testing::sealed;

fn given(events: Vec<UserEvent>) -> cqrs_es::test::AggregateTestExecutor<User> {
    TestFramework::<User>::with(()).given(events)
}

fn registered() -> UserEvent {
    UserRegistered {
        provider: "local".into(),
        subject: "ann".into(),
        email: sealed("ann@example.org"),
        email_hash: "h1".into(),
        first_name: sealed("Ann"),
        last_name: sealed("Lee"),
    }
}

fn register(subject: &str) -> UserCommand {
    RegisterUser {
        provider: "local".into(),
        subject: subject.into(),
        email: sealed("ann@example.org"),
        email_hash: "h1".into(),
        first_name: sealed("Ann"),
        last_name: sealed("Lee"),
    }
}

fn session(n: u128) -> SessionId {
    SessionId(Uuid::from_u128(n))
}

fn token(n: u128) -> TokenId {
    TokenId(Uuid::from_u128(n))
}

fn signed_in(n: u128) -> UserEvent {
    UserSignedIn { session_id: session(n), provider: "local".into() }
}

fn token_created(n: u128) -> UserEvent {
    UserTokenCreated {
        token_id: token(n),
        name: "ci".parse().unwrap(),
        hash: "ff".into(),
        prefix: "ma_1".into(),
        last_four: Some("9f3a".into()),
        scopes: vec![],
        ip_allowlist: vec![],
        expires_at: None,
    }
}

#[test]
fn a_user_is_registered_once() {
    given(vec![]).when(register("ann")).then_expect_events(vec![registered()]);
    given(vec![registered()]).when(register("ann")).then_expect_events(vec![]);
    given(vec![registered()]).when(register("bob")).then_expect_error(UserError::OtherIdentity);
}

#[test]
fn nobody_can_do_nothing() {
    for command in [
        ChangePassword,
        SignIn { session_id: session(1), provider: "local".into() },
        SwitchActiveTeam { team_id: None },
        SwitchActiveProject { project_id: None },
        ChangeUserProfile { first_name: Some(sealed("x")), last_name: None, photo_url: None },
        RevokeUserToken { token_id: token(1) },
        SignOut { session_id: session(1) },
    ] {
        given(vec![]).when(command).then_expect_error(UserError::Unknown);
    }
}

#[test]
fn a_profile_changes_only_where_it_differs() {
    given(vec![registered()])
        .when(ChangeUserProfile {
            first_name: Some(sealed("Ann")),
            last_name: Some(sealed("Ray")),
            photo_url: None,
        })
        .then_expect_events(vec![UserProfileChanged {
            first_name: None,
            last_name: Some(sealed("Ray")),
            photo_url: None,
        }]);
    given(vec![registered()])
        .when(ChangeUserProfile { first_name: Some(sealed("Ann")), last_name: None, photo_url: None })
        .then_expect_events(vec![]);
}

#[test]
fn switching_to_the_same_team_or_project_stays_quiet() {
    let team_id = Some(TeamId(Uuid::from_u128(5)));
    let project_id = Some(ProjectId(Uuid::from_u128(6)));
    given(vec![registered()])
        .when(SwitchActiveTeam { team_id })
        .then_expect_events(vec![UserActiveTeamSwitched { team_id }]);
    given(vec![registered(), UserActiveTeamSwitched { team_id }])
        .when(SwitchActiveTeam { team_id })
        .then_expect_events(vec![]);
    given(vec![registered()])
        .when(SwitchActiveProject { project_id })
        .then_expect_events(vec![UserActiveProjectSwitched { project_id }]);
    given(vec![registered(), UserActiveProjectSwitched { project_id }])
        .when(SwitchActiveProject { project_id })
        .then_expect_events(vec![]);
}

#[test]
fn every_password_change_is_a_fact() {
    given(vec![registered(), UserPasswordChanged {}])
        .when(ChangePassword)
        .then_expect_events(vec![UserPasswordChanged {}]);
}

#[test]
fn a_session_begins_and_ends_once() {
    let begin = || SignIn { session_id: session(1), provider: "local".into() };
    given(vec![registered()]).when(begin()).then_expect_events(vec![signed_in(1)]);
    given(vec![registered(), signed_in(1)]).when(begin()).then_expect_events(vec![]);
    given(vec![registered(), signed_in(1)])
        .when(SignOut { session_id: session(1) })
        .then_expect_events(vec![UserSignedOut { session_id: session(1) }]);
    given(vec![registered(), signed_in(1), UserSignedOut { session_id: session(1) }])
        .when(SignOut { session_id: session(1) })
        .then_expect_error(UserError::UnknownSession);
}

fn rotate(n: u128) -> UserCommand {
    RotateUserToken {
        token_id: token(n),
        hash: "ee".into(),
        prefix: "ma_2".into(),
        last_four: "0001".into(),
        overlap_until: chrono::DateTime::UNIX_EPOCH,
        expires_at: None,
    }
}

#[test]
fn a_token_that_is_there_gets_another_secret() {
    given(vec![registered(), token_created(1)]).when(rotate(1)).then_expect_events(vec![UserTokenRotated {
        token_id: token(1),
        hash: "ee".into(),
        prefix: "ma_2".into(),
        last_four: "0001".into(),
        overlap_until: chrono::DateTime::UNIX_EPOCH,
        expires_at: None,
    }]);
    let revoked = vec![registered(), token_created(1), UserTokenRevoked { token_id: token(1) }];
    for history in [vec![registered()], revoked] {
        given(history).when(rotate(1)).then_expect_error(UserError::UnknownToken);
    }
}

#[test]
fn a_token_keeps_its_scopes_and_addresses() {
    let full = serde_json::json!({
        "type": "user.token_created", "token_id": token(1), "name": "ci", "hash": "ff", "prefix": "ma_1",
        "last_four": "9f3a", "scopes": ["read"], "ip_allowlist": ["192.0.2.0/24", "2001:db8::/32"],
    });
    let event: UserEvent = serde_json::from_value(full.clone()).unwrap();
    assert_eq!(serde_json::to_value(event).unwrap(), full);
}

#[test]
fn a_token_is_created_and_revoked_once() {
    let create = || CreateUserToken {
        token_id: token(1),
        name: "ci".parse().unwrap(),
        hash: "ff".into(),
        prefix: "ma_1".into(),
        last_four: "9f3a".into(),
        scopes: vec![],
        ip_allowlist: vec![],
        expires_at: None,
    };
    given(vec![registered()]).when(create()).then_expect_events(vec![token_created(1)]);
    given(vec![registered(), token_created(1)]).when(create()).then_expect_events(vec![]);
    given(vec![registered(), token_created(1)])
        .when(RevokeUserToken { token_id: token(1) })
        .then_expect_events(vec![UserTokenRevoked { token_id: token(1) }]);
    let revoked = || vec![registered(), token_created(1), UserTokenRevoked { token_id: token(1) }];
    given(revoked()).when(create()).then_expect_events(vec![]);
    for history in [vec![registered()], revoked()] {
        given(history)
            .when(RevokeUserToken { token_id: token(1) })
            .then_expect_error(UserError::UnknownToken);
    }
}

#[test]
fn registration_claims_address_and_identity() {
    let id = UserId(Uuid::from_u128(1));
    assert_eq!(
        User::claims(id, &registered()),
        vec![Claim::take(ClaimScope::UserEmail, "h1"), Claim::take(ClaimScope::UserIdentity, "local/ann")]
    );
    assert_eq!(User::claims(id, &UserPasswordChanged {}), vec![]);
}

#[test]
fn who_was_erased_is_no_more_and_what_was_taken_is_free() {
    let erased = || UserErased { provider: "local".into(), subject: "ann".into(), email_hash: "h1".into() };
    given(vec![registered(), signed_in(1)]).when(EraseUser).then_expect_events(vec![erased()]);
    given(vec![registered(), erased()]).when(EraseUser).then_expect_events(vec![]);
    given(vec![]).when(EraseUser).then_expect_error(UserError::Unknown);
    for command in [
        ChangePassword,
        SignIn { session_id: session(2), provider: "local".into() },
        SignOut { session_id: session(1) },
        RevokeUserToken { token_id: token(1) },
    ] {
        given(vec![registered(), signed_in(1), token_created(1), erased()])
            .when(command)
            .then_expect_error(UserError::Unknown);
    }
    let id = UserId(Uuid::from_u128(1));
    let (taken, freed) = (User::claims(id, &registered()), User::claims(id, &erased()));
    let names = |claims: &[Claim]| claims.iter().map(|c| (c.scope, c.key.clone())).collect::<Vec<_>>();
    assert_eq!(names(&taken), names(&freed));
}

#[test]
fn an_identity_is_issuer_and_subject_and_an_address_is_taken_only_when_there_is_one() {
    let claims = |provider: &str, subject: &str, email_hash: &str| {
        let UserRegistered { email, first_name, last_name, .. } = registered() else { unreachable!() };
        let (provider, subject, email_hash) = (provider.into(), subject.into(), email_hash.into());
        let event = UserRegistered { provider, subject, email, email_hash, first_name, last_name };
        User::claims(UserId(Uuid::nil()), &event)
    };
    assert_eq!(claims("local", "ann", "h1").len(), 2);
    assert_eq!(claims("local", "ann", "h1")[1].key, "local/ann", "as it was always stored");
    assert_eq!(claims("https://a.test", "1", "").len(), 1, "no address, nothing to take");
    let one = claims("https://a.test", "b/c", "");
    let other = claims("https://a.test/b", "c", "");
    assert_ne!(one[0].key, other[0].key, "two issuers never share an identity");
}

#[test]
fn a_second_factor_is_had_once_and_each_recovery_code_is_told() {
    given(vec![registered()]).when(EnableSecondFactor).then_expect_events(vec![UserSecondFactorEnabled {}]);
    given(vec![registered(), UserSecondFactorEnabled {}]).when(EnableSecondFactor).then_expect_events(vec![]);
    given(vec![registered(), UserSecondFactorEnabled {}])
        .when(DisableSecondFactor)
        .then_expect_events(vec![UserSecondFactorDisabled {}]);
    given(vec![registered()]).when(DisableSecondFactor).then_expect_events(vec![]);
    given(vec![registered()])
        .when(UseRecoveryCode { left: 9 })
        .then_expect_events(vec![UserRecoveryCodeUsed { left: 9 }]);
}
