//! `POST /api/v1/auth/setup`: makes the first user, once, on an empty system.

use std::sync::Arc;

use axum::extract::State;
use commands::{Mode, credentials};
use domain::envelope::Actor;
use domain::ids::UserId;
use domain::values::{Email, PersonName};
use serde::Deserialize;

use super::account::{NewUser, register};
use super::sign_in::{Answer, SignedIn, sign_in};
use crate::body::{Body, SecretText};
use crate::caller::Facts;
use crate::error::{ApiError, Problem};
use crate::passwords;
use crate::platform::Platform;
use crate::reply::Reply;
use crate::secret_token::{Kind, SecretToken};

/// The first user.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Setup {
    /// As the server printed it when it started.
    #[schema(value_type = String)]
    setup_token: SecretText,
    #[schema(value_type = String)]
    email: Email,
    #[schema(value_type = String, min_length = 10)]
    password: SecretText,
    #[schema(value_type = String)]
    first_name: PersonName,
    #[schema(value_type = String)]
    last_name: PersonName,
}

#[utoipa::path(post, path = "/api/v1/auth/setup", operation_id = "setUp", tag = "auth",
    request_body = Setup, responses((status = 201, body = SignedIn)))]
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    facts: Facts,
    Body(setup): Body<Setup>,
) -> Result<Answer, ApiError> {
    let Setup { setup_token, email, password: SecretText(password), first_name, last_name } = setup;
    if credentials::any_user(&platform.pool).await? {
        let done = Problem::new(410, "already_set_up", "Already set up");
        return Err(done.detail("this installation has its first user already").into());
    }
    let unknown = || Problem::unauthorized("this setup token is not known, or no longer");
    let token = setup_token.0.expose_str().and_then(|text| SecretToken::parse(Kind::Setup, text));
    let token = token.ok_or_else(unknown)?;
    if !credentials::knows_setup_token(&platform.pool, &token.hash()).await? {
        return Err(unknown().into());
    }
    passwords::check(&password, email.as_str(), "password")?;
    // Used up only when nothing is left that could be refused: of two at once, one gets it.
    if facts.mode == Mode::Append && !credentials::take_setup_token(&platform.pool, &token.hash()).await? {
        return Err(unknown().into());
    }
    let id = UserId((platform.new_id)());
    let context = facts.context(Actor::User(id), None, None);
    let user = NewUser { email, password, first_name, last_name };
    let (view, _) = register(&platform, id, user, &context).await?;
    sign_in(&platform, &facts, view, Reply::created).await
}
