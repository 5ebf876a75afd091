use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::ProjectCommand::*;
use super::ProjectEvent::*;
use super::*;
use crate::ids::HookId;
use crate::sealed::Sealed;
use crate::testing::sealed;
use crate::values::EnvKey;

fn given(events: Vec<ProjectEvent>) -> AggregateTestExecutor<Project> {
    TestFramework::<Project>::with(()).given(events)
}

pub(super) fn team() -> TeamId {
    TeamId(Uuid::from_u128(1))
}

fn env(n: u128) -> EnvironmentId {
    EnvironmentId(Uuid::from_u128(n))
}

pub(super) fn settings(slug: &str) -> ProjectSettings {
    ProjectSettings {
        name: "Agent".parse().unwrap(),
        slug: slug.parse().unwrap(),
        repo_url: Some("https://example.org/acme/agent".parse().unwrap()),
        branch: "main".parse().unwrap(),
        project_root: ".".parse().unwrap(),
        mastra_directory: "src/mastra".parse().unwrap(),
        install_command: None,
        build_command: None,
        port: None,
        min_scale: None,
        health: None,
        resources: Default::default(),
        installation_id: None,
        repository_id: None,
        watch_paths: vec![],
        previews: None,
        telemetry_days: None,
        telemetry_rows: None,
    }
}

pub(super) fn created() -> Vec<ProjectEvent> {
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
        branch_pattern: None,
        protection: Protection::Public,
        pull_request: None,
    }
}

fn key(text: &str) -> EnvKey {
    text.parse().unwrap()
}

fn set(name: &str, environment_id: Option<EnvironmentId>, value: Sealed) -> ProjectCommand {
    SetEnvVar { key: key(name), environment_id, value, sensitive: true, availability: Availability::Runtime }
}

pub(super) fn was_set(
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
    // What was deleted never comes back.
    let create = make(env(2), "Staging", EnvironmentType::Staging);
    let gone = ProjectEnvironmentDeleted { environment_id: env(2), slug: staging().slug };
    given([there(), vec![gone]].concat()).when(create).then_expect_events(vec![]);
}

#[test]
fn environments_change_and_go_but_production_stays() {
    let there = || with(vec![ProjectEnvironmentCreated { environment: staging() }]);
    let follow = |branch: Option<&str>| ChangeEnvironment {
        environment_id: env(2),
        name: None,
        branch: Some(branch.map(|name| name.parse().unwrap())),
        branch_pattern: None,
        protection: None,
    };
    let changed = Environment { branch: Some("dev".parse().unwrap()), ..staging() };
    given(there())
        .when(follow(Some("dev")))
        .then_expect_events(vec![ProjectEnvironmentChanged { environment: changed, old: staging() }]);
    given(there()).when(follow(None)).then_expect_events(vec![]);
    let protect = |protection| ChangeEnvironment {
        environment_id: env(2),
        name: None,
        branch: None,
        branch_pattern: None,
        protection: Some(protection),
    };
    let closed = Environment { protection: Protection::Team, ..staging() };
    given(there())
        .when(protect(Protection::Team))
        .then_expect_events(vec![ProjectEnvironmentChanged { environment: closed, old: staging() }]);
    given(there()).when(protect(Protection::Public)).then_expect_events(vec![]);
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
    given(created()).when(set("PORT", None, sealed("1"))).then_expect_error(ProjectError::ReservedEnvVar {
        key: key("PORT"),
        why: "the platform sets it itself",
    });
    let at_build = SetEnvVar {
        key: key("GIT_SSH_COMMAND"),
        environment_id: None,
        value: sealed("1"),
        sensitive: false,
        availability: Availability::Both,
    };
    given(created()).when(at_build).then_expect_error(ProjectError::EnvVarNotAtBuild {
        key: key("GIT_SSH_COMMAND"),
        why: "it changes what the tools of the build fetch, run and keep",
    });
    given(created()).when(set("GIT_SSH_COMMAND", None, sealed("1"))).then_expect_events(vec![was_set(
        "GIT_SSH_COMMAND",
        None,
        sealed("1"),
        None,
    )]);
    given(created())
        .when(set("A", Some(env(9)), sealed("1")))
        .then_expect_error(ProjectError::UnknownEnvironment);
}

fn new(name: &str, value: Sealed) -> NewEnvVar {
    NewEnvVar { key: key(name), value, sensitive: true, availability: Availability::Runtime }
}

fn set_all(vars: Vec<NewEnvVar>, replace: bool) -> ProjectCommand {
    SetEnvVars { environment_id: Some(env(1)), vars, replace }
}

#[test]
fn several_variables_are_set_at_once_and_only_what_changes_is_told() {
    let (one, two) = (sealed("1"), sealed("2"));
    let there = || {
        with(vec![
            was_set("A", Some(env(1)), one.clone(), None),
            was_set("B", Some(env(1)), one.clone(), None),
            was_set("C", None, one.clone(), None),
        ])
    };
    let vars = vec![new("A", one.clone()), new("B", two.clone()), new("D", two.clone())];
    let changed = was_set("B", Some(env(1)), two.clone(), Some(var("B", Some(env(1)), &one)));
    let added = was_set("D", Some(env(1)), two.clone(), None);
    given(there()).when(set_all(vars, false)).then_expect_events(vec![changed, added.clone()]);
    let gone = |name| ProjectEnvVarDeleted { old: var(name, Some(env(1)), &one) };
    given(there()).when(set_all(vec![new("D", two)], true)).then_expect_events(vec![
        gone("A"),
        gone("B"),
        added,
    ]);
    given(there()).when(set_all(vec![], false)).then_expect_events(vec![]);
}

#[test]
fn one_variable_that_is_refused_refuses_all() {
    given(created())
        .when(set_all(vec![new("A", sealed("1")), new("PATH", sealed("1"))], false))
        .then_expect_error(ProjectError::ReservedEnvVar {
            key: key("PATH"),
            why: "it decides which programs are run",
        });
    let elsewhere = SetEnvVars { environment_id: Some(env(9)), vars: vec![], replace: true };
    given(created()).when(elsewhere).then_expect_error(ProjectError::UnknownEnvironment);
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

const HOST_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0N+mryEhIC04k5CDU1+j+FR1aAIWLbyL3CNHr20O86";

#[test]
fn a_token_of_the_repository_is_of_one_host_and_is_told_once() {
    let set = |host: &str, token: &str| SetRepositoryToken {
        host: host.to_owned(),
        username: "git".parse().unwrap(),
        token: sealed(token),
    };
    let was_set = |host: &str, token: &str, old: Option<RepositoryToken>| ProjectRepositoryTokenSet {
        host: host.to_owned(),
        username: "git".parse().unwrap(),
        token: sealed(token),
        old,
    };
    let a = || RepositoryToken {
        host: "a.example".to_owned(),
        username: "git".parse().unwrap(),
        value_id: sealed("x").id,
        mark: "x".to_owned(),
    };
    let there = || with(vec![was_set("a.example", "x", None)]);
    given(created()).when(set("a.example", "x")).then_expect_events(vec![was_set("a.example", "x", None)]);
    given(there()).when(set("a.example", "x")).then_expect_events(vec![]);
    given(there()).when(set("b.example", "x")).then_expect_events(vec![was_set("b.example", "x", Some(a()))]);
    given(there())
        .when(RemoveRepositoryToken)
        .then_expect_events(vec![ProjectRepositoryTokenRemoved { old: a() }]);
    given(created()).when(RemoveRepositoryToken).then_expect_error(ProjectError::NoRepositoryToken);
}

#[test]
fn a_deploy_key_takes_the_place_of_the_one_before_and_goes() {
    let overlap_until = chrono::DateTime::UNIX_EPOCH;
    let make = || MakeDeployKey { public_key: HOST_KEY.parse().unwrap(), secret: sealed("x"), overlap_until };
    let made = || ProjectDeployKeyMade {
        public_key: HOST_KEY.parse().unwrap(),
        secret: sealed("x"),
        old: None,
        overlap_until,
    };
    let old = DeployKey { public_key: HOST_KEY.parse().unwrap(), key_id: sealed("x").id };
    given(created()).when(make()).then_expect_events(vec![made()]);
    given(with(vec![made()])).when(make()).then_expect_events(vec![]);
    given(with(vec![made()])).when(RemoveDeployKey).then_expect_events(vec![ProjectDeployKeyRemoved { old }]);
    given(created()).when(RemoveDeployKey).then_expect_error(ProjectError::NoDeployKey);
}

#[test]
fn keys_of_a_server_are_pinned_in_any_order_and_taken_back() {
    let keys = || vec![HOST_KEY.parse().unwrap()];
    let pin = |keys| PinHostKeys { host: "a.example".to_owned(), keys };
    let pinned = |keys, old_keys| ProjectHostKeysPinned { host: "a.example".to_owned(), keys, old_keys };
    let there = || with(vec![pinned(keys(), vec![])]);
    given(created()).when(pin(keys())).then_expect_events(vec![pinned(keys(), vec![])]);
    given(there()).when(pin([keys(), keys()].concat())).then_expect_events(vec![]);
    given(there()).when(pin(vec![])).then_expect_events(vec![pinned(vec![], keys())]);
    given(created()).when(pin(vec![])).then_expect_events(vec![]);
}

#[test]
fn a_push_hook_is_created_rotated_and_deleted_for_good() {
    let hook_id = HookId(Uuid::from_u128(5));
    let overlap_until = chrono::DateTime::UNIX_EPOCH;
    let create = |n| CreatePushHook {
        hook_id: HookId(Uuid::from_u128(n)),
        name: "GitLab".parse().unwrap(),
        secret: sealed("x"),
        last_four: "9f3a".to_owned(),
    };
    let was_created = |n| ProjectPushHookCreated {
        hook_id: HookId(Uuid::from_u128(n)),
        name: "GitLab".parse().unwrap(),
        secret: sealed("x"),
        last_four: "9f3a".to_owned(),
    };
    let rotate =
        || RotatePushHook { hook_id, secret: sealed("y"), last_four: "0001".to_owned(), overlap_until };
    let rotated =
        ProjectPushHookRotated { hook_id, secret: sealed("y"), last_four: "0001".to_owned(), overlap_until };
    let deleted = || ProjectPushHookDeleted { hook_id };
    given(created()).when(create(5)).then_expect_events(vec![was_created(5)]);
    given(with(vec![was_created(5)])).when(create(5)).then_expect_events(vec![]);
    given(with(vec![was_created(5)])).when(rotate()).then_expect_events(vec![rotated]);
    given(with(vec![was_created(5)])).when(DeletePushHook { hook_id }).then_expect_events(vec![deleted()]);
    given(created()).when(rotate()).then_expect_error(ProjectError::UnknownPushHook);
    let gone = || with(vec![was_created(5), deleted()]);
    given(gone()).when(DeletePushHook { hook_id }).then_expect_error(ProjectError::UnknownPushHook);
    given(gone()).when(create(5)).then_expect_events(vec![]);
    given(with((100..120).map(was_created).collect()))
        .when(create(5))
        .then_expect_error(ProjectError::TooManyPushHooks);
}
