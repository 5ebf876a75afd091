//! `POST/DELETE /projects/{project}/repository/deploy-key` — a key pair that is made here; the private half never leaves.

use axum::extract::State;
use domain::ids::SecretId;
use domain::project::ProjectCommand;
use domain::sealed::{KeyOwner, purpose};
use projections::projects::ProjectRow;
use serde::Deserialize;

use super::Wired;
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::reply::Done;
use crate::tokens::overlap;

/// A new deploy key, in the place of the one before.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct MakeDeployKey {
    /// For how many seconds the one before is used besides: 0 to 604800, a day when absent.
    overlap_seconds: Option<u32>,
}

pub(crate) async fn make(
    State(platform): Wired,
    project: Scoped<ProjectRow>,
    Body(body): Body<MakeDeployKey>,
) -> Result<Done, ApiError> {
    let overlap_until = project.caller().at() + overlap(body.overlap_seconds)?;
    let pair = platform.git.new_deploy_key();
    let (sealing, context): (SecretId, _) = (platform.new_id(), project.context());
    let (owner, vault) = (KeyOwner::Project(project.it.id), platform.commands.vault());
    let secret = vault.seal_for(&context, owner, purpose::DEPLOY_KEY, sealing, pair.secret.expose()).await?;
    let command = ProjectCommand::MakeDeployKey { public_key: pair.public, secret, overlap_until };
    platform.changed(&project, command).await
}

pub(crate) async fn remove(State(platform): Wired, project: Scoped<ProjectRow>) -> Result<Done, ApiError> {
    platform.changed(&project, ProjectCommand::RemoveDeployKey).await
}
