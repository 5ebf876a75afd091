//! `POST /auth/logout` — ends the session that asks.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::json;

use crate::auth::login::cookie;
use crate::auth::sessions::end;
use crate::error::ApiError;
use crate::gate::{Caller, Principal, cookie_name};
use crate::platform::Platform;

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
) -> Result<Response, ApiError> {
    let Principal::Session { user, session, .. } = caller.principal else {
        return Err(ApiError::forbidden("Only a session can be signed out; revoke a token instead."));
    };
    let receipt = end(&platform, user, session, &caller.context(None)).await?;
    let cookie = format!("{}; Max-Age=0", cookie(&platform, cookie_name(platform.is_https()), ""));
    let headers = [
        (header::SET_COOKIE, cookie),
        (header::HeaderName::from_static("x-event-position"), receipt.position.to_string()),
    ];
    Ok((headers, axum::Json(json!({ "signedOut": true }))).into_response())
}
