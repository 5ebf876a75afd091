//! `PUT /projects/{project}/repository/host-keys`, `POST …/scan` — what an ssh server is known by.
//!
//! Nothing is believed at first use: somebody looks at what the server shows, compares it with what the host publishes,
//! and says which keys are its own.

use axum::Json;
use axum::extract::State;
use domain::ports::git::GitError;
use domain::project::ProjectCommand;
use domain::values::HostKey;
use http::StatusCode;
use projections::projects::ProjectRow;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{PublicKey, Wired, host};
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::reply::{Done, items};

/// No server has as many.
const MAX_KEYS: usize = 20;

/// The keys of an ssh server.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PinHostKeys {
    /// As OpenSSH writes them, `ssh-ed25519 AAAA…`; without any, the server is not known any more.
    #[schema(value_type = Vec<String>)]
    host_keys: Vec<HostKey>,
    /// The server, with its port when it is not 22; that of the repository when absent.
    host: Option<String>,
}

pub(crate) async fn pin(
    State(platform): Wired,
    project: Scoped<ProjectRow>,
    Body(body): Body<PinHostKeys>,
) -> Result<Done, ApiError> {
    if body.host_keys.len() > MAX_KEYS {
        return Err(ApiError::field("hostKeys", "too_many", format!("must be {MAX_KEYS} at most")));
    }
    let host = host(&project.it, body.host.as_deref(), true)?;
    platform.changed(&project, ProjectCommand::PinHostKeys { host, keys: body.host_keys }).await
}

/// A question: it changes nothing. A dry run does not even ask.
pub(crate) async fn scan(
    State(platform): Wired,
    project: Scoped<ProjectRow>,
) -> Result<Json<Value>, ApiError> {
    if project.caller().is_dry_run() {
        return Ok(items(vec![], None));
    }
    host(&project.it, None, true)?;
    let Some(url) = &project.it.settings.repo_url else { return Err(ApiError::not_found()) };
    let keys = platform.git.host_keys(url).await.map_err(|error| match error {
        GitError::NotAllowed(why) => ApiError::new(StatusCode::CONFLICT, "not_allowed", format!("{why}.")),
        other => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "git_host_unreachable", format!("{other}.")),
    })?;
    Ok(items(keys.iter().map(|key| json!(PublicKey::of(key))).collect(), None))
}
