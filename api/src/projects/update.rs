//! `PATCH /projects/{project}` — other settings.

use std::sync::Arc;

use axum::extract::State;
use commands::Expected;
use domain::ids::InstallationId;
use domain::project::{Previews, ProjectCommand, ProjectSettings};
use domain::values::{
    BranchName, CommandLine, DisplayName, HealthGate, PathFilter, RelativePath, RepoUrl, ResourcePlan, Slug,
};
use http::StatusCode;
use projections::projects::ProjectRow;
use serde::Deserialize;

use crate::body::{Body, nullable};
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::projects::create::{check, check_scale, find, find_repository};
use crate::projects::show::view;
use crate::reply::Done;
use crate::shape;

/// What is absent stays; null takes away.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChangeProject {
    #[schema(value_type = Option<shape::Name>)]
    name: Option<DisplayName>,
    #[schema(value_type = Option<shape::Slug>)]
    slug: Option<Slug>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<shape::RepoUrl>)]
    repo_url: Option<Option<RepoUrl>>,
    #[schema(value_type = Option<shape::BranchName>)]
    branch: Option<BranchName>,
    #[schema(value_type = Option<shape::RelativePath>)]
    project_root: Option<RelativePath>,
    #[schema(value_type = Option<shape::RelativePath>)]
    mastra_directory: Option<RelativePath>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<shape::CommandLine>)]
    install_command: Option<Option<CommandLine>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<shape::CommandLine>)]
    build_command: Option<Option<CommandLine>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u16>)]
    port: Option<Option<u16>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<u8>, maximum = 10)]
    min_scale: Option<Option<u8>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<shape::HealthGate>)]
    health: Option<Option<HealthGate>>,
    #[schema(value_type = Option<shape::ResourcePlan>)]
    resources: Option<ResourcePlan>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<uuid::Uuid>)]
    installation_id: Option<Option<InstallationId>>,
    #[schema(value_type = Option<Vec<String>>)]
    watch_paths: Option<Vec<PathFilter>>,
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<shape::Previews>)]
    previews: Option<Option<Previews>>,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Body(change): Body<ChangeProject>,
) -> Result<Done, ApiError> {
    let id = project.it.id;
    let old = &project.it.settings;
    let mut settings = change.onto(old.clone());
    if settings.min_scale != old.min_scale {
        check_scale(&settings)?;
    }
    check(&platform, &settings, &project).await?;
    if (settings.installation_id, &settings.repo_url) != (old.installation_id, &old.repo_url) {
        find_repository(&platform, &mut settings).await?;
    }
    let command = ProjectCommand::ChangeProjectSettings { settings: Box::new(settings) };
    // Decided on what was read: somebody else's change in between must not be undone.
    let mut context = project.context();
    if context.expected == Expected::Any {
        context.expected = Expected::Exactly(project.it.version);
    }
    let receipt = platform.commands.project(id, command, &context).await?;
    Done::new(&platform, StatusCode::OK, receipt, async || Ok(view(&find(&platform, id).await?))).await
}

impl ChangeProject {
    fn onto(self, old: ProjectSettings) -> ProjectSettings {
        ProjectSettings {
            name: self.name.unwrap_or(old.name),
            slug: self.slug.unwrap_or(old.slug),
            repo_url: self.repo_url.unwrap_or(old.repo_url),
            branch: self.branch.unwrap_or(old.branch),
            project_root: self.project_root.unwrap_or(old.project_root),
            mastra_directory: self.mastra_directory.unwrap_or(old.mastra_directory),
            install_command: self.install_command.unwrap_or(old.install_command),
            build_command: self.build_command.unwrap_or(old.build_command),
            port: self.port.unwrap_or(old.port),
            min_scale: self.min_scale.unwrap_or(old.min_scale),
            health: self.health.unwrap_or(old.health),
            resources: self.resources.unwrap_or(old.resources),
            installation_id: self.installation_id.unwrap_or(old.installation_id),
            repository_id: old.repository_id,
            watch_paths: self.watch_paths.unwrap_or(old.watch_paths),
            previews: self.previews.unwrap_or(old.previews),
            telemetry_days: old.telemetry_days,
            telemetry_rows: old.telemetry_rows,
        }
    }
}
