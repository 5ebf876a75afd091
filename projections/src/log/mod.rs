//! Reads the log. Nothing here writes.

mod stream;

use chrono::{DateTime, Utc};
use domain::fact::StoredEvent;
use domain::ids::{EnvironmentId, EventId, ProjectId, TeamId, UserId};
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, Row};
use uuid::Uuid;

use crate::row::Columns;

pub(crate) use stream::{LogStream, Which};

/// The columns of the log, as every reader names them.
const COLUMNS: &str = "position, event_id, recorded_at, team_id, aggregate_type, aggregate_id, sequence, \
                       event_type, event_version, payload::text, metadata::text";

/// The events after a position, in order, at most `limit`.
pub async fn read_after(
    db: impl PgExecutor<'_>,
    position: i64,
    limit: i64,
) -> sqlx::Result<Vec<StoredEvent>> {
    let query = format!("SELECT {COLUMNS} FROM events WHERE position > $1 ORDER BY position LIMIT $2");
    sqlx::query(&query).bind(position).bind(limit).try_map(event).fetch_all(db).await
}

/// The events of one aggregate, from its first.
pub async fn read_stream(
    db: impl PgExecutor<'_>,
    aggregate_type: &str,
    aggregate_id: &str,
) -> sqlx::Result<Vec<StoredEvent>> {
    let query = format!(
        "SELECT {COLUMNS} FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence"
    );
    sqlx::query(&query).bind(aggregate_type).bind(aggregate_id).try_map(event).fetch_all(db).await
}

/// The events of all aggregates of a kind after a position, in order, at most `limit`.
pub async fn read_kind(
    db: impl PgExecutor<'_>,
    aggregate_type: &str,
    position: i64,
    limit: i64,
) -> sqlx::Result<Vec<StoredEvent>> {
    let query = format!(
        "SELECT {COLUMNS} FROM events WHERE aggregate_type = $1 AND position > $2 ORDER BY position LIMIT $3"
    );
    sqlx::query(&query).bind(aggregate_type).bind(position).bind(limit).try_map(event).fetch_all(db).await
}

/// One event.
pub async fn find(db: impl PgExecutor<'_>, event_id: EventId) -> sqlx::Result<Option<StoredEvent>> {
    let query = format!("SELECT {COLUMNS} FROM events WHERE event_id = $1");
    sqlx::query(&query).bind(event_id.0).try_map(event).fetch_optional(db).await
}

/// The first event of one aggregate.
pub async fn first(
    db: impl PgExecutor<'_>,
    aggregate_type: &str,
    aggregate_id: &str,
) -> sqlx::Result<Option<StoredEvent>> {
    let query = format!(
        "SELECT {COLUMNS} FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence LIMIT 1"
    );
    sqlx::query(&query).bind(aggregate_type).bind(aggregate_id).try_map(event).fetch_optional(db).await
}

/// Id of the project in which an environment was made.
pub async fn project_of_environment(
    db: impl PgExecutor<'_>,
    id: EnvironmentId,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(
        "SELECT aggregate_id FROM events
          WHERE event_type = 'project.environment_created' AND payload -> 'environment' ->> 'id' = $1 LIMIT 1",
    )
    .bind(id.to_string())
    .fetch_optional(db)
    .await
}

/// The last event of a stream of one of these types, up to a position; with a user, of those about him.
pub async fn last_of(
    db: impl PgExecutor<'_>,
    (aggregate_type, aggregate_id): (&str, &str),
    types: &[&str],
    user: Option<UserId>,
    upto: i64,
) -> sqlx::Result<Option<StoredEvent>> {
    let query = format!(
        "SELECT {COLUMNS} FROM events
          WHERE aggregate_type = $1 AND aggregate_id = $2 AND event_type = ANY($3) AND position <= $4
            AND ($5::text IS NULL OR coalesce(payload ->> 'user_id', payload ->> 'owner') = $5)
          ORDER BY sequence DESC LIMIT 1"
    );
    sqlx::query(&query)
        .bind(aggregate_type)
        .bind(aggregate_id)
        .bind(types)
        .bind(upto)
        .bind(user.map(|user| user.to_string()))
        .try_map(event)
        .fetch_optional(db)
        .await
}

/// The events at these positions, in order.
pub async fn read_at(db: impl PgExecutor<'_>, positions: &[i64]) -> sqlx::Result<Vec<StoredEvent>> {
    let query = format!("SELECT {COLUMNS} FROM events WHERE position = ANY($1) ORDER BY position");
    sqlx::query(&query).bind(positions).try_map(event).fetch_all(db).await
}

/// Positions after `from` and up to `to`, in order: of the events of these streams, of all streams of these kinds
/// that began in the team (and, but for roles, in the project, when one is given), of the team's people when `user` is a
/// kind, and of the roles given everywhere when `role_assignment` is one and no project is given.
pub async fn positions_of(
    db: impl PgExecutor<'_>,
    team: TeamId,
    project: Option<ProjectId>,
    streams: &[(&str, String)],
    kinds: &[&str],
    from: i64,
    to: i64,
) -> sqlx::Result<Vec<i64>> {
    let (types, ids): (Vec<&str>, Vec<&str>) = streams.iter().map(|(kind, id)| (*kind, id.as_str())).unzip();
    // Stream by stream, by index, whatever the statistics say: a team is a small part of the log.
    sqlx::query_scalar(
        "SELECT e.position
           FROM (SELECT asked.kind, asked.id FROM unnest($1::text[], $2::text[]) AS asked (kind, id)
                  UNION
                 SELECT b.aggregate_type, b.aggregate_id FROM events b
                  WHERE b.sequence = 1 AND b.team_id = $3 AND b.position <= $7 AND b.aggregate_type = ANY($5)
                    AND ($4::text IS NULL OR b.aggregate_type = 'role'
                         OR $4 = coalesce(b.payload ->> 'project_id', b.payload -> 'scope' ->> 'projectId'))
                  UNION
                 SELECT 'user', coalesce(m.payload ->> 'user_id', m.payload ->> 'owner') FROM events m
                  WHERE 'user' = ANY($5) AND m.aggregate_type = 'team' AND m.aggregate_id = $3::text
                    AND m.event_type IN ('team.created', 'team.member_added') AND m.position <= $7
                  UNION
                 SELECT 'role_assignment', g.aggregate_id FROM events g
                  WHERE 'role_assignment' = ANY($5) AND $4::text IS NULL AND g.event_type = 'role.assigned'
                    AND g.payload -> 'scope' ->> 'type' = 'global' AND g.position <= $7
                ) s (type, id)
          CROSS JOIN LATERAL (SELECT o.position FROM events o
                               WHERE o.aggregate_type = s.type AND o.aggregate_id = s.id
                                 AND o.position > $6 AND o.position <= $7 OFFSET 0) e
          ORDER BY e.position",
    )
    .bind(types)
    .bind(ids)
    .bind(team.0)
    .bind(project.map(|id| id.to_string()))
    .bind(kinds)
    .bind(from)
    .bind(to)
    .fetch_all(db)
    .await
}

/// What has made the endpoints of these teams what they were up to a position, in order.
pub(crate) async fn endpoint_changes(
    db: impl PgExecutor<'_>,
    teams: &[Uuid],
    upto: i64,
) -> sqlx::Result<Vec<StoredEvent>> {
    let query = format!(
        "SELECT {COLUMNS} FROM events
          WHERE aggregate_type = 'endpoint' AND team_id = ANY($1) AND position <= $2
            AND event_type IN ('endpoint.created', 'endpoint.changed', 'endpoint.enabled', 'endpoint.disabled',
                               'endpoint.deleted')
          ORDER BY position"
    );
    sqlx::query(&query).bind(teams).bind(upto).try_map(event).fetch_all(db).await
}

/// The position of a time: that of the last event that was recorded at or before it, by its writer's clock; 0 when
/// there is none. Positions are the order: what stands before that event counts, also when a clock that was ahead
/// says later. Exact for clocks that differ by less than an hour.
pub async fn position_at(db: &sqlx::PgPool, time: DateTime<Utc>) -> sqlx::Result<i64> {
    // The last event of so long before is the last of all: only its neighbourhood needs to be looked at.
    for window in [Some("1 hour"), Some("30 days"), None] {
        let last: Option<i64> = sqlx::query_scalar(
            "SELECT max(position) FROM (SELECT position FROM events
              WHERE recorded_at <= $1 AND ($2 IS NULL OR recorded_at > $1 - $2::interval) OFFSET 0) near",
        )
        .bind(time)
        .bind(window)
        .fetch_one(db)
        .await?;
        if let Some(position) = last {
            return Ok(position);
        }
    }
    Ok(0)
}

/// When the event at a position was recorded.
pub async fn recorded_at(db: impl PgExecutor<'_>, position: i64) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar("SELECT recorded_at FROM events WHERE position = $1")
        .bind(position)
        .fetch_optional(db)
        .await
}

/// The team of the event at a position; none when it belongs to none, or there is no such event.
pub async fn team_at(db: impl PgExecutor<'_>, position: i64) -> sqlx::Result<Option<TeamId>> {
    let team = sqlx::query_scalar("SELECT team_id FROM events WHERE position = $1 AND team_id IS NOT NULL");
    Ok(team.bind(position).fetch_optional(db).await?.map(TeamId))
}

/// The position of the last event; 0 in an empty log.
pub async fn head(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT position FROM log_head").fetch_one(db).await
}

fn event(row: PgRow) -> sqlx::Result<StoredEvent> {
    Ok(StoredEvent {
        position: row.try_get("position")?,
        event_id: row.id("event_id")?,
        recorded_at: row.try_get("recorded_at")?,
        team_id: row.try_get::<Option<Uuid>, _>("team_id")?.map(Into::into),
        aggregate_type: row.try_get("aggregate_type")?,
        aggregate_id: row.try_get("aggregate_id")?,
        sequence: row.try_get("sequence")?,
        event_type: row.try_get("event_type")?,
        event_version: row.try_get("event_version")?,
        payload: row.try_get::<String, _>("payload")?.into(),
        metadata: row.try_get::<String, _>("metadata")?.into(),
    })
}
