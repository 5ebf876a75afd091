//! Answers to commands and lists.

use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Datelike, Utc};
use commands::Receipt;
use domain::ports::telemetry::{Weighs, is_full};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::ApiError;
use crate::platform::{PATIENCE, Platform};

/// Says that the query tables do not know of it yet.
pub(crate) const X_PROJECTION_LAG: HeaderName = HeaderName::from_static("x-projection-lag");

/// Where in the log: of a command's last event, or of the moment that a read was asked about.
pub(crate) const X_EVENT_POSITION: HeaderName = HeaderName::from_static("x-event-position");

/// The answer to a command: the resource, its version, its place in the log.
pub(crate) struct Done {
    status: StatusCode,
    body: Value,
    receipt: Receipt,
    lags: bool,
}

impl Done {
    /// Waits for the query tables, then shows the resource, or its id alone when they are not in time. Never fails.
    pub(crate) async fn new(
        platform: &Platform,
        status: StatusCode,
        receipt: Receipt,
        show: impl AsyncFnOnce() -> Result<Value, ApiError>,
    ) -> Result<Self, ApiError> {
        let (body, lags) = shown(platform, &receipt, show).await;
        let body = body.unwrap_or_else(|| json!({ "id": receipt.aggregate_id }));
        Ok(Self { status, body, receipt, lags })
    }
}

/// Waits for the query tables and shows what a command has done. It is done: tables that lag, are locked or cannot be
/// read turn it into no error. Answers nothing then, and always whether the tables lag.
pub(crate) async fn shown(
    platform: &Platform,
    receipt: &Receipt,
    show: impl AsyncFnOnce() -> Result<Value, ApiError>,
) -> (Option<Value>, bool) {
    let lags = !platform.caught_up(receipt).await;
    match tokio::time::timeout(PATIENCE, show()).await {
        Ok(Ok(body)) => (Some(body), lags),
        Ok(Err(_)) | Err(_) => (None, true),
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body)).into_response();
        let headers = response.headers_mut();
        headers.insert(X_EVENT_POSITION, self.receipt.position.into());
        headers.insert(header::ETAG, etag(self.receipt.version));
        if self.lags {
            headers.insert(X_PROJECTION_LAG, HeaderValue::from_static("true"));
        }
        response
    }
}

/// A list of parts of one thing, with the version of that thing: a change of any part asks for it.
pub(crate) fn versioned(list: axum::Json<Value>, version: i64) -> Response {
    ([(header::ETAG, etag(version))], list).into_response()
}

/// A resource with its version.
pub(crate) fn resource(body: Value, version: i64) -> Response {
    ([(header::ETAG, etag(version))], axum::Json(body)).into_response()
}

fn etag(version: i64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).expect("digits and quotes")
}

/// The part of a list that is wanted. The cursor is the id (or position) that the page before ended with.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub(crate) struct Page {
    /// How many items; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

impl Page {
    /// How many items, 1 to 200.
    pub(crate) fn limit(&self) -> Result<i64, ApiError> {
        let limit = self.limit.unwrap_or(50);
        if !(1..=200).contains(&limit) {
            return Err(ApiError::field("limit", "out_of_range", "must be 1 to 200"));
        }
        Ok(limit)
    }

    /// Cuts a list that was read as a whole, ordered by falling id, to this page.
    pub(crate) fn cut<T>(
        &self,
        rows: Vec<T>,
        id: impl Fn(&T) -> Uuid,
    ) -> Result<(Vec<T>, Option<String>), ApiError> {
        let (limit, cursor) = (self.limit()?, self.cursor::<Uuid>()?);
        let rows = rows.into_iter().filter(|row| cursor.is_none_or(|cursor| id(row) < cursor)).collect();
        Ok(list(rows, limit, |row| id(row).to_string()))
    }

    /// Where to go on.
    pub(crate) fn cursor<T: std::str::FromStr>(&self) -> Result<Option<T>, ApiError> {
        let parsed = self.cursor.as_deref().map(str::parse).transpose();
        parsed.map_err(|_| ApiError::field("cursor", "invalid", "must be the cursor of an earlier answer"))
    }
}

/// When and which, as a cursor of a time and an id says: `MICROSECONDS-ID`. A time that no database compares is none.
pub(crate) fn time_and_id<T: std::str::FromStr>(cursor: &str) -> Result<(DateTime<Utc>, T), ApiError> {
    let read = || {
        let (at, id) = cursor.split_once('-')?;
        let at = DateTime::from_timestamp_micros(at.parse().ok()?)?;
        (0..=9999).contains(&at.year()).then_some((at, id.parse().ok()?))
    };
    read().ok_or_else(|| ApiError::field("cursor", "invalid", "must be the cursor of an earlier answer"))
}

/// Cuts what was read (one more than is shown) to a page.
pub(crate) fn list<T>(
    mut rows: Vec<T>,
    limit: i64,
    cursor: impl Fn(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let limit = usize::try_from(limit).unwrap_or(0);
    if rows.len() <= limit {
        return (rows, None);
    }
    rows.truncate(limit);
    let next = rows.last().map(cursor);
    (rows, next)
}

/// Cuts what was read (one more than is shown) to a page, and goes on where it was cut because it was large.
pub(crate) fn page<T: Weighs>(
    rows: Vec<T>,
    limit: i64,
    cursor: impl Fn(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let goes_on = is_full(&rows);
    let (rows, next) = list(rows, limit, &cursor);
    let next = next.or_else(|| rows.last().filter(|_| goes_on).map(cursor));
    (rows, next)
}

/// A list as the API shows it.
pub(crate) fn items(items: Vec<Value>, next: Option<String>) -> axum::Json<Value> {
    axum::Json(json!({ "items": items, "nextCursor": next }))
}
