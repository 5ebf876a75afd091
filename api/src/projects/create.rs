//! `POST /teams/{team}/projects` — makes a project with its production environment.

use std::sync::Arc;

use axum::extract::State;
use domain::ids::{InstallationId, ProjectId};
use domain::project::{ProjectCommand, ProjectSettings};
use domain::values::{BranchName, CommandLine, DisplayName, RelativePath, RepoUrl, ResourcePlan, Slug};
use http::StatusCode;
use projections::teams::TeamRow;
use serde::Deserialize;

use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::projects::show::view;
use crate::reply::Done;

/// A new project.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateProject {
    #[schema(value_type = String)]
    name: DisplayName,
    #[schema(value_type = String)]
    slug: Slug,
    #[schema(value_type = String)]
    repo_url: RepoUrl,
    #[schema(value_type = Option<String>)]
    branch: Option<BranchName>,
    #[schema(value_type = Option<String>)]
    project_root: Option<RelativePath>,
    #[schema(value_type = Option<String>)]
    mastra_directory: Option<RelativePath>,
    #[schema(value_type = Option<String>)]
    install_command: Option<CommandLine>,
    #[schema(value_type = Option<String>)]
    build_command: Option<CommandLine>,
    port: Option<u16>,
    min_scale: Option<u8>,
    #[schema(value_type = Option<Object>)]
    resources: Option<ResourcePlan>,
    #[schema(value_type = Option<String>)]
    installation_id: Option<InstallationId>,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Body(body): Body<CreateProject>,
) -> Result<Done, ApiError> {
    let settings = ProjectSettings {
        name: body.name,
        slug: body.slug,
        repo_url: body.repo_url,
        branch: body.branch.unwrap_or_else(|| "main".parse().expect("a good branch")),
        project_root: body.project_root.unwrap_or_else(|| ".".parse().expect("a good path")),
        mastra_directory: body.mastra_directory.unwrap_or_else(|| "src/mastra".parse().expect("a good path")),
        install_command: body.install_command,
        build_command: body.build_command,
        port: body.port,
        min_scale: body.min_scale,
        resources: body.resources.unwrap_or_default(),
        installation_id: body.installation_id,
    };
    check(&platform, &settings, &team).await?;
    let id: ProjectId = platform.new_id();
    let command = ProjectCommand::CreateProject {
        team_id: team.it.id,
        settings: Box::new(settings),
        production: platform.new_id(),
    };
    let receipt = platform.commands.project(id, command, &team.context().of_new()).await?;
    // With a repeated key it is the project of the first time.
    let id = receipt.aggregate_id.parse().unwrap_or(id);
    Done::new(&platform, StatusCode::CREATED, receipt, async || {
        let project = projections::projects::find(&platform.pool, id).await?;
        Ok(view(&project.ok_or_else(ApiError::not_found)?))
    })
    .await
}

/// What a type alone cannot know.
pub(crate) async fn check<T>(
    platform: &Platform,
    settings: &ProjectSettings,
    scope: &Scoped<T>,
) -> Result<(), ApiError> {
    if settings.repo_url.is_local() && !is_allowed(platform, &settings.repo_url) {
        let text = "is a path on the server, which its operator does not allow (--allow-local-repos)";
        return Err(ApiError::field("repoUrl", "not_allowed", text));
    }
    if settings.port == Some(0) {
        return Err(ApiError::field("port", "out_of_range", "must be 1 to 65535"));
    }
    for (name, limits) in [("builder", settings.resources.builder), ("runner", settings.resources.runner)] {
        if let Some(Err((field, error))) = limits.map(|limits| limits.check()) {
            return Err(ApiError::field(
                format!("resources.{name}.{field}"),
                "out_of_range",
                error.to_string(),
            ));
        }
    }
    if let Some(id) = settings.installation_id {
        let installations = projections::teams::installations(&platform.pool, scope.team_id).await?;
        if !installations.iter().any(|installation| installation.id == id) {
            return Err(ApiError::field("installationId", "unknown", "must be an installation of the team"));
        }
    }
    Ok(())
}

fn is_allowed(platform: &Platform, url: &RepoUrl) -> bool {
    let Some(path) = url.as_str().strip_prefix("file://") else { return false };
    let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let path = std::path::Path::new(path.as_ref());
    let has_dots = path.components().any(|part| part == std::path::Component::ParentDir);
    !has_dots && platform.settings.local_roots.iter().any(|root| path.starts_with(root))
}
