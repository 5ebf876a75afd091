//! One aggregate: its events, and its state at a time.

use chrono::{DateTime, Utc};
use domain::build::Build;
use domain::deployment::Deployment;
use domain::envelope::Envelope;
use domain::fact::{Stored, StoredEvent};
use domain::project::Project;
use domain::role::Role;
use domain::role_assignment::RoleAssignment;
use domain::team::Team;
use domain::user::User;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{Failure, say};

/// Every event of an aggregate.
pub(crate) async fn history(pool: &PgPool, aggregate: &str, id: &str, as_json: bool) -> Result<(), Failure> {
    for event in stream(pool, aggregate, id).await? {
        let envelope = Envelope::from_json(&event.metadata);
        if as_json {
            say(json!({
                "position": event.position,
                "sequence": event.sequence,
                "eventId": event.event_id,
                "at": event.recorded_at,
                "type": event.event_type,
                "version": event.event_version,
                "payload": event.payload,
                "metadata": event.metadata,
            }));
        } else {
            let (at, actor) = (event.recorded_at.to_rfc3339(), envelope.actor);
            say(format!("{:>8} {at} {:<32} by {actor}", event.position, event.event_type));
        }
    }
    Ok(())
}

/// The state of an aggregate as its events up to a time make it.
pub(crate) async fn as_of(pool: &PgPool, aggregate: &str, id: &str, at: &str) -> Result<(), Failure> {
    let until = Until::parse(at)?;
    let mut events = stream(pool, aggregate, id).await?;
    events.retain(|event| until.includes(event));
    if events.is_empty() {
        return Err(Failure::Broken(format!("{aggregate} {id} did not exist at {at}")));
    }
    let state = match aggregate {
        "user" => fold::<User>(&events),
        "team" => fold::<Team>(&events),
        "project" => fold::<Project>(&events),
        "build" => fold::<Build>(&events),
        "deployment" => fold::<Deployment>(&events),
        "role" => fold::<Role>(&events),
        "role_assignment" => fold::<RoleAssignment>(&events),
        other => return Err(Failure::Broken(format!("no aggregate is called {other:?}"))),
    }?;
    let last = events.last().map_or(0, |event| event.position);
    let text = serde_json::to_string_pretty(&json!({ "position": last, "state": state }))?;
    say(text);
    Ok(())
}

async fn stream(pool: &PgPool, aggregate: &str, id: &str) -> Result<Vec<StoredEvent>, Failure> {
    let events = projections::log::read_stream(pool, aggregate, id).await?;
    if events.is_empty() {
        return Err(Failure::Broken(format!("the log has no {aggregate} with the id {id}")));
    }
    Ok(events)
}

fn fold<A: Stored>(events: &[StoredEvent]) -> Result<Value, Failure> {
    let mut state = A::default();
    for event in events {
        state.apply(event.event::<A>()?);
    }
    Ok(serde_json::to_value(state)?)
}

/// Up to when.
enum Until {
    Position(i64),
    Time(DateTime<Utc>),
}

impl Until {
    fn parse(text: &str) -> Result<Self, Failure> {
        if let Ok(position) = text.parse() {
            return Ok(Self::Position(position));
        }
        let time = DateTime::parse_from_rfc3339(text).map_err(|_| {
            Failure::Broken(format!("--at {text:?} is neither an RFC 3339 time nor a position"))
        })?;
        Ok(Self::Time(time.to_utc()))
    }

    fn includes(&self, event: &StoredEvent) -> bool {
        match self {
            Self::Position(position) => event.position <= *position,
            Self::Time(time) => event.recorded_at <= *time,
        }
    }
}
