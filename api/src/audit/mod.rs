//! `GET /teams/{team}/audit` — who did what.

pub(crate) mod ledger;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::envelope::Actor;
use domain::sealed::KeyOwner;
use projections::audit_trail::{AuditRow, Filter};
use projections::teams::TeamRow;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{items, list as cut};

/// Which events.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Which {
    actor: Option<String>,
    resource: Option<String>,
    resource_id: Option<String>,
    action: Option<String>,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    q: Option<String>,
    limit: Option<i64>,
    cursor: Option<i64>,
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Query(which): Query<Which>,
) -> Result<Json<Value>, ApiError> {
    let limit = which.limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return Err(ApiError::field("limit", "out_of_range", "must be 1 to 200"));
    }
    let words = [&which.actor, &which.resource, &which.resource_id, &which.action, &which.q];
    if words.into_iter().flatten().any(|text| text.contains('\0') || text.len() > 500) {
        return Err(ApiError::field("q", "invalid", "must have at most 500 characters and no U+0000"));
    }
    let filter = Filter {
        actor: which.actor,
        resource: which.resource,
        resource_id: which.resource_id,
        action: which.action,
        from: which.from,
        to: which.to,
        text: which.q,
    };
    let before = which.cursor.unwrap_or(i64::MAX);
    let rows =
        projections::audit_trail::of_team(&platform.pool, team.it.id, &filter, before, limit + 1).await?;
    let (rows, next) = cut(rows, limit, |row| row.position.to_string());
    let mut views = Vec::with_capacity(rows.len());
    for row in &rows {
        views.push(view(&platform, row).await?);
    }
    Ok(items(views, next))
}

async fn view(platform: &Platform, row: &AuditRow) -> Result<Value, ApiError> {
    Ok(json!({
        "position": row.position,
        "eventId": row.event_id,
        "at": row.at,
        "teamId": row.team_id,
        "actor": row.actor,
        "onBehalfOf": row.on_behalf_of,
        "action": row.action,
        "command": row.command,
        "resource": row.resource,
        "resourceId": row.resource_id,
        "outcome": "success",
        "before": row.before,
        "after": row.after,
        "requestId": row.request_id,
        "causation": row.causation,
        "correlation": row.correlation,
        "sourceIp": note(platform, row, "source_ip", row.source_ip.as_deref()).await?,
        "userAgent": note(platform, row, "user_agent", row.user_agent.as_deref()).await?,
    }))
}

/// Opens what the envelope keeps sealed under the key of who acted.
async fn note(
    platform: &Platform,
    row: &AuditRow,
    field: &str,
    sealed: Option<&str>,
) -> Result<Option<String>, ApiError> {
    let Some(sealed) = sealed else { return Ok(None) };
    let person =
        [Some(row.actor.as_str()), row.on_behalf_of.as_deref()].into_iter().flatten().find_map(|actor| {
            match actor.parse() {
                Ok(Actor::User(id)) => Some(KeyOwner::User(id)),
                _ => None,
            }
        });
    let owner = person.unwrap_or(KeyOwner::System);
    let aad = format!("{}|{field}", row.event_id);
    let opened = platform.commands.vault().open_note(owner, &aad, sealed).await?;
    Ok(Some(opened.unwrap_or_else(|| "[erased]".to_owned())))
}
