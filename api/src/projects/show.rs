//! `GET /projects/{project}` — one project.

use axum::response::Response;
use projections::projects::ProjectRow;
use serde_json::{Value, json};

use crate::gate::Scoped;
use crate::reply::resource;

pub(crate) async fn handler(project: Scoped<ProjectRow>) -> Response {
    resource(view(&project.it), project.it.version)
}

/// A project as the API shows it.
pub(crate) fn view(project: &ProjectRow) -> Value {
    let settings = &project.settings;
    json!({
        "id": project.id,
        "teamId": project.team_id,
        "name": settings.name,
        "slug": settings.slug,
        "repoUrl": settings.repo_url,
        "branch": settings.branch,
        "projectRoot": settings.project_root,
        "mastraDirectory": settings.mastra_directory,
        "installCommand": settings.install_command,
        "buildCommand": settings.build_command,
        "port": settings.port,
        "minScale": settings.min_scale,
        "resources": settings.resources,
        "installationId": settings.installation_id,
        "createdAt": project.created_at,
        "updatedAt": project.updated_at,
    })
}
