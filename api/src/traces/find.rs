//! `GET /api/v1/traces/{trace}`: a trace by its id alone, of whichever project of the caller's has it.
//!
//! A trace id is its sender's: two projects may have the same one. So the store is asked project by project, and only
//! about those whose traces the caller may read.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::ids::ProjectId;
use domain::policy::{self, Action, Resource, Scope};
use domain::ports::telemetry::{Tenant, TraceId};
use projections::projects::ProjectRow;
use serde::Deserialize;

use super::show::{Tree, shown};
use crate::body::{Params, Query};
use crate::error::ApiError;
use crate::gate::Caller;
use crate::platform::Platform;

/// Projects that are asked at most.
const MANY: usize = 200;

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
    params: Params,
    Query(place): Query<Where>,
) -> Result<Json<Tree>, ApiError> {
    let id: TraceId = params.id("trace")?;
    for project in readable(&platform, &caller, place.project_id).await? {
        let tenant = Tenant { team: project.team_id, project: project.id };
        if let Some(tree) = shown(&platform, tenant, id).await? {
            return Ok(Json(tree));
        }
    }
    Err(ApiError::not_found())
}

/// The projects whose traces the caller may read, or that one of them.
async fn readable(
    platform: &Platform,
    caller: &Caller,
    only: Option<ProjectId>,
) -> Result<Vec<ProjectRow>, ApiError> {
    let (pool, grants) = (&platform.pool, caller.grants(platform).await?);
    let mut projects = Vec::new();
    match only {
        Some(id) => projects.extend(projections::projects::find(pool, id).await?),
        None => {
            for grant in &grants {
                match grant.scope {
                    Scope::Team { team_id } => {
                        projects
                            .extend(projections::projects::of_team(pool, team_id, None, MANY as i64).await?);
                    }
                    Scope::Project { project_id } => {
                        projects.extend(projections::projects::find(pool, project_id).await?);
                    }
                    // Whoever may look everywhere says where.
                    Scope::Global => {}
                }
            }
        }
    }
    projects.retain(|project| {
        let context = caller.context_of(project.team_id, Some(project.id));
        policy::allows(&grants, Resource::Traces, Action::Read, &context)
    });
    projects.sort_by_key(|project| project.id);
    projects.dedup_by_key(|project| project.id);
    projects.truncate(MANY);
    Ok(projects)
}
