//! `POST /auth/login` — begins a session with e-mail and password.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use commands::sessions::NewSession;
use commands::{CommandError, Receipt};
use domain::access::SignInFailure;
use domain::ids::{SessionId, UserId};
use domain::sealed::{KeyOwner, purpose};
use domain::user::{User, UserCommand, UserError};
use domain::values::Email;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use crate::auth::failure::{self, Account};
use crate::auth::token::{NewToken, random};
use crate::auth::{password, second_factor};
use crate::body::Body;
use crate::error::ApiError;
use crate::gate::{Caller, cookie_name};
use crate::me::show;
use crate::platform::Platform;
use crate::reply::{X_EVENT_POSITION, X_PROJECTION_LAG, shown};

/// E-mail and password, and the second factor of who has one.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Login {
    email: String,
    password: String,
    /// A code of the second factor, or a recovery code; asked for from who has one.
    totp: Option<String>,
}

impl Login {
    /// What a form says.
    pub(crate) fn new(email: String, password: String, totp: Option<String>) -> Self {
        Self { email, password, totp }
    }
}

pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    caller: Caller,
    Body(Login { email, password, totp }): Body<Login>,
) -> Result<Response, ApiError> {
    let wrong =
        || ApiError::new(StatusCode::UNAUTHORIZED, "invalid_credentials", "E-mail or password is wrong.");
    // What is no address cannot be an account's, but takes the same way.
    let account = email.parse::<Email>().map_or_else(|_| email.to_lowercase(), |email| email.comparable());
    let hash = platform.commands.vault().fingerprint(purpose::EMAIL_HASH, &account).await?;
    let user = projections::users::find_by_email_hash(&platform.pool, &hash).await?;
    let whose = user.as_ref().map_or(Account::Unknown(hash), |user| Account::Of(user.id));
    if let Err(too_often) = platform.throttle.check_account(caller.ip, &account, caller.at()) {
        failure::record(&platform, &caller, whose, SignInFailure::Throttled).await?;
        return Err(too_often);
    }
    let stored = match &user {
        Some(user) => commands::credentials::password(&platform.pool, user.id).await?,
        None => None,
    };
    let good = password::matches(password, stored).await?;
    let Some(user) = user.filter(|_| good) else {
        platform.throttle.failed_account(caller.ip, &account, caller.at());
        let reason = match whose {
            Account::Of(_) => SignInFailure::WrongPassword,
            Account::Unknown(_) | Account::None => SignInFailure::UnknownAccount,
        };
        failure::record(&platform, &caller, whose, reason).await?;
        return Err(wrong());
    };
    second_factor(&platform, &caller, user.id, &account, totp).await?;
    platform.throttle.succeeded(caller.ip, &account, caller.at());
    begin(&platform, &caller, user.id, StatusCode::OK).await
}

/// Asks for the second factor of who has one.
async fn second_factor(
    platform: &Platform,
    caller: &Caller,
    user: UserId,
    account: &str,
    code: Option<String>,
) -> Result<(), ApiError> {
    if !second_factor::is_asked_for(platform, user).await? {
        return Ok(());
    }
    let refused = |code: &'static str, detail: &str| ApiError::new(StatusCode::UNAUTHORIZED, code, detail);
    let Some(code) = code else {
        return Err(refused("totp_required", "Send a code of your authenticator too."));
    };
    if second_factor::is_good(platform, caller, user, &code).await? {
        return Ok(());
    }
    platform.throttle.failed_account(caller.ip, account, caller.at());
    failure::record(platform, caller, Account::Of(user), SignInFailure::WrongCode).await?;
    Err(refused("invalid_totp", "This is not a code of now, or it was used."))
}

/// What the sealed columns of a session are bound to.
pub(crate) fn note(session: SessionId, field: &str) -> String {
    format!("session:{session}|{field}")
}

/// A session that has begun.
pub(crate) struct Begun {
    token: String,
    csrf_token: String,
    expires_at: DateTime<Utc>,
    /// What the log says of it.
    pub(crate) receipt: Receipt,
}

impl Begun {
    /// The cookie that a browser keeps it in.
    pub(crate) fn cookie(&self, platform: &Platform) -> String {
        cookie(platform, cookie_name(platform.is_https()), &self.token)
    }
}

/// A cookie for this server alone, which no script of a page sees.
pub(crate) fn cookie(platform: &Platform, name: &str, value: &str) -> String {
    let secure = if platform.is_https() { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}")
}

/// Begins a session of who was vouched for by this provider. Its token is new, whatever the browser had before.
pub(crate) async fn session(
    platform: &Platform,
    caller: &Caller,
    user: UserId,
    provider: &str,
) -> Result<Begun, ApiError> {
    let (token, csrf_token) = (NewToken::session(), random());
    let id: SessionId = platform.new_id();
    let command = UserCommand::SignIn { session_id: id, provider: provider.to_owned() };
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
        token_hash: token.hash,
        csrf_token: csrf_token.clone(),
        user_id: user,
        provider: provider.to_owned(),
        source_ip: seal("source_ip", context.source_ip.as_deref()).await?,
        user_agent: seal("user_agent", context.user_agent.as_deref()).await?,
    };
    let expires_at = platform.sessions.begin(&new, caller.at()).await?;
    // Who was disabled after he signed in: his sessions may have been ended before this one was there.
    if platform.commands.load::<User>(user).await?.aggregate.is_disabled() {
        platform.sessions.end(user, id).await?;
        return Err(CommandError::Refused(UserError::Disabled).into());
    }
    Ok(Begun { token: token.plain, csrf_token, expires_at, receipt })
}

/// Begins a session of who has a password and answers with its token, as a cookie too.
pub(crate) async fn begin(
    platform: &Platform,
    caller: &Caller,
    user: UserId,
    status: StatusCode,
) -> Result<Response, ApiError> {
    let begun = session(platform, caller, user, "local").await?;
    let (shown, lags) = shown(platform, &begun.receipt, async || show::view(platform, user).await).await;
    let body = json!({
        "token": begun.token,
        "expiresAt": begun.expires_at,
        "csrfToken": begun.csrf_token,
        "user": shown.unwrap_or_else(|| json!({ "id": user })),
    });
    let position = begun.receipt.position.to_string();
    let headers = [(header::SET_COOKIE, begun.cookie(platform)), (X_EVENT_POSITION, position)];
    let mut response = (status, headers, axum::Json(body)).into_response();
    if lags {
        response.headers_mut().insert(X_PROJECTION_LAG, HeaderValue::from_static("true"));
    }
    Ok(response)
}
