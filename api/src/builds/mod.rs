//! Builds: `POST/GET /projects/{project}/builds`, `GET /builds/{build}`, `POST …/cancel`, `GET …/logs[/stream]`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::build::{BuildCommand, FailureCode, Peak, Phase, Source};
use domain::ids::{BuildId, DeliveryId, EnvironmentId, ProjectId};
use domain::policy::{Action, Context};
use domain::ports::artifacts::Artifact;
use domain::ports::logs::LogSource;
use domain::ports::runner::BuildFailure;
use domain::project::EnvironmentType;
use domain::values::{BranchName, CommitSha};
use http::{HeaderMap, StatusCode};
use projections::builds::BuildRow;
use projections::projects::{EnvironmentRow, ProjectRow};
use projections::queue::WaitingFor;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::body::{Body, Query};
use crate::env_vars;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::output;
use crate::platform::Platform;
use crate::reply::{Done, Page, items, list as cut, resource};
use crate::shape;

/// What to build. Without anything: the head of production's branch.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RequestBuild {
    #[schema(value_type = Option<uuid::Uuid>)]
    environment: Option<EnvironmentId>,
    #[schema(value_type = Option<shape::BranchName>)]
    branch: Option<BranchName>,
    #[schema(value_type = Option<shape::CommitSha>)]
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
    let mut commit = body.commit_sha;
    let mut branch = body.branch.or(environment.environment.branch);
    // A preview is of its pull request, unless something else is asked for.
    if let (None, None, Some(pull_request)) = (&branch, &commit, environment.environment.pull_request) {
        if pull_request.is_waiting() {
            let text = "What a fork brings is built for its preview when somebody has approved it.";
            return Err(ApiError::new(StatusCode::CONFLICT, "not_approved", text));
        }
        (branch, commit) = (Some(pull_request.branch), Some(pull_request.head));
    }
    let branch = branch.unwrap_or_else(|| settings.branch.clone());
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
    if settings.repo_url.is_none() {
        let text = "The project has no repository: upload what is to be built, as `mastra deploy` does.";
        return Err(ApiError::new(StatusCode::CONFLICT, "no_repository", text));
    }
    let id: BuildId = platform.new_id();
    let command = BuildCommand::RequestBuild {
        team_id: project.it.team_id,
        project_id: project.it.id,
        environment_id: environment.environment.id,
        environment_type: environment.environment.kind,
        branch,
        commit,
        source: Source::Repository,
        deploy,
        trigger: None,
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

pub(crate) async fn show(
    State(platform): State<Arc<Platform>>,
    build: Scoped<BuildRow>,
) -> Result<Response, ApiError> {
    let (mut shown, row) = (view_of(&build.it), &build.it);
    let place = (row.project_id, row.environment_id);
    shown.missing_env_vars = Some(env_vars::missing(build.view(), place, &row.env_refs).await?);
    // Of the past nobody knows what it waited for.
    if build.it.status == "queued" && build.view().then().is_none() {
        let limits = platform.settings.builds;
        let place = projections::queue::place(&platform.pool, build.it.id, limits).await?;
        shown.waiting_for = place.map(|place| place.waiting_for);
        shown.queued_before = place.map(|place| place.before);
    }
    Ok(resource(json!(shown), build.it.version))
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

/// A build as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Build)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    #[schema(value_type = uuid::Uuid)]
    id: BuildId,
    #[schema(value_type = uuid::Uuid)]
    project_id: ProjectId,
    #[schema(value_type = uuid::Uuid)]
    environment_id: EnvironmentId,
    /// `queued`, `building`, `ready`, `failed` or `cancelled`.
    status: &'a str,
    /// What a queued build waits for, when it is asked for alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    waiting_for: Option<WaitingFor>,
    /// How many are before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    queued_before: Option<i64>,
    /// `cloning`, `installing`, `building` or `packaging`.
    #[schema(value_type = Option<String>)]
    phase: Option<Phase>,
    branch: &'a str,
    commit_sha: Option<&'a str>,
    /// The archive it is made of, where that is no commit.
    #[schema(value_type = Option<Packed>)]
    upload: Option<&'a Artifact>,
    deploy: bool,
    cancel_requested: bool,
    failure: Option<Failed<'a>>,
    /// How often a worker has taken it up.
    tries: i32,
    /// What went wrong the last time by the platform's own fault.
    last_try: Option<Failed<'a>>,
    /// The newer build that made it needless.
    #[schema(value_type = Option<uuid::Uuid>)]
    superseded_by: Option<BuildId>,
    #[schema(value_type = Option<Packed>)]
    artifact: Option<&'a Artifact>,
    /// Whether its artifact is still kept, so that it can be deployed.
    artifact_kept: bool,
    node_version: Option<&'a str>,
    warnings: &'a [String],
    /// Names of variables that its code reads.
    env_refs: &'a [String],
    /// Those of them that nobody has set for the server, when it is asked for alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_env_vars: Option<Vec<String>>,
    /// What it used at most, once it has ended.
    peak: Option<Used>,
    /// What asked for it, when that was a push.
    #[schema(value_type = Option<Trigger>)]
    trigger: Option<Trigger<'a>>,
    created_by: &'a str,
    created_at: DateTime<Utc>,
    started_at: Option<DateTime<Utc>>,
    finished_at: Option<DateTime<Utc>>,
    updated_at: DateTime<Utc>,
}

/// What asked for a build: a delivery of a git host.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = BuildTrigger)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Trigger<'a> {
    /// `github`.
    source: &'a str,
    #[schema(value_type = uuid::Uuid)]
    delivery_id: DeliveryId,
}

/// What a build used at most. A figure that its runner could not tell is `null`; all are rounded up.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = BuildPeak)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Used {
    /// Of all its processes together, with the files that the kernel kept in memory for them.
    memory_mib: Option<u32>,
    /// What it had written to disk.
    disk_mib: Option<u32>,
    /// Processes and threads at a time.
    pids: Option<u32>,
    /// Processor time of its commands.
    cpu_seconds: Option<u32>,
    /// From its begin to its end.
    wall_seconds: Option<u32>,
}

impl From<Peak> for Used {
    fn from(peak: Peak) -> Self {
        let Peak { memory_mib, disk_mib, pids, cpu_seconds, wall_seconds } = peak;
        Self { memory_mib, disk_mib, pids, cpu_seconds, wall_seconds }
    }
}

/// Why a build failed.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = BuildFailure)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failed<'a> {
    #[schema(value_type = String)]
    code: FailureCode,
    #[schema(value_type = String)]
    phase: Phase,
    message: &'a str,
    exit_code: Option<i32>,
}

/// `domain::ports::artifacts::Artifact`, for the document.
#[derive(utoipa::ToSchema)]
#[schema(as = Artifact)]
#[expect(dead_code, reason = "only its shape is of interest")]
pub(crate) struct Packed {
    sha256: String,
    bytes: u64,
}

fn view(build: &BuildRow) -> Value {
    json!(view_of(build))
}

fn view_of(build: &BuildRow) -> View<'_> {
    View {
        id: build.id,
        project_id: build.project_id,
        environment_id: build.environment_id,
        status: &build.status,
        waiting_for: None,
        queued_before: None,
        phase: build.phase,
        branch: &build.branch,
        commit_sha: build.commit.as_deref(),
        upload: build.upload.as_ref(),
        deploy: build.deploy,
        cancel_requested: build.cancel_requested,
        failure: build.failure.as_ref().map(failed),
        tries: build.tries,
        last_try: build.last_try.as_ref().map(failed),
        superseded_by: build.superseded_by,
        artifact: build.artifact.as_ref(),
        artifact_kept: build.artifact.is_some() && build.artifact_pruned_at.is_none(),
        node_version: build.node_version.as_deref(),
        warnings: &build.warnings,
        env_refs: &build.env_refs,
        missing_env_vars: None,
        peak: build.peak.map(Used::from),
        trigger: build.trigger.as_ref().map(|it| Trigger { source: &it.source, delivery_id: it.delivery_id }),
        created_by: &build.created_by,
        created_at: build.created_at,
        started_at: build.started_at,
        finished_at: build.finished_at,
        updated_at: build.updated_at,
    }
}

fn failed(failure: &BuildFailure) -> Failed<'_> {
    Failed {
        code: failure.code,
        phase: failure.phase,
        message: &failure.message,
        exit_code: failure.exit_code,
    }
}
