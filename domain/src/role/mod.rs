//! A custom role of a team: a name for a set of permissions, possibly built on other roles.
//!
//! A role by itself cannot see that it would inherit from itself through others: [`RoleBook`], all roles of the team,
//! refuses that before the command is sent. Each change takes the next [`Revision`] of the team's roles, so that of two
//! changes that were judged by the same book only one is taken.

mod book;

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::claim::{Claim, ClaimScope};
use crate::fact::{Fact, Stored};
use crate::ids::{RoleId, TeamId};
use crate::policy::Permission;
use crate::values::DisplayName;

pub use book::{Effective, MAX_DEPTH, RoleBook, effective};

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

/// The how-manieth change to the roles of a team an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Of which team.
    pub team_id: TeamId,
    /// From 1.
    pub number: i64,
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
        /// Which change to the team's roles it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<Revision>,
    },
    /// The role is something else now.
    #[serde(rename = "role.changed")]
    RoleChanged {
        /// What it is from now on.
        definition: RoleDefinition,
        /// What it was until now.
        old: RoleDefinition,
        /// Which change to the team's roles it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<Revision>,
    },
    /// The role is gone: who had it has it no longer.
    #[serde(rename = "role.deleted")]
    RoleDeleted {
        /// What it was.
        old: RoleDefinition,
        /// Which change to the team's roles it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<Revision>,
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
        /// Which change to the team's roles it is to be.
        revision: Option<Revision>,
    },
    /// Puts another definition in place.
    ChangeRole {
        /// What it is from now on.
        definition: RoleDefinition,
        /// Which change to the team's roles it is to be.
        revision: Option<Revision>,
    },
    /// Ends it.
    DeleteRole {
        /// Which change to the team's roles it is to be.
        revision: Option<Revision>,
    },
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
    /// A parent that is neither built in nor a role of this team: also when it is one of another team.
    #[error("the role {0:?} to inherit from does not exist")]
    UnknownParent(String),
    /// It would inherit from itself, directly or through others.
    #[error("a role cannot inherit from itself, neither directly nor through other roles")]
    Cycle,
    /// It, or a role that inherits from it, would stand on too many others.
    #[error("roles cannot stand on each other more than {MAX_DEPTH} deep")]
    TooDeep,
    /// More of something than a role or team may have.
    #[error("{0}")]
    TooMany(&'static str),
    /// A condition that could never be decided: an unknown field, or a value that its operator cannot compare with.
    #[error(
        "a condition on {0:?} is not one of the fields and operators there are, or has another kind of value"
    )]
    BadCondition(String),
    /// Other roles inherit from it: they would silently lose what it gives them.
    #[error("other roles inherit from this role")]
    Inherited,
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
            Self::DeleteRole { .. } => "DeleteRole",
        }
    }
}

impl Role {
    fn decide(&self, command: RoleCommand) -> Result<Vec<RoleEvent>, RoleError> {
        use RoleCommand::*;
        use RoleEvent::*;
        match (&self.born, command) {
            (None, CreateRole { team_id, definition, revision }) => {
                Ok(vec![RoleCreated { team_id, definition, revision }])
            }
            (None, _) => Err(RoleError::Unknown),
            (Some(_), DeleteRole { .. }) if self.deleted => Ok(vec![]),
            (Some(_), _) if self.deleted => Err(RoleError::Unknown),
            (Some(born), CreateRole { team_id, definition, .. }) => {
                if *born == (team_id, definition) {
                    Ok(vec![])
                } else {
                    Err(RoleError::Exists)
                }
            }
            (Some((_, old)), ChangeRole { definition, .. }) if *old == definition => Ok(vec![]),
            (Some((_, old)), ChangeRole { definition, revision }) => {
                Ok(vec![RoleChanged { definition, old: old.clone(), revision }])
            }
            (Some((_, old)), DeleteRole { revision }) => Ok(vec![RoleDeleted { old: old.clone(), revision }]),
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
            RoleEvent::RoleCreated { team_id, definition, .. } => self.born = Some((team_id, definition)),
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

    fn claims(_id: RoleId, event: &RoleEvent) -> Vec<Claim> {
        let (RoleEvent::RoleCreated { revision, .. }
        | RoleEvent::RoleChanged { revision, .. }
        | RoleEvent::RoleDeleted { revision, .. }) = event;
        let name = |revision: &Revision| format!("{}/{}", revision.team_id, revision.number);
        revision.iter().map(|revision| Claim::take(ClaimScope::RoleRevision, name(revision))).collect()
    }

    fn fact(id: RoleId, event: RoleEvent) -> Fact {
        Fact::Role(id, event)
    }
}

#[cfg(test)]
mod tests;
