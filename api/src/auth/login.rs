//! `POST /auth/login` — begins a session with e-mail and password.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use commands::sessions::NewSession;
use domain::access::SignInFailure;
use domain::ids::{SessionId, UserId};
use domain::sealed::{KeyOwner, purpose};
use domain::user::UserCommand;
use domain::values::Email;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use crate::auth::failure::{self, Account};
use crate::auth::password;
use crate::auth::token::{NewToken, random};
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::{Caller, cookie_name};
use crate::me::show;
use crate::platform::Platform;
use crate::reply::{X_EVENT_POSITION, X_PROJECTION_LAG, shown};

/// E-mail and password.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Login {
    email: String,
    password: String,
    /// The code of a second factor. Nobody has one yet, so none is asked for.
    #[serde(rename = "totp")]
    _totp: Option<String>,
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(Login { email, password, .. }): Body<Login>,
) -> Result<Response, ApiError> {
    let wrong =
        || ApiError::new(StatusCode::UNAUTHORIZED, "invalid_credentials", "E-mail or password is wrong.");
    // What is no address cannot be an account's, but takes the same way.
    let account = email.parse::<Email>().map_or_else(|_| email.to_lowercase(), |email| email.comparable());
    let hash = platform.commands.vault().fingerprint(purpose::EMAIL_HASH, &account).await?;
    let user = projections::users::find_by_email_hash(&platform.pool, &hash).await?;
    let whose = user.as_ref().map_or(Account::Unknown(hash), |user| Account::Of(user.id));
    if let Err(too_often) = platform.throttle.check(caller.ip, &account, caller.at()) {
        failure::record(&platform, &caller, whose, SignInFailure::Throttled).await?;
        return Err(too_often);
    }
    let stored = match &user {
        Some(user) => commands::credentials::password(&platform.pool, user.id).await?,
        None => None,
    };
    let good = password::matches(password, stored).await?;
    let Some(user) = user.filter(|_| good) else {
        platform.throttle.failed(caller.ip, &account, caller.at());
        let reason = match whose {
            Account::Of(_) => SignInFailure::WrongPassword,
            Account::Unknown(_) | Account::None => SignInFailure::UnknownAccount,
        };
        failure::record(&platform, &caller, whose, reason).await?;
        return Err(wrong());
    };
    begin(&platform, &caller, user.id, StatusCode::OK).await
}

/// What the sealed columns of a session are bound to.
pub(crate) fn note(session: SessionId, field: &str) -> String {
    format!("session:{session}|{field}")
}

/// Begins a session and answers with its token, as a cookie too.
pub(crate) async fn begin(
    platform: &Platform,
    caller: &Caller,
    user: UserId,
    status: StatusCode,
) -> Result<Response, ApiError> {
    let (token, csrf_token) = (NewToken::session(), random());
    let id: SessionId = platform.new_id();
    let provider = "local".to_owned();
    let command = UserCommand::SignIn { session_id: id, provider: provider.clone() };
    let context = commands::Context { key: None, ..caller.context_as(user) };
    let receipt = platform.commands.user(user, command, &context).await?;
    let seal = async |field: &str, text: Option<&str>| match text {
        Some(text) => {
            let vault = platform.commands.vault();
            vault.seal_note(KeyOwner::User(user), &note(id, field), text, caller.at()).await.map(Some)
        }
        None => Ok(None),
    };
    let new = NewSession {
        id,
        token_hash: token.hash.clone(),
        csrf_token: csrf_token.clone(),
        user_id: user,
        provider,
        source_ip: seal("source_ip", context.source_ip.as_deref()).await?,
        user_agent: seal("user_agent", context.user_agent.as_deref()).await?,
    };
    let expires_at = platform.sessions.begin(&new, caller.at()).await?;
    let (shown, lags) = shown(platform, &receipt, async || show::view(platform, user).await).await;
    let name = cookie_name(platform.is_https());
    let secure = if platform.is_https() { "; Secure" } else { "" };
    let cookie = format!("{name}={}; Path=/; HttpOnly; SameSite=Lax{secure}", token.plain);
    let body = json!({
        "token": token.plain,
        "expiresAt": expires_at,
        "csrfToken": csrf_token,
        "user": shown.unwrap_or_else(|| json!({ "id": user })),
    });
    let position = receipt.position.to_string();
    let headers = [(header::SET_COOKIE, cookie), (X_EVENT_POSITION, position)];
    let mut response = (status, headers, axum::Json(body)).into_response();
    if lags {
        response.headers_mut().insert(X_PROJECTION_LAG, HeaderValue::from_static("true"));
    }
    Ok(response)
}
