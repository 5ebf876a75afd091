//! `POST /api/v1/auth/logout`: ends the session of the request.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};

use super::sessions::{Ended, current, end};
use crate::caller::Caller;
use crate::cookie;
use crate::error::ApiError;
use crate::platform::Platform;
use crate::reply::Reply;

#[utoipa::path(post, path = "/api/v1/auth/logout", operation_id = "signOut", tag = "auth",
    responses((status = 200, body = Ended)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
) -> Result<([(HeaderName, HeaderValue); 1], Reply<Ended>), ApiError> {
    let (user_id, session_id) = current(&caller)?;
    let receipt = end(&platform, user_id, session_id, &caller.context()).await?;
    let settled = platform.settled(receipt).await;
    let cookie = cookie::clear(&platform.settings);
    Ok(([(header::SET_COOKIE, cookie)], Reply::done(settled, Ended { ended: vec![session_id] })))
}
