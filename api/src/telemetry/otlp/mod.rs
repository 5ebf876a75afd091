//! OTLP over HTTP: protobuf and JSON say the same.

pub(super) mod json;
pub(super) mod protobuf;

use axum::response::{IntoResponse, Response};
use domain::ids::DeploymentId;
use domain::ports::telemetry::Span;
use http::{HeaderMap, header};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use serde_json::Value;

use super::weight::{Form, Shape};
use super::{Accepted, Batch, media_type, unsupported};
use crate::error::ApiError;

/// The bit of a span's flags that says whether it is known that its parent is in another program, and that it is.
const REMOTE: u32 = 0x300;

/// How a body is written; the answer is, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Protobuf,
    Json,
}

impl Format {
    /// As bodies of it are weighed.
    pub(super) fn form(self, shape: &'static Shape) -> Form {
        match self {
            Self::Protobuf => Form::Protobuf(shape),
            Self::Json => Form::Json,
        }
    }

    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        match media_type(headers).as_deref() {
            Some("application/x-protobuf" | "application/protobuf") => Ok(Self::Protobuf),
            Some("application/json") => Ok(Self::Json),
            _ => Err(unsupported("Send OTLP as application/x-protobuf or application/json.")),
        }
    }
}

/// Reads a body. What cannot be read at all is refused as a whole, a span that cannot be a row by itself.
pub(super) fn read(
    format: Format,
    body: &[u8],
    deployment: Option<DeploymentId>,
) -> Result<Batch<Span>, ApiError> {
    match format {
        Format::Protobuf => protobuf::read(body, deployment),
        Format::Json => json::read(body, deployment),
    }
}

/// The answer: empty when every row is stored. In protobuf that of all signals is written alike, in JSON `rejected` has the
/// name of the signal.
pub(super) fn answer(format: Format, rejected: &'static str, accepted: &Accepted) -> Response {
    let partial = (accepted.rejected > 0).then(|| ExportTracePartialSuccess {
        rejected_spans: i64::try_from(accepted.rejected).unwrap_or(i64::MAX),
        error_message: accepted.errors.join("; "),
    });
    match format {
        Format::Protobuf => {
            let body = ExportTraceServiceResponse { partial_success: partial }.encode_to_vec();
            ([(header::CONTENT_TYPE, "application/x-protobuf")], body).into_response()
        }
        Format::Json => {
            let body = partial.map_or_else(
                || serde_json::json!({}),
                |partial| {
                    serde_json::json!({ "partialSuccess": {
                        rejected: partial.rejected_spans.to_string(),
                        "errorMessage": partial.error_message,
                    } })
                },
            );
            axum::Json(body).into_response()
        }
    }
}

/// The sort of work that the number says.
fn kind(number: i64) -> &'static str {
    match number {
        2 => "server",
        3 => "client",
        4 => "producer",
        5 => "consumer",
        _ => "internal",
    }
}

/// A float as JSON has it; what it has not is said in words.
fn float(number: f64) -> Value {
    serde_json::Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
}

/// Whether a span is where its trace entered the program.
fn is_root(has_parent: bool, flags: u32) -> bool {
    !has_parent || flags & REMOTE == REMOTE
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Sent};

    use super::*;
    use crate::telemetry::batch::MOST;
    use crate::telemetry::resource::tests::large;

    const MANY: usize = 100_000;

    #[test]
    fn what_is_said_once_about_many_rows_does_not_fill_the_memory() {
        let of = |end| {
            let span = Sent {
                trace_id: vec![1; 16],
                span_id: vec![1; 8],
                end_time_unix_nano: end,
                start_time_unix_nano: 1,
                ..Sent::default()
            };
            // Parts are as cheap for who sends them as rows are.
            let part = |spans| ScopeSpans { spans, ..ScopeSpans::default() };
            let mut scope_spans = vec![part(vec![span.clone(); MANY / 2])];
            scope_spans.extend(vec![part(vec![span]); MANY / 2]);
            let sender = ResourceSpans { resource: Some(large()), scope_spans, ..ResourceSpans::default() };
            let body = ExportTraceServiceRequest { resource_spans: vec![sender] }.encode_to_vec();
            read(Format::Protobuf, &body, None).unwrap()
        };
        let batch = of(2);
        let kept = batch.rows.len();
        assert!((100..200).contains(&kept), "{kept}");
        assert!((MOST..MOST + (1 << 20)).contains(&batch.size()), "{}", batch.size());
        assert_eq!(batch.rejected(), (MANY - kept) as u64);
        let batch = of(0);
        assert_eq!((batch.rows.len(), batch.rejected()), (0, MANY as u64), "they ended before they began");
    }
}
