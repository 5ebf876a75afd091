//! `DELETE /api/v1/me/tokens/{token}`: ends a personal token.

use std::sync::Arc;

use axum::extract::State;
use domain::ids::TokenId;
use domain::user::UserCommand;

use super::TokenView;
use crate::caller::Caller;
use crate::error::{ApiError, Problem};
use crate::platform::Platform;
use crate::query::Last;
use crate::reply::Reply;

#[utoipa::path(delete, path = "/api/v1/me/tokens/{token}", operation_id = "revokeMyToken", tag = "me",
    responses((status = 200, body = TokenView)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Last(token_id): Last<TokenId>,
) -> Result<Reply<TokenView>, ApiError> {
    let user_id = caller.person()?;
    let all = projections::tokens::of_user(&platform.pool, user_id).await?;
    let token = all.into_iter().find(|row| row.id == token_id).ok_or_else(Problem::not_found)?;
    let command = UserCommand::RevokeUserToken { token_id };
    let receipt = platform.commands.user(user_id, command, &caller.context()).await?;
    Ok(Reply::done(platform.settled(receipt).await, token.into()))
}
