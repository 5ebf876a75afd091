//! The rules of a role that is given.

use domain::ids::UserId;
use domain::policy::Scope;
use domain::role_assignment::RoleAssignmentCommand::*;
use domain::role_assignment::RoleAssignmentEvent::*;
use domain::role_assignment::{
    RoleAssignment, RoleAssignmentCommand, RoleAssignmentError, RoleAssignmentEvent,
};
use proptest::prelude::*;

use super::machine::{Answer, Model};
use super::values::{id, ids, texts};

/// Who has which role where, and whether now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    given: Option<(UserId, String, Scope)>,
    holds: bool,
}

impl Model for Rules {
    type Of = RoleAssignment;

    fn births() -> BoxedStrategy<RoleAssignmentCommand> {
        let scopes = [Scope::Global, Scope::Team { team_id: id(1) }, Scope::Project { project_id: id(1) }];
        // The same one most of the time: its id is made of these.
        let others = (ids(2), texts(&["team:viewer", "team:admin"]), prop::sample::select(scopes.to_vec()));
        prop_oneof![4 => Just((id(1), "team:viewer".to_owned(), Scope::Global)), 1 => others]
            .prop_map(|(user_id, role, scope)| AssignRole { user_id, role, scope })
            .boxed()
    }

    fn commands(&self) -> BoxedStrategy<RoleAssignmentCommand> {
        prop_oneof![Self::births(), Just(UnassignRole)].boxed()
    }

    fn is_born(&self) -> bool {
        self.given.is_some()
    }

    fn obey(&mut self, command: RoleAssignmentCommand) -> Answer<Self> {
        let (command, Some((user_id, role, scope))) = (command.clone(), self.given.clone()) else {
            let AssignRole { user_id, role, scope } = command else {
                return Err(RoleAssignmentError::Unknown);
            };
            (self.given, self.holds) = (Some((user_id, role.clone(), scope)), true);
            return Ok(vec![RoleAssigned { user_id, role, scope }]);
        };
        let held = self.holds;
        match command {
            AssignRole { user_id: u, role: r, scope: s } if (u, &r, s) != (user_id, &role, scope) => {
                Err(RoleAssignmentError::Exists)
            }
            AssignRole { .. } => {
                self.holds = true;
                Ok(if held { vec![] } else { vec![RoleAssigned { user_id, role, scope }] })
            }
            UnassignRole => {
                self.holds = false;
                Ok(if held { vec![RoleUnassigned { user_id, role, scope }] } else { vec![] })
            }
        }
    }

    fn check(&self, _: &RoleAssignment, history: &[RoleAssignmentEvent]) {
        for (at, event) in history.iter().enumerate() {
            let gives = matches!(event, RoleAssigned { .. });
            assert_eq!(gives, at % 2 == 0, "given and taken in turn");
        }
    }
}
