//! The audit trail: one row an event. Who did what, when, from where; what was before and what is after.
//!
//! Invariant: no secret is in it. Of a sealed value it shows the mark alone, of a token nothing.

mod apply;
mod before_after;

use chrono::{DateTime, Utc};
use domain::envelope::Actor;
use domain::ids::{EventId, ProjectId, TeamId};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgExecutor, Row};

use crate::page::{Listed, Page};
use crate::row::Columns;

pub use apply::AuditTrail;

/// One event as people look at it.
#[derive(Clone, Debug)]
pub struct AuditRow {
    /// Position of the event: its place in the list.
    pub position: i64,
    /// The event.
    pub event_id: EventId,
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub actor: Actor,
    /// For whom.
    pub on_behalf_of: Option<Actor>,
    /// The team it concerns, where it is known.
    pub team_id: Option<TeamId>,
    /// The project it concerns, where it is known.
    pub project_id: Option<ProjectId>,
    /// What: the event's type.
    pub action: String,
    /// Kind of what it was done to: the aggregate's type.
    pub resource_type: String,
    /// Id of what it was done to.
    pub resource_id: String,
    /// The request or run that carried the command.
    pub request_id: String,
    /// What led directly here: `event:ID` or `request:ID`.
    pub causation: String,
    /// The first cause.
    pub correlation: String,
    /// From which address, sealed.
    pub source_ip: Option<String>,
    /// With which program, sealed.
    pub user_agent: Option<String>,
    /// What was until then.
    pub before: Option<Value>,
    /// What is from then on.
    pub after: Option<Value>,
}

/// Which rows are wanted; what is absent does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// `user:ID`, `token:ID`, …; also when somebody acted on its behalf.
    pub actor: Option<Actor>,
    /// Kind of what it was done to.
    pub resource_type: Option<String>,
    /// Id of what it was done to.
    pub resource_id: Option<String>,
    /// The event's type.
    pub action: Option<String>,
    /// Not before.
    pub from: Option<DateTime<Utc>>,
    /// Before.
    pub to: Option<DateTime<Utc>>,
    /// A text in action, resource, before or after, in any case.
    pub text: Option<String>,
}

const SELECT: &str = "SELECT position, event_id, at, actor, on_behalf_of, team_id, project_id, action, \
    resource_type, resource_id, request_id, causation, correlation, source_ip, user_agent, before, after \
    FROM audit_trail";

impl FromRow<'_, PgRow> for AuditRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            position: row.try_get("position")?,
            event_id: row.id("event_id")?,
            at: row.try_get("at")?,
            actor: row.text("actor")?,
            on_behalf_of: row.maybe_text("on_behalf_of")?,
            team_id: row.maybe_id("team_id")?,
            project_id: row.maybe_id("project_id")?,
            action: row.try_get("action")?,
            resource_type: row.try_get("resource_type")?,
            resource_id: row.try_get("resource_id")?,
            request_id: row.try_get("request_id")?,
            causation: row.try_get("causation")?,
            correlation: row.try_get("correlation")?,
            source_ip: row.try_get("source_ip")?,
            user_agent: row.try_get("user_agent")?,
            before: row.try_get("before")?,
            after: row.try_get("after")?,
        })
    }
}

/// What happened in a team.
pub async fn of_team(
    db: impl PgExecutor<'_>,
    team: TeamId,
    filter: &Filter,
    page: Page,
) -> sqlx::Result<Listed<AuditRow>> {
    let query = format!(
        "{SELECT} WHERE team_id = $1 AND position < $2
            AND ($4::text IS NULL OR actor = $4 OR on_behalf_of = $4)
            AND ($5::text IS NULL OR resource_type = $5)
            AND ($6::text IS NULL OR resource_id = $6)
            AND ($7::text IS NULL OR action = $7)
            AND ($8::timestamptz IS NULL OR at >= $8)
            AND ($9::timestamptz IS NULL OR at < $9)
            AND ($10::text IS NULL
                 OR strpos(lower(concat_ws(' ', action, resource_type, resource_id, before, after)), lower($10)) > 0)
          ORDER BY position DESC LIMIT $3"
    );
    let items = sqlx::query_as(&query)
        .bind(team.0)
        .bind(page.before())
        .bind(page.read())
        .bind(filter.actor.as_ref().map(Actor::to_string))
        .bind(filter.resource_type.as_deref())
        .bind(filter.resource_id.as_deref())
        .bind(filter.action.as_deref())
        .bind(filter.from)
        .bind(filter.to)
        .bind(filter.text.as_deref())
        .fetch_all(db)
        .await?;
    Ok(Listed::cut(items, page, |row: &AuditRow| row.position))
}

/// The row of one event.
pub async fn find(db: impl PgExecutor<'_>, event: EventId) -> sqlx::Result<Option<AuditRow>> {
    sqlx::query_as(&format!("{SELECT} WHERE event_id = $1")).bind(event.0).fetch_optional(db).await
}
