//! `GET /api/v1/me`: who one is.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use crate::caller::{Caller, Principal};
use crate::error::{ApiError, Problem};
use crate::people::UserView;
use crate::platform::Platform;
use crate::reply::Reply;

/// The person who calls.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Me {
    #[serde(flatten)]
    user: UserView,
    /// For `X-CSRF-Token`, when it is a session that calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf_token: Option<String>,
}

#[utoipa::path(get, path = "/api/v1/me", operation_id = "getMe", tag = "me",
    responses((status = 200, body = Me)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
) -> Result<Reply<Me>, ApiError> {
    let row = projections::users::find(&platform.pool, caller.person()?).await?;
    let row = row.ok_or_else(Problem::not_found)?;
    let csrf_token = match caller.principal() {
        Principal::Session { csrf_token, .. } => Some(csrf_token.clone()),
        Principal::PersonalToken { .. } | Principal::ProjectToken { .. } => None,
    };
    let user = UserView::open(platform.commands.vault(), &row).await?;
    Ok(Reply::resource(row.version, Me { user, csrf_token }))
}
