//! Every event of the product in one type, and how a stored row becomes one again.

mod types;

use std::fmt::Display;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent};
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::access::{Access, AccessEvent};
use crate::build::{Build, BuildEvent};
use crate::claim::Claim;
use crate::deployment::{Deployment, DeploymentEvent};
use crate::endpoint::{Endpoint, EndpointEvent};
use crate::envelope::{Envelope, Metadata};
use crate::ids::{
    AccessId, AssignmentId, BuildId, DeploymentId, EndpointId, EventId, OperationId, ProjectId, RoleId,
    TeamId, UserId,
};
use crate::operation::{Operation, OperationEvent};
use crate::project::{Project, ProjectEvent};
use crate::role::{Role, RoleEvent};
use crate::role_assignment::{RoleAssignment, RoleAssignmentEvent};
use crate::team::{Team, TeamEvent};
use crate::upcast::{self, Present, UPCASTS, Upcast};
use crate::user::{User, UserEvent};

/// An aggregate that the store keeps.
pub trait Stored:
    Aggregate<Services = (), Command: Clone + Send, Error: Send + Sync + 'static> + Clone + 'static
{
    /// Its id.
    type Id: Copy + Display + FromStr + Send + Sync;

    /// Raised with every change of what its state means or how it is written: snapshots of another version are not
    /// used.
    const STATE_VERSION: i32 = 1;

    /// The names that an event takes or frees; a function of the event alone.
    fn claims(_id: Self::Id, _event: &Self::Event) -> Vec<Claim> {
        vec![]
    }

    /// The event as a fact.
    fn fact(id: Self::Id, event: Self::Event) -> Fact;
}

/// What happened, to which aggregate.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the aggregate of its name")]
pub enum Fact {
    User(UserId, UserEvent),
    Team(TeamId, TeamEvent),
    Project(ProjectId, ProjectEvent),
    Build(BuildId, BuildEvent),
    Deployment(DeploymentId, DeploymentEvent),
    Role(RoleId, RoleEvent),
    RoleAssignment(AssignmentId, RoleAssignmentEvent),
    Access(AccessId, AccessEvent),
    Operation(OperationId, OperationEvent),
    Endpoint(EndpointId, EndpointEvent),
}

impl Fact {
    /// The names that it takes or frees.
    pub fn claims(&self) -> Vec<Claim> {
        match self {
            Self::User(id, event) => User::claims(*id, event),
            Self::Team(id, event) => Team::claims(*id, event),
            Self::Project(id, event) => Project::claims(*id, event),
            Self::Build(id, event) => Build::claims(*id, event),
            Self::Deployment(id, event) => Deployment::claims(*id, event),
            Self::Role(id, event) => Role::claims(*id, event),
            Self::RoleAssignment(id, event) => RoleAssignment::claims(*id, event),
            Self::Access(id, event) => Access::claims(*id, event),
            Self::Operation(id, event) => Operation::claims(*id, event),
            Self::Endpoint(id, event) => Endpoint::claims(*id, event),
        }
    }

    /// Its payload as it would be written today.
    pub fn payload(&self) -> Value {
        let payload = match self {
            Self::User(_, event) => serde_json::to_value(event),
            Self::Team(_, event) => serde_json::to_value(event),
            Self::Project(_, event) => serde_json::to_value(event),
            Self::Build(_, event) => serde_json::to_value(event),
            Self::Deployment(_, event) => serde_json::to_value(event),
            Self::Role(_, event) => serde_json::to_value(event),
            Self::RoleAssignment(_, event) => serde_json::to_value(event),
            Self::Access(_, event) => serde_json::to_value(event),
            Self::Operation(_, event) => serde_json::to_value(event),
            Self::Endpoint(_, event) => serde_json::to_value(event),
        };
        payload.expect("an event was JSON before")
    }
}

/// Every type of events that is written today.
pub fn event_types() -> impl Iterator<Item = &'static str> {
    types::ALL.iter().copied()
}

/// The kinds of aggregates, as the log has them.
#[expect(missing_docs, reason = "each is the aggregate of its name")]
pub mod kind {
    use super::*;

    pub const USER: &str = User::TYPE;
    pub const TEAM: &str = Team::TYPE;
    pub const PROJECT: &str = Project::TYPE;
    pub const BUILD: &str = Build::TYPE;
    pub const DEPLOYMENT: &str = Deployment::TYPE;
    pub const ROLE: &str = Role::TYPE;
    pub const ROLE_ASSIGNMENT: &str = RoleAssignment::TYPE;
    pub const ACCESS: &str = Access::TYPE;
    pub const OPERATION: &str = Operation::TYPE;
    pub const ENDPOINT: &str = Endpoint::TYPE;
}

/// An event as it stands in the log: one row.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its place in the total order, from 1, without holes.
    pub position: i64,
    /// Its id, given by who wrote it.
    pub event_id: EventId,
    /// When it was written, by the writer's clock.
    pub at: DateTime<Utc>,
    /// The team it concerns.
    pub team_id: Option<TeamId>,
    /// Kind of its aggregate: `project`.
    pub aggregate_type: String,
    /// Id of its aggregate.
    pub aggregate_id: String,
    /// Its number in its aggregate's stream, from 1.
    pub sequence: i64,
    /// Its stable type: `project.created`.
    pub event_type: String,
    /// Its payload as it is stored: JSON, of the version that was written.
    pub payload: Box<str>,
    /// Who, from where, why.
    pub metadata: Metadata,
    /// What happened, as the present version of the software says it: one fact, but for events of earlier versions
    /// that say several things today, or nothing. Whoever takes the event in takes in all of them or none.
    pub facts: Present<Fact>,
}

/// The columns of one row of the log.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the table `events`, described in its migration")]
pub struct StoredEvent {
    pub position: i64,
    pub event_id: EventId,
    pub recorded_at: DateTime<Utc>,
    pub team_id: Option<TeamId>,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    pub payload: Box<str>,
    pub metadata: Metadata,
}

/// A row of the log that this version of the software cannot read.
#[derive(Debug, Error)]
#[error(
    "event {event_id} at position {position} ({event_type} version {event_version}) cannot be read: {reason}"
)]
#[expect(missing_docs, reason = "the columns of the row")]
pub struct UnreadableEvent {
    pub event_id: EventId,
    pub position: i64,
    pub event_type: String,
    pub event_version: String,
    pub reason: String,
}

impl Recorded {
    /// Who did it, from where and why. Read from its text when somebody asks first.
    pub fn envelope(&self) -> &Envelope {
        self.metadata.envelope()
    }
}

impl StoredEvent {
    /// The facts behind the row, brought to the present version.
    pub fn read(self) -> Result<Recorded, UnreadableEvent> {
        self.read_with(UPCASTS)
    }

    /// As `read`, with other steps than the product's.
    pub fn read_with(self, steps: &[Upcast]) -> Result<Recorded, UnreadableEvent> {
        let facts = match self.aggregate_type.as_str() {
            kind::USER => self.facts::<User>(steps),
            kind::TEAM => self.facts::<Team>(steps),
            kind::PROJECT => self.facts::<Project>(steps),
            kind::BUILD => self.facts::<Build>(steps),
            kind::DEPLOYMENT => self.facts::<Deployment>(steps),
            kind::ROLE => self.facts::<Role>(steps),
            kind::ROLE_ASSIGNMENT => self.facts::<RoleAssignment>(steps),
            kind::ACCESS => self.facts::<Access>(steps),
            kind::OPERATION => self.facts::<Operation>(steps),
            kind::ENDPOINT => self.facts::<Endpoint>(steps),
            other => Err(format!("unknown aggregate type {other:?}")),
        };
        match facts {
            Ok(facts) => Ok(Recorded {
                position: self.position,
                event_id: self.event_id,
                at: self.recorded_at,
                team_id: self.team_id,
                aggregate_type: self.aggregate_type,
                aggregate_id: self.aggregate_id,
                sequence: self.sequence,
                event_type: self.event_type,
                payload: self.payload,
                metadata: self.metadata,
                facts,
            }),
            Err(reason) => Err(self.unreadable(reason)),
        }
    }

    /// What the row says to its aggregate, brought to the present version. Whatever it is, the row counts once in the
    /// aggregate's version.
    pub fn events<A: Stored>(&self) -> Result<Present<A::Event>, UnreadableEvent> {
        self.events_with::<A>(UPCASTS)
    }

    /// As `events`, with other steps than the product's.
    pub fn events_with<A: Stored>(&self, steps: &[Upcast]) -> Result<Present<A::Event>, UnreadableEvent> {
        self.parse(steps).map_err(|reason| self.unreadable(reason))
    }

    fn facts<A: Stored>(&self, steps: &[Upcast]) -> Result<Present<Fact>, String> {
        let id = self.aggregate_id.parse().map_err(|_| format!("{:?} is no id", self.aggregate_id))?;
        Ok(self.parse::<A::Event>(steps)?.map(|event| A::fact(id, event)))
    }

    /// Straight from the text, except where an older version has to be changed first.
    fn parse<E: DomainEvent + DeserializeOwned>(&self, steps: &[Upcast]) -> Result<Present<E>, String> {
        let (kind, version) = (&self.event_type, &self.event_version);
        let events = if upcast::is_present(steps, kind, version) {
            serde_json::from_str(&self.payload).map(Present::Written)
        } else {
            serde_json::from_str(&self.payload)
                .and_then(|stored| {
                    let parts = upcast::upcast(steps, kind, version, stored);
                    parts.into_iter().map(serde_json::from_value).collect()
                })
                .map(Present::Upcast)
        };
        events.map_err(|error| error.to_string())
    }

    fn unreadable(&self, reason: String) -> UnreadableEvent {
        UnreadableEvent {
            event_id: self.event_id,
            position: self.position,
            event_type: self.event_type.clone(),
            event_version: self.event_version.clone(),
            reason,
        }
    }
}

#[cfg(test)]
mod states;
#[cfg(test)]
mod tests;
