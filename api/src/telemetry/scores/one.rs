//! `POST /api/v1/projects/{project}/scores`: one score, by who sends telemetry of the project.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::ports::telemetry::ScoreKind;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::said::{Said, Seen};
use super::store;
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Sender;
use crate::platform::Platform;
use crate::telemetry::batch::Batch;
use crate::telemetry::mastra::optional_id;
use crate::telemetry::{Accepted, deployment};

/// A score.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = NewScore)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct New {
    /// What it is known by: under the same id it is stored once. Made of all that it says when absent.
    id: Option<String>,
    /// `score` (a program thinks so; when absent) or `feedback` (a person does).
    kind: Option<String>,
    /// When it was given; now when absent.
    at: Option<DateTime<Utc>>,
    /// What was looked at: `relevance`, `thumbs`.
    name: String,
    /// How well it did: a number or a text.
    #[schema(value_type = Value)]
    value: Value,
    /// Why.
    comment: Option<String>,
    /// Where it comes from: `manual`, `experiment`.
    source: Option<String>,
    /// Who gave it.
    user_id: Option<String>,
    /// The trace it is about.
    trace_id: Option<String>,
    /// The span of it.
    span_id: Option<String>,
    /// Everything else.
    #[serde(default)]
    metadata: Map<String, Value>,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    sender: Sender,
    headers: HeaderMap,
    Body(new): Body<New>,
) -> Result<Json<Accepted>, ApiError> {
    let kind = new.kind.as_deref().map_or(Some(ScoreKind::Score), ScoreKind::from_name);
    let kind = kind.ok_or_else(|| ApiError::field("kind", "invalid", "must be score or feedback"))?;
    let at = new.at.unwrap_or_else(|| (platform.now)());
    if !platform.signals.window((platform.now)()).contains(&at) {
        return Err(ApiError::field(
            "at",
            "out_of_range",
            "must be a time that is kept, and not in the future",
        ));
    }
    let text = |text: Option<String>| text.map_or(Value::Null, Value::from);
    let said = Said {
        id: new.id.filter(|id| !id.is_empty()),
        kind,
        nanos: i128::from(at.timestamp_micros()) * 1000,
        name: new.name,
        value: new.value,
        comment: new.comment,
        source: new.source,
        user_id: new.user_id,
        trace_id: optional_id(&text(new.trace_id)).map_err(|error| odd("traceId", &error.to_string()))?,
        span_id: optional_id(&text(new.span_id)).map_err(|error| odd("spanId", &error.to_string()))?,
        deployment_id: deployment(&headers),
        details: new.metadata,
    };
    let field = if said.name.trim().is_empty() { "name" } else { "value" };
    let mut batch = Batch::default();
    batch.rows.push(said.row(&mut Seen::default()).map_err(|why| odd(field, &why))?);
    Ok(Json(store(&platform, &sender, batch).await?))
}

fn odd(field: &str, why: &str) -> ApiError {
    ApiError::field(field, "invalid", why)
}
