use cqrs_es::test::{AggregateTestExecutor, TestFramework};

use super::RoleAssignmentCommand::*;
use super::RoleAssignmentEvent::*;
use super::*;
use crate::ids::TeamId;

fn given(events: Vec<RoleAssignmentEvent>) -> AggregateTestExecutor<RoleAssignment> {
    TestFramework::<RoleAssignment>::with(()).given(events)
}

fn user(n: u128) -> UserId {
    UserId(Uuid::from_u128(n))
}

fn scope() -> Scope {
    Scope::Team { team_id: TeamId(Uuid::from_u128(2)) }
}

fn assign(n: u128) -> RoleAssignmentCommand {
    AssignRole { user_id: user(n), role: "team:viewer".into(), scope: scope() }
}

fn assigned() -> RoleAssignmentEvent {
    RoleAssigned { user_id: user(1), role: "team:viewer".into(), scope: scope() }
}

fn unassigned() -> RoleAssignmentEvent {
    RoleUnassigned { user_id: user(1), role: "team:viewer".into(), scope: scope() }
}

#[test]
fn a_role_is_given_once_and_again_after_it_was_taken() {
    given(vec![]).when(assign(1)).then_expect_events(vec![assigned()]);
    given(vec![assigned()]).when(assign(1)).then_expect_events(vec![]);
    given(vec![assigned(), unassigned()]).when(assign(1)).then_expect_events(vec![assigned()]);
    given(vec![assigned()]).when(assign(2)).then_expect_error(RoleAssignmentError::Exists);
}

#[test]
fn a_role_is_taken_once() {
    given(vec![assigned()]).when(UnassignRole).then_expect_events(vec![unassigned()]);
    given(vec![assigned(), unassigned()]).when(UnassignRole).then_expect_events(vec![]);
    given(vec![]).when(UnassignRole).then_expect_error(RoleAssignmentError::Unknown);
}

#[test]
fn the_id_is_made_of_user_role_and_scope() {
    let id = RoleAssignment::id(user(1), "team:viewer", scope());
    assert_eq!(id, RoleAssignment::id(user(1), "team:viewer", scope()));
    assert_ne!(id, RoleAssignment::id(user(2), "team:viewer", scope()));
    assert_ne!(id, RoleAssignment::id(user(1), "team:admin", scope()));
    assert_ne!(id, RoleAssignment::id(user(1), "team:viewer", Scope::Global));
}
