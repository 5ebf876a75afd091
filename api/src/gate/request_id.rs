//! The id of a request, which its answer, the log and the audit trail have in common.

use axum::extract::Request;

use super::header;

/// The id of a request, for its answer, for logs and for the audit trail.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) String);

/// The id that the outermost layer gave; else the caller's own, when it is harmless; else a new one.
pub(crate) fn request_id(request: &Request) -> String {
    if let Some(RequestId(id)) = request.extensions().get() {
        return id.clone();
    }
    let given = header(request.headers(), "x-request-id").filter(|id| {
        (1..=100).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    });
    given.map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}
