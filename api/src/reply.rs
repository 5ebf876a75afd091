//! Answers of handlers.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Position of a command's last event.
pub(crate) const X_EVENT_POSITION: HeaderName = HeaderName::from_static("x-event-position");
/// Says that the query tables do not know of it yet.
pub(crate) const X_PROJECTION_LAG: HeaderName = HeaderName::from_static("x-projection-lag");

/// What a command has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Position of its last event.
    pub position: i64,
    /// Version of its aggregate.
    pub version: i64,
    /// Whether the query tables do not know of it yet.
    pub lagging: bool,
}

/// An answer with a JSON body.
#[derive(Clone, Debug)]
pub struct Reply<T> {
    status: StatusCode,
    version: Option<i64>,
    settled: Option<Settled>,
    body: T,
}

impl<T> Reply<T> {
    /// What was asked for: a list, or something without a version.
    pub fn shown(body: T) -> Self {
        Self { status: StatusCode::OK, version: None, settled: None, body }
    }

    /// A resource as it is at this version.
    pub fn resource(version: i64, body: T) -> Self {
        Self { version: Some(version), ..Self::shown(body) }
    }

    /// A command has made this resource.
    pub fn created(settled: Settled, body: T) -> Self {
        Self { status: StatusCode::CREATED, ..Self::done(settled, body) }
    }

    /// A command has changed or ended this resource.
    pub fn done(settled: Settled, body: T) -> Self {
        Self { version: Some(settled.version), settled: Some(settled), ..Self::shown(body) }
    }

    /// A command has begun what goes on for a while.
    pub fn accepted(settled: Settled, body: T) -> Self {
        Self { status: StatusCode::ACCEPTED, ..Self::done(settled, body) }
    }
}

/// A version as an entity tag.
pub(crate) fn etag(version: i64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).expect("digits in quotes")
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        let headers = response.headers_mut();
        if let Some(version) = self.version {
            headers.insert(header::ETAG, etag(version));
        }
        if let Some(settled) = self.settled {
            headers.insert(X_EVENT_POSITION, settled.position.into());
            if settled.lagging {
                headers.insert(X_PROJECTION_LAG, HeaderValue::from_static("true"));
            }
        }
        response
    }
}
