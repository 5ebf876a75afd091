use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::ProjectCommand::*;
use super::ProjectEvent::*;
use super::*;
use crate::sealed::Sealed;
use crate::testing::sealed;

fn given(events: Vec<ProjectEvent>) -> AggregateTestExecutor<Project> {
    TestFramework::<Project>::with(()).given(events)
}

fn team() -> TeamId {
    TeamId(Uuid::from_u128(1))
}

fn env(n: u128) -> EnvironmentId {
    EnvironmentId(Uuid::from_u128(n))
}

fn settings(slug: &str) -> ProjectSettings {
    ProjectSettings {
        name: "Agent".parse().unwrap(),
        slug: slug.parse().unwrap(),
        repo_url: "https://example.org/acme/agent".parse().unwrap(),
        branch: "main".parse().unwrap(),
        project_root: ".".parse().unwrap(),
        mastra_directory: "src/mastra".parse().unwrap(),
        install_command: None,
        build_command: None,
        port: None,
        min_scale: None,
        resources: Default::default(),
        installation_id: None,
    }
}

fn created() -> Vec<ProjectEvent> {
    create(team(), settings("agent"), env(1))
}

fn with(more: Vec<ProjectEvent>) -> Vec<ProjectEvent> {
    created().into_iter().chain(more).collect()
}

fn staging() -> Environment {
    Environment {
        id: env(2),
        name: "Staging".parse().unwrap(),
        slug: "staging".parse().unwrap(),
        kind: EnvironmentType::Staging,
        branch: None,
    }
}

fn key(text: &str) -> EnvKey {
    text.parse().unwrap()
}

fn set(name: &str, environment_id: Option<EnvironmentId>, value: Sealed) -> ProjectCommand {
    SetEnvVar { key: key(name), environment_id, value, sensitive: true, availability: Availability::Runtime }
}

fn was_set(
    name: &str,
    environment_id: Option<EnvironmentId>,
    value: Sealed,
    old: Option<EnvVar>,
) -> ProjectEvent {
    ProjectEnvVarSet {
        key: key(name),
        environment_id,
        value,
        sensitive: true,
        availability: Availability::Runtime,
        old,
    }
}

fn var(name: &str, environment_id: Option<EnvironmentId>, value: &Sealed) -> EnvVar {
    EnvVar {
        key: key(name),
        environment_id,
        value_id: value.id,
        mark: value.mark.clone(),
        sensitive: true,
        availability: Availability::Runtime,
    }
}

#[test]
fn a_project_is_created_once_with_production() {
    let create = |slug: &str| CreateProject {
        team_id: team(),
        settings: Box::new(settings(slug)),
        production: env(1),
    };
    given(vec![]).when(create("agent")).then_expect_events(created());
    given(created()).when(create("agent")).then_expect_events(vec![]);
    given(created()).when(create("other")).then_expect_error(ProjectError::Exists);
}

#[test]
fn an_unknown_or_deleted_project_does_nothing() {
    let deleted = || with(vec![ProjectDeleted { team_id: team(), slug: settings("agent").slug }]);
    for start in [vec![], deleted()] {
        given(start.clone()).when(set("A", None, sealed("x"))).then_expect_error(ProjectError::Unknown);
        given(start)
            .when(DeleteEnvironment { environment_id: env(1) })
            .then_expect_error(ProjectError::Unknown);
    }
    given(deleted()).when(DeleteProject).then_expect_events(vec![]);
    given(created())
        .when(DeleteProject)
        .then_expect_events(vec![ProjectDeleted { team_id: team(), slug: settings("agent").slug }]);
}

#[test]
fn settings_change_with_what_they_were() {
    let change = |slug: &str| ChangeProjectSettings { settings: Box::new(settings(slug)) };
    given(created()).when(change("agent")).then_expect_events(vec![]);
    given(created()).when(change("b")).then_expect_events(vec![ProjectSettingsChanged {
        team_id: team(),
        settings: settings("b"),
        old: settings("agent"),
    }]);
}

#[test]
fn environments_have_a_slug_of_their_own() {
    let make = |id, name: &str, kind| CreateEnvironment {
        environment_id: id,
        name: name.parse().unwrap(),
        kind,
        branch: None,
    };
    let there = || with(vec![ProjectEnvironmentCreated { environment: staging() }]);
    given(created())
        .when(make(env(2), "Staging", EnvironmentType::Staging))
        .then_expect_events(vec![ProjectEnvironmentCreated { environment: staging() }]);
    given(there()).when(make(env(2), "Staging", EnvironmentType::Staging)).then_expect_events(vec![]);
    given(there())
        .when(make(env(3), "staging!", EnvironmentType::Preview))
        .then_expect_error(ProjectError::EnvironmentNameTaken);
    given(created())
        .when(make(env(3), "日本", EnvironmentType::Preview))
        .then_expect_error(ProjectError::EnvironmentNameTaken);
    given(created())
        .when(make(env(3), "Prod 2", EnvironmentType::Production))
        .then_expect_error(ProjectError::ProductionIsFixed);
}

#[test]
fn environments_change_and_go_but_production_stays() {
    let there = || with(vec![ProjectEnvironmentCreated { environment: staging() }]);
    let follow = |branch: Option<&str>| ChangeEnvironment {
        environment_id: env(2),
        name: None,
        branch: Some(branch.map(|name| name.parse().unwrap())),
    };
    let changed = Environment { branch: Some("dev".parse().unwrap()), ..staging() };
    given(there())
        .when(follow(Some("dev")))
        .then_expect_events(vec![ProjectEnvironmentChanged { environment: changed, old: staging() }]);
    given(there()).when(follow(None)).then_expect_events(vec![]);
    given(created()).when(follow(None)).then_expect_error(ProjectError::UnknownEnvironment);
    let delete = |n| DeleteEnvironment { environment_id: env(n) };
    given(there())
        .when(delete(2))
        .then_expect_events(vec![ProjectEnvironmentDeleted { environment_id: env(2), slug: staging().slug }]);
    given(there()).when(delete(1)).then_expect_error(ProjectError::ProductionIsFixed);
    given(there()).when(delete(9)).then_expect_error(ProjectError::UnknownEnvironment);
}

#[test]
fn a_variable_is_set_changed_and_deleted() {
    let (a, b) = (sealed("a"), sealed("b"));
    let there = || with(vec![was_set("KEY", None, sealed("a"), None)]);
    given(created()).when(set("KEY", None, a.clone())).then_expect_events(vec![was_set(
        "KEY",
        None,
        a.clone(),
        None,
    )]);
    given(there()).when(set("KEY", None, a.clone())).then_expect_events(vec![]);
    given(there()).when(set("KEY", None, b.clone())).then_expect_events(vec![was_set(
        "KEY",
        None,
        b,
        Some(var("KEY", None, &a)),
    )]);
    let delete = |name: &str| DeleteEnvVar { key: key(name), environment_id: None };
    given(there())
        .when(delete("KEY"))
        .then_expect_events(vec![ProjectEnvVarDeleted { old: var("KEY", None, &a) }]);
    given(there()).when(delete("OTHER")).then_expect_error(ProjectError::UnknownEnvVar);
}

#[test]
fn reserved_variables_and_foreign_environments_are_refused() {
    given(created())
        .when(set("PORT", None, sealed("1")))
        .then_expect_error(ProjectError::ReservedEnvVar("PORT".into()));
    given(created())
        .when(set("A", Some(env(9)), sealed("1")))
        .then_expect_error(ProjectError::UnknownEnvironment);
}

#[test]
fn a_project_has_at_most_500_variables_and_full_it_still_changes_them() {
    let names: Vec<String> = (0..500).map(|number| format!("KEY_{number}")).collect();
    let full = || with(names.iter().map(|name| was_set(name, None, sealed("1"), None)).collect());
    given(full()).when(set("ONE_MORE", None, sealed("1"))).then_expect_error(ProjectError::TooManyEnvVars);
    let (old, new) = (var("KEY_7", None, &sealed("1")), sealed("2"));
    given(full()).when(set("KEY_7", None, new.clone())).then_expect_events(vec![was_set(
        "KEY_7",
        None,
        new,
        Some(old),
    )]);
}

#[test]
fn an_environments_own_variable_wins() {
    let mut project = Project::default();
    let own = Sealed { mark: "own".into(), ..sealed("own") };
    for event in with(vec![
        was_set("A", None, sealed("shared"), None),
        was_set("B", None, sealed("shared"), None),
        was_set("A", Some(env(1)), own, None),
    ]) {
        project.apply(event);
    }
    let marks: Vec<_> =
        project.env_vars_in(env(1)).into_iter().map(|v| (v.key.to_string(), v.mark)).collect();
    assert_eq!(marks, [("A".to_owned(), "own".to_owned()), ("B".to_owned(), "shared".to_owned())]);
    assert_eq!(project.env_vars_in(env(2)).len(), 2);
}

#[test]
fn a_look_at_values_is_a_fact_every_time() {
    let there = || with(vec![was_set("KEY", None, sealed("a"), None)]);
    let reveal = |names: &[&str]| RevealEnvVars { keys: names.iter().map(|name| key(name)).collect() };
    let revealed = || ProjectEnvVarsRevealed { keys: vec![key("KEY")] };
    given(there()).when(reveal(&["KEY"])).then_expect_events(vec![revealed()]);
    given(there()).when(reveal(&[])).then_expect_events(vec![]);
    given(created()).when(reveal(&["KEY"])).then_expect_error(ProjectError::UnknownEnvVar);
}

#[test]
fn tokens_are_created_and_revoked_once() {
    let token_id = TokenId(Uuid::from_u128(3));
    let create = || CreateProjectToken {
        token_id,
        name: "ci".parse().unwrap(),
        hash: "ff".into(),
        prefix: "ma_1".into(),
        last_four: "9f3a".into(),
        scopes: vec![TokenScope::Deploy],
        ip_allowlist: vec![],
        expires_at: None,
    };
    let token_created = || ProjectTokenCreated {
        token_id,
        name: "ci".parse().unwrap(),
        hash: "ff".into(),
        prefix: "ma_1".into(),
        last_four: Some("9f3a".into()),
        scopes: vec![TokenScope::Deploy],
        ip_allowlist: vec![],
        expires_at: None,
    };
    given(created()).when(create()).then_expect_events(vec![token_created()]);
    given(with(vec![token_created()])).when(create()).then_expect_events(vec![]);
    given(with(vec![token_created()]))
        .when(RevokeProjectToken { token_id })
        .then_expect_events(vec![ProjectTokenRevoked { token_id }]);
    let (hash, prefix, last_four) = ("ee".to_owned(), "ma_2".to_owned(), "0001".to_owned());
    let overlap_until = chrono::DateTime::UNIX_EPOCH;
    let rotate = || RotateProjectToken {
        token_id,
        hash: hash.clone(),
        prefix: prefix.clone(),
        last_four: last_four.clone(),
        overlap_until,
        expires_at: None,
    };
    let revoked = || with(vec![token_created(), ProjectTokenRevoked { token_id }]);
    for history in [created(), revoked()] {
        given(history).when(rotate()).then_expect_error(ProjectError::UnknownToken);
    }
    given(with(vec![token_created()])).when(rotate()).then_expect_events(vec![ProjectTokenRotated {
        token_id,
        hash: hash.clone(),
        prefix: prefix.clone(),
        last_four: last_four.clone(),
        overlap_until,
        expires_at: None,
    }]);
    given(revoked()).when(create()).then_expect_events(vec![]);
    for history in [created(), revoked()] {
        given(history).when(RevokeProjectToken { token_id }).then_expect_error(ProjectError::UnknownToken);
    }
}

#[test]
fn the_slug_is_claimed_in_its_team() {
    let id = ProjectId(Uuid::from_u128(9));
    let name = |slug: &str| format!("{}/{slug}", team());
    assert_eq!(Project::claims(id, &created()[0]), vec![Claim::take(ClaimScope::ProjectSlug, name("agent"))]);
    let changed = ProjectSettingsChanged { team_id: team(), settings: settings("b"), old: settings("agent") };
    assert_eq!(
        Project::claims(id, &changed),
        vec![
            Claim::free(ClaimScope::ProjectSlug, name("agent")),
            Claim::take(ClaimScope::ProjectSlug, name("b"))
        ]
    );
}
