//! `POST /environments/{environment}/deployments` — puts a build of the project into the environment, or what runs or
//! ran in another one, with the variables that the environment has now.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::deployment::{DeploymentCommand, DeploymentKind};
use domain::ids::{BuildId, DeploymentId};
use domain::policy::{self, Action};
use domain::project::Project;
use projections::projects::EnvironmentRow;
use serde::Deserialize;

use super::{at_run_time, must_be_kept, request_or_compare};
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;

/// What to deploy: one of both.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Deploy {
    #[schema(value_type = Option<uuid::Uuid>)]
    build_id: Option<BuildId>,
    /// A deployment of any environment of the project: the same artifact.
    #[schema(value_type = Option<uuid::Uuid>)]
    deployment_id: Option<DeploymentId>,
}

impl Deploy {
    /// Of a build.
    pub(crate) fn build(id: BuildId) -> Self {
        Self { build_id: Some(id), deployment_id: None }
    }
}

pub(crate) async fn promote(
    State(platform): State<Arc<Platform>>,
    environment: Scoped<EnvironmentRow>,
    Body(Deploy { build_id, deployment_id }): Body<Deploy>,
) -> Result<Response, ApiError> {
    let project_id = environment.it.project_id;
    let (field, build_id) = match (build_id, deployment_id) {
        (Some(build), None) => ("buildId", build),
        (None, Some(id)) => {
            let row = projections::deployments::find(&platform.pool, id).await?;
            let row = row.filter(|row| row.project_id == project_id).ok_or_else(|| {
                let text = "must be a deployment of the project";
                ApiError::field("deploymentId", "unknown_deployment", text)
            })?;
            ("deploymentId", row.build_id)
        }
        _ => {
            return Err(ApiError::field("buildId", "required", "must be given, or `deploymentId`, not both"));
        }
    };
    let unknown = || ApiError::field(field, "unknown_build", "must be a build of the project that is ready");
    let build = projections::builds::find(&platform.pool, build_id).await?;
    let build = build.filter(|build| build.project_id == project_id).ok_or_else(unknown)?;
    let here =
        |context| policy::Context { build_id: Some(build_id), branch: build.known_branch(), ..context };
    environment.must(&platform, Action::Execute, here).await?;
    must_be_kept(&build)?;
    let (Some(artifact), Some(node_version)) = (build.artifact, build.node_version) else {
        return Err(unknown());
    };
    let project = platform.commands.load::<Project>(project_id).await?.aggregate;
    let env_vars = at_run_time(project.env_vars_in(environment.it.environment.id));
    let command = DeploymentCommand::RequestDeployment {
        team_id: environment.team_id,
        project_id,
        environment_id: environment.it.environment.id,
        build_id,
        artifact,
        node_version,
        env_vars,
        kind: DeploymentKind::Promote,
    };
    request_or_compare(&platform, command, deployment_id, &environment.context()).await
}
