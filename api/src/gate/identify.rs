//! Who asks: a session (bearer or cookie), a personal token, a project token, a provider's access token, or nobody.

use std::time::Instant;

use axum::http::request::Parts;
use chrono::TimeDelta;
use commands::deployment_token;
use commands::sessions::Session;
use domain::ids::DeploymentId;
use domain::ports::auth::AuthError;
use http::{HeaderMap, header};
use subtle::ConstantTimeEq;

use super::api_token::by_api_token;
use super::denied::Seen;
use super::fresh::Known;
use super::{Principal, caller, header as text, is_unsafe};
use crate::auth::authorize::away;
use crate::auth::identity::{self, get_or_create, known};
use crate::auth::token;
use crate::error::ApiError;
use crate::platform::Platform;

/// For how long the token of a deployment works after its end: servers are given less time than this to end.
const LAST_WORDS: TimeDelta = TimeDelta::minutes(10);

/// The cookie's name; with TLS it is bound to the host.
pub(crate) fn cookie_name(https: bool) -> &'static str {
    if https { "__Host-mastra_session" } else { "mastra_session" }
}

/// Wrong credentials are refused; none are nobody.
pub(super) async fn identify(
    platform: &Platform,
    parts: &Parts,
    seen: &Seen,
    request_id: &str,
) -> Result<Principal, ApiError> {
    if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
        let value = value.to_str().map_err(|_| ApiError::unauthorized())?;
        let Some(bearer) = value.strip_prefix("Bearer ").or(value.strip_prefix("bearer ")) else {
            return Err(ApiError::unauthorized());
        };
        return by_bearer(platform, parts, seen, request_id, bearer.trim()).await;
    }
    let Some(cookie) = cookie(&parts.headers, cookie_name(platform.is_https())) else {
        return Ok(Principal::Nobody);
    };
    // An old cookie of a browser is no reason to refuse a sign-in: it is nobody's.
    let Some(session) = session(platform, cookie).await? else { return Ok(Principal::Nobody) };
    if is_unsafe(&parts.method) {
        check_origin(platform, &parts.headers, &session)?;
    }
    Ok(signed_in(session))
}

async fn by_bearer(
    platform: &Platform,
    parts: &Parts,
    seen: &Seen,
    request_id: &str,
    bearer: &str,
) -> Result<Principal, ApiError> {
    if let Some(hash) = token::hash_of_api_token(bearer) {
        return by_api_token(platform, parts, seen, request_id, &hash).await;
    }
    if let Some(deployment) = deployment_token::named_in(bearer) {
        return by_deployment(platform, bearer, deployment).await;
    }
    // A token of ours has no dot; a signed one has two.
    if bearer.bytes().filter(|byte| *byte == b'.').count() == 2 {
        return by_provider(platform, parts, request_id, bearer).await;
    }
    let session = session(platform, bearer).await?.ok_or_else(ApiError::unauthorized)?;
    Ok(signed_in(session))
}

/// The server of a deployment that has not ended, or has only just: while it ends, it sends the last of what it saw.
async fn by_deployment(platform: &Platform, bearer: &str, id: DeploymentId) -> Result<Principal, ApiError> {
    let its = deployment_token::of(platform.commands.vault(), id)
        .await
        .map_err(|error| ApiError::internal(&error))?;
    if !bool::from(its.expose().ct_eq(bearer.as_bytes())) {
        return Err(ApiError::unauthorized());
    }
    let row = projections::deployments::find(&platform.pool, id).await?.ok_or_else(ApiError::unauthorized)?;
    let now = (platform.now)();
    if row.finished_at.is_some_and(|at| at + LAST_WORDS < now) {
        return Err(ApiError::unauthorized());
    }
    Ok(Principal::Deployment { deployment: id, project: row.project_id })
}

/// Whoever a provider vouches for. Who was never here is made a user as by signing in.
async fn by_provider(
    platform: &Platform,
    parts: &Parts,
    request_id: &str,
    token: &str,
) -> Result<Principal, ApiError> {
    for provider in &platform.auth {
        let identity = match provider.validate_token(token).await {
            Ok(Some(identity)) => identity,
            Ok(None) => continue,
            Err(AuthError::Refused(why)) => {
                tracing::debug!(provider = provider.id(), why, "a provider's token proves nothing: {why}");
                return Err(ApiError::unauthorized());
            }
            Err(error @ AuthError::Unavailable(_)) => return Err(away(provider.id(), &error)),
        };
        // Access tokens seldom tell the address: who has come in once is not asked for it again.
        let user = match known(platform, &identity).await? {
            Some(identity::Known { user, disabled: false }) => user,
            _ => {
                let caller = caller(platform, parts, Principal::Nobody, request_id)?;
                get_or_create(platform, &caller, &**provider, &identity).await?
            }
        };
        return Ok(Principal::ProviderToken { user });
    }
    Err(ApiError::unauthorized())
}

fn signed_in(session: Session) -> Principal {
    Principal::Session { user: session.user_id, session: session.id, csrf_token: session.csrf_token }
}

async fn session(platform: &Platform, secret: &str) -> Result<Option<Session>, ApiError> {
    let Some(hash) = token::hash_of_session(secret) else { return Ok(None) };
    let (now, read) = ((platform.now)(), Instant::now());
    if let Some(Known::Session(session)) = platform.fresh.get(&hash)
        && now < session.expires_at
    {
        return Ok(Some(session));
    }
    let found = platform.sessions.find(&hash, now).await?;
    if let Some(session) = &found {
        platform.fresh.keep(&hash, read, Known::Session(session.clone()));
    }
    Ok(found)
}

/// A browser sends cookies wherever a page of anybody tells it to: only our own pages know the CSRF token.
fn check_origin(platform: &Platform, headers: &HeaderMap, session: &Session) -> Result<(), ApiError> {
    let foreign = || ApiError::forbidden("The request came from another site, or without its CSRF token.");
    if text(headers, "sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(foreign());
    }
    if headers.contains_key(header::ORIGIN) && !is_own_origin(headers, &platform.settings.public_url) {
        return Err(foreign());
    }
    let sent = text(headers, "x-csrf-token").unwrap_or_default();
    if bool::from(sent.as_bytes().ct_eq(session.csrf_token.as_bytes())) { Ok(()) } else { Err(foreign()) }
}

/// Whether the page came from here: from the public address, or from the name by which this request reached us.
pub(crate) fn is_own_origin(headers: &HeaderMap, public_url: &str) -> bool {
    let Some(origin) = text(headers, "origin") else { return false };
    let public = public_url.split('/').take(3).collect::<Vec<_>>().join("/");
    let host = text(headers, "host").unwrap_or("?");
    origin == public || origin.split_once("://").is_some_and(|(_, authority)| authority == host)
}

/// A cookie of a request.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn own(origin: &'static str, host: &'static str) -> bool {
        let headers = HeaderMap::from_iter([
            (header::ORIGIN, HeaderValue::from_static(origin)),
            (header::HOST, HeaderValue::from_static(host)),
        ]);
        is_own_origin(&headers, "https://admin.example.org/")
    }

    #[test]
    fn only_our_own_pages_are_ours() {
        assert!(own("https://admin.example.org", "behind-a-proxy:8080"));
        assert!(own("http://10.0.0.7:8080", "10.0.0.7:8080"));
        for (origin, host) in [
            ("https://evil.example", "admin.example.org"),
            ("https://admin.example.org.evil.example", "admin.example.org"),
            ("http://10.0.0.7:9090", "10.0.0.7:8080"),
            ("null", "admin.example.org"),
        ] {
            assert!(!own(origin, host), "{origin}");
        }
    }
}
