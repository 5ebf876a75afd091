//! A role given to a user in a scope. Its id is made of user, role and scope: given twice, it is one.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::fact::{Fact, Stored};
use crate::ids::{AssignmentId, UserId};
use crate::policy::Scope;

/// Names the ids of assignments; stored in every one, so never changed.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f8d_5a0e_3b5c_4c0f_9d4b_21a7_5e0c_7a11);

/// Events of a role assignment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum RoleAssignmentEvent {
    /// From now on the user has the role.
    #[serde(rename = "role.assigned")]
    RoleAssigned {
        /// Who.
        user_id: UserId,
        /// Id of a custom role or name of a built-in one.
        role: String,
        /// Where.
        scope: Scope,
    },
    /// From now on the user no longer has it.
    #[serde(rename = "role.unassigned")]
    RoleUnassigned {
        /// Who.
        user_id: UserId,
        /// Which.
        role: String,
        /// Where.
        scope: Scope,
    },
}

/// Commands of a role assignment.
#[derive(Clone, Debug)]
pub enum RoleAssignmentCommand {
    /// Gives it.
    AssignRole {
        /// Who gets it.
        user_id: UserId,
        /// Id of a custom role or name of a built-in one.
        role: String,
        /// Where.
        scope: Scope,
    },
    /// Takes it back.
    UnassignRole,
}

/// Refusals of the role assignment aggregate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RoleAssignmentError {
    /// No assignment with this id.
    #[error("this role assignment does not exist")]
    Unknown,
    /// The id belongs to another assignment.
    #[error("this role assignment exists already with other contents")]
    Exists,
}

/// Only what is needed to decide.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RoleAssignment {
    what: Option<(UserId, String, Scope)>,
    active: bool,
}

impl RoleAssignment {
    /// The id of this assignment.
    pub fn id(user_id: UserId, role: &str, scope: Scope) -> AssignmentId {
        let scope = match scope {
            Scope::Global => "global".to_owned(),
            Scope::Team { team_id } => format!("team:{team_id}"),
            Scope::Project { project_id } => format!("project:{project_id}"),
        };
        AssignmentId(Uuid::new_v5(&NAMESPACE, format!("{user_id}/{role}/{scope}").as_bytes()))
    }

    fn decide(
        &self,
        command: RoleAssignmentCommand,
    ) -> Result<Vec<RoleAssignmentEvent>, RoleAssignmentError> {
        use RoleAssignmentCommand::*;
        use RoleAssignmentEvent::*;
        match (&self.what, command) {
            (Some(what), AssignRole { user_id, role, scope }) if *what != (user_id, role.clone(), scope) => {
                Err(RoleAssignmentError::Exists)
            }
            (_, AssignRole { .. }) if self.active => Ok(vec![]),
            (_, AssignRole { user_id, role, scope }) => Ok(vec![RoleAssigned { user_id, role, scope }]),
            (None, UnassignRole) => Err(RoleAssignmentError::Unknown),
            (Some(_), UnassignRole) if !self.active => Ok(vec![]),
            (Some((user_id, role, scope)), UnassignRole) => {
                Ok(vec![RoleUnassigned { user_id: *user_id, role: role.clone(), scope: *scope }])
            }
        }
    }
}

impl RoleAssignmentCommand {
    /// The name kept in the envelope.
    pub fn name(&self) -> &'static str {
        match self {
            Self::AssignRole { .. } => "AssignRole",
            Self::UnassignRole => "UnassignRole",
        }
    }
}

impl Aggregate for RoleAssignment {
    const TYPE: &'static str = "role_assignment";
    type Command = RoleAssignmentCommand;
    type Event = RoleAssignmentEvent;
    type Error = RoleAssignmentError;
    type Services = ();

    async fn handle(
        &mut self,
        command: RoleAssignmentCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), RoleAssignmentError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: RoleAssignmentEvent) {
        match event {
            RoleAssignmentEvent::RoleAssigned { user_id, role, scope } => {
                self.what = Some((user_id, role, scope));
                self.active = true;
            }
            RoleAssignmentEvent::RoleUnassigned { .. } => self.active = false,
        }
    }
}

impl DomainEvent for RoleAssignmentEvent {
    fn event_type(&self) -> String {
        match self {
            Self::RoleAssigned { .. } => "role.assigned",
            Self::RoleUnassigned { .. } => "role.unassigned",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Stored for RoleAssignment {
    type Id = AssignmentId;

    fn fact(id: AssignmentId, event: RoleAssignmentEvent) -> Fact {
        Fact::RoleAssignment(id, event)
    }
}

#[cfg(test)]
mod tests;
