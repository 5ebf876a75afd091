use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::EndpointCommand::*;
use super::EndpointEvent::*;
use super::*;
use crate::ids::{OutboundId, SecretId, UserId};
use crate::sealed::KeyOwner;

fn given(events: Vec<EndpointEvent>) -> AggregateTestExecutor<Endpoint> {
    TestFramework::<Endpoint>::with(()).given(events)
}

fn team() -> TeamId {
    TeamId(Uuid::from_u128(2))
}

fn project(n: u128) -> ProjectId {
    ProjectId(Uuid::from_u128(n))
}

/// A value, sealed for the how-manieth time.
fn sealed(value: &str, time: u128) -> Sealed {
    Sealed {
        id: SecretId(Uuid::from_u128(time)),
        key: KeyOwner::Endpoint(EndpointId(Uuid::from_u128(12))),
        data: format!("{value}{time}"),
        mark: value.to_owned(),
    }
}

fn of(target: Target, events: &[&str]) -> EndpointSettings {
    let events = events.iter().map(|event| event.parse().unwrap()).collect();
    EndpointSettings { name: "Bot".parse().unwrap(), target, events, projects: [].into() }
}

fn webhook(events: &[&str]) -> EndpointSettings {
    of(Target::Webhook { url: sealed("url", 1) }, events)
}

fn slack(events: &[&str]) -> EndpointSettings {
    of(Target::Slack { url: sealed("url", 1) }, events)
}

fn email(to: u128) -> EndpointSettings {
    of(Target::Email { to: (0..to).map(|n| UserId(Uuid::from_u128(n))).collect() }, &[])
}

fn create(settings: EndpointSettings) -> EndpointCommand {
    CreateEndpoint { team_id: team(), settings, secret: Some(sealed("secret", 2)) }
}

fn created() -> EndpointEvent {
    EndpointCreated { team_id: team(), settings: webhook(&[]), secret: Some(sealed("secret", 2)) }
}

fn change(settings: EndpointSettings, enabled: Option<bool>) -> EndpointCommand {
    ChangeEndpoint { settings, enabled }
}

fn disabled(why: WhyDisabled) -> EndpointEvent {
    EndpointDisabled { why }
}

#[test]
fn it_is_made_once_and_deleted_for_good() {
    given(vec![]).when(create(webhook(&[]))).then_expect_events(vec![created()]);
    given(vec![created()]).when(create(webhook(&[]))).then_expect_error(EndpointError::Exists);
    given(vec![created()]).when(DeleteEndpoint).then_expect_events(vec![EndpointDeleted {}]);
    given(vec![created(), EndpointDeleted {}]).when(DeleteEndpoint).then_expect_events(vec![]);
    let gone = || given(vec![created(), EndpointDeleted {}]);
    gone().when(create(webhook(&[]))).then_expect_error(EndpointError::Unknown);
    gone().when(PingEndpoint).then_expect_error(EndpointError::Unknown);
    given(vec![]).when(DeleteEndpoint).then_expect_error(EndpointError::Unknown);
}

#[test]
fn a_change_says_what_is_new_and_nothing_when_nothing_is() {
    let other = webhook(&["build.failed"]);
    given(vec![created()])
        .when(change(other.clone(), Some(false)))
        .then_expect_events(vec![EndpointChanged { settings: other }, disabled(WhyDisabled::Asked)]);
    let sealed_again = of(Target::Webhook { url: sealed("url", 7) }, &[]);
    given(vec![created()]).when(change(sealed_again, Some(true))).then_expect_events(vec![]);
    given(vec![created(), disabled(WhyDisabled::Gone)])
        .when(change(webhook(&[]), Some(true)))
        .then_expect_events(vec![EndpointEnabled {}]);
    given(vec![created()]).when(change(slack(&[]), None)).then_expect_error(EndpointError::KindIsFixed);
}

#[test]
fn it_is_disabled_once() {
    let disable = || DisableEndpoint { why: WhyDisabled::Failing };
    given(vec![created()]).when(disable()).then_expect_events(vec![disabled(WhyDisabled::Failing)]);
    given(vec![created(), disabled(WhyDisabled::Gone)]).when(disable()).then_expect_events(vec![]);
}

#[test]
fn a_disabled_one_is_pinged_and_sent_nothing_else() {
    let (delivery_id, off) = (OutboundId(Uuid::from_u128(9)), vec![created(), disabled(WhyDisabled::Asked)]);
    given(off.clone()).when(PingEndpoint).then_expect_events(vec![EndpointPinged {}]);
    let again = || RequestRedelivery { delivery_id };
    given(off.clone()).when(again()).then_expect_error(EndpointError::IsDisabled);
    let replay = || RequestReplay { after: 1, upto: 2 };
    given(off).when(replay()).then_expect_error(EndpointError::IsDisabled);
    given(vec![created()])
        .when(again())
        .then_expect_events(vec![EndpointRedeliveryRequested { delivery_id }]);
    given(vec![created()])
        .when(replay())
        .then_expect_events(vec![EndpointReplayRequested { after: 1, upto: 2 }]);
}

#[test]
fn the_secret_before_is_kept_for_a_while() {
    let (secret, overlap_until) = (sealed("other", 3), DateTime::UNIX_EPOCH);
    let rotate = || RotateSecret { secret: secret.clone(), overlap_until };
    let rotated = EndpointSecretRotated { secret: secret.clone(), overlap_until };
    given(vec![created()]).when(rotate()).then_expect_events(vec![rotated.clone()]);
    let unsigned = EndpointCreated { team_id: team(), settings: slack(&[]), secret: None };
    given(vec![unsigned]).when(rotate()).then_expect_error(EndpointError::NotSigned);
    let mut endpoint = Endpoint::default();
    endpoint.apply(created());
    endpoint.apply(rotated);
    let living = endpoint.living().unwrap();
    assert_eq!(living.secret, Some(secret));
    assert_eq!(living.old_secret, Some((sealed("secret", 2), overlap_until)));
}

#[test]
fn slack_and_mail_are_told_of_results_alone() {
    let refused = EndpointError::NoResult("project.created".to_owned());
    given(vec![]).when(create(slack(&["project.created"]))).then_expect_error(refused);
    given(vec![]).when(create(email(0))).then_expect_error(EndpointError::NoRecipient);
    given(vec![]).when(create(email(51))).then_expect_error(EndpointError::TooMany);
    assert!(slack(&["build.*"]).wants("build.failed") && !slack(&["build.*"]).wants("build.started"));
    assert!(slack(&[]).wants("deployment.activated") && !slack(&[]).wants("team.created"));
}

#[test]
fn it_hears_what_it_names_and_everything_when_it_names_nothing() {
    let hears = |settings: EndpointSettings, event: &str, about: Option<ProjectId>| {
        let living = Living { team_id: team(), settings, secret: None, old_secret: None, enabled: true };
        living.hears(event, about)
    };
    assert!(hears(webhook(&[]), "team.created", None));
    assert!(hears(webhook(&["build.*"]), "build.failed", Some(project(3))));
    assert!(!hears(webhook(&["build.*"]), "builder.failed", None));
    assert!(!hears(webhook(&["build.fail*".replace('*', "").as_str()]), "build.failed", None));
    let of_one = EndpointSettings { projects: [project(3)].into(), ..webhook(&[]) };
    assert!(hears(of_one.clone(), "build.failed", Some(project(3))));
    assert!(!hears(of_one.clone(), "build.failed", Some(project(4))));
    assert!(!hears(of_one, "team.renamed", None));
}

#[test]
fn a_pattern_is_a_type_or_all_of_a_kind() {
    for good in ["build.failed", "build.*", "project.env_var_set"] {
        assert_eq!(good.parse::<EventPattern>().unwrap().to_string(), good);
    }
    for bad in ["", "*", "build", "build.", ".failed", "build.f*", "Build.failed", "a.b.c", "build. failed"] {
        assert_eq!(bad.parse::<EventPattern>(), Err(InvalidPattern), "{bad}");
    }
}
