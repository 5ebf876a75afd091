//! Every aggregate against a model of its rules, under sequences of commands that nobody thought of.
//!
//! A model is written from what is documented, not from the code it judges. See [`machine`] for what is compared.
//! `PROPTEST_CASES=20000 cargo test -p domain --test state_machines` looks longer.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed, in its helpers too")]

mod access;
mod build;
mod deployment;
mod endpoint;
mod machine;
mod previews;
mod project;
mod role;
mod role_assignment;
mod team;
mod user;
mod values;

use proptest::test_runner::Config;
use proptest_state_machine::prop_state_machine;

use access::Rules as Access;
use build::Rules as Build;
use deployment::Rules as Deployment;
use endpoint::Rules as Endpoint;
use machine::Machine;
use project::Rules as Project;
use role::Rules as Role;
use role_assignment::Rules as RoleAssignment;
use team::Rules as Team;
use user::Rules as User;

/// A failure is printed as its shortest sequence, which becomes a test of its own: no file remembers it.
fn config() -> Config {
    Config { failure_persistence: None, ..Config::default() }
}

prop_state_machine! {
    #![proptest_config(config())]

    #[test]
    fn a_user_does_what_the_rules_say(sequential 1..40 => Machine<User>);
    #[test]
    fn a_team_does_what_the_rules_say(sequential 1..60 => Machine<Team>);
    #[test]
    fn a_project_does_what_the_rules_say(sequential 1..50 => Machine<Project>);
    #[test]
    fn a_build_does_what_the_rules_say(sequential 1..30 => Machine<Build>);
    #[test]
    fn a_deployment_does_what_the_rules_say(sequential 1..40 => Machine<Deployment>);
    #[test]
    fn a_role_does_what_the_rules_say(sequential 1..20 => Machine<Role>);
    #[test]
    fn a_role_assignment_does_what_the_rules_say(sequential 1..20 => Machine<RoleAssignment>);
    #[test]
    fn an_endpoint_does_what_the_rules_say(sequential 1..30 => Machine<Endpoint>);
    #[test]
    fn access_does_what_the_rules_say(sequential 1..5 => Machine<Access>);
}
