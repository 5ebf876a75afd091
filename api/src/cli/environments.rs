//! `GET/POST /v1/projects/{project}/environments`, `POST …/{environment}/restart`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::ids::{EnvironmentId, ProjectId};
use domain::project::EnvironmentType;
use domain::values::DisplayName;
use http::StatusCode;
use projections::projects::{EnvironmentRow, ProjectRow};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::env_vars;
use crate::body::Body;
use crate::deployments::{self, Deploy};
use crate::environments::{self, CreateEnvironment};
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::Done;
use crate::router::Place;
use crate::shape;

/// Environments of a project.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CliEnvironments)]
pub(crate) struct Environments {
    environments: Vec<View>,
}

/// An environment that was made.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CliEnvironmentMade)]
pub(crate) struct Made {
    environment: View,
}

/// An environment as the command line knows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CliEnvironment)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View {
    #[schema(value_type = uuid::Uuid)]
    id: EnvironmentId,
    #[schema(value_type = uuid::Uuid)]
    project_id: ProjectId,
    name: String,
    slug: String,
    #[serde(rename = "type")]
    #[schema(value_type = shape::EnvironmentType)]
    kind: EnvironmentType,
    branch: Option<String>,
    instance_url: Option<String>,
    /// Its own variables, with values, as far as the caller may read them.
    env_vars: BTreeMap<String, String>,
    /// Those whose values nobody is told, and those of the whole project.
    managed_env_var_names: Vec<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// A new environment. A region means nothing here.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = CliCreateEnvironment)]
pub(crate) struct Create {
    #[schema(value_type = shape::Name)]
    name: DisplayName,
    #[serde(rename = "type")]
    #[schema(value_type = shape::EnvironmentType)]
    kind: EnvironmentType,
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
) -> Result<Json<Environments>, ApiError> {
    let rows = projections::projects::environments(&platform.pool, project.it.id).await?;
    let mut known = env_vars::of_environments(&platform, &project, &rows).await?;
    let mut environments = Vec::with_capacity(rows.len());
    for row in &rows {
        let (values, names) = known.remove(&row.environment.id).unwrap_or_default();
        let mut view = view(&platform, &project, row).await?;
        (view.env_vars, view.managed_env_var_names) = (values, names);
        environments.push(view);
    }
    Ok(Json(Environments { environments }))
}

pub(crate) async fn create(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Body(Create { name, kind }): Body<Create>,
) -> Result<Done, ApiError> {
    let (receipt, fresh) =
        environments::make(&platform, &project, CreateEnvironment::new(name, kind)).await?;
    Done::new(&platform, StatusCode::CREATED, receipt, async || {
        Ok(json!(Made { environment: view(&platform, &project, &fresh).await? }))
    })
    .await
}

/// What serves now is deployed anew, with the variables as they are now: that is what a restart is for there.
pub(crate) async fn restart(
    State(platform): State<Arc<Platform>>,
    environment: Scoped<EnvironmentRow>,
) -> Result<Response, ApiError> {
    let id = environment.it.environment.id;
    let serving = projections::deployments::running_in(&platform.pool, id).await?;
    let nothing = || {
        let text = "Nothing runs in this environment: deploy something first.";
        ApiError::new(StatusCode::CONFLICT, "nothing_runs", text)
    };
    let build_id = serving.ok_or_else(nothing)?.build_id;
    deployments::promote(State(platform), environment, Body(Deploy::build(build_id))).await
}

async fn view(
    platform: &Platform,
    project: &Scoped<ProjectRow>,
    row: &EnvironmentRow,
) -> Result<View, ApiError> {
    let place = Place::of(platform, project.view(), project.it.id).await?;
    let environment = &row.environment;
    Ok(View {
        id: environment.id,
        project_id: row.project_id,
        name: environment.name.to_string(),
        slug: environment.slug.to_string(),
        kind: environment.kind,
        branch: environment.branch.as_ref().map(ToString::to_string),
        instance_url: place.url(environment.slug.as_str()),
        env_vars: BTreeMap::new(),
        managed_env_var_names: vec![],
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}
