//! `history` and `as-of`: one aggregate through time.

use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use cqrs_es::Aggregate;
use domain::access::Access;
use domain::build::Build;
use domain::deployment::Deployment;
use domain::endpoint::Endpoint;
use domain::fact::{Stored, StoredEvent};
use domain::operation::Operation;
use domain::project::Project;
use domain::role::Role;
use domain::role_assignment::RoleAssignment;
use domain::team::Team;
use domain::user::User;
use projections::log;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::failure::{Failure, Outcome};
use crate::tool::Tool;

/// Events in memory.
const PAGE: i64 = 1000;

#[derive(Args)]
pub(crate) struct History {
    /// The kind of aggregate: user, team, project, build, deployment, role, role_assignment, access, operation.
    #[arg(value_name = "TYPE")]
    kind: String,
    /// Its id; all of that kind without it, as one wants them of access and operation.
    id: Option<String>,
}

#[derive(Args)]
pub(crate) struct AsOf {
    #[command(flatten)]
    stream: Stream,
    /// When: a time (RFC 3339) or a position of the log.
    #[arg(long)]
    at: Moment,
}

/// One aggregate.
#[derive(Args)]
pub(crate) struct Stream {
    /// Its kind: user, team, project, build, deployment, role, role_assignment, access, operation.
    #[arg(value_name = "TYPE")]
    pub(crate) kind: String,
    /// Its id.
    pub(crate) id: String,
}

/// A moment of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// After the event at this position.
    Position(i64),
    /// After everything written until this time.
    Time(DateTime<Utc>),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(position));
        }
        let time = DateTime::parse_from_rfc3339(text).map_err(|_| {
            "must be a time like 2026-01-31T12:00:00Z or a position of the log like 42".to_owned()
        })?;
        Ok(Self::Time(time.to_utc()))
    }
}

impl Moment {
    /// The position that it stands for.
    pub(crate) async fn position(self, pool: &PgPool) -> Result<i64, Failure> {
        match self {
            Self::Position(position) => Ok(position),
            Self::Time(time) => Ok(log::position_at(pool, time).await?),
        }
    }
}

impl History {
    pub(crate) async fn run(self, tool: &Tool) -> Outcome {
        let pool = tool.pool().await?;
        let Some(id) = self.id else { return Self::all(tool, pool, &self.kind).await };
        Self::say(tool, read(pool, &Stream { kind: self.kind, id }).await?)
    }

    /// Page by page: there may be many.
    async fn all(tool: &Tool, pool: &PgPool, kind: &str) -> Outcome {
        let mut position = 0;
        loop {
            let events = log::read_kind(pool, kind, position, PAGE).await?;
            let Some(last) = events.last() else { return Ok(()) };
            position = last.position;
            Self::say(tool, events)?;
        }
    }

    fn say(tool: &Tool, events: Vec<StoredEvent>) -> Outcome {
        for event in events {
            let at = event.recorded_at.to_rfc3339_opts(SecondsFormat::Millis, true);
            let json = json!({
                "position": event.position,
                "sequence": event.sequence,
                "eventId": event.event_id,
                "at": event.recorded_at,
                "type": event.event_type,
                "version": event.event_version,
                "teamId": event.team_id,
                "payload": parsed(&event.payload),
                "metadata": parsed(event.metadata.text()),
            });
            let (position, kind, actor) =
                (event.position, &event.event_type, &event.metadata.envelope().actor);
            tool.say(&format!("{position:>8}  {at}  {kind:<32}  {actor}  {}", event.payload), &json)?;
        }
        Ok(())
    }
}

impl AsOf {
    pub(crate) async fn run(self, tool: &Tool) -> Outcome {
        let stream = self.stream;
        let pool = tool.pool().await?;
        let mut events = read(pool, &stream).await?;
        let at = self.at.position(pool).await?;
        events.retain(|event| event.position <= at);
        let Some(last) = events.last() else {
            let Stream { kind, id } = stream;
            return Err(Failure::Error(format!("{kind} {id} did not exist yet")));
        };
        let state = state(&stream.kind, &events)?;
        let whole = json!({
            "type": stream.kind,
            "id": stream.id,
            "version": last.sequence,
            "position": last.position,
            "at": last.recorded_at,
            "state": state,
        });
        // For reading; with `--json`, on one line as everything.
        tool.say(&format!("{whole:#}"), &whole)
    }
}

/// The state of an aggregate of this kind after these events.
pub(crate) fn state(kind: &str, events: &[StoredEvent]) -> Result<Value, Failure> {
    match kind {
        User::TYPE => fold::<User>(events),
        Team::TYPE => fold::<Team>(events),
        Project::TYPE => fold::<Project>(events),
        Build::TYPE => fold::<Build>(events),
        Deployment::TYPE => fold::<Deployment>(events),
        Role::TYPE => fold::<Role>(events),
        RoleAssignment::TYPE => fold::<RoleAssignment>(events),
        Access::TYPE => fold::<Access>(events),
        Operation::TYPE => fold::<Operation>(events),
        Endpoint::TYPE => fold::<Endpoint>(events),
        other => Err(Failure::Error(format!("there is no kind of aggregate {other}"))),
    }
}

/// The events of an aggregate, from its first; there is one at least.
pub(crate) async fn read(pool: &PgPool, stream: &Stream) -> Result<Vec<StoredEvent>, Failure> {
    let Stream { kind, id } = stream;
    let events = log::read_stream(pool, kind, id).await?;
    if events.is_empty() {
        return Err(Failure::Error(format!("the log knows no {kind} {id}")));
    }
    Ok(events)
}

fn fold<A: Stored>(events: &[StoredEvent]) -> Result<Value, Failure> {
    let mut aggregate = A::default();
    for row in events {
        for event in row.events::<A>().map_err(|error| Failure::Error(error.to_string()))? {
            aggregate.apply(event);
        }
    }
    serde_json::to_value(aggregate).map_err(|error| Failure::Error(error.to_string()))
}

/// What the log has is JSON: the column's type sees to it.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_position_or_a_time_in_any_zone() {
        assert_eq!("42".parse(), Ok(Moment::Position(42)));
        let noon: Moment = "2026-01-31T12:00:00Z".parse().unwrap();
        assert_eq!("2026-01-31T13:00:00+01:00".parse(), Ok(noon));
        assert!("yesterday".parse::<Moment>().is_err());
    }
}
