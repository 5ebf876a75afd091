//! Several variables in one command.

use commands::{CommandError, Context, Expected, Loaded};
use domain::ids::{EnvironmentId, ProjectId, SecretId};
use domain::project::{Availability, NewEnvVar, Project, ProjectCommand, ProjectEvent};
use domain::sealed::{KeyOwner, purpose};
use domain::values::EnvKey;
use http::StatusCode;
use serde::Serialize;
use serde_json::json;

use crate::error::ApiError;
use crate::platform::Platform;
use crate::reply::Done;

/// How often it is begun again when others change the project meanwhile.
pub(super) const TRIES: usize = 8;

/// A value for a variable, not sealed yet.
pub(super) struct Plain<'a> {
    pub(super) key: EnvKey,
    pub(super) value: &'a [u8],
    pub(super) sensitive: bool,
    pub(super) availability: Availability,
}

/// The same, sealed for its place.
pub(super) async fn seal(
    platform: &Platform,
    (project, environment): (ProjectId, Option<EnvironmentId>),
    Plain { key, value, sensitive, availability }: Plain<'_>,
    context: &Context,
) -> Result<NewEnvVar, ApiError> {
    let (purpose, id): (_, SecretId) = (purpose::env_var(environment, &key), platform.new_id());
    let owner = KeyOwner::Project(project);
    let value = platform.commands.vault().seal_for(context, owner, &purpose, id, value).await?;
    Ok(NewEnvVar { key, value, sensitive, availability })
}

/// Sets variables of a place in the project as it was loaded, all or none, and counts what that did. Answers nothing
/// when somebody else was faster and there are tries `left`: what is counted is what was done.
pub(super) async fn set(
    platform: &Platform,
    (id, known): (ProjectId, Loaded<Project>),
    (environment_id, replace): (Option<EnvironmentId>, bool),
    vars: Vec<NewEnvVar>,
    context: &Context,
    left: usize,
) -> Result<Option<Done>, ApiError> {
    let asked = vars.len();
    let command = ProjectCommand::SetEnvVars { environment_id, vars, replace };
    let events = known.aggregate.foresee(command.clone()).unwrap_or_default();
    let mut exactly = context.clone();
    if exactly.expected == Expected::Any {
        exactly.expected = Expected::Exactly(known.version);
    }
    match platform.commands.project(id, command, &exactly).await {
        Err(CommandError::Conflict { .. }) if context.expected == Expected::Any && left > 0 => Ok(None),
        answer => {
            let counts = counts(&events, asked);
            Done::new(platform, StatusCode::OK, answer?, async || Ok(json!(counts))).await.map(Some)
        }
    }
}

/// What a command with several variables did.
#[derive(Default, Serialize, utoipa::ToSchema)]
#[schema(as = EnvVarCounts)]
pub(crate) struct Counts {
    added: usize,
    changed: usize,
    unchanged: usize,
    removed: usize,
}

fn counts(events: &[ProjectEvent], asked: usize) -> Counts {
    let mut counts = Counts::default();
    for event in events {
        match event {
            ProjectEvent::ProjectEnvVarSet { old: None, .. } => counts.added += 1,
            ProjectEvent::ProjectEnvVarSet { .. } => counts.changed += 1,
            ProjectEvent::ProjectEnvVarDeleted { .. } => counts.removed += 1,
            _ => {}
        }
    }
    counts.unchanged = asked.saturating_sub(counts.added + counts.changed);
    counts
}
