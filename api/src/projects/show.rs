//! `GET /projects/{project}` — one project.

use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::ids::{InstallationId, ProjectId, TeamId};
use domain::project::Previews;
use domain::values::{
    BranchName, CommandLine, DisplayName, HealthGate, PathFilter, RelativePath, RepoUrl, ResourcePlan, Slug,
};
use projections::projects::ProjectRow;
use serde::Serialize;
use serde_json::{Value, json};

use crate::gate::Scoped;
use crate::reply::resource;
use crate::shape;

pub(crate) async fn handler(project: Scoped<ProjectRow>) -> Response {
    resource(view(&project.it), project.it.version)
}

/// A project as the API shows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Project)]
#[serde(rename_all = "camelCase")]
pub(crate) struct View<'a> {
    #[schema(value_type = uuid::Uuid)]
    id: ProjectId,
    #[schema(value_type = uuid::Uuid)]
    team_id: TeamId,
    #[schema(value_type = shape::Name)]
    name: &'a DisplayName,
    #[schema(value_type = shape::Slug)]
    slug: &'a Slug,
    /// Null when all code is uploaded.
    #[schema(value_type = Option<shape::RepoUrl>)]
    repo_url: Option<&'a RepoUrl>,
    #[schema(value_type = shape::BranchName)]
    branch: &'a BranchName,
    #[schema(value_type = shape::RelativePath)]
    project_root: &'a RelativePath,
    #[schema(value_type = shape::RelativePath)]
    mastra_directory: &'a RelativePath,
    #[schema(value_type = Option<shape::CommandLine>)]
    install_command: Option<&'a CommandLine>,
    #[schema(value_type = Option<shape::CommandLine>)]
    build_command: Option<&'a CommandLine>,
    port: Option<u16>,
    min_scale: Option<u8>,
    #[schema(value_type = Option<shape::HealthGate>)]
    health: Option<&'a HealthGate>,
    #[schema(value_type = shape::ResourcePlan)]
    resources: ResourcePlan,
    #[schema(value_type = Option<uuid::Uuid>)]
    installation_id: Option<InstallationId>,
    /// GitHub's own id of the repository, when the project goes through an installation: pushes are known by it.
    repository_id: Option<i64>,
    /// What a push must touch to be built; anything when empty.
    #[schema(value_type = Vec<String>)]
    watch_paths: &'a [PathFilter],
    /// What pull requests get; nothing when null.
    #[schema(value_type = Option<shape::Previews>)]
    previews: Option<&'a Previews>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// A project as the API shows it.
pub(crate) fn view(project: &ProjectRow) -> Value {
    let settings = &project.settings;
    json!(View {
        id: project.id,
        team_id: project.team_id,
        name: &settings.name,
        slug: &settings.slug,
        repo_url: settings.repo_url.as_ref(),
        branch: &settings.branch,
        project_root: &settings.project_root,
        mastra_directory: &settings.mastra_directory,
        install_command: settings.install_command.as_ref(),
        build_command: settings.build_command.as_ref(),
        port: settings.port,
        min_scale: settings.min_scale,
        health: settings.health.as_ref(),
        resources: settings.resources,
        installation_id: settings.installation_id,
        repository_id: settings.repository_id,
        watch_paths: &settings.watch_paths,
        previews: settings.previews.as_ref(),
        created_at: project.created_at,
        updated_at: project.updated_at,
    })
}
