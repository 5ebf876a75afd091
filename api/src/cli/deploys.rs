//! `POST /v1/projects/{project}/environments/{environment}/deploy`, `POST …/deploys/{deploy}/upload-complete`,
//! `GET …/deploys/{build}`, `GET …/diagnosis`, `GET /v1/projects/{project}/environment-deploys`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use commands::uploads::{GOOD_FOR, Upload};
use domain::build::{BuildCommand, Source};
use domain::ids::BuildId;
use domain::policy::Action;
use http::{HeaderMap, StatusCode};
use projections::builds::BuildRow;
use projections::projects::{EnvironmentRow, ProjectRow};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::status::{self, View};
use super::{env_vars, upload};
use crate::body::{Body, Params};
use crate::deployments::SWITCH;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::Done;
use crate::router::Place;

/// Deploys that a list shows.
const RECENT: i64 = 50;

/// What a deploy brings with it besides its code.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = CliCreateDeploy)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Create {
    /// Variables of the environment: they are set before anything is uploaded.
    #[serde(default)]
    env_vars: BTreeMap<String, String>,
}

/// A deploy that waits for its code.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CliDeployCreated)]
pub(crate) struct Created {
    deploy: Waiting,
}

/// A deploy that waits for its code.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CliDeployWaiting)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Waiting {
    #[schema(value_type = uuid::Uuid)]
    id: BuildId,
    status: &'static str,
    /// Where a zip is to be put, once, within an hour, without any other credential.
    upload_url: String,
}

/// One deploy.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CliDeployShown)]
pub(crate) struct Shown {
    deploy: View,
}

/// Deploys, newest first.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CliDeploys)]
pub(crate) struct Deploys {
    deploys: Vec<View>,
}

/// Why a deploy failed.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CliDiagnosed)]
pub(crate) struct Diagnosed {
    diagnosis: Diagnosis,
}

/// What the platform knows of a failure.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CliDiagnosis)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Diagnosis {
    status: &'static str,
    summary: String,
    recommendations: Vec<Recommendation>,
    completed_at: Option<DateTime<Utc>>,
}

/// What can be done about a failure.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CliRecommendation)]
pub(crate) struct Recommendation {
    title: String,
    description: String,
}

pub(crate) async fn create(
    State(platform): State<Arc<Platform>>,
    environment: Scoped<EnvironmentRow>,
    headers: HeaderMap,
    Body(body): Body<Create>,
) -> Result<Response, ApiError> {
    environment.must(&platform, Action::Execute, |context| context).await?;
    if environment.caller().is_dry_run() {
        env_vars::set_with_deploy(&platform, &environment, body.env_vars).await?;
        return Err(ApiError::DryRun(vec![]));
    }
    let branch = headers.get("x-git-branch").and_then(|branch| branch.to_str().ok()?.parse().ok());
    let upload = Upload {
        build_id: platform.new_id(),
        team_id: environment.team_id,
        project_id: environment.it.project_id,
        environment_id: environment.it.environment.id,
        branch,
        created_at: environment.caller().at(),
        archive: None,
    };
    // Where there is no room for another, nothing is set either; and what sets nothing takes no room.
    let upload_url = upload::begin(&platform, &upload).await?;
    if let Err(refused) = env_vars::set_with_deploy(&platform, &environment, body.env_vars).await {
        platform.uploads.rows.end(upload.build_id, environment.caller().at()).await?;
        return Err(refused);
    }
    let deploy = Waiting { id: upload.build_id, status: "uploading", upload_url };
    Ok((StatusCode::CREATED, Json(Created { deploy })).into_response())
}

/// What was uploaded is built and deployed from here on.
pub(crate) async fn upload_complete(
    State(platform): State<Arc<Platform>>,
    environment: Scoped<EnvironmentRow>,
    params: Params,
) -> Result<Done, ApiError> {
    environment.must(&platform, Action::Execute, |context| context).await?;
    let (id, row): (BuildId, _) = (params.id("deploy")?, &environment.it);
    let upload = platform.uploads.rows.find(id).await?;
    let upload = upload.filter(|upload| upload.environment_id == row.environment.id);
    let upload = upload.ok_or_else(ApiError::not_found)?;
    let Some(archive) = upload.archive else {
        let text = "Nothing was uploaded for this deploy yet.";
        return Err(ApiError::new(StatusCode::CONFLICT, "not_uploaded", text));
    };
    if upload.created_at + GOOD_FOR < environment.caller().at() {
        let text = "This deploy was begun too long ago: begin another.";
        return Err(ApiError::new(StatusCode::GONE, "upload_expired", text));
    }
    let project = projections::projects::find(&platform.pool, row.project_id).await?;
    let project = project.ok_or_else(ApiError::not_found)?;
    let usual = row.environment.branch.clone().unwrap_or(project.settings.branch);
    let command = BuildCommand::RequestBuild {
        team_id: environment.team_id,
        project_id: row.project_id,
        environment_id: row.environment.id,
        environment_type: row.environment.kind,
        branch: upload.branch.unwrap_or(usual),
        commit: None,
        source: Source::Upload(archive),
        deploy: true,
        trigger: None,
    };
    // Asked twice, it is the same build.
    let receipt = platform.commands.build(id, command, &environment.context()).await?;
    if let Err(error) = platform.uploads.rows.asked(id, environment.caller().at()).await {
        // It only counts for a while among those that wait.
        tracing::warn!(%error, "an upload is not known to be built: {error}");
    }
    Done::new(&platform, StatusCode::ACCEPTED, receipt, async || {
        let build = projections::builds::find(&platform.pool, id).await?.ok_or_else(ApiError::not_found)?;
        Ok(json!(Shown { deploy: shown(&platform, &build).await? }))
    })
    .await
}

pub(crate) async fn show(
    State(platform): State<Arc<Platform>>,
    build: Scoped<BuildRow>,
) -> Result<Json<Shown>, ApiError> {
    let mut deploy = shown(&platform, &build.it).await?;
    if deploy.status == "sleeping" {
        // Who waits for it to run has waited long enough: the next request wakes it.
        deploy.status = "running";
    }
    if deploy.status == "running" {
        // Who reads that it runs may ask it at once.
        let head = projections::log::head(&platform.pool).await?;
        platform.router.seen(head, SWITCH).await;
    }
    Ok(Json(Shown { deploy }))
}

pub(crate) async fn list(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
) -> Result<Json<Deploys>, ApiError> {
    let builds = projections::builds::of_project(&platform.pool, project.it.id, None, RECENT).await?;
    let ids: Vec<BuildId> = builds.iter().map(|build| build.id).collect();
    let deployments = projections::deployments::newest_of(&platform.pool, &ids).await?;
    let deployments: HashMap<_, _> = deployments.iter().map(|row| (row.build_id, row)).collect();
    let environments = projections::projects::environments(&platform.pool, project.it.id).await?;
    let place = Place::of(&platform, project.view(), project.it.id).await?;
    let deploys = builds.iter().map(|build| {
        let view = status::view(build, deployments.get(&build.id).copied());
        placed(view, &environments, &place)
    });
    Ok(Json(Deploys { deploys: deploys.collect() }))
}

/// What is known of a failure is known at once. 204 where there is none.
pub(crate) async fn diagnosis(
    State(platform): State<Arc<Platform>>,
    build: Scoped<BuildRow>,
) -> Result<Response, ApiError> {
    let deploy = shown(&platform, &build.it).await?;
    if deploy.status != "failed" {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let summary = deploy.error.unwrap_or_else(|| "It failed.".to_owned());
    let recommendations = build.it.warnings.iter().map(|warning| Recommendation {
        title: "The build warned of this".to_owned(),
        description: warning.clone(),
    });
    let look = Recommendation {
        title: "Look at its output".to_owned(),
        description: "The lines before the end say what was done last.".to_owned(),
    };
    let diagnosis = Diagnosis {
        status: "COMPLETED",
        summary,
        recommendations: recommendations.chain([look]).collect(),
        completed_at: build.it.finished_at,
    };
    Ok(Json(Diagnosed { diagnosis }).into_response())
}

/// A deploy with its place.
pub(super) async fn shown(platform: &Platform, build: &BuildRow) -> Result<View, ApiError> {
    let deployment = projections::deployments::newest_of(&platform.pool, &[build.id]).await?.pop();
    let environments = projections::projects::environments(&platform.pool, build.project_id).await?;
    let now = projections::past::View::now(platform.pool.clone());
    let place = Place::of(platform, &now, build.project_id).await?;
    Ok(placed(status::view(build, deployment.as_ref()), &environments, &place))
}

fn placed(view: View, environments: &[EnvironmentRow], place: &Place<'_>) -> View {
    let own = environments.iter().find(|row| row.environment.id == view.environment_id);
    let Some(own) = own else { return view };
    View {
        environment_name: Some(own.environment.name.to_string()),
        environment_slug: Some(own.environment.slug.to_string()),
        instance_url: place.url(own.environment.slug.as_str()),
        ..view
    }
}
