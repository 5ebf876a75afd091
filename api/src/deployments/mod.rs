//! Deployments: what runs in an environment, and going back.

mod roll_back;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use commands::Context;
use domain::deployment::{DeploymentCommand, DeploymentKind};
use domain::ids::{BuildId, DeploymentId};
use domain::policy::{self, Action};
use domain::ports::logs::LogSource;
use domain::ports::runner::Health;
use domain::project::{EnvVar, Project};
use http::{HeaderMap, StatusCode};
use projections::deployments::DeploymentRow;
use projections::projects::EnvironmentRow;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::{Body, Query};
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::output;
use crate::platform::Platform;
use crate::reply::{Done, Page, items, list as cut, resource};

pub(crate) use roll_back::{RollBack, roll_back};

/// How long an answer waits for the router to know what it says.
const SWITCH: Duration = Duration::from_millis(500);

/// What to deploy.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Deploy {
    #[schema(value_type = String)]
    build_id: BuildId,
}

pub(crate) async fn list(
    environment: Scoped<EnvironmentRow>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let (limit, before) = (page.limit()?, page.cursor()?);
    let id = environment.it.environment.id;
    let rows = projections::deployments::of_environment(environment.view(), id, before, limit + 1).await?;
    let (rows, next) = cut(rows, limit, |row| row.id.to_string());
    Ok(items(rows.iter().map(view).collect(), next))
}

pub(crate) async fn show(
    State(platform): State<Arc<Platform>>,
    deployment: Scoped<DeploymentRow>,
) -> Result<Response, ApiError> {
    if deployment.it.status == "running" && deployment.view().then().is_none() {
        // Who reads that it runs may ask it at once.
        let head = projections::log::head(&platform.pool).await?;
        platform.router.seen(head, SWITCH).await;
    }
    Ok(resource(view(&deployment.it), deployment.it.version))
}

/// `POST /environments/{environment}/deployments` — puts a build of the project into the environment.
pub(crate) async fn deploy(
    State(platform): State<Arc<Platform>>,
    environment: Scoped<EnvironmentRow>,
    Body(Deploy { build_id }): Body<Deploy>,
) -> Result<Done, ApiError> {
    let unknown =
        || ApiError::field("buildId", "unknown_build", "must be a build of the project that is ready");
    let build = projections::builds::find(&platform.pool, build_id).await?;
    let build = build.filter(|build| build.project_id == environment.it.project_id).ok_or_else(unknown)?;
    let here =
        |context| policy::Context { build_id: Some(build_id), branch: Some(build.branch.clone()), ..context };
    environment.must(&platform, Action::Execute, here).await?;
    let (Some(artifact), Some(node_version)) = (build.artifact, build.node_version) else {
        return Err(unknown());
    };
    let project = platform.commands.load::<Project>(environment.it.project_id).await?.aggregate;
    let env_vars = at_run_time(project.env_vars_in(environment.it.environment.id));
    let command = DeploymentCommand::RequestDeployment {
        team_id: environment.team_id,
        project_id: environment.it.project_id,
        environment_id: environment.it.environment.id,
        build_id,
        artifact,
        node_version,
        env_vars,
        kind: DeploymentKind::Promote,
    };
    request(&platform, command, &environment.context()).await
}

/// `POST /deployments/{deployment}/restart` — the same thing anew: a new deployment takes over from the old one.
pub(crate) async fn restart(
    State(platform): State<Arc<Platform>>,
    deployment: Scoped<DeploymentRow>,
) -> Result<Done, ApiError> {
    let row = &deployment.it;
    let command = again(row, row.env_vars.clone(), DeploymentKind::Restart);
    request(&platform, command, &deployment.context()).await
}

pub(crate) async fn stop(
    State(platform): State<Arc<Platform>>,
    deployment: Scoped<DeploymentRow>,
) -> Result<Done, ApiError> {
    let id = deployment.it.id;
    let command = DeploymentCommand::StopDeployment;
    let receipt = platform.commands.deployment(id, command, &deployment.context()).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || find(&platform, id).await).await
}

pub(crate) async fn health(
    State(platform): State<Arc<Platform>>,
    deployment: Scoped<DeploymentRow>,
) -> Json<Value> {
    let (health, detail) = match platform.runner.health(deployment.it.id).await {
        Health::Healthy => ("healthy", None),
        Health::Unhealthy(why) => ("unhealthy", Some(why)),
        Health::Absent => ("absent", None),
    };
    Json(json!({ "health": health, "detail": detail, "status": deployment.it.status }))
}

pub(crate) async fn logs(
    State(platform): State<Arc<Platform>>,
    deployment: Scoped<DeploymentRow>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    output::whole(&platform, LogSource::Deployment(deployment.it.id), deployment.standing(), &headers).await
}

pub(crate) async fn stream(
    State(platform): State<Arc<Platform>>,
    deployment: Scoped<DeploymentRow>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    output::live(platform, LogSource::Deployment(deployment.it.id), deployment.standing(), &headers).await
}

/// A command that runs what an earlier deployment ran.
fn again(row: &DeploymentRow, env_vars: Vec<EnvVar>, kind: DeploymentKind) -> DeploymentCommand {
    DeploymentCommand::RequestDeployment {
        team_id: row.team_id,
        project_id: row.project_id,
        environment_id: row.environment_id,
        build_id: row.build_id,
        artifact: row.artifact.clone(),
        node_version: row.node_version.clone(),
        env_vars,
        kind,
    }
}

fn at_run_time(vars: Vec<EnvVar>) -> Vec<EnvVar> {
    vars.into_iter().filter(|var| var.availability.at_run_time()).collect()
}

async fn request(
    platform: &Platform,
    command: DeploymentCommand,
    context: &Context,
) -> Result<Done, ApiError> {
    let id: DeploymentId = platform.new_id();
    let receipt = platform.commands.deployment(id, command, &context.clone().of_new()).await?;
    // With a repeated key it is the deployment of the first time.
    let id = receipt.aggregate_id.parse().unwrap_or(id);
    Done::new(platform, StatusCode::ACCEPTED, receipt, async || find(platform, id).await).await
}

async fn find(platform: &Platform, id: DeploymentId) -> Result<Value, ApiError> {
    let row = projections::deployments::find(&platform.pool, id).await?;
    Ok(view(&row.ok_or_else(ApiError::not_found)?))
}

fn view(row: &DeploymentRow) -> Value {
    let env_vars = row.env_vars.iter().map(|var| {
        json!({
            "key": var.key,
            "environment": var.environment_id,
            "sensitive": var.sensitive,
            "fingerprint": var.mark,
        })
    });
    json!({
        "id": row.id,
        "projectId": row.project_id,
        "environmentId": row.environment_id,
        "buildId": row.build_id,
        "type": row.kind,
        "status": row.status,
        "failure": row.failure,
        "crashes": row.crashes,
        "supersededBy": row.superseded_by,
        "envVars": env_vars.collect::<Vec<_>>(),
        "createdBy": row.created_by,
        "createdAt": row.created_at,
        "activatedAt": row.activated_at,
        "finishedAt": row.finished_at,
        "updatedAt": row.updated_at,
    })
}
