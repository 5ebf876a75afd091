//! Builds: `POST/GET /projects/{project}/builds`, `GET /builds/{build}`, `POST …/cancel`, `GET …/logs[/stream]`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use domain::build::BuildCommand;
use domain::ids::{BuildId, EnvironmentId};
use domain::policy::{Action, Context};
use domain::ports::logs::LogSource;
use domain::project::EnvironmentType;
use domain::values::{BranchName, CommitSha};
use http::{HeaderMap, StatusCode};
use projections::builds::BuildRow;
use projections::projects::{EnvironmentRow, ProjectRow};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::{Body, Query};
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::output;
use crate::platform::Platform;
use crate::reply::{Done, Page, items, list as cut, resource};

/// What to build. Without anything: the head of production's branch.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RequestBuild {
    #[schema(value_type = Option<String>)]
    environment: Option<EnvironmentId>,
    #[schema(value_type = Option<String>)]
    branch: Option<BranchName>,
    #[schema(value_type = Option<String>)]
    commit_sha: Option<CommitSha>,
    /// Whether it is deployed when it is ready; `true` when absent.
    deploy: Option<bool>,
}

pub(crate) async fn request(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Body(body): Body<RequestBuild>,
) -> Result<Done, ApiError> {
    let environment = environment(&platform, &project.it, body.environment).await?;
    let settings = &project.it.settings;
    let branch = body.branch.or(environment.environment.branch).unwrap_or_else(|| settings.branch.clone());
    let here = |context: Context| Context {
        environment: Some(environment.environment.id),
        branch: Some(branch.to_string()),
        ..context
    };
    project.must(&platform, Action::Create, here).await?;
    let deploy = body.deploy.unwrap_or(true);
    if deploy {
        project.must(&platform, Action::Execute, here).await?;
    }
    let id: BuildId = platform.new_id();
    let command = BuildCommand::RequestBuild {
        team_id: project.it.team_id,
        project_id: project.it.id,
        environment_id: environment.environment.id,
        branch,
        commit: body.commit_sha,
        deploy,
    };
    let receipt = platform.commands.build(id, command, &project.context().of_new()).await?;
    // With a repeated key it is the build of the first time.
    let id = receipt.aggregate_id.parse().unwrap_or(id);
    Done::new(&platform, StatusCode::ACCEPTED, receipt, async || find(&platform, id).await).await
}

async fn environment(
    platform: &Platform,
    project: &ProjectRow,
    wanted: Option<EnvironmentId>,
) -> Result<EnvironmentRow, ApiError> {
    let environments = projections::projects::environments(&platform.pool, project.id).await?;
    let matches = |row: &EnvironmentRow| match wanted {
        Some(id) => row.environment.id == id,
        None => row.environment.kind == EnvironmentType::Production,
    };
    let unknown =
        || ApiError::field("environment", "unknown_environment", "must be an environment of the project");
    environments.into_iter().find(matches).ok_or_else(unknown)
}

pub(crate) async fn list(
    project: Scoped<ProjectRow>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let (limit, before) = (page.limit()?, page.cursor()?);
    let builds = projections::builds::of_project(project.view(), project.it.id, before, limit + 1).await?;
    let (builds, next) = cut(builds, limit, |build| build.id.to_string());
    Ok(items(builds.iter().map(view).collect(), next))
}

pub(crate) async fn show(build: Scoped<BuildRow>) -> Response {
    resource(view(&build.it), build.it.version)
}

pub(crate) async fn cancel(
    State(platform): State<Arc<Platform>>,
    build: Scoped<BuildRow>,
) -> Result<Done, ApiError> {
    let id = build.it.id;
    let receipt = platform.commands.build(id, BuildCommand::CancelBuild, &build.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || find(&platform, id).await).await
}

pub(crate) async fn logs(
    State(platform): State<Arc<Platform>>,
    build: Scoped<BuildRow>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    output::whole(&platform, LogSource::Build(build.it.id), build.standing(), &headers).await
}

pub(crate) async fn stream(
    State(platform): State<Arc<Platform>>,
    build: Scoped<BuildRow>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    output::live(platform, LogSource::Build(build.it.id), build.standing(), &headers).await
}

async fn find(platform: &Platform, id: BuildId) -> Result<Value, ApiError> {
    let build = projections::builds::find(&platform.pool, id).await?;
    Ok(view(&build.ok_or_else(ApiError::not_found)?))
}

fn view(build: &BuildRow) -> Value {
    json!({
        "id": build.id,
        "projectId": build.project_id,
        "environmentId": build.environment_id,
        "status": build.status,
        "phase": build.phase,
        "branch": build.branch,
        "commitSha": build.commit,
        "deploy": build.deploy,
        "cancelRequested": build.cancel_requested,
        "failure": build.failure.as_ref().map(|failure| json!({
            "code": failure.code,
            "phase": failure.phase,
            "message": failure.message,
            "exitCode": failure.exit_code,
        })),
        "artifact": build.artifact,
        "nodeVersion": build.node_version,
        "warnings": build.warnings,
        "envRefs": build.env_refs,
        "createdBy": build.created_by,
        "createdAt": build.created_at,
        "startedAt": build.started_at,
        "finishedAt": build.finished_at,
        "updatedAt": build.updated_at,
    })
}
