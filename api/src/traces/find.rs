//! `GET /api/v1/traces/{trace}`: a trace by its id alone, of whichever project of the caller's has it.
//!
//! A trace id is its sender's: two projects may have the same one. So the store is asked about those projects alone whose
//! traces the caller may read, all at once.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::ids::{ProjectId, TeamId};
use domain::policy::{self, Action, Resource, Scope};
use domain::ports::telemetry::{Tenant, TraceId};
use http::HeaderMap;
use serde::Deserialize;

use super::show::{Tree, shown};
use crate::body::{Params, Query};
use crate::error::ApiError;
use crate::gate::{Caller, meant_team};
use crate::platform::Platform;

/// Projects that are asked at most, the oldest.
const MANY: usize = 2000;

/// Where the trace is.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(rename_all = "camelCase")]
pub(crate) struct Where {
    /// The project; any that the caller may see when absent, the oldest first.
    #[param(value_type = Option<uuid::Uuid>)]
    project_id: Option<ProjectId>,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    headers: HeaderMap,
    params: Params,
    Query(place): Query<Where>,
) -> Result<Json<Tree>, ApiError> {
    let id: TraceId = params.id("trace")?;
    let team = meant_team(&platform, &headers).await?;
    let those = readable(&platform, &caller, team, place.project_id).await?;
    let tree = match platform.telemetry.who_has(&those, id).await? {
        Some(tenant) => shown(&platform, tenant, id).await?,
        None => None,
    };
    tree.map(Json).ok_or_else(ApiError::not_found)
}

/// The projects whose traces the caller may read, of that team and that one alone where they are named.
async fn readable(
    platform: &Platform,
    caller: &Caller,
    team: Option<TeamId>,
    only: Option<ProjectId>,
) -> Result<Vec<Tenant>, ApiError> {
    let grants = caller.grants(platform).await?;
    let (mut teams, mut projects) = (Vec::from_iter(team), Vec::from_iter(only));
    if team.is_none() && only.is_none() {
        for grant in &grants {
            match grant.scope {
                Scope::Team { team_id } => teams.push(team_id),
                Scope::Project { project_id } => projects.push(project_id),
                // Whoever may look everywhere says where.
                Scope::Global => {}
            }
        }
    }
    let mut those = projections::projects::of_any(&platform.pool, &teams, &projects).await?;
    those.retain(|(project_id, team_id)| {
        let context = caller.context_of(*team_id, Some(*project_id));
        team.is_none_or(|team| team == *team_id)
            && only.is_none_or(|only| only == *project_id)
            && policy::allows(&grants, Resource::Traces, Action::Read, &context)
    });
    those.truncate(MANY);
    Ok(those.into_iter().map(|(project, team)| Tenant { team, project }).collect())
}
