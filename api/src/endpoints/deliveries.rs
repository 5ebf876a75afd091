//! `GET /endpoints/{endpoint}/deliveries[/{message}]`, `POST …/{message}/redeliver` — what was sent, and how it went.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::endpoint::EndpointCommand;
use domain::ids::OutboundId;
use http::StatusCode;
use projections::endpoints::EndpointRow;
use projections::outbox::{self, DeliveryRow};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::write::changed;
use crate::body::{Params, Query};
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{Done, items, list as cut};

/// The part of the list that is wanted.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Only `pending`, `delivered`, `failed` or `dropped` ones.
    #[param(pattern = "^(pending|delivered|failed|dropped)$")]
    status: Option<String>,
    /// How many items; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// A delivery to an endpoint.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = EndpointDelivery)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    id: Uuid,
    /// The event that is told: `webhook-id` of the message.
    event_id: Uuid,
    /// Its position in the log.
    position: i64,
    #[serde(rename = "type")]
    event_type: &'a str,
    /// Why it is sent: `event`, `ping`, `redelivery` or `replay`.
    cause: &'a str,
    /// `pending`, `delivered`, `failed` (it is not tried any more) or `dropped` (its endpoint was disabled).
    status: &'a str,
    attempts: i32,
    created_at: DateTime<Utc>,
    last_attempt_at: Option<DateTime<Utc>>,
    next_attempt_at: Option<DateTime<Utc>>,
    /// What the last try was answered.
    http_status: Option<i32>,
    /// Why the last try was in vain.
    error: Option<&'a str>,
    /// The first KiB of the last answer.
    answer: Option<&'a str>,
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    endpoint: Scoped<EndpointRow>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, ApiError> {
    let limit = wanted.limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return Err(ApiError::field("limit", "out_of_range", "must be 1 to 200"));
    }
    let status = wanted.status.as_deref();
    if status.is_some_and(|status| !["pending", "delivered", "failed", "dropped"].contains(&status)) {
        return Err(ApiError::field("status", "invalid", "must be pending, delivered, failed or dropped"));
    }
    let wrong = |_| ApiError::field("cursor", "invalid", "must be the cursor of an earlier answer");
    let before = wanted.cursor.as_deref().map(str::parse).transpose().map_err(wrong)?;
    let rows = outbox::of_endpoint(&platform.pool, endpoint.it.id, status, before, limit + 1).await?;
    let (rows, next) = cut(rows, limit, |row| row.number.to_string());
    Ok(items(rows.iter().map(view).collect(), next))
}

pub(crate) async fn show(
    State(platform): State<Arc<Platform>>,
    endpoint: Scoped<EndpointRow>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let row = outbox::find(&platform.pool, endpoint.it.id, params.id("message")?).await?;
    Ok(Json(view(&row.ok_or_else(ApiError::not_found)?)))
}

/// The same message once more, as a delivery of its own.
pub(crate) async fn redeliver(
    State(platform): State<Arc<Platform>>,
    endpoint: Scoped<EndpointRow>,
    params: Params,
) -> Result<Done, ApiError> {
    let (id, delivery_id): (_, OutboundId) = (endpoint.it.id, params.id("message")?);
    outbox::find(&platform.pool, id, delivery_id).await?.ok_or_else(ApiError::not_found)?;
    let command = EndpointCommand::RequestRedelivery { delivery_id };
    let receipt = platform.commands.endpoint(id, command, &endpoint.context()).await?;
    changed(&platform, StatusCode::ACCEPTED, receipt, id).await
}

fn view(row: &DeliveryRow) -> Value {
    json!(View {
        id: row.id,
        event_id: row.event_id,
        position: row.position,
        event_type: &row.event_type,
        cause: &row.cause,
        status: &row.status,
        attempts: row.attempts,
        created_at: row.created_at,
        last_attempt_at: row.last_attempt_at,
        next_attempt_at: row.next_attempt_at,
        http_status: row.http_status,
        error: row.error.as_deref(),
        answer: row.answer.as_deref(),
    })
}
