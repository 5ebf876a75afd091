//! `GET /teams/{team}/deliveries[/{delivery}]` — what git hosts have told, and what came of it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::ids::{BuildId, DeliveryId, EnvironmentId, ProjectId};
use projections::inbox::{self, DeliveryRow, Outcome};
use projections::teams::TeamRow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::{Params, Query};
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{items, list as cut};

/// The part of the list that is wanted.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Only what concerned this project.
    #[param(value_type = Option<uuid::Uuid>)]
    project_id: Option<ProjectId>,
    /// How many items; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// A delivery as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Delivery)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    #[schema(value_type = uuid::Uuid)]
    id: DeliveryId,
    /// The host that told: `github`; of a project's own webhook the form: `gitlab`, `gitea`, `webhook`.
    source: &'a str,
    /// Its own id, behind that of a project's own webhook; of what was found without being told it begins with `found/`.
    delivery_id: &'a str,
    /// `push`, `installation` …
    event: &'a str,
    action: Option<&'a str>,
    repository: Option<&'a str>,
    #[serde(rename = "ref")]
    reference: Option<&'a str>,
    commit_sha: Option<&'a str>,
    sender: Option<&'a str>,
    /// `pending`, `acted` or `nothing`.
    status: &'a str,
    /// What came of it for this team.
    outcomes: Vec<Came<'a>>,
    received_at: DateTime<Utc>,
    settled_at: Option<DateTime<Utc>>,
}

/// What came of a delivery, for a project or an environment of the team.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DeliveryOutcome)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Came<'a> {
    #[schema(value_type = Option<uuid::Uuid>)]
    project_id: Option<ProjectId>,
    #[schema(value_type = Option<uuid::Uuid>)]
    environment_id: Option<EnvironmentId>,
    #[schema(value_type = Option<uuid::Uuid>)]
    build_id: Option<BuildId>,
    /// Whether anything was done.
    acted: bool,
    /// What was done, or why nothing was: a stable word.
    reason: &'a str,
    /// The same for people.
    detail: &'a str,
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, ApiError> {
    let limit = wanted.limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return Err(ApiError::field("limit", "out_of_range", "must be 1 to 200"));
    }
    let wrong = |_| ApiError::field("cursor", "invalid", "must be the cursor of an earlier answer");
    let before = wanted.cursor.as_deref().map(str::parse).transpose().map_err(wrong)?;
    let rows = inbox::of_team(&platform.pool, team.it.id, wanted.project_id, before, limit + 1).await?;
    let (rows, next) = cut(rows, limit, |row| row.id.to_string());
    let came = came(&platform, &team, &rows).await?;
    Ok(items(rows.iter().map(|row| json!(view(row, &came))).collect(), next))
}

pub(crate) async fn show(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let row = inbox::find_of_team(&platform.pool, team.it.id, params.id("delivery")?).await?;
    let row = row.ok_or_else(ApiError::not_found)?;
    let came = came(&platform, &team, std::slice::from_ref(&row)).await?;
    Ok(Json(json!(view(&row, &came))))
}

type ByDelivery = HashMap<DeliveryId, Vec<Outcome>>;

async fn came(
    platform: &Platform,
    team: &Scoped<TeamRow>,
    rows: &[DeliveryRow],
) -> Result<ByDelivery, ApiError> {
    let ids: Vec<DeliveryId> = rows.iter().map(|row| row.id).collect();
    let mut by_delivery = ByDelivery::new();
    for (id, outcome) in inbox::outcomes(&platform.pool, team.it.id, &ids).await? {
        by_delivery.entry(id).or_default().push(outcome);
    }
    Ok(by_delivery)
}

fn view<'a>(row: &'a DeliveryRow, came: &'a ByDelivery) -> View<'a> {
    let outcomes = came.get(&row.id).map(Vec::as_slice).unwrap_or_default();
    let status = match row.settled_at {
        None => "pending",
        Some(_) if outcomes.iter().any(|outcome| outcome.acted) => "acted",
        Some(_) => "nothing",
    };
    View {
        id: row.id,
        source: &row.source,
        delivery_id: &row.told.id,
        event: &row.told.kind,
        action: row.told.action.as_deref(),
        repository: row.told.repository_name.as_deref(),
        reference: row.told.reference.as_deref(),
        commit_sha: row.told.commit.as_deref(),
        sender: row.told.sender.as_deref(),
        status,
        outcomes: outcomes
            .iter()
            .map(|outcome| Came {
                project_id: outcome.project_id,
                environment_id: outcome.environment_id,
                build_id: outcome.build_id,
                acted: outcome.acted,
                reason: &outcome.reason,
                detail: &outcome.detail,
            })
            .collect(),
        received_at: row.received_at,
        settled_at: row.settled_at,
    }
}
