//! `GET /api/v1/projects/{project}/logs`: newest first, or what was logged around a line.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Datelike, Utc};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{LogFilter, LogPlace, LogRecord, RecordId, Severity, TraceId};
use projections::projects::ProjectRow;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{items, page};
use crate::traces::{period, tenant};

/// Which lines. All that is given must hold.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(rename_all = "camelCase")]
pub(crate) struct Wanted {
    /// Logged not before.
    pub(super) from: Option<DateTime<Utc>>,
    /// Logged before.
    pub(super) to: Option<DateTime<Utc>>,
    /// How much it matters at least: `trace`, `debug`, `info`, `warn`, `error`, `fatal`.
    pub(super) level: Option<String>,
    /// What it contains, in any case of letters.
    pub(super) text: Option<String>,
    /// The trace it was logged in.
    pub(super) trace_id: Option<String>,
    /// Where it came from.
    #[param(value_type = Option<uuid::Uuid>)]
    pub(super) deployment_id: Option<DeploymentId>,
    /// A line: what comes before and after it is answered, `limit` lines each.
    pub(crate) around: Option<String>,
    /// How many items; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    pub(crate) limit: Option<i64>,
    /// `nextCursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// A line.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = LogRecord)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    id: String,
    at: DateTime<Utc>,
    /// `trace`, `debug`, `info`, `warn`, `error` or `fatal`; none where its sender does not say.
    level: Option<&'static str>,
    /// 1 to 24, as OpenTelemetry counts.
    severity: Option<u8>,
    message: &'a str,
    trace_id: Option<String>,
    span_id: Option<String>,
    service: Option<&'a str>,
    #[schema(value_type = Option<uuid::Uuid>)]
    deployment_id: Option<DeploymentId>,
    attributes: &'a Map<String, Value>,
    resource: &'a Map<String, Value>,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, ApiError> {
    let limit = wanted.limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return Err(ApiError::field("limit", "out_of_range", "must be 1 to 200"));
    }
    let around = wanted.around.as_deref().map(line_id).transpose()?;
    let filter = filter(wanted)?;
    if let Some(id) = around {
        if filter.after.is_some() {
            return Err(ApiError::field("cursor", "invalid", "must not be given together with around"));
        }
        let filter = LogFilter { limit, ..filter };
        let lines = platform.signals.logs_around(tenant(&project), id, &filter).await?;
        if lines.is_empty() {
            return Err(ApiError::field("around", "unknown", "must be the id of a line that is kept"));
        }
        return Ok(items(lines.iter().map(|line| json!(view(line))).collect(), None));
    }
    let filter = LogFilter { limit: limit + 1, ..filter };
    let lines = platform.signals.logs(tenant(&project), &filter).await?;
    let (lines, next) = page(lines, limit, cursor);
    Ok(items(lines.iter().map(|line| json!(view(line))).collect(), next))
}

fn line_id(id: &str) -> Result<RecordId, ApiError> {
    id.parse().map_err(|_| ApiError::field("around", "invalid", "must be the id of a line"))
}

pub(crate) fn filter(wanted: Wanted) -> Result<LogFilter, ApiError> {
    let least = wanted.level.map(|name| {
        let levels = "must be trace, debug, info, warn, error or fatal";
        Severity::from_name(&name).ok_or_else(|| ApiError::field("level", "invalid", levels))
    });
    let trace = wanted.trace_id.map(|id| {
        id.parse::<TraceId>().map_err(|error| ApiError::field("traceId", "invalid", error.to_string()))
    });
    if wanted.text.as_ref().is_some_and(|text| text.contains('\0')) {
        return Err(ApiError::field("text", "invalid", "must not have U+0000 in it"));
    }
    Ok(LogFilter {
        period: period(wanted.from, wanted.to)?,
        least: least.transpose()?,
        text: wanted.text,
        trace_id: trace.transpose()?,
        deployment_id: wanted.deployment_id,
        after: wanted.cursor.as_deref().map(place).transpose()?,
        limit: 0,
    })
}

/// Where the next page goes on.
fn cursor(line: &LogRecord) -> String {
    cursor_of(line.place())
}

/// The cursor of a place.
pub(super) fn cursor_of(LogPlace { at, place, id }: LogPlace) -> String {
    format!("{}-{place}-{id}", at.timestamp_micros())
}

fn place(cursor: &str) -> Result<LogPlace, ApiError> {
    let text = "must be the cursor of an earlier answer";
    place_of(cursor).ok_or_else(|| ApiError::field("cursor", "invalid", text))
}

/// The place that a cursor is of.
pub(super) fn place_of(cursor: &str) -> Option<LogPlace> {
    let (at, rest) = cursor.split_once('-')?;
    let (place, id) = rest.split_once('-')?;
    let at = DateTime::from_timestamp_micros(at.parse().ok()?)?;
    // What a database can compare.
    let is_known = (0..=9999).contains(&at.year());
    is_known.then_some(LogPlace { at, place: place.parse().ok()?, id: id.parse().ok()? })
}

pub(crate) fn view(line: &LogRecord) -> View<'_> {
    View {
        id: line.id.to_string(),
        at: line.at,
        level: line.severity.map(Severity::level),
        severity: line.severity.map(Severity::number),
        message: &line.message,
        trace_id: line.trace_id.map(|id| id.to_string()),
        span_id: line.span_id.map(|id| id.to_string()),
        service: line.service.as_deref(),
        deployment_id: line.deployment_id,
        attributes: &line.attributes,
        resource: &line.resource,
    }
}
