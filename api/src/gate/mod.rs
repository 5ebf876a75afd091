//! Every request passes here before its handler: who calls, what the path names, whether he may.
//!
//! Invariant: a route that the table does not know is denied. An object that the caller does not see is as
//! unknown as one that does not exist: the answer is the same.

mod authenticate;
mod authorize;
mod conditions;
mod cross_site;
mod idempotency;

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::caller::Caller;
use crate::error::{ApiError, Problem};
use crate::platform::{PATIENCE, Platform};
use crate::reply::X_PROJECTION_LAG;
use crate::routes::{self, Need, ROUTES, Route};

pub(crate) use idempotency::Locks;

/// Runs around every handler.
pub(crate) async fn gate(State(platform): State<Arc<Platform>>, request: Request, next: Next) -> Response {
    pass(&platform, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn pass(platform: &Platform, request: Request, next: Next) -> Result<Response, ApiError> {
    let route = route(&request)?;
    let (mut parts, body) = request.into_parts();
    let facts = conditions::read(platform, &parts)?;
    cross_site::refuse(&parts, &platform.settings)?;
    let principal = match route.need {
        Need::Public => None,
        _ => Some(authenticate::principal(platform, &parts).await?),
    };
    let lagging = wait_for_position(platform, &parts).await?;
    let Some(principal) = principal else {
        parts.extensions.insert(facts);
        let response = next.run(Request::from_parts(parts, body)).await;
        return Ok(marked(response, lagging));
    };
    let grants = authenticate::grants(platform, &principal).await?;
    let caller = Caller::new(principal, grants, facts);
    authorize::authorize(platform, route, &caller, &mut parts).await?;
    let response = idempotency::run(platform, caller, parts, body, next).await?;
    Ok(marked(response, lagging))
}

fn route(request: &Request) -> Result<&'static Route, Problem> {
    let Some(path) = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str) else {
        return Err(Problem::not_found());
    };
    if let Some(route) = routes::find(request.method(), path) {
        return Ok(route);
    }
    if ROUTES.iter().any(|route| route.path == path) {
        let detail = format!("{} is not understood here", request.method());
        return Err(Problem::new(405, "method_not_allowed", "Method not allowed").detail(detail));
    }
    Err(Problem::internal(format!("{path} is in no table: denied").into()))
}

/// Whether a method changes nothing.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Reads may ask to see what an earlier command did. Answers whether they do not.
async fn wait_for_position(platform: &Platform, parts: &Parts) -> Result<bool, ApiError> {
    if !is_safe(&parts.method) {
        return Ok(false);
    }
    match conditions::min_position(&parts.headers)? {
        None => Ok(false),
        Some(position) => Ok(!platform.feed.wait_for(position, PATIENCE).await),
    }
}

fn marked(mut response: Response, lagging: bool) -> Response {
    if lagging {
        response.headers_mut().insert(X_PROJECTION_LAG, HeaderValue::from_static("true"));
    }
    response
}
