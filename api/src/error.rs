//! Errors as people and programs get them: RFC 9457 problems. The one place that maps errors to statuses.

use axum::response::{IntoResponse, Response};
use commands::{CommandError, Preview, Since, StoreError, VaultError};
use domain::claim::ClaimScope;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::dry_run;
use crate::refusal::Refusal;

/// The resource has another version than the command was decided for.
pub(crate) const VERSION_MISMATCH: &str = "version_mismatch";

/// What came since the version that was asked for: shown to who may see the whole resource.
pub(crate) const SINCE: &str = "since";

/// An answer that is not what was asked for.
#[derive(Debug)]
pub enum ApiError {
    /// A problem.
    Problem(Box<Problem>),
    /// A dry run: the events that would have been appended.
    DryRun(Vec<Preview>),
}

/// An RFC 9457 problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    fields: Vec<Field>,
    retry_after: Option<u64>,
    /// Further members of the problem.
    more: Vec<(&'static str, Value)>,
}

/// A field of the request that is not accepted.
#[derive(Clone, Debug, PartialEq)]
struct Field {
    field: String,
    code: &'static str,
    message: String,
}

impl ApiError {
    /// A problem with this status and stable code.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::Problem(Box::new(Problem {
            status,
            code,
            detail,
            fields: vec![],
            retry_after: None,
            more: vec![],
        }))
    }

    /// 422 for one field.
    pub fn field(field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "validation_failed",
            "The request has fields that are not accepted.",
        )
        .with_field(field, code, message)
    }

    /// What does not exist, or not for this caller: both are told the same.
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such resource, or you may not see it.")
    }

    /// No credentials, or none that are valid.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Sign in, or send a valid token.")
    }

    /// The caller may see it, but not do this.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// Something of ours failed. The cause is logged here, once, and told to nobody.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut chain = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            chain.push_str(": ");
            chain.push_str(&error.to_string());
            cause = error.source();
        }
        tracing::error!(error = %chain, "a request failed: {chain}");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "Something went wrong on our side; it was logged.",
        )
    }

    /// The database is away or busy: worth another try.
    pub fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "A part of the platform is away; try again soon.",
        )
        .with_retry_after(2)
    }

    /// What must be recorded first could not be: nobody gets an answer that leaves no trace.
    pub fn unrecorded(error: &StoreError) -> Self {
        if let StoreError::Vault(VaultError::Erased) = error {
            return Self::unauthorized();
        }
        tracing::error!(%error, cause = ?std::error::Error::source(error), "access could not be recorded: {error}");
        Self::unavailable()
    }

    /// What a person is told.
    pub(crate) fn detail(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => Some(&problem.detail),
            Self::DryRun(_) => None,
        }
    }

    /// The same with a field.
    pub fn with_field(
        mut self,
        field: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        if let Self::Problem(problem) = &mut self {
            problem.fields.push(Field { field: field.into(), code, message: message.into() });
        }
        self
    }

    /// The same with `Retry-After`, in seconds.
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        if let Self::Problem(problem) = &mut self {
            problem.retry_after = Some(seconds);
        }
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::DryRun(events) => return dry_run::answer(events),
            Self::Problem(problem) => problem,
        };
        // The gate adds the request's id when the answer passes it.
        let mut body = json!({
            "type": format!("urn:mastra-admin:problem:{}", problem.code),
            "title": problem.status.canonical_reason().unwrap_or("Error"),
            "status": problem.status.as_u16(),
            "detail": problem.detail,
            "code": problem.code,
        });
        if !problem.fields.is_empty() {
            let field = |f: &Field| json!({ "field": f.field, "code": f.code, "message": f.message });
            body["errors"] = problem.fields.iter().map(field).collect();
        }
        for (name, value) in problem.more {
            body[name] = value;
        }
        let mut response = (problem.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = problem.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
            if problem.status == StatusCode::PAYMENT_REQUIRED {
                // What Mastra's exporter pauses by; nothing else is answered so.
                headers.insert("x-mastra-observability-retry-after", seconds.into());
            }
        }
        if problem.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(ProblemBody(body));
        response
    }
}

/// The body of a problem, for who adds the request's id.
#[derive(Clone, Debug)]
pub(crate) struct ProblemBody(pub(crate) Value);

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        if is_away(&error) {
            tracing::warn!(%error, "the database is away: {error}");
            return Self::unavailable();
        }
        Self::internal(&error)
    }
}

/// Whether the database is away for now, rather than the query wrong.
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        // No connection; no resources; stopping, starting or taking too long; a deadlock; read-only for now.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "53", "57", "40", "25006"].iter().any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(error) => error.into(),
            StoreError::ShuttingDown => Self::unavailable(),
            // Who asks was erased meanwhile: nothing can be recorded of him any more.
            StoreError::Vault(VaultError::Erased) => Self::unauthorized(),
            StoreError::Vault(error) => error.into(),
            StoreError::TooLarge { .. } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "This is more than one event can hold (64 KiB).",
            ),
            error => Self::internal(&error),
        }
    }
}

impl From<VaultError> for ApiError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Database(error) => error.into(),
            VaultError::Erased => Self::new(StatusCode::GONE, "erased", "This was erased."),
            // The operator has exchanged the master key and left this server out: another one, or this one soon, can.
            error @ VaultError::OtherMasterKey { .. } => {
                tracing::error!(%error, "{error}");
                Self::unavailable()
            }
            error => Self::internal(&error),
        }
    }
}

impl From<domain::ports::logs::LogError> for ApiError {
    fn from(error: domain::ports::logs::LogError) -> Self {
        tracing::warn!(%error, "the log store failed: {error}");
        Self::unavailable()
    }
}

impl<E: Refusal> From<CommandError<E>> for ApiError {
    fn from(error: CommandError<E>) -> Self {
        match error {
            CommandError::Refused(refusal) => {
                let (status, code, field) = refusal.problem();
                let detail = sentence(&refusal.to_string());
                let problem = Self::new(status, code, detail.clone());
                if field.is_empty() { problem } else { problem.with_field(field, code, detail) }
            }
            CommandError::Conflict { expected, actual, since } => Self::outdated(expected, actual, &since),
            CommandError::NameTaken { scope, .. } => name_taken(scope),
            CommandError::KeyReused => Self::key_reused(),
            CommandError::DryRun(events) => Self::DryRun(events),
            CommandError::Store(error) => error.into(),
        }
    }
}

impl ApiError {
    /// The resource is not as the caller thinks; with what came since.
    fn outdated(expected: i64, actual: i64, since: &[Since]) -> Self {
        let detail = format!("The resource has version {actual}, not {expected}: read it again.");
        let mut error = Self::new(StatusCode::PRECONDITION_FAILED, VERSION_MISMATCH, detail);
        if let Self::Problem(problem) = &mut error {
            problem.more = vec![("currentVersion", actual.into()), (SINCE, json!(since))];
        }
        error
    }

    /// An idempotency key with another request than the first.
    pub fn key_reused() -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "This idempotency key was used for another request.",
        )
    }
}

fn name_taken(scope: ClaimScope) -> ApiError {
    let (code, field, detail) = match scope {
        ClaimScope::TeamSlug => ("slug_taken", "slug", "Another team has this slug."),
        ClaimScope::ProjectSlug => ("slug_taken", "slug", "Another project of the team has this slug."),
        ClaimScope::TeamInvite => ("already_invited", "email", "This address has an open invite already."),
        ClaimScope::RoleRevision => ("conflict", "", "The roles of the team kept changing: read them again."),
        ClaimScope::UserEmail | ClaimScope::UserIdentity => {
            ("email_taken", "email", "There is an account already.")
        }
    };
    ApiError::new(StatusCode::CONFLICT, code, detail).with_field(field, code, detail)
}

/// The text with a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
    format!("{first}{}.", chars.as_str().trim_end_matches('.'))
}
