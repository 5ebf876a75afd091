//! `DELETE /api/v1/auth/sessions`: ends all sessions but the one that asks.

use std::sync::Arc;

use axum::extract::State;

use super::{Ended, current, end_others};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::platform::Platform;
use crate::reply::Reply;

#[utoipa::path(delete, path = "/api/v1/auth/sessions", operation_id = "endOtherSessions", tag = "auth",
    responses((status = 200, body = Ended)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
) -> Result<Reply<Ended>, ApiError> {
    let (user_id, current_id) = current(&caller)?;
    let (ended, last) = end_others(&platform, user_id, current_id, &caller.context(), 0).await?;
    let body = Ended { ended };
    Ok(match last {
        Some(receipt) => Reply::done(platform.settled(receipt).await, body),
        None => Reply::shown(body),
    })
}
