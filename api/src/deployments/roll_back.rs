//! `POST /environments/{environment}/rollback` — runs what an earlier deployment ran, with the variables as they
//! are now or as they were then.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::deployment::DeploymentKind;
use domain::ids::{DeploymentId, EnvironmentId};
use domain::policy;
use domain::project::Project;
use http::StatusCode;
use projections::deployments::DeploymentRow;
use projections::projects::EnvironmentRow;
use serde::Deserialize;

use super::diff::project_at;
use super::{again, at_run_time, must_be_kept, request_or_compare};
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;

/// Where to go back to. Without anything: to the deployment before the present one, with the variables of now.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RollBack {
    #[schema(value_type = Option<uuid::Uuid>)]
    deployment_id: Option<DeploymentId>,
    /// `now` (default): as they are set now; `then`: exactly those that the deployment ran with.
    env_vars: Option<EnvVarsOf>,
    /// As they were set at a time; instead of `envVars`.
    with_env_vars_as_of: Option<DateTime<Utc>>,
}

/// Which variables it runs with.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EnvVarsOf {
    Now,
    Then,
}

pub(crate) async fn roll_back(
    State(platform): State<Arc<Platform>>,
    environment: Scoped<EnvironmentRow>,
    Body(body): Body<RollBack>,
) -> Result<Response, ApiError> {
    if body.env_vars.is_some() && body.with_env_vars_as_of.is_some() {
        let text = "must not be given together with `withEnvVarsAsOf`";
        return Err(ApiError::field("envVars", "conflicting", text));
    }
    let id = environment.it.environment.id;
    let target = target(&platform, id, body.deployment_id).await?;
    let build = projections::builds::find(&platform.pool, target.build_id).await?;
    let branch = build.as_ref().and_then(projections::builds::BuildRow::known_branch);
    let here = |context| policy::Context { build_id: Some(target.build_id), branch, ..context };
    environment.must(&platform, policy::Action::Execute, here).await?;
    build.as_ref().map_or(Ok(()), must_be_kept)?;
    let env_vars = match (body.env_vars, body.with_env_vars_as_of) {
        (Some(EnvVarsOf::Then), _) => target.env_vars.clone(),
        (_, Some(at)) => project_then(&platform, &environment.it, at).await?.env_vars_in(id),
        _ => platform.commands.load::<Project>(environment.it.project_id).await?.aggregate.env_vars_in(id),
    };
    let command = again(&target, at_run_time(env_vars), DeploymentKind::Rollback);
    request_or_compare(&platform, command, Some(target.id), &environment.context()).await
}

/// A deployment of this environment that has served once.
async fn target(
    platform: &Platform,
    environment: EnvironmentId,
    wanted: Option<DeploymentId>,
) -> Result<DeploymentRow, ApiError> {
    let Some(id) = wanted else {
        let before = projections::going_back::before_present(&platform.pool, environment).await?;
        let text = "There is no earlier deployment to go back to.";
        return before.ok_or_else(|| ApiError::new(StatusCode::CONFLICT, "nothing_to_roll_back_to", text));
    };
    let row = projections::deployments::find(&platform.pool, id).await?;
    row.filter(|row| row.environment_id == environment && row.activated_at.is_some()).ok_or_else(|| {
        let text = "must be a deployment of this environment that has served";
        ApiError::field("deploymentId", "unknown_deployment", text)
    })
}

/// The project as the log had it at a time.
async fn project_then(
    platform: &Platform,
    environment: &EnvironmentRow,
    at: DateTime<Utc>,
) -> Result<Project, ApiError> {
    let then = projections::log::position_at(&platform.pool, at).await?;
    let project = project_at(platform, environment.project_id, then).await?;
    if project.environment(environment.environment.id).is_none() {
        return Err(ApiError::field(
            "withEnvVarsAsOf",
            "too_early",
            "must not lie before the environment was made",
        ));
    }
    Ok(project)
}
