//! The outermost layer: request ids, problems in their final form, headers that every answer has, metrics.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::Problem;
use crate::platform::Platform;

/// Names a request, for logs and for the audit trail.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of this request.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) String);

/// Runs around everything else.
pub(crate) async fn finish(
    State(platform): State<Arc<Platform>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers()).unwrap_or_else(|| (platform.new_id)().to_string());
    request.extensions_mut().insert(RequestId(id.clone()));
    let method = request.method().clone();
    let conditional = request.headers().contains_key(header::IF_MATCH);
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());

    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = write(problem, response, conditional, &id);
    }
    let labels = [
        ("method", method.to_string()),
        ("route", route.unwrap_or_else(|| "none".to_owned())),
        ("status", response.status().as_str().to_owned()),
    ];
    metrics::histogram!("mastra_admin_http_seconds", &labels).record(started.elapsed());
    dress(response.headers_mut(), &id, platform.settings.is_https());
    response
}

/// A request id of the caller's own, when it is harmless in logs.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(X_REQUEST_ID)?.to_str().ok()?;
    let harmless = id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    ((1..=128).contains(&id.len()) && harmless).then(|| id.to_owned())
}

/// A problem in its final form: with the request's id, and 412 where `If-Match` asked for it.
fn write(problem: Problem, was: Response, conditional: bool, id: &str) -> Response {
    if let Some(cause) = problem.cause() {
        tracing::error!(request.id = id, code = problem.code(), cause, "request {id} failed");
    }
    let mut body = problem.to_json(id);
    let (mut parts, _) = was.into_parts();
    if conditional && problem.code() == "version_conflict" {
        parts.status = StatusCode::PRECONDITION_FAILED;
        body["status"] = parts.status.as_u16().into();
        body["code"] = "precondition_failed".into();
        body["type"] = "urn:mastra-admin:problem:precondition_failed".into();
        body["title"] = "It has another version".into();
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Json(body).into_response().into_body())
}

/// Headers that every answer has unless its handler said otherwise.
fn dress(headers: &mut HeaderMap, id: &str, is_https: bool) {
    let id = HeaderValue::from_str(id).expect("letters, digits, dashes");
    headers.insert(X_REQUEST_ID, id);
    let defaults = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in defaults {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if is_https {
        headers
            .entry(header::STRICT_TRANSPORT_SECURITY)
            .or_insert(HeaderValue::from_static("max-age=31536000"));
    }
}

/// What a handler that panicked answers.
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Problem::internal(format!("a handler panicked: {said}").into()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_taken_over_when_it_is_harmless() {
        let read = |text: &'static str| {
            request_id(&HeaderMap::from_iter([(X_REQUEST_ID, HeaderValue::from_static(text))]))
        };
        assert_eq!(read("abc-1_2.3").as_deref(), Some("abc-1_2.3"));
        for bad in ["", "a b", "a\"b", "{}"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let long = HeaderValue::from_str(&"x".repeat(129)).unwrap();
        assert_eq!(request_id(&HeaderMap::from_iter([(X_REQUEST_ID, long)])), None);
    }
}
