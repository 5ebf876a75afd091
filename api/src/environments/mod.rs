//! `GET/POST /projects/{project}/environments`, `GET/PATCH/DELETE /environments/{environment}`.

mod preview;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use commands::Receipt;
use domain::ids::{EnvironmentId, ProjectId};
use domain::project::{Environment, EnvironmentType, ProjectCommand, Protection};
use domain::values::{BranchName, BranchPattern, DisplayName, Slug};
use http::StatusCode;
use projections::projects::{EnvironmentRow, ProjectRow};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::{Body, Query, nullable};
use crate::env_vars;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::{Done, Page, items, resource, versioned};
use crate::router::Place;
use crate::shape;

pub(crate) use preview::approve;

/// A new environment.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateEnvironment {
    #[schema(value_type = shape::Name)]
    name: DisplayName,
    #[serde(rename = "type")]
    #[schema(value_type = shape::EnvironmentType)]
    kind: EnvironmentType,
    #[schema(value_type = Option<shape::BranchName>)]
    branch: Option<BranchName>,
}

/// What is absent stays; a branch of null is the project's.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangeEnvironment {
    #[schema(value_type = Option<shape::Name>)]
    name: Option<DisplayName>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<shape::BranchName>)]
    branch: Option<Option<BranchName>>,
    /// The branches whose pushes it gets, as `release/*`; null is the one it follows.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>)]
    branch_pattern: Option<Option<BranchPattern>>,
    #[schema(value_type = Option<shape::Protection>)]
    protection: Option<Protection>,
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(page): Query<Page>,
) -> Result<Response, ApiError> {
    let place = Place::of(&platform, project.view(), project.it.id).await?;
    let environments = projections::projects::environments(project.view(), project.it.id).await?;
    let (environments, next) = page.cut(environments, |row| row.environment.id.0)?;
    Ok(versioned(
        items(environments.iter().map(|row| json!(placed(row, &place))).collect(), next),
        project.it.version,
    ))
}

impl CreateEnvironment {
    /// One that follows no branch of its own.
    pub(crate) fn new(name: DisplayName, kind: EnvironmentType) -> Self {
        Self { name, kind, branch: None }
    }
}

pub(crate) async fn create(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Body(body): Body<CreateEnvironment>,
) -> Result<Done, ApiError> {
    let (receipt, fresh) = make(&platform, &project, body).await?;
    Done::new(&platform, StatusCode::CREATED, receipt, async || {
        let environments = projections::projects::environments(&platform.pool, project.it.id).await?;
        // With a repeated key it is the environment of the first time, which has the same name.
        let made = environments.iter().find(|row| row.environment.slug == fresh.environment.slug);
        let place = Place::of(&platform, project.view(), project.it.id).await?;
        Ok(json!(placed(made.unwrap_or(&fresh), &place)))
    })
    .await
}

/// Makes an environment, and tells how it will be shown.
pub(crate) async fn make(
    platform: &Platform,
    project: &Scoped<ProjectRow>,
    CreateEnvironment { name, kind, branch }: CreateEnvironment,
) -> Result<(Receipt, EnvironmentRow), ApiError> {
    let environment_id: EnvironmentId = platform.new_id();
    let unnamed = || ApiError::field("name", "no_slug", "must have a letter or digit, for its URL");
    let slug = Slug::from_name(name.as_str()).ok_or_else(unnamed)?;
    let context = project.context();
    let fresh = EnvironmentRow {
        environment: Environment {
            id: environment_id,
            name: name.clone(),
            slug,
            kind,
            branch: branch.clone(),
            branch_pattern: None,
            protection: Protection::Public,
            pull_request: None,
        },
        project_id: project.it.id,
        team_id: project.team_id,
        created_at: context.at,
        updated_at: context.at,
        version: project.it.version,
    };
    let command = ProjectCommand::CreateEnvironment { environment_id, name, kind, branch };
    let receipt = platform.commands.project(project.it.id, command, &context).await?;
    Ok((receipt, fresh))
}

pub(crate) async fn show(
    State(platform): State<Arc<Platform>>,
    environment: Scoped<EnvironmentRow>,
) -> Result<Response, ApiError> {
    let place = Place::of(&platform, environment.view(), environment.it.project_id).await?;
    let mut shown = placed(&environment.it, &place);
    shown.missing_env_vars = Some(env_vars::missing_in(environment.view(), &environment.it).await?);
    Ok(resource(json!(shown), environment.it.version))
}

pub(crate) async fn update(
    State(platform): State<Arc<Platform>>,
    environment: Scoped<EnvironmentRow>,
    Body(change): Body<ChangeEnvironment>,
) -> Result<Done, ApiError> {
    let environment_id = environment.it.environment.id;
    let ChangeEnvironment { name, branch, branch_pattern, protection } = change;
    let command =
        ProjectCommand::ChangeEnvironment { environment_id, name, branch, branch_pattern, protection };
    let receipt =
        platform.commands.project(environment.it.project_id, command, &environment.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || show_again(&platform, &environment).await).await
}

/// An environment as it is after it was changed.
async fn show_again(platform: &Platform, environment: &Scoped<EnvironmentRow>) -> Result<Value, ApiError> {
    let id = environment.it.environment.id;
    let row = projections::projects::find_environment(&platform.pool, id).await?;
    let place = Place::of(platform, environment.view(), environment.it.project_id).await?;
    Ok(json!(placed(&row.ok_or_else(ApiError::not_found)?, &place)))
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

/// An environment as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Environment)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    #[schema(value_type = uuid::Uuid)]
    id: EnvironmentId,
    #[schema(value_type = uuid::Uuid)]
    project_id: ProjectId,
    #[schema(value_type = shape::Name)]
    name: &'a DisplayName,
    #[schema(value_type = shape::Slug)]
    slug: &'a Slug,
    #[serde(rename = "type")]
    #[schema(value_type = shape::EnvironmentType)]
    kind: EnvironmentType,
    /// The one it follows instead of the project's.
    #[schema(value_type = Option<shape::BranchName>)]
    branch: Option<&'a BranchName>,
    /// The branches whose pushes it gets, instead of that one.
    #[schema(value_type = Option<String>)]
    branch_pattern: Option<&'a BranchPattern>,
    /// Who may use what is deployed to it.
    #[schema(value_type = shape::Protection)]
    protection: Protection,
    /// The pull request that it is the preview of.
    #[schema(value_type = Option<preview::View>)]
    pull_request: Option<preview::View<'a>>,
    /// Where it is reached.
    url: Option<String>,
    /// What the newest code for it reads and nobody has set for the server, when it is asked for alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_env_vars: Option<Vec<String>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// An environment with its address.
fn placed<'a>(row: &'a EnvironmentRow, place: &Place<'_>) -> View<'a> {
    View { url: place.url(row.environment.slug.as_str()), ..view_of(row) }
}

/// An environment as the log has it.
pub(crate) fn view(row: &EnvironmentRow) -> Value {
    json!(view_of(row))
}

fn view_of(row: &EnvironmentRow) -> View<'_> {
    let environment = &row.environment;
    View {
        id: environment.id,
        project_id: row.project_id,
        name: &environment.name,
        slug: &environment.slug,
        kind: environment.kind,
        branch: environment.branch.as_ref(),
        branch_pattern: environment.branch_pattern.as_ref(),
        protection: environment.protection,
        pull_request: environment.pull_request.as_ref().map(preview::view),
        url: None,
        missing_env_vars: None,
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}
