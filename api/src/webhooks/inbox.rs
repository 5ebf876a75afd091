//! `POST /api/webhooks/github` — a git host tells of what happened there.
//!
//! Invariant: a delivery is answered with 2xx once it is stored with its row of work, and not before. What it leads to
//! is `take_delivery`'s business.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use domain::ids::DeliveryId;
use domain::ports::git_host::ReceiveError;
use http::{HeaderMap, StatusCode};
use projections::inbox;
use serde_json::{Value, json};

use super::unproved;
use crate::error::ApiError;
use crate::gate::Caller;
use crate::github::GITHUB;
use crate::platform::Platform;

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let host = platform.hosts.iter().find(|host| host.id() == GITHUB).ok_or_else(ApiError::not_found)?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let told = match host.receive(&header, &body) {
        Ok(told) => told,
        Err(ReceiveError::Closed) => return Err(ApiError::not_found()),
        Err(ReceiveError::Unproved(why)) => return Err(unproved(&platform, &caller, host.id(), why).await),
        Err(ReceiveError::Malformed(wrong)) => {
            return Err(ApiError::field(wrong.field, "invalid", wrong.why));
        }
    };
    if caller.is_dry_run() {
        return Err(ApiError::field("dryRun", "unsupported", "is not known of webhooks"));
    }
    let id: DeliveryId = platform.new_id();
    let is_new = inbox::store(&platform.pool, id, host.id(), &told, &body, caller.at()).await?;
    let (status, outcome) = if is_new { (StatusCode::ACCEPTED, "stored") } else { (StatusCode::OK, "known") };
    Ok((status, Json(json!({ "id": told.id, "outcome": outcome }))))
}
