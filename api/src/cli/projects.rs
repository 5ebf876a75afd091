//! `GET /v1/projects`, `GET /v1/server/projects`, `GET /v1/studio/projects` — the projects of the team that the request
//! names, as far as the caller may see them; and how one is made while it is deployed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::ids::{ProjectId, TeamId};
use domain::policy::{self, Action, Resource};
use domain::values::{DisplayName, Slug};
use http::{HeaderMap, StatusCode};
use projections::projects::ProjectRow;
use projections::teams::TeamRow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::Body;
use crate::error::ApiError;
use crate::gate::{self, Caller, Scoped};
use crate::platform::Platform;
use crate::projects::create::{self, CreateProject};
use crate::reply::Done;
use crate::shape;

/// Projects at most; a command line shows them in one list.
const MANY: i64 = 500;

/// Projects of a team.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CliProjects)]
pub(crate) struct Projects {
    projects: Vec<View>,
}

/// A new project. What else the command line says of it (a region, a factory) means nothing here.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = CliCreateProject)]
pub(crate) struct Create {
    #[schema(value_type = shape::Name)]
    name: DisplayName,
}

/// A project that was made.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CliProjectMade)]
pub(crate) struct Made {
    project: View,
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
    let team = gate::named_team(&platform, &headers).await?.id;
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

/// `POST /v1/studio/projects`, `POST /v1/server/projects` — makes one without a repository: its code is uploaded.
pub(crate) async fn create(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Body(Create { name }): Body<Create>,
) -> Result<Done, ApiError> {
    let slug = Slug::from_name(name.as_str()).ok_or_else(|| {
        let text = "must have letters or digits of ASCII: its name in URLs is made of them";
        ApiError::field("name", "invalid", text)
    })?;
    let (receipt, id) = create::make(&platform, &team, CreateProject::uploaded(name, slug)).await?;
    Done::new(&platform, StatusCode::CREATED, receipt, async || {
        Ok(json!(Made { project: view(create::find(&platform, id).await?) }))
    })
    .await
}

/// `GET /v1/server/projects/{project}/databases` — there are none: this platform hands out no databases.
pub(crate) async fn databases(_: Scoped<ProjectRow>) -> Json<Value> {
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
