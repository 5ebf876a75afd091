//! The audit trail: one row an event. Who did what, when, from where, and what it was before and after.

use chrono::{DateTime, Utc};
use domain::fact::Recorded;
use domain::ids::{EventId, TeamId};
use serde_json::{Map, Value};
use sqlx::{PgConnection, PgExecutor};

use crate::model::ReadModel;
use crate::rows::{Journal, Row, row};

row! {
    /// One event, as people look at it.
    pub struct AuditRow in "audit_trail" by (position: i64) {
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

/// The rows of a team, newest first, before the position `before`.
pub async fn of_team(
    db: impl PgExecutor<'_>,
    team: TeamId,
    filter: &Filter,
    before: i64,
    limit: i64,
) -> sqlx::Result<Vec<AuditRow>> {
    let query = AuditRow::select(
        "WHERE team_id = $1 AND position < $2
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

impl ReadModel for AuditTrail {
    const NAME: &'static str = "audit_trail";
    const VERSION: i32 = 1;
    const KINDS: &'static [&'static str] = &[];
    const TABLE_NAMES: &'static [&'static str] = &["audit_trail"];
    const TABLES: &'static str = "CREATE TABLE audit_trail (
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
    CREATE INDEX ON audit_trail (resource, resource_id, position);";

    type Rows = Journal<AuditRow>;

    async fn apply(
        trail: &mut Journal<AuditRow>,
        _db: &mut PgConnection,
        recorded: &Recorded,
    ) -> sqlx::Result<()> {
        let payload = serde_json::from_str(&recorded.payload).unwrap_or_default(); // the column is JSON
        let (before, after) = before_and_after(payload);
        let envelope = recorded.envelope();
        trail.add(AuditRow {
            position: recorded.position,
            event_id: recorded.event_id,
            at: recorded.at,
            team_id: recorded.team_id,
            actor: envelope.actor.to_string(),
            on_behalf_of: envelope.on_behalf_of.as_ref().map(ToString::to_string),
            action: recorded.event_type.clone(),
            command: envelope.command.clone(),
            resource: recorded.aggregate_type.clone(),
            resource_id: recorded.aggregate_id.clone(),
            before,
            after,
            request_id: envelope.request_id.clone(),
            causation: envelope.causation.clone(),
            correlation: envelope.correlation.clone(),
            source_ip: envelope.source_ip.clone(),
            user_agent: envelope.user_agent.clone(),
        });
        Ok(())
    }
}

/// What an event says of before (`old`, `old_…`) and after (the rest), without hashes of tokens, and of sealed
/// values only their marks.
fn before_and_after(payload: Value) -> (Option<Value>, Value) {
    let (mut before, mut after) = (Map::new(), Map::new());
    let Value::Object(fields) = payload else { return (None, Value::Object(after)) };
    for (key, value) in fields {
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

fn shown(value: Value) -> Value {
    match value {
        Value::Object(fields) if fields.contains_key("mark") && fields.contains_key("data") => {
            serde_json::json!({ "sealed": fields["mark"] })
        }
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, shown(value))).collect(),
        Value::Array(values) => values.into_iter().map(shown).collect(),
        other => other,
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
            before_and_after(payload),
            (Some(json!({ "mark": "m0" })), json!({ "key": "K", "value": { "sealed": "m1" } }))
        );
        let renamed = json!({ "type": "t", "slug": "b", "old_slug": "a" });
        assert_eq!(before_and_after(renamed), (Some(json!({ "slug": "a" })), json!({ "slug": "b" })));
        assert_eq!(before_and_after(json!({ "type": "t" })), (None, json!({})));
    }
}
