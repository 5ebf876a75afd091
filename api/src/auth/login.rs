//! `POST /api/v1/auth/login`: signs in with e-mail and password.

use std::sync::Arc;

use axum::extract::State;
use commands::credentials;
use domain::values::Email;
use serde::Deserialize;

use super::sign_in::{Answer, SignedIn, sign_in};
use crate::body::{Body, SecretText};
use crate::caller::Facts;
use crate::error::{ApiError, Problem};
use crate::people::UserView;
use crate::platform::Platform;
use crate::reply::Reply;

/// Who signs in.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Login {
    #[schema(value_type = String)]
    email: Email,
    #[schema(value_type = String)]
    password: SecretText,
    /// Nobody has a second factor yet.
    #[serde(default, rename = "totp")]
    #[schema(value_type = Option<String>)]
    _totp: Option<SecretText>,
}

#[utoipa::path(post, path = "/api/v1/auth/login", operation_id = "signIn", tag = "auth",
    request_body = Login, responses((status = 200, body = SignedIn)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    facts: Facts,
    Body(Login { email, password: SecretText(password), .. }): Body<Login>,
) -> Result<Answer, ApiError> {
    let hash = platform.email_hash(&email).await?;
    platform.throttle.check(facts.source_ip, &hash, facts.at)?;
    let user = projections::users::find_by_email_hash(&platform.pool, &hash).await?;
    let stored = match &user {
        Some(user) => credentials::find(&platform.pool, user.id).await?,
        None => None,
    };
    // As long for an account that nobody has as for a wrong password.
    let right = platform.passwords.verify(password, stored).await?;
    let Some(user) = user.filter(|_| right) else {
        platform.throttle.failed(facts.source_ip, &hash, facts.at);
        metrics::counter!("mastra_admin_failed_sign_ins_total").increment(1);
        tracing::info!(request.id = facts.request_id, "a sign-in failed");
        return Err(Problem::new(401, "invalid_credentials", "Not signed in")
            .detail("the address or the password is wrong")
            .into());
    };
    let view = UserView::open(platform.commands.vault(), &user).await?;
    sign_in(&platform, &facts, view, Reply::done).await
}
