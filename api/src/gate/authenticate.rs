//! Who calls: by a session, a personal token or a project token.

use axum::http::{HeaderMap, header, request::Parts};
use chrono::{DateTime, TimeDelta, Utc};
use commands::sessions::{self, Session};
use domain::policy::{Grant, Scope};

use super::cross_site;
use crate::caller::Principal;
use crate::cookie;
use crate::error::{ApiError, Problem};
use crate::platform::Platform;
use crate::secret_token::{Kind, SecretToken};

/// A session's last use is noted this often: not at every request.
const NOTE_EVERY: TimeDelta = TimeDelta::seconds(60);

/// The principal of a request. Without one, 401.
pub(super) async fn principal(platform: &Platform, parts: &Parts) -> Result<Principal, ApiError> {
    if let Some(token) = bearer(&parts.headers)? {
        if let Some(token) = SecretToken::parse(Kind::Session, token) {
            return Ok(signed_in(session(platform, &token).await?));
        }
        return match SecretToken::parse(Kind::Api, token) {
            Some(token) => api_token(platform, &token).await,
            None => Err(unknown()),
        };
    }
    let Some(token) = cookie::read(&parts.headers, &platform.settings) else {
        return Err(Problem::unauthorized("send a session or an API token as Authorization: Bearer").into());
    };
    let token = SecretToken::parse(Kind::Session, token).ok_or_else(unknown)?;
    let session = session(platform, &token).await?;
    cross_site::require_token(parts, &session.csrf_token)?;
    Ok(signed_in(session))
}

/// Everything that a principal holds.
pub(super) async fn grants(platform: &Platform, principal: &Principal) -> Result<Vec<Grant>, ApiError> {
    match principal {
        Principal::Session { user_id, .. } | Principal::PersonalToken { user_id, .. } => {
            Ok(projections::roles::grants_of(&platform.pool, *user_id).await?)
        }
        Principal::ProjectToken { project_id, scopes, .. } => {
            let scope = Scope::Project { project_id: *project_id };
            let permissions = scopes.iter().flat_map(|scope| scope.permissions()).collect();
            Ok(vec![Grant { scope, permissions }])
        }
    }
}

fn unknown() -> ApiError {
    Problem::unauthorized("this session or token is not known, or no longer").into()
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(Problem::unauthorized("Authorization must be: Bearer, a space, a token")),
    }
}

fn signed_in(session: Session) -> Principal {
    Principal::Session { user_id: session.user_id, session_id: session.id, csrf_token: session.csrf_token }
}

async fn session(platform: &Platform, token: &SecretToken) -> Result<Session, ApiError> {
    let (now, idle) = ((platform.now)(), platform.settings.session_idle);
    let session = sessions::find(&platform.pool, &token.hash(), now, idle).await?.ok_or_else(unknown)?;
    if now - session.last_seen_at >= NOTE_EVERY {
        sessions::touch(&platform.pool, session.id, now).await?;
    }
    Ok(session)
}

async fn api_token(platform: &Platform, token: &SecretToken) -> Result<Principal, ApiError> {
    let found = projections::tokens::find_by_hash(&platform.pool, &token.hash_hex()).await?;
    let row = found.filter(|row| !is_over(row.expires_at, (platform.now)())).ok_or_else(unknown)?;
    let token_id = row.id;
    match (row.user_id, row.project_id) {
        (Some(user_id), _) => Ok(Principal::PersonalToken { user_id, token_id }),
        (None, Some(project_id)) => Ok(Principal::ProjectToken { token_id, project_id, scopes: row.scopes }),
        (None, None) => Err(unknown()),
    }
}

fn is_over(expires_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    expires_at.is_some_and(|end| end <= now)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_bearer_token_is_read_whatever_the_case_of_its_scheme() {
        let read = |text: &'static str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(text))]);
            bearer(&headers).map(|token| token.map(str::to_owned)).map_err(|problem| problem.status())
        };
        assert_eq!(read("Bearer abc"), Ok(Some("abc".to_owned())));
        assert_eq!(read("bearer abc"), Ok(Some("abc".to_owned())));
        assert_eq!(read("Basic abc").unwrap_err(), 401);
        assert_eq!(read("").unwrap_err(), 401);
        assert!(bearer(&HeaderMap::new()).unwrap().is_none());
    }

    #[test]
    fn a_token_ends_at_its_time() {
        let now = DateTime::UNIX_EPOCH;
        assert!(is_over(Some(now), now));
        assert!(!is_over(Some(now + TimeDelta::seconds(1)), now) && !is_over(None, now));
    }
}
