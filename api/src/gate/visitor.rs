//! Who sends a request to a deployed server that is not for everybody: found out as for a request to the API.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use http::request::Parts;
use http::{HeaderName, HeaderValue, header};

use super::denied::Seen;
use super::identify::identify;
use super::{Caller, Principal, RequestId, caller};
use crate::error::ApiError;
use crate::platform::Platform;

/// Who sends this bearer token.
pub(crate) async fn visitor(platform: &Platform, from: &Parts, bearer: &str) -> Result<Caller, ApiError> {
    let value = HeaderValue::try_from(format!("Bearer {bearer}")).map_err(|_| ApiError::unauthorized())?;
    let principal = principal(platform, from, (header::AUTHORIZATION, value)).await?;
    visitor_as(platform, from, principal)
}

/// Whose session cookie a request carries. It changes nothing of the platform's, so no token of a page is asked for.
pub(crate) async fn visitor_with_cookie(
    platform: &Platform,
    from: &Parts,
) -> Result<Option<Caller>, ApiError> {
    let Some(cookie) = from.headers.get(header::COOKIE).cloned() else { return Ok(None) };
    match principal(platform, from, (header::COOKIE, cookie)).await? {
        Principal::Nobody => Ok(None),
        somebody => visitor_as(platform, from, somebody).map(Some),
    }
}

/// Somebody who is known already, from where a request comes.
pub(crate) fn visitor_as(
    platform: &Platform,
    from: &Parts,
    principal: Principal,
) -> Result<Caller, ApiError> {
    let (parts, id) = bare(from);
    caller(platform, &parts, principal, &id)
}

async fn principal(
    platform: &Platform,
    from: &Parts,
    (name, value): (HeaderName, HeaderValue),
) -> Result<Principal, ApiError> {
    let (mut parts, id) = bare(from);
    parts.headers.insert(name, value);
    let seen = Seen::of(&Request::from_parts(parts.clone(), Body::empty()), &id);
    identify(platform, &parts, &seen, &id).await
}

/// A read of nothing in particular, from where a request comes, with the request's id.
fn bare(from: &Parts) -> (Parts, String) {
    let (mut parts, ()) = http::Request::new(()).into_parts();
    if let Some(peer) = from.extensions.get::<ConnectInfo<SocketAddr>>() {
        parts.extensions.insert(*peer);
    }
    let id = from.extensions.get::<RequestId>().map_or_else(String::new, |id| id.0.clone());
    (parts, id)
}
