//! A custom role of a team: a name for a set of permissions, possibly built on other roles.
//!
//! Nothing here keeps a role from inheriting from itself, directly or through others: who writes it refuses that, from
//! the roles it names.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::fact::{Fact, Stored};
use crate::ids::{RoleId, TeamId};
use crate::policy::Permission;
use crate::values::DisplayName;

/// What a custom role is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoleDefinition {
    /// Its name.
    pub name: DisplayName,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it allows by itself.
    pub permissions: Vec<Permission>,
    /// Roles whose permissions it has too: ids of custom roles or names of built-in ones.
    #[serde(default)]
    pub inherits: Vec<String>,
}

/// Events of a role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum RoleEvent {
    /// The role exists.
    #[serde(rename = "role.created")]
    RoleCreated {
        /// Its team.
        team_id: TeamId,
        /// What it is.
        definition: RoleDefinition,
    },
    /// The role is something else now.
    #[serde(rename = "role.changed")]
    RoleChanged {
        /// What it is from now on.
        definition: RoleDefinition,
        /// What it was until now.
        old: RoleDefinition,
    },
    /// The role is gone: who had it has it no longer.
    #[serde(rename = "role.deleted")]
    RoleDeleted {
        /// What it was.
        old: RoleDefinition,
    },
}

/// Commands of a role.
#[derive(Clone, Debug)]
pub enum RoleCommand {
    /// Makes it.
    CreateRole {
        /// Its team.
        team_id: TeamId,
        /// What it is.
        definition: RoleDefinition,
    },
    /// Puts another definition in place.
    ChangeRole {
        /// What it is from now on.
        definition: RoleDefinition,
    },
    /// Ends it.
    DeleteRole,
}

/// Refusals of the role aggregate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RoleError {
    /// No role with this id, or it was deleted.
    #[error("this role does not exist")]
    Unknown,
    /// The id belongs to another role already.
    #[error("this role exists already")]
    Exists,
}

/// Only what is needed to decide.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Role {
    born: Option<(TeamId, RoleDefinition)>,
    deleted: bool,
}

impl RoleCommand {
    /// The name kept in the envelope.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateRole { .. } => "CreateRole",
            Self::ChangeRole { .. } => "ChangeRole",
            Self::DeleteRole => "DeleteRole",
        }
    }
}

impl Role {
    fn decide(&self, command: RoleCommand) -> Result<Vec<RoleEvent>, RoleError> {
        use RoleCommand::*;
        use RoleEvent::*;
        match (&self.born, command) {
            (None, CreateRole { team_id, definition }) => Ok(vec![RoleCreated { team_id, definition }]),
            (None, _) => Err(RoleError::Unknown),
            (Some(_), DeleteRole) if self.deleted => Ok(vec![]),
            (Some(_), _) if self.deleted => Err(RoleError::Unknown),
            (Some(born), CreateRole { team_id, definition }) => {
                if *born == (team_id, definition) {
                    Ok(vec![])
                } else {
                    Err(RoleError::Exists)
                }
            }
            (Some((_, old)), ChangeRole { definition }) if *old == definition => Ok(vec![]),
            (Some((_, old)), ChangeRole { definition }) => {
                Ok(vec![RoleChanged { definition, old: old.clone() }])
            }
            (Some((_, old)), DeleteRole) => Ok(vec![RoleDeleted { old: old.clone() }]),
        }
    }
}

impl Aggregate for Role {
    const TYPE: &'static str = "role";
    type Command = RoleCommand;
    type Event = RoleEvent;
    type Error = RoleError;
    type Services = ();

    async fn handle(
        &mut self,
        command: RoleCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), RoleError> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: RoleEvent) {
        match event {
            RoleEvent::RoleCreated { team_id, definition } => self.born = Some((team_id, definition)),
            RoleEvent::RoleChanged { definition, .. } => {
                if let Some((_, known)) = &mut self.born {
                    *known = definition;
                }
            }
            RoleEvent::RoleDeleted { .. } => self.deleted = true,
        }
    }
}

impl DomainEvent for RoleEvent {
    fn event_type(&self) -> String {
        match self {
            Self::RoleCreated { .. } => "role.created",
            Self::RoleChanged { .. } => "role.changed",
            Self::RoleDeleted { .. } => "role.deleted",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

impl Stored for Role {
    type Id = RoleId;

    fn fact(id: RoleId, event: RoleEvent) -> Fact {
        Fact::Role(id, event)
    }
}

#[cfg(test)]
mod tests;
