//! `DELETE /api/v1/auth/sessions/{session}`: ends a session of one's own.

use std::sync::Arc;

use axum::extract::State;
use domain::ids::SessionId;

use super::{Ended, current, end};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::platform::Platform;
use crate::query::Last;
use crate::reply::Reply;

#[utoipa::path(delete, path = "/api/v1/auth/sessions/{session}", operation_id = "endSession", tag = "auth",
    responses((status = 200, body = Ended)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Last(session_id): Last<SessionId>,
) -> Result<Reply<Ended>, ApiError> {
    let (user_id, _) = current(&caller)?;
    let receipt = end(&platform, user_id, session_id, &caller.context()).await?;
    Ok(Reply::done(platform.settled(receipt).await, Ended { ended: vec![session_id] }))
}
