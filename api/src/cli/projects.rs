//! `GET /v1/projects`, `GET /v1/server/projects` — the projects of the team that the request names, as far as the caller
//! may see them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::ids::{ProjectId, TeamId};
use domain::policy::{self, Action, Resource};
use http::HeaderMap;
use projections::projects::ProjectRow;
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::gate::{self, Caller, ORGANIZATION};
use crate::platform::Platform;

/// Projects at most; a command line shows them in one list.
const MANY: i64 = 500;

/// Projects of a team.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CliProjects)]
pub(crate) struct Projects {
    projects: Vec<View>,
}

/// A project as the command line knows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CliProject)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View {
    #[schema(value_type = uuid::Uuid)]
    id: ProjectId,
    name: String,
    slug: String,
    #[schema(value_type = uuid::Uuid)]
    organization_id: TeamId,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Json<Projects>, ApiError> {
    let named = headers.get(ORGANIZATION).and_then(|name| name.to_str().ok());
    let missing = || ApiError::field("x-organization-id", "required", "must be the id or the slug of a team");
    let team = gate::find_team(&platform, named.ok_or_else(missing)?).await?.id;
    let grants = caller.grants(&platform).await?;
    let sees = |resource, project| {
        policy::allows(&grants, resource, Action::Read, &caller.context_of(team, project))
    };
    let mut projects = projections::projects::of_team(&platform.pool, team, None, MANY).await?;
    projects.retain(|project| sees(Resource::Project, Some(project.id)));
    if projects.is_empty() && !sees(Resource::Team, None) {
        return Err(ApiError::not_found());
    }
    Ok(Json(Projects { projects: projects.into_iter().map(view).collect() }))
}

/// `GET /v1/server/projects/{project}/databases` — there are none: this platform hands out no databases.
pub(crate) async fn databases(_: gate::Scoped<ProjectRow>) -> Json<Value> {
    Json(json!({ "databases": [] }))
}

fn view(project: ProjectRow) -> View {
    View {
        id: project.id,
        name: project.settings.name.to_string(),
        slug: project.settings.slug.to_string(),
        organization_id: project.team_id,
        created_at: project.created_at,
        updated_at: project.updated_at,
    }
}
