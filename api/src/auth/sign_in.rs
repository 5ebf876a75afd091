//! Begins sessions.

use axum::http::{HeaderName, HeaderValue, header};
use chrono::{DateTime, Utc};
use commands::sessions::{self, Session};
use domain::envelope::Actor;
use domain::ids::{SessionId, UserId};
use domain::user::UserCommand;
use serde::Serialize;

use super::account::LOCAL;
use crate::caller::Facts;
use crate::cookie;
use crate::error::ApiError;
use crate::people::UserView;
use crate::platform::Platform;
use crate::reply::{Reply, Settled};
use crate::secret_token::{Kind, SecretToken};

/// Somebody is signed in.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SignedIn {
    /// For `Authorization: Bearer`. Browsers have it in their cookie.
    token: String,
    expires_at: DateTime<Utc>,
    /// For `X-CSRF-Token`, which changes need that come with the cookie.
    csrf_token: String,
    user: UserView,
}

/// The answer to who has signed in, with the cookie for browsers.
pub(super) type Answer = ([(HeaderName, HeaderValue); 1], Reply<SignedIn>);

/// Begins a session: first the event, then the row that makes it usable, so that no session is without event.
pub(super) async fn sign_in(
    platform: &Platform,
    facts: &Facts,
    user: UserView,
    answer: fn(Settled, SignedIn) -> Reply<SignedIn>,
) -> Result<Answer, ApiError> {
    let user_id: UserId = user.id;
    let session_id = SessionId((platform.new_id)());
    let context = facts.context(Actor::User(user_id), None, None);
    let command = UserCommand::SignIn { session_id, provider: LOCAL.to_owned() };
    let receipt = platform.commands.user(user_id, command, &context).await?;
    let token = SecretToken::random(Kind::Session);
    let lifetime = platform.settings.session_lifetime;
    let session = Session {
        id: session_id,
        user_id,
        csrf_token: SecretToken::random(Kind::Csrf).expose().to_owned(),
        provider: LOCAL.to_owned(),
        source_ip: context.source_ip,
        user_agent: context.user_agent,
        created_at: context.at,
        last_seen_at: context.at,
        expires_at: context.at + lifetime,
    };
    sessions::begin(&platform.pool, &session, &token.hash()).await?;
    let cookie = cookie::set(token.expose(), lifetime, &platform.settings);
    let body = SignedIn {
        token: token.expose().to_owned(),
        expires_at: session.expires_at,
        csrf_token: session.csrf_token,
        user,
    };
    let settled = platform.settled(receipt).await;
    Ok(([(header::SET_COOKIE, cookie)], answer(settled, body)))
}
