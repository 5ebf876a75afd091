//! `GET /api/v1/projects/{project}/errors`: errors that are alike together, by when they were last seen, newest first.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use domain::ids::{DeploymentId, EnvironmentId};
use domain::policy::{Action, Resource};
use domain::ports::telemetry::{ErrorFilter, ErrorGroup, ErrorId, ErrorPlace, ErrorSource};
use projections::projects::ProjectRow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{items, list as cut, time_and_id};
use crate::traces::{period, tenant};

/// So many deployments of an environment are looked at, the newest.
const DEPLOYMENTS: i64 = 1000;
/// What is looked through when it is not said: a day.
const BEFORE: TimeDelta = TimeDelta::days(1);

/// Which errors. All that is given must hold; numbers are of those that match.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(rename_all = "camelCase")]
pub(crate) struct Wanted {
    /// Not before; a day before `to`, or before now, when absent.
    from: Option<DateTime<Utc>>,
    /// Before this.
    to: Option<DateTime<Utc>>,
    /// What tells them: `span` or `log`; whatever the caller may read when absent.
    source: Option<String>,
    /// What type or message contain, in any case of letters.
    text: Option<String>,
    /// One group.
    id: Option<String>,
    /// Where they came from.
    #[param(value_type = Option<uuid::Uuid>)]
    deployment_id: Option<DeploymentId>,
    /// The environment of the deployment that they came from: of its newest thousand.
    #[param(value_type = Option<uuid::Uuid>)]
    environment_id: Option<EnvironmentId>,
    /// How many items; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// Errors that are alike.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ErrorGroup)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View {
    id: String,
    /// Type of the exception, where it is told.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// What the example says.
    message: String,
    /// How many there are: spans and log lines.
    count: i64,
    spans: i64,
    logs: i64,
    /// In how many traces.
    traces: i64,
    first_seen: DateTime<Utc>,
    last_seen: DateTime<Utc>,
    /// The last that is in a trace.
    example: Option<Example>,
    /// Where they came from; the newest hundred.
    #[schema(value_type = Vec<uuid::Uuid>)]
    deployment_ids: Vec<DeploymentId>,
    /// The environments of these.
    #[schema(value_type = Vec<uuid::Uuid>)]
    environment_ids: Vec<EnvironmentId>,
}

/// Where to look.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ErrorExample)]
#[serde(rename_all = "camelCase")]
struct Example {
    trace_id: String,
    span_id: Option<String>,
}

/// Lines are counted for those who may read them.
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, ApiError> {
    let limit = wanted.limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return Err(ApiError::field("limit", "out_of_range", "must be 1 to 200"));
    }
    let mut filter = ErrorFilter { limit: limit + 1, ..filter(&wanted, (platform.now)())? };
    filter.deployments = deployments(&platform, &project, &wanted).await?;
    if filter.source != Some(ErrorSource::Span)
        && !project.may(&platform, Some(project.it.id), Resource::Logs, Action::Read).await?
    {
        if filter.source == Some(ErrorSource::Line) {
            return Err(ApiError::forbidden("This needs the right to read observability.logs."));
        }
        filter.source = Some(ErrorSource::Span);
    }
    let groups = platform.signals.errors(tenant(&project), &filter).await?;
    let (groups, next) = cut(groups, limit, cursor);
    let of_groups = groups.iter().flat_map(|group| group.deployments.iter().copied());
    let known: Vec<DeploymentId> = of_groups.collect::<BTreeSet<_>>().into_iter().collect();
    let places = projections::deployments::places_of(&platform.pool, project.it.id, &known).await?;
    let places = HashMap::from_iter(places);
    Ok(items(groups.into_iter().map(|group| json!(view(group, &places))).collect(), next))
}

/// What is asked for by deployment, by environment or by both.
async fn deployments(
    platform: &Platform,
    project: &Scoped<ProjectRow>,
    wanted: &Wanted,
) -> Result<Option<Vec<DeploymentId>>, ApiError> {
    let Some(id) = wanted.environment_id else { return Ok(wanted.deployment_id.map(|id| vec![id])) };
    let environment = projections::projects::find_environment(&platform.pool, id).await?;
    if environment.is_none_or(|it| it.project_id != project.it.id) {
        return Err(ApiError::field("environmentId", "unknown", "must be an environment of the project"));
    }
    let those = projections::deployments::of_environment(&platform.pool, id, None, DEPLOYMENTS).await?;
    let those = those.into_iter().map(|row| row.id);
    Ok(Some(those.filter(|id| wanted.deployment_id.is_none_or(|only| only == *id)).collect()))
}

fn filter(wanted: &Wanted, now: DateTime<Utc>) -> Result<ErrorFilter, ApiError> {
    let source = match wanted.source.as_deref() {
        None => None,
        Some("span") => Some(ErrorSource::Span),
        Some("log") => Some(ErrorSource::Line),
        Some(_) => return Err(ApiError::field("source", "invalid", "must be span or log")),
    };
    if wanted.text.as_ref().is_some_and(|text| text.contains('\0')) {
        return Err(ApiError::field("text", "invalid", "must not have U+0000 in it"));
    }
    let group = wanted
        .id
        .as_deref()
        .map(|id| id.parse::<ErrorId>().map_err(|error| ApiError::field("id", "invalid", error.to_string())));
    period(wanted.from, wanted.to)?;
    let from = wanted.from.or_else(|| wanted.to.unwrap_or(now).checked_sub_signed(BEFORE));
    Ok(ErrorFilter {
        period: period(from, wanted.to)?,
        source,
        text: wanted.text.clone(),
        group: group.transpose()?,
        deployments: None,
        after: wanted.cursor.as_deref().map(place).transpose()?,
        limit: 0,
    })
}

/// Where the next page goes on: when the last group was last seen, and which it is.
fn cursor(group: &ErrorGroup) -> String {
    format!("{}-{}", group.last_seen.timestamp_micros(), group.id)
}

fn place(cursor: &str) -> Result<ErrorPlace, ApiError> {
    time_and_id(cursor).map(|(last_seen, id)| ErrorPlace { last_seen, id })
}

fn view(group: ErrorGroup, places: &HashMap<DeploymentId, EnvironmentId>) -> View {
    let environments: BTreeSet<EnvironmentId> =
        group.deployments.iter().filter_map(|id| places.get(id).copied()).collect();
    let span_id = group.span_id.map(|id| id.to_string());
    View {
        id: group.id.to_string(),
        kind: group.kind,
        message: group.message,
        count: group.spans + group.lines,
        spans: group.spans,
        logs: group.lines,
        traces: group.traces,
        first_seen: group.first_seen,
        last_seen: group.last_seen,
        example: group.trace_id.map(|id| Example { trace_id: id.to_string(), span_id }),
        deployment_ids: group.deployments,
        environment_ids: environments.into_iter().collect(),
    }
}
