//! `GET /auth/providers` — how one can sign in here.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::ports::auth::Auth;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::platform::Platform;

pub(crate) async fn handler(State(platform): State<Arc<Platform>>) -> Json<Value> {
    let local = json!({ "id": "local", "type": "password", "name": "E-mail and password" });
    let others = platform.auth.iter().map(|provider| {
        json!({
            "id": provider.id(),
            "type": provider.kind(),
            "name": provider.name(),
            "authorizeUrl": format!("/api/v1/auth/{}/authorize", provider.id()),
        })
    });
    Json(json!({ "items": std::iter::once(local).chain(others).collect::<Vec<_>>() }))
}

/// The provider of this name.
pub(crate) fn find(platform: &Platform, id: &str) -> Result<Arc<dyn Auth>, ApiError> {
    platform.auth.iter().find(|provider| provider.id() == id).cloned().ok_or_else(ApiError::not_found)
}
