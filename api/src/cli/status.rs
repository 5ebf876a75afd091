//! A build and its deployment as one deploy.

use chrono::{DateTime, Utc};
use domain::ids::{BuildId, EnvironmentId};
use projections::builds::BuildRow;
use projections::deployments::DeploymentRow;
use serde::Serialize;

/// A deploy as the command line knows it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = CliDeploy)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View {
    /// That of its build.
    #[schema(value_type = uuid::Uuid)]
    pub(crate) id: BuildId,
    #[schema(value_type = uuid::Uuid)]
    pub(crate) environment_id: EnvironmentId,
    pub(crate) environment_name: Option<String>,
    pub(crate) environment_slug: Option<String>,
    /// `queued`, `building`, `deploying`, `running`, `sleeping`, `failed` or `stopped`.
    pub(crate) status: &'static str,
    pub(crate) error: Option<String>,
    pub(crate) instance_url: Option<String>,
    pub(crate) github_branch: Option<String>,
    pub(crate) github_commit_sha: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
}

/// Without its place, which the caller adds.
pub(crate) fn view(build: &BuildRow, deployment: Option<&DeploymentRow>) -> View {
    let (status, error) = status(build, deployment);
    View {
        id: build.id,
        environment_id: build.environment_id,
        environment_name: None,
        environment_slug: None,
        status,
        error,
        instance_url: None,
        github_branch: Some(build.branch.clone()),
        github_commit_sha: build.commit.clone(),
        created_at: build.created_at,
    }
}

/// Whether nothing of it changes any more, or it runs.
pub(crate) fn is_settled(status: &str) -> bool {
    matches!(status, "running" | "sleeping" | "failed" | "stopped")
}

fn status(build: &BuildRow, deployment: Option<&DeploymentRow>) -> (&'static str, Option<String>) {
    match (build.status.as_str(), deployment) {
        ("queued", _) => ("queued", None),
        ("building", _) => ("building", None),
        ("failed", _) => ("failed", build.failure.as_ref().map(|failure| failure.message.clone())),
        ("ready", None) if build.deploy => ("deploying", None),
        ("ready", None) => ("stopped", Some("It was built, and not to be deployed.".to_owned())),
        ("ready", Some(deployment)) => of_deployment(deployment),
        _ => {
            let newer = build.superseded_by.map(|_| "A newer one made it needless.");
            ("stopped", Some(newer.unwrap_or("It was cancelled.").to_owned()))
        }
    }
}

fn of_deployment(deployment: &DeploymentRow) -> (&'static str, Option<String>) {
    match deployment.status.as_str() {
        "pending" | "starting" => ("deploying", None),
        "running" => ("running", None),
        "sleeping" => ("sleeping", None),
        "failed" => ("failed", deployment.failure.as_ref().map(|failure| failure.message.clone())),
        _ => ("stopped", None),
    }
}
