//! The audit trail: one row an event. Who did what, when, from where, how it ended, and what it was before and after.

mod query;
mod story;
#[cfg(test)]
mod tests;
mod words;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::fact::Recorded;
use domain::ids::{EventId, ProjectId, TeamId};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row};

use self::story::Fields;
use self::words::Words;
use crate::feed::Consumer;
use crate::parked::Grain;
use crate::row::Columns;

pub use query::{Filter, Place, Reach, beginning, between, chain, explain, find, newest, oldest, window};

/// One event, as people look at it.
#[derive(Clone, Debug)]
pub struct AuditRow {
    /// Its place in the log.
    pub position: i64,
    /// Its id.
    pub event_id: EventId,
    /// When.
    pub at: DateTime<Utc>,
    /// In which team.
    pub team_id: Option<TeamId>,
    /// In which project.
    pub project_id: Option<ProjectId>,
    /// Who.
    pub actor: String,
    /// For whom.
    pub on_behalf_of: Option<String>,
    /// What: the event's type.
    pub action: String,
    /// The command that led to it.
    pub command: String,
    /// How it ended: `success`, `denied`, `failed`.
    pub outcome: String,
    /// On what kind of thing.
    pub resource: String,
    /// On which.
    pub resource_id: String,
    /// What it was; none when it is new.
    pub before: Option<Value>,
    /// What it is; none when it is gone.
    pub after: Option<Value>,
    /// The request or run.
    pub request_id: String,
    /// What led directly here.
    pub causation: String,
    /// The first cause.
    pub correlation: String,
    /// Sealed address of the caller.
    pub source_ip: Option<String>,
    /// Sealed user agent of the caller.
    pub user_agent: Option<String>,
}

impl FromRow<'_, PgRow> for AuditRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            position: row.try_get("position")?,
            event_id: row.id("event_id")?,
            at: row.try_get("at")?,
            team_id: row.maybe_id("team_id")?,
            project_id: row.maybe_id("project_id")?,
            actor: row.try_get("actor")?,
            on_behalf_of: row.try_get("on_behalf_of")?,
            action: row.try_get("action")?,
            command: row.try_get("command")?,
            outcome: row.try_get("outcome")?,
            resource: row.try_get("resource")?,
            resource_id: row.try_get("resource_id")?,
            before: row.try_get("before")?,
            after: row.try_get("after")?,
            request_id: row.try_get("request_id")?,
            causation: row.try_get("causation")?,
            correlation: row.try_get("correlation")?,
            source_ip: row.try_get("source_ip")?,
            user_agent: row.try_get("user_agent")?,
        })
    }
}

/// The read model.
pub struct AuditTrail;

#[async_trait]
impl Consumer for AuditTrail {
    fn name(&self) -> &'static str {
        "audit_trail"
    }

    fn version(&self) -> i32 {
        2
    }

    /// `audit_parts` is what was last shown of each part of each thing: what the next event on it calls before.
    fn tables(&self) -> &'static str {
        "CREATE TABLE audit_trail (
            position     bigint      PRIMARY KEY,
            event_id     uuid        NOT NULL,
            at           timestamptz NOT NULL,
            team_id      uuid,
            project_id   uuid,
            actor        text        NOT NULL,
            on_behalf_of text,
            action       text        NOT NULL,
            command      text        NOT NULL,
            outcome      text        NOT NULL,
            resource     text        NOT NULL,
            resource_id  text        NOT NULL,
            before       jsonb,
            after        jsonb,
            request_id   text        NOT NULL,
            causation    text        NOT NULL,
            correlation  text        NOT NULL,
            source_ip    text,
            user_agent   text,
            words        text[]      NOT NULL
        );
        CREATE INDEX ON audit_trail (team_id, at, position);
        CREATE INDEX ON audit_trail (team_id, actor, at, position);
        CREATE INDEX ON audit_trail (team_id, action, at, position);
        CREATE INDEX ON audit_trail (team_id, resource, at, position);
        CREATE INDEX ON audit_trail (team_id, resource_id, at, position);
        CREATE INDEX ON audit_trail (team_id, project_id, at, position) WHERE project_id IS NOT NULL;
        CREATE INDEX ON audit_trail (team_id, outcome, at, position) WHERE outcome <> 'success';
        CREATE INDEX ON audit_trail (correlation);
        CREATE INDEX ON audit_trail USING gin (array_to_tsvector(words));
        CREATE TABLE audit_parts (
            resource    text  NOT NULL,
            resource_id text  NOT NULL,
            part        text  NOT NULL,
            known       jsonb NOT NULL,
            PRIMARY KEY (resource, resource_id, part)
        );"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["audit_trail", "audit_parts"]
    }

    /// What is known of a thing comes from its own stream alone.
    fn grain(&self) -> Grain {
        Grain::Stream
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        let fact = &recorded.fact;
        let part = story::part(fact);
        let known = match &part {
            Some((part, _)) => known(db, recorded, part).await?,
            None => Fields::new(),
        };
        let told = story::told(fact, &recorded.payload);
        let project_id = story::project(fact, &known);
        if let Some((part, change)) = &part {
            let kept = story::kept(fact, *change, known.clone(), &told.after);
            keep(db, recorded, part, kept, &known).await?;
        }
        let (before, after) = story::before_and_after(told, part.map(|(_, change)| change), &known);
        let (resource, resource_id) = story::about(fact)
            .unwrap_or_else(|| (recorded.aggregate_type.as_str(), recorded.aggregate_id.clone()));
        let envelope = &recorded.envelope;
        let row = AuditRow {
            position: recorded.position,
            event_id: recorded.event_id,
            at: recorded.at,
            team_id: recorded.team_id,
            project_id,
            actor: envelope.actor.to_string(),
            on_behalf_of: envelope.on_behalf_of.as_ref().map(ToString::to_string),
            action: recorded.event_type.clone(),
            command: envelope.command.clone(),
            outcome: story::outcome(fact).to_owned(),
            resource: resource.to_owned(),
            resource_id,
            before,
            after,
            request_id: envelope.request_id.clone(),
            causation: envelope.causation.clone(),
            correlation: envelope.correlation.clone(),
            source_ip: envelope.source_ip.clone(),
            user_agent: envelope.user_agent.clone(),
        };
        insert(db, &row).await
    }
}

async fn known(db: &mut PgConnection, recorded: &Recorded, part: &str) -> sqlx::Result<Fields> {
    let known: Option<Value> = sqlx::query_scalar(
        "SELECT known FROM audit_parts WHERE resource = $1 AND resource_id = $2 AND part = $3",
    )
    .bind(&recorded.aggregate_type)
    .bind(&recorded.aggregate_id)
    .bind(part)
    .fetch_optional(db)
    .await?;
    match known {
        Some(Value::Object(fields)) => Ok(fields),
        _ => Ok(Fields::new()),
    }
}

async fn keep(
    db: &mut PgConnection,
    recorded: &Recorded,
    part: &str,
    kept: Option<Fields>,
    known: &Fields,
) -> sqlx::Result<()> {
    let query = match kept {
        Some(kept) if kept == *known => return Ok(()),
        Some(kept) => sqlx::query(
            "INSERT INTO audit_parts (resource, resource_id, part, known) VALUES ($1, $2, $3, $4)
             ON CONFLICT (resource, resource_id, part) DO UPDATE SET known = excluded.known",
        )
        .bind(&recorded.aggregate_type)
        .bind(&recorded.aggregate_id)
        .bind(part)
        .bind(Value::Object(kept)),
        None if known.is_empty() => return Ok(()),
        None => sqlx::query("DELETE FROM audit_parts WHERE resource = $1 AND resource_id = $2 AND part = $3")
            .bind(&recorded.aggregate_type)
            .bind(&recorded.aggregate_id)
            .bind(part),
    };
    query.execute(db).await.map(drop)
}

async fn insert(db: &mut PgConnection, row: &AuditRow) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO audit_trail (position, event_id, at, team_id, project_id, actor, on_behalf_of, action, command,
                                  outcome, resource, resource_id, before, after, request_id, causation, correlation,
                                  source_ip, user_agent, words)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
    )
    .bind(row.position)
    .bind(row.event_id.0)
    .bind(row.at)
    .bind(row.team_id.map(|id| id.0))
    .bind(row.project_id.map(|id| id.0))
    .bind(&row.actor)
    .bind(&row.on_behalf_of)
    .bind(&row.action)
    .bind(&row.command)
    .bind(&row.outcome)
    .bind(&row.resource)
    .bind(&row.resource_id)
    .bind(&row.before)
    .bind(&row.after)
    .bind(&row.request_id)
    .bind(&row.causation)
    .bind(&row.correlation)
    .bind(&row.source_ip)
    .bind(&row.user_agent)
    .bind(words_of(row))
    .execute(db)
    .await
    .map(drop)
}

/// By which free text finds it.
fn words_of(row: &AuditRow) -> Vec<String> {
    let mut words = Words::default();
    for text in [&row.action, &row.actor, &row.resource_id].into_iter().chain(&row.on_behalf_of) {
        words.add(text);
    }
    for document in [&row.after, &row.before].into_iter().flatten() {
        words.add_all(document);
    }
    words.into_vec()
}
