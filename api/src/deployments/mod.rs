//! Deployments: what runs in an environment, and going back.

mod diff;
mod promote;
mod roll_back;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use commands::Context;
use domain::deployment::{DeploymentCommand, DeploymentKind, PROBATION};
use domain::ids::{BuildId, DeploymentId, EnvironmentId, ProjectId};
use domain::ports::logs::LogSource;
use domain::ports::runner::Health;
use domain::project::EnvVar;
use domain::values::EnvKey;
use http::{HeaderMap, StatusCode};
use projections::builds::BuildRow;
use projections::deployments::{DeploymentRow, Failure};
use projections::past;
use projections::projects::EnvironmentRow;
use serde::Serialize;
use serde_json::{Value, json};

use crate::body::Query;
use crate::dry_run;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::output;
use crate::platform::Platform;
use crate::reply::{Done, Page, items, list as cut, resource};
use crate::router::Place;

pub(crate) use promote::{Deploy, promote};
pub(crate) use roll_back::roll_back;

/// How long an answer waits for the router to know what it says.
pub(crate) const SWITCH: Duration = Duration::from_millis(500);

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    environment: Scoped<EnvironmentRow>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, ApiError> {
    let place = Place::of(&platform, environment.view(), environment.it.project_id).await?;
    let url = place.url(environment.it.environment.slug.as_str());
    let (limit, before) = (page.limit()?, page.cursor()?);
    let id = environment.it.environment.id;
    let rows = projections::deployments::of_environment(environment.view(), id, before, limit + 1).await?;
    let (rows, next) = cut(rows, limit, |row| row.id.to_string());
    Ok(items(rows.iter().map(|row| view(row, url.as_deref())).collect(), next))
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
    let url = url(&platform, deployment.view(), &deployment.it).await?;
    Ok(resource(view(&deployment.it, url.as_deref()), deployment.it.version))
}

/// `POST /deployments/{deployment}/restart` — the same thing anew: a new deployment takes over from the old one.
pub(crate) async fn restart(
    State(platform): State<Arc<Platform>>,
    deployment: Scoped<DeploymentRow>,
) -> Result<Done, ApiError> {
    let row = &deployment.it;
    if let Some(build) = projections::builds::find(&platform.pool, row.build_id).await? {
        must_be_kept(&build)?;
    }
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

/// What is not kept any longer is not there to be deployed.
fn must_be_kept(build: &BuildRow) -> Result<(), ApiError> {
    let Some(at) = build.artifact_pruned_at else { return Ok(()) };
    let text = format!("The artifact of build {} is not kept since {at}. Build the commit again.", build.id);
    Err(ApiError::new(StatusCode::CONFLICT, "artifact_pruned", text))
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
    vars.into_iter().filter(EnvVar::is_at_run_time).collect()
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

/// The same, whose dry run shows what would be different; `of` is the deployment whose artifact it is.
async fn request_or_compare(
    platform: &Platform,
    command: DeploymentCommand,
    of: Option<DeploymentId>,
    context: &Context,
) -> Result<Response, ApiError> {
    match request(platform, command.clone(), context).await {
        Err(ApiError::DryRun(events)) => {
            let diff = diff::diff(platform, &command, of).await?;
            Ok(dry_run::answer_with(events, diff))
        }
        done => Ok(done?.into_response()),
    }
}

async fn find(platform: &Platform, id: DeploymentId) -> Result<Value, ApiError> {
    let row = projections::deployments::find(&platform.pool, id).await?.ok_or_else(ApiError::not_found)?;
    let url = url(platform, &past::View::now(platform.pool.clone()), &row).await?;
    Ok(view(&row, url.as_deref()))
}

/// A deployment as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Deployment)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    #[schema(value_type = uuid::Uuid)]
    id: DeploymentId,
    #[schema(value_type = uuid::Uuid)]
    project_id: ProjectId,
    #[schema(value_type = uuid::Uuid)]
    environment_id: EnvironmentId,
    #[schema(value_type = uuid::Uuid)]
    build_id: BuildId,
    /// `deploy`, `promote`, `rollback` or `restart`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: DeploymentKind,
    /// Where its environment is reached.
    url: Option<&'a str>,
    /// `pending`, `starting`, `running`, `sleeping`, `failed`, `stopped`, `superseded` or `rolled_back`.
    status: &'a str,
    /// A code and a message.
    #[schema(value_type = Option<Object>)]
    failure: Option<&'a Failure>,
    /// How many servers of it serve now.
    replicas: i32,
    crashes: i32,
    #[schema(value_type = Option<uuid::Uuid>)]
    superseded_by: Option<DeploymentId>,
    /// Which one serves again because this one failed; `failure` says why.
    #[schema(value_type = Option<uuid::Uuid>)]
    rolled_back_to: Option<DeploymentId>,
    /// Until then it may still be given up for the one before.
    probation_ends_at: Option<DateTime<Utc>>,
    env_vars: Vec<Given<'a>>,
    created_by: &'a str,
    created_at: DateTime<Utc>,
    activated_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    updated_at: DateTime<Utc>,
}

/// A variable that a deployment was given.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = GivenEnvVar)]
pub(crate) struct Given<'a> {
    #[schema(value_type = String)]
    key: &'a EnvKey,
    #[schema(value_type = Option<uuid::Uuid>)]
    environment: Option<EnvironmentId>,
    sensitive: bool,
    fingerprint: &'a str,
}

/// Where its environment is reached.
async fn url(platform: &Platform, at: &past::View, row: &DeploymentRow) -> Result<Option<String>, ApiError> {
    let environments = projections::projects::environments(at, row.project_id).await?;
    let own = environments.iter().find(|other| other.environment.id == row.environment_id);
    let place = Place::of(platform, at, row.project_id).await?;
    Ok(own.and_then(|own| place.url(own.environment.slug.as_str())))
}

fn view(row: &DeploymentRow, url: Option<&str>) -> Value {
    let env_vars = row.env_vars.iter().map(|var| Given {
        key: &var.key,
        environment: var.environment_id,
        sensitive: var.sensitive,
        fingerprint: &var.mark,
    });
    json!(View {
        id: row.id,
        project_id: row.project_id,
        environment_id: row.environment_id,
        build_id: row.build_id,
        kind: row.kind,
        url,
        status: &row.status,
        failure: row.failure.as_ref(),
        replicas: row.replicas,
        crashes: row.crashes,
        superseded_by: row.superseded_by,
        rolled_back_to: row.rolled_back_to,
        probation_ends_at: row.activated_at.map(|at| at + PROBATION),
        env_vars: env_vars.collect(),
        created_by: &row.created_by,
        created_at: row.created_at,
        activated_at: row.activated_at,
        finished_at: row.finished_at,
        updated_at: row.updated_at,
    })
}
