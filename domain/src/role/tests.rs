use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::RoleCommand::*;
use super::RoleEvent::*;
use super::*;
use crate::policy::{Action, Resource};

fn given(events: Vec<RoleEvent>) -> AggregateTestExecutor<Role> {
    TestFramework::<Role>::with(()).given(events)
}

fn team_id() -> TeamId {
    TeamId(Uuid::from_u128(1))
}

fn definition(name: &str) -> RoleDefinition {
    RoleDefinition {
        name: name.parse().unwrap(),
        description: None,
        permissions: vec![Permission::new(Resource::Build, Action::Read)],
        inherits: vec!["project:viewer".into()],
    }
}

fn created() -> RoleEvent {
    RoleCreated { team_id: team_id(), definition: definition("Auditor"), revision: None }
}

#[test]
fn a_role_is_created_once() {
    let create = |name| CreateRole { team_id: team_id(), definition: definition(name), revision: None };
    given(vec![]).when(create("Auditor")).then_expect_events(vec![created()]);
    given(vec![created()]).when(create("Auditor")).then_expect_events(vec![]);
    given(vec![created()]).when(create("Other")).then_expect_error(RoleError::Exists);
}

#[test]
fn a_role_changes_with_what_it_was() {
    let change = |name| ChangeRole { definition: definition(name), revision: None };
    given(vec![created()]).when(change("Reader")).then_expect_events(vec![RoleChanged {
        definition: definition("Reader"),
        old: definition("Auditor"),
        revision: None,
    }]);
    given(vec![created()]).when(change("Auditor")).then_expect_events(vec![]);
    given(vec![]).when(change("Reader")).then_expect_error(RoleError::Unknown);
}

#[test]
fn a_role_is_deleted_once() {
    let deleted = || RoleDeleted { old: definition("Auditor"), revision: None };
    given(vec![created()]).when(DeleteRole { revision: None }).then_expect_events(vec![deleted()]);
    given(vec![created(), deleted()]).when(DeleteRole { revision: None }).then_expect_events(vec![]);
    given(vec![created(), deleted()])
        .when(ChangeRole { definition: definition("x"), revision: None })
        .then_expect_error(RoleError::Unknown);
    given(vec![]).when(DeleteRole { revision: None }).then_expect_error(RoleError::Unknown);
}
