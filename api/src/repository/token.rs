//! `PUT/DELETE /projects/{project}/repository/token` — what opens a repository over https. Write-only.

use axum::extract::State;
use domain::ids::SecretId;
use domain::project::ProjectCommand;
use domain::sealed::{KeyOwner, purpose};
use domain::values::GitUsername;
use projections::projects::ProjectRow;
use serde::Deserialize;

use super::{Wired, host};
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::reply::Done;

/// No host's tokens are longer.
const MAX_TOKEN: usize = 4096;

/// What opens a repository over https.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SetRepositoryToken {
    /// The name that the host asks for beside it; `git` when absent, which most hosts take.
    #[schema(value_type = Option<String>)]
    username: Option<GitUsername>,
    /// The only host that it is sent to, with its port when it is not 443; that of the repository when absent.
    host: Option<String>,
    token: String,
}

/// It is bound to the host of the repository: who changes the address later does not send it elsewhere.
pub(crate) async fn set(
    State(platform): Wired,
    project: Scoped<ProjectRow>,
    Body(body): Body<SetRepositoryToken>,
) -> Result<Done, ApiError> {
    if !(1..=MAX_TOKEN).contains(&body.token.len()) || body.token.chars().any(char::is_control) {
        let text = "must have 1 to 4096 bytes and no control characters";
        return Err(ApiError::field("token", "invalid", text));
    }
    let host = host(&project.it, body.host.as_deref(), false)?;
    let (owner, purpose) = (KeyOwner::Project(project.it.id), purpose::repository_token(&host));
    let (sealing, context): (SecretId, _) = (platform.new_id(), project.context());
    let vault = platform.commands.vault();
    let token = vault.seal_for(&context, owner, &purpose, sealing, body.token.as_bytes()).await?;
    let username = body.username.unwrap_or_else(|| "git".parse().expect("a good name"));
    platform.changed(&project, ProjectCommand::SetRepositoryToken { host, username, token }).await
}

pub(crate) async fn remove(State(platform): Wired, project: Scoped<ProjectRow>) -> Result<Done, ApiError> {
    platform.changed(&project, ProjectCommand::RemoveRepositoryToken).await
}
