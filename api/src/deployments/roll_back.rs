//! `POST /environments/{environment}/rollback` — runs what an earlier deployment ran, with the variables as they
//! are now or as they were then.

use std::sync::Arc;

use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::deployment::DeploymentKind;
use domain::fact::StoredEvent;
use domain::ids::{DeploymentId, EnvironmentId};
use domain::policy;
use domain::project::{EnvVar, Project};
use http::StatusCode;
use projections::deployments::DeploymentRow;
use projections::projects::EnvironmentRow;
use serde::Deserialize;

use super::{again, at_run_time, request};
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::reply::Done;

/// Where to go back to. Without anything: to the deployment before the present one, with the variables of now.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RollBack {
    #[schema(value_type = Option<String>)]
    deployment_id: Option<DeploymentId>,
    with_env_vars_as_of: Option<DateTime<Utc>>,
}

pub(crate) async fn roll_back(
    State(platform): State<Arc<Platform>>,
    environment: Scoped<EnvironmentRow>,
    Body(body): Body<RollBack>,
) -> Result<Done, ApiError> {
    let id = environment.it.environment.id;
    let target = target(&platform, id, body.deployment_id).await?;
    let build = projections::builds::find(&platform.pool, target.build_id).await?;
    let branch = build.map(|build| build.branch);
    let here = |context| policy::Context { build_id: Some(target.build_id), branch, ..context };
    environment.must(&platform, policy::Action::Execute, here).await?;
    let project = project_at(&platform, &environment.it, body.with_env_vars_as_of).await?;
    let env_vars: Vec<EnvVar> = at_run_time(project.env_vars_in(id));
    request(&platform, again(&target, env_vars, DeploymentKind::Rollback), &environment.context()).await
}

/// A deployment of this environment that has served once.
async fn target(
    platform: &Platform,
    environment: EnvironmentId,
    wanted: Option<DeploymentId>,
) -> Result<DeploymentRow, ApiError> {
    let Some(id) = wanted else {
        let before = projections::deployments::before_last(&platform.pool, environment).await?;
        let text = "There is no earlier deployment to go back to.";
        return before.ok_or_else(|| ApiError::new(StatusCode::CONFLICT, "nothing_to_roll_back_to", text));
    };
    let row = projections::deployments::find(&platform.pool, id).await?;
    row.filter(|row| row.environment_id == environment && row.activated_at.is_some()).ok_or_else(|| {
        let text = "must be a deployment of this environment that has served";
        ApiError::field("deploymentId", "unknown_deployment", text)
    })
}

/// The project as it is, or as the log had it at a time.
async fn project_at(
    platform: &Platform,
    environment: &EnvironmentRow,
    at: Option<DateTime<Utc>>,
) -> Result<Project, ApiError> {
    let id = environment.project_id;
    let Some(at) = at else { return Ok(platform.commands.load::<Project>(id).await?.aggregate) };
    let events = projections::log::read_stream(&platform.pool, "project", &id.to_string()).await?;
    let mut project = Project::default();
    let then = projections::log::position_at(&platform.pool, at).await?;
    for event in events.iter().filter(|event: &&StoredEvent| event.position <= then) {
        for event in event.events::<Project>().map_err(|error| ApiError::internal(&error))? {
            cqrs_es::Aggregate::apply(&mut project, event);
        }
    }
    if project.environment(environment.environment.id).is_none() {
        return Err(ApiError::field(
            "withEnvVarsAsOf",
            "too_early",
            "must not lie before the environment was made",
        ));
    }
    Ok(project)
}
