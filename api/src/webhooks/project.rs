//! `POST /api/webhooks/git/{hook}` — whatever git host a project has tells of a push.
//!
//! Invariant: a delivery is answered with 2xx once it is stored with its row of work, and not before.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use domain::ids::{DeliveryId, HookId};
use domain::ports::git_host::{ReceiveError, Received};
use domain::sealed::purpose;
use http::{HeaderMap, StatusCode};
use projections::inbox;
use projections::repository_access::{PushHookRow, find_hook};
use serde_json::{Value, json};

use super::{count_refused, unproved};
use crate::body::Params;
use crate::error::ApiError;
use crate::gate::Caller;
use crate::platform::Platform;

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    headers: HeaderMap,
    params: Params,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let Some(hook) = find(&platform, &params).await? else {
        count_refused(&platform, &caller)?;
        return Err(ApiError::not_found());
    };
    let mut secrets = Vec::new();
    for sealed in hook.valid(caller.at()) {
        secrets.push(platform.commands.vault().open_sealed(sealed, purpose::PUSH_HOOK).await?);
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (form, told) = match platform.push_hooks.receive(&secrets, &header, &body, caller.at()) {
        Ok(received) => received,
        Err(ReceiveError::Closed) => return Err(ApiError::not_found()),
        Err(ReceiveError::Unproved(why)) => {
            return Err(unproved(&platform, &caller, &format!("push_hook/{}", hook.id), why).await);
        }
        Err(ReceiveError::Malformed(wrong)) => {
            return Err(ApiError::field(wrong.field, "invalid", wrong.why));
        }
    };
    if caller.is_dry_run() {
        return Err(ApiError::field("dryRun", "unsupported", "is not known of webhooks"));
    }
    // Ids are the sender's own: those of another webhook mean something else.
    let of_hook = format!("{}/{}", hook.id, told.id);
    let stored = Received { id: of_hook, project: Some(hook.project_id), ..told.clone() };
    let id: DeliveryId = platform.new_id();
    let is_new = inbox::store(&platform.pool, id, form, &stored, &body, caller.at()).await?;
    let (status, outcome) = if is_new { (StatusCode::ACCEPTED, "stored") } else { (StatusCode::OK, "known") };
    Ok((status, Json(json!({ "id": told.id, "outcome": outcome }))))
}

/// The webhook, if its project is there and its team is open.
async fn find(platform: &Platform, params: &Params) -> Result<Option<PushHookRow>, ApiError> {
    let Ok(id) = params.text("hook").parse::<HookId>() else { return Ok(None) };
    let Some(hook) = find_hook(&platform.pool, id).await? else { return Ok(None) };
    let project = projections::projects::find(&platform.pool, hook.project_id).await?;
    Ok(project.map(|_| hook))
}
