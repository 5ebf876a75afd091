//! `POST /api/v1/auth/password`: another password; all other sessions end.

use std::sync::Arc;

use axum::extract::State;
use commands::credentials;
use domain::user::UserCommand;
use serde::Deserialize;

use super::sessions::{Ended, current, end_others};
use crate::body::{Body, SecretText};
use crate::caller::Caller;
use crate::error::{ApiError, Problem};
use crate::passwords;
use crate::people::UserView;
use crate::platform::Platform;
use crate::reply::Reply;

/// The present password and the next.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Change {
    #[schema(value_type = String)]
    current: SecretText,
    #[schema(value_type = String, min_length = 10)]
    new: SecretText,
}

#[utoipa::path(post, path = "/api/v1/auth/password", operation_id = "changePassword", tag = "auth",
    request_body = Change, responses((status = 200, body = Ended)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(Change { current: SecretText(old), new: SecretText(new) }): Body<Change>,
) -> Result<Reply<Ended>, ApiError> {
    let (user_id, session_id) = current(&caller)?;
    let (ip, account, now) = (caller.facts().source_ip, user_id.to_string(), caller.at());
    platform.throttle.check(ip, &account, now)?;
    let stored = credentials::find(&platform.pool, user_id).await?;
    if !platform.passwords.verify(old, stored).await? {
        platform.throttle.failed(ip, &account, now);
        return Err(Problem::invalid("current", "wrong_password", "is not your present password").into());
    }
    let user = projections::users::find(&platform.pool, user_id).await?.ok_or_else(Problem::not_found)?;
    let user = UserView::open(platform.commands.vault(), &user).await?;
    passwords::check(&new, &user.email, "new")?;
    let context = caller.context();
    // The event first: a change that the log does not know must not be.
    let receipt = platform.commands.user(user_id, UserCommand::ChangePassword, &context).await?;
    let hash = platform.passwords.hash(new).await?;
    credentials::put(&platform.pool, user_id, &hash, now).await?;
    let (ended, last) = end_others(&platform, user_id, session_id, &context, 1).await?;
    let settled = platform.settled(last.unwrap_or(receipt)).await;
    Ok(Reply::done(settled, Ended { ended }))
}
