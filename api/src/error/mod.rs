//! Errors as they go out: RFC 9457 problems with stable codes.
//!
//! Invariant: a problem never carries its cause outside; the cause is logged once, with the request's id.

mod refusals;

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use commands::{CommandError, Preview, StoreError, VaultError};
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use refusals::Refusal;

/// How long a client waits before it asks again, in seconds, when the database is away.
const RETRY_AFTER: u32 = 2;

/// Why a handler does not answer as usual.
#[derive(Debug)]
pub enum ApiError {
    /// The request is refused or failed.
    Problem(Box<Problem>),
    /// A dry run: these events would have been appended.
    DryRun(Vec<Preview>),
}

/// What went wrong, for the caller.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    retry_after: Option<u32>,
    /// Why, for the log alone.
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

/// What is wrong with one field of the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Its path in the body, in camelCase, or the name of the parameter; empty for the whole body.
    pub field: String,
    /// Stable code.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
}

impl Problem {
    /// A problem with this status, stable code and title.
    pub fn new(status: u16, code: &'static str, title: &'static str) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let detail = String::new();
        Self { status, code, title, detail, errors: vec![], retry_after: None, cause: None }
    }

    /// With a sentence on this very case.
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// With what is wrong with a field.
    pub fn field(mut self, field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        self.errors.push(FieldError { field: field.into(), code, message: message.into() });
        self
    }

    /// With the seconds after which another try makes sense.
    pub fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// 400: the request does not read at all.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(400, "malformed_request", "The request does not read").detail(detail)
    }

    /// 401: nobody knows who calls.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(401, "unauthorized", "Sign in first").detail(detail)
    }

    /// 403: the caller may see it, and not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, "forbidden", "Not allowed").detail(detail)
    }

    /// 404: it does not exist, or not for this caller. The answer is the same in both cases.
    pub fn not_found() -> Self {
        Self::new(404, "not_found", "Not found").detail("there is nothing here that you can see")
    }

    /// 422: the request reads, but a field is not what it must be.
    pub fn invalid(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        let (field, message) = (field.into(), message.into());
        let detail = if field.is_empty() { message.clone() } else { format!("{field}: {message}") };
        Self::new(422, "invalid_input", "The input is not valid").detail(detail).field(field, code, message)
    }

    /// 500: a fault of ours. The cause goes to the log alone.
    pub fn internal(cause: Box<dyn Error + Send + Sync>) -> Self {
        let problem = Self::new(500, "internal_error", "Something went wrong here")
            .detail("the server made a mistake; its log says more under this request id");
        Self { cause: Some(cause.into()), ..problem }
    }

    /// 503: something that the server needs is away for now.
    pub fn unavailable(cause: Box<dyn Error + Send + Sync>) -> Self {
        let problem = Self::new(503, "unavailable", "Not available for now")
            .detail("something that the server needs is away for now; try again")
            .retry_after(RETRY_AFTER);
        Self { cause: Some(cause.into()), ..problem }
    }

    /// Its stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Its HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The fields that are wrong.
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    /// Its cause with all that led there, for the log.
    pub(crate) fn cause(&self) -> Option<String> {
        self.cause.as_deref().map(|cause| chain(cause))
    }

    /// The body.
    pub(crate) fn to_json(&self, request_id: &str) -> Value {
        let mut body = json!({
            "type": format!("urn:mastra-admin:problem:{}", self.code),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": if self.detail.is_empty() { self.title } else { &self.detail },
            "code": self.code,
            "requestId": request_id,
        });
        if !self.errors.is_empty() {
            body["errors"] = json!(self.errors);
        }
        body
    }
}

/// An error with all its sources.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status.as_u16(), self.code, self.detail)
    }
}

/// The body still lacks the request's id: the outermost layer writes it anew from the extension.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.to_json(""))).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Problem(problem) => problem.into_response(),
            Self::DryRun(previews) => {
                let events: Vec<Value> = previews
                    .into_iter()
                    .map(|preview| {
                        json!({
                            "aggregateType": preview.aggregate_type,
                            "type": preview.event_type,
                            "payload": without_ciphertext(preview.payload),
                        })
                    })
                    .collect();
                Json(json!({ "events": events })).into_response()
            }
        }
    }
}

/// Sealed values shrink to their marks.
fn without_ciphertext(payload: Value) -> Value {
    match payload {
        Value::Object(mut fields) if fields.contains_key("mark") && fields.contains_key("data") => {
            fields.retain(|name, _| name == "mark");
            Value::Object(fields)
        }
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, without_ciphertext(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_ciphertext).collect()),
        other => other,
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl<E: Refusal> From<CommandError<E>> for ApiError {
    fn from(error: CommandError<E>) -> Self {
        match error {
            CommandError::Refused(refusal) => refusal.problem().into(),
            // 412 when `If-Match` asked for it: the outermost layer knows.
            CommandError::Conflict { .. } => {
                Problem::new(409, "version_conflict", "Somebody else was faster")
                    .detail(error.to_string())
                    .into()
            }
            CommandError::NameTaken { scope, .. } => refusals::name_taken(scope).into(),
            CommandError::KeyReused => key_reused().into(),
            CommandError::DryRun(previews) => Self::DryRun(previews),
            CommandError::Store(error) => error.into(),
        }
    }
}

/// The key was used for another request.
pub(crate) fn key_reused() -> Problem {
    Problem::new(422, "idempotency_key_reused", "The idempotency key was used before")
        .detail("this Idempotency-Key was used for another request")
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(error) => error.into(),
            StoreError::Vault(error) => error.into(),
            StoreError::ShuttingDown => Problem::unavailable(error.into()).into(),
            StoreError::TooLarge { .. } => Problem::new(413, "too_large", "Too large")
                .detail("the values are together too large to be stored")
                .into(),
            StoreError::Unreadable(_) | StoreError::Answer(_) => Problem::internal(error.into()).into(),
        }
    }
}

impl From<VaultError> for ApiError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Database(error) => error.into(),
            VaultError::Erased => {
                Problem::new(410, "erased", "Erased").detail("this value was erased").into()
            }
            VaultError::Encryption(_) | VaultError::Damaged => Problem::internal(error.into()).into(),
        }
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        if is_away(&error) {
            return Problem::unavailable(error.into()).into();
        }
        Problem::internal(error.into()).into()
    }
}

/// Whether the database is away, rather than the query wrong.
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        // No connection, no resources, an operator at work, a deadlock.
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class))),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
