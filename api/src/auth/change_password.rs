//! `POST /auth/password` — sets another password; every other session ends.

use std::sync::Arc;

use axum::extract::State;
use domain::access::SignInFailure;
use domain::user::UserCommand;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::auth::failure::{self, Account};
use crate::auth::password;
use crate::auth::sessions::{end_others, sign_outs};
use crate::body::Body;
use crate::dry_run::rehearsed;
use crate::error::ApiError;
use crate::gate::{Caller, Principal};
use crate::platform::Platform;
use crate::reply::Done;

/// The present and the new password.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangePassword {
    current: String,
    new: String,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(ChangePassword { current, new }): Body<ChangePassword>,
) -> Result<Done, ApiError> {
    let Principal::Session { user, session, .. } = caller.principal else {
        return Err(ApiError::forbidden("A password is changed by who is signed in, not by a token."));
    };
    password::check("new", &new)?;
    platform.throttle.check(caller.ip, &user.to_string(), caller.at())?;
    let stored = commands::credentials::password(&platform.pool, user).await?;
    if !password::matches(current, stored).await? {
        platform.throttle.failed(caller.ip, &user.to_string(), caller.at());
        failure::record(&platform, &caller, Account::Of(user), SignInFailure::WrongPassword).await?;
        return Err(ApiError::field("current", "wrong_password", "is not the present password"));
    }
    if caller.is_dry_run() {
        let mut commands = vec![UserCommand::ChangePassword];
        commands.extend(sign_outs(&platform, &caller, user, session).await?);
        return Err(rehearsed(&platform, user, commands, &caller).await?);
    }
    let hash = password::hash(new).await?;
    let receipt = platform.commands.user(user, UserCommand::ChangePassword, &caller.context(None)).await?;
    commands::credentials::set_password(&platform.pool, user, &hash, caller.at()).await?;
    let (_, last) = end_others(&platform, &caller, user, session, 1).await?;
    let receipt = last.unwrap_or(receipt);
    Done::new(&platform, StatusCode::OK, receipt, async || Ok(json!({ "changed": true }))).await
}
