//! `POST /teams/{team}/projects` — makes a project with its production environment.

use std::sync::Arc;

use axum::extract::State;
use commands::Receipt;
use domain::ids::{InstallationId, ProjectId};
use domain::ports::git_host::HostError;
use domain::project::{MAX_REPLICAS, Previews, ProjectCommand, ProjectSettings};
use domain::values::{
    BranchName, CommandLine, DisplayName, HealthGate, PathFilter, RelativePath, RepoUrl, ResourcePlan, Slug,
};
use http::StatusCode;
use projections::projects::ProjectRow;
use projections::teams::TeamRow;
use serde::Deserialize;

use crate::body::{Body, present};
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::github;
use crate::platform::Platform;
use crate::projects::show::view;
use crate::reply::Done;
use crate::shape;

/// Patterns of paths that a project may have.
const MAX_WATCHED: usize = 100;

/// A new project.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateProject {
    #[schema(value_type = shape::Name)]
    name: DisplayName,
    #[schema(value_type = shape::Slug)]
    slug: Slug,
    /// Null when all code is uploaded.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<shape::RepoUrl>, required)]
    repo_url: Option<RepoUrl>,
    #[schema(value_type = Option<shape::BranchName>)]
    branch: Option<BranchName>,
    #[schema(value_type = Option<shape::RelativePath>)]
    project_root: Option<RelativePath>,
    #[schema(value_type = Option<shape::RelativePath>)]
    mastra_directory: Option<RelativePath>,
    #[schema(value_type = Option<shape::CommandLine>)]
    install_command: Option<CommandLine>,
    #[schema(value_type = Option<shape::CommandLine>)]
    build_command: Option<CommandLine>,
    port: Option<u16>,
    /// How many servers of a deployment run side by side; 0 is one that may sleep.
    #[schema(maximum = 10)]
    min_scale: Option<u8>,
    #[schema(value_type = Option<shape::HealthGate>)]
    health: Option<HealthGate>,
    #[schema(value_type = Option<shape::ResourcePlan>)]
    resources: Option<ResourcePlan>,
    #[schema(value_type = Option<uuid::Uuid>)]
    installation_id: Option<InstallationId>,
    /// What a push must touch to be built, as `apps/agent/**`; `!` before a pattern takes away.
    #[schema(value_type = Option<Vec<String>>)]
    watch_paths: Option<Vec<PathFilter>>,
    /// What pull requests get; nothing when absent.
    #[schema(value_type = Option<shape::Previews>)]
    previews: Option<Previews>,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    team: Scoped<TeamRow>,
    Body(body): Body<CreateProject>,
) -> Result<Done, ApiError> {
    let (receipt, id) = make(&platform, &team, body).await?;
    Done::new(&platform, StatusCode::CREATED, receipt, async || Ok(view(&find(&platform, id).await?))).await
}

/// Makes a project; answers its id with the receipt.
pub(crate) async fn make(
    platform: &Platform,
    team: &Scoped<TeamRow>,
    body: CreateProject,
) -> Result<(Receipt, ProjectId), ApiError> {
    let mut settings = body.settings();
    check_scale(&settings)?;
    check(platform, &settings, team).await?;
    find_repository(platform, &mut settings).await?;
    let id: ProjectId = platform.new_id();
    let command = ProjectCommand::CreateProject {
        team_id: team.it.id,
        settings: Box::new(settings),
        production: platform.new_id(),
    };
    let receipt = platform.commands.project(id, command, &team.context().of_new()).await?;
    // With a repeated key it is the project of the first time.
    let id = receipt.aggregate_id.parse().unwrap_or(id);
    Ok((receipt, id))
}

/// A project that is there.
pub(crate) async fn find(platform: &Platform, id: ProjectId) -> Result<ProjectRow, ApiError> {
    projections::projects::find(&platform.pool, id).await?.ok_or_else(ApiError::not_found)
}

impl CreateProject {
    /// One whose code is uploaded.
    pub(crate) fn uploaded(name: DisplayName, slug: Slug) -> Self {
        Self {
            name,
            slug,
            repo_url: None,
            branch: None,
            project_root: None,
            mastra_directory: None,
            install_command: None,
            build_command: None,
            port: None,
            min_scale: None,
            health: None,
            resources: None,
            installation_id: None,
            watch_paths: None,
            previews: None,
        }
    }

    fn settings(self) -> ProjectSettings {
        ProjectSettings {
            name: self.name,
            slug: self.slug,
            repo_url: self.repo_url,
            branch: self.branch.unwrap_or_else(|| "main".parse().expect("a good branch")),
            project_root: self.project_root.unwrap_or_else(|| ".".parse().expect("a good path")),
            mastra_directory: self
                .mastra_directory
                .unwrap_or_else(|| "src/mastra".parse().expect("a good path")),
            install_command: self.install_command,
            build_command: self.build_command,
            port: self.port,
            min_scale: self.min_scale,
            health: self.health,
            resources: self.resources.unwrap_or_default(),
            installation_id: self.installation_id,
            repository_id: None,
            watch_paths: self.watch_paths.unwrap_or_default(),
            previews: self.previews,
            telemetry_days: None,
            telemetry_rows: None,
        }
    }
}

/// Asks GitHub which repository the address is, when the project goes through an installation.
pub(crate) async fn find_repository(
    platform: &Platform,
    settings: &mut ProjectSettings,
) -> Result<(), ApiError> {
    settings.repository_id = None;
    let Some(id) = settings.installation_id else { return Ok(()) };
    let unknown = || ApiError::field("installationId", "unknown", "must be an installation of the team");
    let row = projections::teams::installation(&platform.pool, id).await?.ok_or_else(unknown)?;
    let Some(url) = &settings.repo_url else {
        return Err(ApiError::field(
            "repoUrl",
            "required",
            "is required: an installation opens a repository",
        ));
    };
    match github::github(platform)?.repository(row.github_id, url).await {
        Ok(found) => {
            settings.repository_id = Some(found.id);
            settings.repo_url = Some(found.url);
            Ok(())
        }
        Err(HostError::NotFound(_)) => {
            let text = "must be a repository that the installation opens";
            Err(ApiError::field("repoUrl", "not_in_installation", text))
        }
        Err(error) => Err(error.into()),
    }
}

/// How many servers it may have. Those that had more before there was a limit keep their other settings.
pub(crate) fn check_scale(settings: &ProjectSettings) -> Result<(), ApiError> {
    if settings.min_scale.is_some_and(|servers| servers > MAX_REPLICAS) {
        let text = format!("must be 0 to {MAX_REPLICAS}");
        return Err(ApiError::field("minScale", "out_of_range", text));
    }
    Ok(())
}

/// What a type alone cannot know.
pub(crate) async fn check<T>(
    platform: &Platform,
    settings: &ProjectSettings,
    scope: &Scoped<T>,
) -> Result<(), ApiError> {
    let local = settings.repo_url.as_ref().filter(|url| url.is_local());
    if local.is_some_and(|url| !is_allowed(platform, url)) {
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
    if let Some(Err((field, error))) = settings.health.as_ref().map(HealthGate::check) {
        return Err(ApiError::field(format!("health.{field}"), "out_of_range", error.to_string()));
    }
    if let Some(Err((field, error))) = settings.previews.as_ref().map(Previews::check) {
        return Err(ApiError::field(format!("previews.{field}"), "out_of_range", error.to_string()));
    }
    if settings.watch_paths.len() > MAX_WATCHED {
        return Err(ApiError::field("watchPaths", "too_many", format!("must be {MAX_WATCHED} at most")));
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
