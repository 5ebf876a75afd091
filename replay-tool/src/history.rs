//! `history` and `as-of`: one aggregate through time.

use std::io::Write;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use cqrs_es::Aggregate;
use domain::build::Build;
use domain::deployment::Deployment;
use domain::fact::{Stored, StoredEvent};
use domain::project::Project;
use domain::role::Role;
use domain::role_assignment::RoleAssignment;
use domain::team::Team;
use domain::user::User;
use projections::log;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{Failure, Outcome, Stream};

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
    fn includes(self, event: &StoredEvent) -> bool {
        match self {
            Self::Position(position) => event.position <= position,
            Self::Time(time) => event.recorded_at <= time,
        }
    }
}

pub(crate) async fn show(pool: &PgPool, stream: &Stream, as_json: bool) -> Outcome {
    let mut out = std::io::stdout();
    for event in read(pool, stream).await? {
        let at = event.recorded_at.to_rfc3339_opts(SecondsFormat::Millis, true);
        if as_json {
            let line = json!({
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
            writeln!(out, "{line}")?;
        } else {
            let (actor, kind) = (&event.metadata.envelope().actor, &event.event_type);
            writeln!(out, "{:>8}  {at}  {kind:<32}  {actor}  {}", event.position, event.payload)?;
        }
    }
    Ok(())
}

/// What the log has is JSON: the column's type sees to it.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

pub(crate) async fn as_of(pool: &PgPool, stream: &Stream, at: Moment) -> Outcome {
    let mut events = read(pool, stream).await?;
    events.retain(|event| at.includes(event));
    let Some(last) = events.last() else {
        let Stream { kind, id } = stream;
        return Err(Failure::Error(format!("{kind} {id} did not exist yet")));
    };
    let state = match stream.kind.as_str() {
        User::TYPE => fold::<User>(&events),
        Team::TYPE => fold::<Team>(&events),
        Project::TYPE => fold::<Project>(&events),
        Build::TYPE => fold::<Build>(&events),
        Deployment::TYPE => fold::<Deployment>(&events),
        Role::TYPE => fold::<Role>(&events),
        RoleAssignment::TYPE => fold::<RoleAssignment>(&events),
        other => Err(Failure::Error(format!("there is no kind of aggregate {other}"))),
    }?;
    let whole = json!({
        "type": stream.kind,
        "id": stream.id,
        "version": last.sequence,
        "position": last.position,
        "at": last.recorded_at,
        "state": state,
    });
    Ok(writeln!(std::io::stdout(), "{whole:#}")?)
}

async fn read(pool: &PgPool, stream: &Stream) -> Result<Vec<StoredEvent>, Failure> {
    let Stream { kind, id } = stream;
    let events = log::read_stream(pool, kind, id).await?;
    if events.is_empty() {
        return Err(Failure::Error(format!("the log knows no {kind} {id}")));
    }
    Ok(events)
}

fn fold<A: Stored>(events: &[StoredEvent]) -> Result<Value, Failure> {
    let mut aggregate = A::default();
    for event in events {
        aggregate.apply(event.event::<A>().map_err(|error| Failure::Error(error.to_string()))?);
    }
    serde_json::to_value(aggregate).map_err(|error| Failure::Error(error.to_string()))
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
