//! The audit trail: one row an event. Who did what, when, from where, and what it was before and after.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::fact::Recorded;
use domain::ids::{EventId, TeamId};
use serde_json::{Map, Value};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, PgExecutor, Row};

use crate::feed::Consumer;
use crate::parked::Grain;
use crate::row::Columns;

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
    /// Who.
    pub actor: String,
    /// For whom.
    pub on_behalf_of: Option<String>,
    /// What: the event's type.
    pub action: String,
    /// The command that led to it.
    pub command: String,
    /// On what kind of thing.
    pub resource: String,
    /// On which.
    pub resource_id: String,
    /// What it was.
    pub before: Option<Value>,
    /// What it is.
    pub after: Value,
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

/// Which rows are wanted. What is absent does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Who: `user:ID`.
    pub actor: Option<String>,
    /// On what kind of thing: `project`.
    pub resource: Option<String>,
    /// On which.
    pub resource_id: Option<String>,
    /// What: `project.env_var_set`.
    pub action: Option<String>,
    /// Not before.
    pub from: Option<DateTime<Utc>>,
    /// Before.
    pub to: Option<DateTime<Utc>>,
    /// Words that stand in action, ids or values.
    pub text: Option<String>,
}

const SELECT: &str = "SELECT position, event_id, at, team_id, actor, on_behalf_of, action, command, resource, \
    resource_id, before, after, request_id, causation, correlation, source_ip, user_agent FROM audit_trail";

impl FromRow<'_, PgRow> for AuditRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            position: row.try_get("position")?,
            event_id: row.id("event_id")?,
            at: row.try_get("at")?,
            team_id: row.maybe_id("team_id")?,
            actor: row.try_get("actor")?,
            on_behalf_of: row.try_get("on_behalf_of")?,
            action: row.try_get("action")?,
            command: row.try_get("command")?,
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

/// The rows of a team, newest first, before the position `before`.
pub async fn of_team(
    db: impl PgExecutor<'_>,
    team: TeamId,
    filter: &Filter,
    before: i64,
    limit: i64,
) -> sqlx::Result<Vec<AuditRow>> {
    let query = format!(
        "{SELECT} WHERE team_id = $1 AND position < $2
            AND ($3::text IS NULL OR actor = $3) AND ($4::text IS NULL OR resource = $4)
            AND ($5::text IS NULL OR resource_id = $5) AND ($6::text IS NULL OR action = $6)
            AND ($7::timestamptz IS NULL OR at >= $7) AND ($8::timestamptz IS NULL OR at < $8)
            AND ($9::text IS NULL OR position(lower($9) IN lower(action || ' ' || resource_id || ' ' || after::text)) > 0)
          ORDER BY position DESC LIMIT $10"
    );
    sqlx::query_as(&query)
        .bind(team.0)
        .bind(before)
        .bind(&filter.actor)
        .bind(&filter.resource)
        .bind(&filter.resource_id)
        .bind(&filter.action)
        .bind(filter.from)
        .bind(filter.to)
        .bind(&filter.text)
        .bind(limit)
        .fetch_all(db)
        .await
}

/// The read model.
pub struct AuditTrail;

#[async_trait]
impl Consumer for AuditTrail {
    fn name(&self) -> &'static str {
        "audit_trail"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static str {
        "CREATE TABLE audit_trail (
            position     bigint      PRIMARY KEY,
            event_id     uuid        NOT NULL UNIQUE,
            at           timestamptz NOT NULL,
            team_id      uuid,
            actor        text        NOT NULL,
            on_behalf_of text,
            action       text        NOT NULL,
            command      text        NOT NULL,
            resource     text        NOT NULL,
            resource_id  text        NOT NULL,
            before       jsonb,
            after        jsonb       NOT NULL,
            request_id   text        NOT NULL,
            causation    text        NOT NULL,
            correlation  text        NOT NULL,
            source_ip    text,
            user_agent   text
        );
        CREATE INDEX ON audit_trail (team_id, position);
        CREATE INDEX ON audit_trail (resource, resource_id, position);"
    }

    fn table_names(&self) -> &'static [&'static str] {
        &["audit_trail"]
    }

    fn grain(&self) -> Grain {
        Grain::Stream
    }

    async fn apply(&self, db: &mut PgConnection, recorded: &Recorded) -> sqlx::Result<()> {
        let (before, after) = before_and_after(&recorded.payload);
        let envelope = &recorded.envelope;
        sqlx::query(
            "INSERT INTO audit_trail (position, event_id, at, team_id, actor, on_behalf_of, action, command, resource,
                                      resource_id, before, after, request_id, causation, correlation, source_ip,
                                      user_agent)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
        )
        .bind(recorded.position)
        .bind(recorded.event_id.0)
        .bind(recorded.at)
        .bind(recorded.team_id.map(|id| id.0))
        .bind(envelope.actor.to_string())
        .bind(envelope.on_behalf_of.as_ref().map(ToString::to_string))
        .bind(&recorded.event_type)
        .bind(&envelope.command)
        .bind(&recorded.aggregate_type)
        .bind(&recorded.aggregate_id)
        .bind(before)
        .bind(after)
        .bind(&envelope.request_id)
        .bind(&envelope.causation)
        .bind(&envelope.correlation)
        .bind(&envelope.source_ip)
        .bind(&envelope.user_agent)
        .execute(db)
        .await
        .map(drop)
    }
}

/// What an event says of before (`old`, `old_…`) and after (the rest), without hashes of tokens, and of sealed
/// values only their marks.
fn before_and_after(payload: &Value) -> (Option<Value>, Value) {
    let (mut before, mut after) = (Map::new(), Map::new());
    for (key, value) in payload.as_object().into_iter().flatten() {
        let value = shown(value);
        match key.as_str() {
            "type" | "hash" | "token_hash" | "token" | "email_hash" => {}
            "old" => match value {
                Value::Object(fields) => before.extend(fields),
                other => drop(before.insert("old".to_owned(), other)),
            },
            key => match key.strip_prefix("old_") {
                Some(name) => drop(before.insert(name.to_owned(), value)),
                None => drop(after.insert(key.to_owned(), value)),
            },
        }
    }
    ((!before.is_empty()).then_some(Value::Object(before)), Value::Object(after))
}

fn shown(value: &Value) -> Value {
    match value {
        Value::Object(fields) if fields.contains_key("mark") && fields.contains_key("data") => {
            serde_json::json!({ "sealed": fields["mark"] })
        }
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), shown(value))).collect(),
        Value::Array(values) => values.iter().map(shown).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_and_what_is_are_told_apart_and_secrets_are_marks() {
        let sealed = json!({ "id": "1", "key": "project:1", "data": "AAAA", "mark": "m1" });
        let payload =
            json!({ "type": "t", "key": "K", "value": sealed, "hash": "h", "old": { "mark": "m0" } });
        assert_eq!(
            before_and_after(&payload),
            (Some(json!({ "mark": "m0" })), json!({ "key": "K", "value": { "sealed": "m1" } }))
        );
        let renamed = json!({ "type": "t", "slug": "b", "old_slug": "a" });
        assert_eq!(before_and_after(&renamed), (Some(json!({ "slug": "a" })), json!({ "slug": "b" })));
        assert_eq!(before_and_after(&json!({ "type": "t" })), (None, json!({})));
    }
}
