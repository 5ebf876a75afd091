//! `GET/POST /projects/{project}/environments`, `GET/PATCH/DELETE /environments/{environment}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::ids::EnvironmentId;
use domain::project::{Environment, EnvironmentType, ProjectCommand};
use domain::values::{BranchName, DisplayName, Slug};
use http::StatusCode;
use projections::projects::{EnvironmentRow, ProjectRow};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::{Body, Query, nullable};
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{Done, Page, items};

/// A new environment.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateEnvironment {
    #[schema(value_type = String)]
    name: DisplayName,
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: EnvironmentType,
    #[schema(value_type = Option<String>)]
    branch: Option<BranchName>,
}

/// What is absent stays; a branch of null is the project's.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangeEnvironment {
    #[schema(value_type = Option<String>)]
    name: Option<DisplayName>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    branch: Option<Option<BranchName>>,
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let environments = projections::projects::environments(&platform.pool, project.it.id).await?;
    let (environments, next) = page.cut(environments, |row| row.environment.id.0)?;
    Ok(items(environments.iter().map(view).collect(), next))
}

pub(crate) async fn create(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Body(CreateEnvironment { name, kind, branch }): Body<CreateEnvironment>,
) -> Result<Done, ApiError> {
    let environment_id: EnvironmentId = platform.new_id();
    let unnamed = || ApiError::field("name", "no_slug", "must have a letter or digit, for its URL");
    let slug = Slug::from_name(name.as_str()).ok_or_else(unnamed)?;
    let context = project.context();
    let fresh = EnvironmentRow {
        id: environment_id,
        slug: slug.as_str().to_owned(),
        environment: Environment {
            id: environment_id,
            name: name.clone(),
            slug,
            kind,
            branch: branch.clone(),
        },
        project_id: project.it.id,
        team_id: project.team_id,
        created_at: context.at,
        updated_at: context.at,
    };
    let command = ProjectCommand::CreateEnvironment { environment_id, name, kind, branch };
    let receipt = platform.commands.project(project.it.id, command, &context).await?;
    Done::new(&platform, StatusCode::CREATED, receipt, async || {
        let environments = projections::projects::environments(&platform.pool, project.it.id).await?;
        // With a repeated key it is the environment of the first time, which has the same name.
        let made = environments.iter().find(|row| row.environment.slug == fresh.environment.slug);
        Ok(view(made.unwrap_or(&fresh)))
    })
    .await
}

pub(crate) async fn show(environment: Scoped<EnvironmentRow>) -> Json<Value> {
    Json(view(&environment.it))
}

pub(crate) async fn update(
    State(platform): State<Arc<Platform>>,
    environment: Scoped<EnvironmentRow>,
    Body(ChangeEnvironment { name, branch }): Body<ChangeEnvironment>,
) -> Result<Done, ApiError> {
    let environment_id = environment.it.environment.id;
    let command = ProjectCommand::ChangeEnvironment { environment_id, name, branch };
    let receipt =
        platform.commands.project(environment.it.project_id, command, &environment.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || {
        let row = projections::projects::find_environment(&platform.pool, environment_id).await?;
        Ok(view(&row.ok_or_else(ApiError::not_found)?))
    })
    .await
}

pub(crate) async fn delete(
    State(platform): State<Arc<Platform>>,
    environment: Scoped<EnvironmentRow>,
) -> Result<Done, ApiError> {
    let environment_id = environment.it.environment.id;
    let command = ProjectCommand::DeleteEnvironment { environment_id };
    let receipt =
        platform.commands.project(environment.it.project_id, command, &environment.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || {
        Ok(json!({ "id": environment_id, "deleted": true }))
    })
    .await
}

fn view(row: &EnvironmentRow) -> Value {
    let environment = &row.environment;
    json!({
        "id": environment.id,
        "projectId": row.project_id,
        "name": environment.name,
        "slug": environment.slug,
        "type": environment.kind,
        "branch": environment.branch,
        "createdAt": row.created_at,
        "updatedAt": row.updated_at,
    })
}
