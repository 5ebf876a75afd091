//! Telemetry in: `POST /v1/traces` (OTLP/HTTP), `POST /projects/{project}/ai/spans/publish` (Mastra's own exporter).
//!
//! Whatever the sender speaks becomes the same row (`domain::ports::telemetry::Span`). A row that cannot be one is refused
//! by itself and never its neighbours; an answer of 200 means that the others are on disk.

mod caps;
mod conventions;
mod mastra;
mod otlp;
mod raw;
mod room;
mod unpack;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use domain::ids::DeploymentId;
use domain::ports::telemetry::{Span, Telemetry, TelemetryError};
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;

use crate::error::ApiError;
use crate::gate::Sender;
use crate::platform::Platform;

pub use room::Intake;
pub(crate) use room::Room;

/// The largest body as it is sent.
pub(crate) const MAX_SENT: usize = 8 << 20;
/// The largest body once it is unpacked.
const MAX_UNPACKED: usize = 16 << 20;
/// So many refused rows are explained.
const EXPLAINED: usize = 5;

/// Spans that can be stored, and why others cannot.
#[derive(Debug, Default)]
struct Batch {
    spans: Vec<Span>,
    rejected: u64,
    reasons: Vec<String>,
}

impl Batch {
    fn add(&mut self, span: Result<Span, String>) {
        match span {
            Ok(span) => self.spans.push(span),
            Err(reason) => {
                self.rejected += 1;
                if self.reasons.len() < EXPLAINED {
                    self.reasons.push(reason);
                }
            }
        }
    }

    /// Takes out what is too old to be kept, or has not begun yet.
    fn keep_window(&mut self, store: &dyn Telemetry, now: chrono::DateTime<chrono::Utc>) {
        let window = store.window(now);
        for span in std::mem::take(&mut self.spans) {
            let verdict = if span.started_at < *window.start() {
                Err(format!("span {}: began before {}, which is not kept", span.span_id, window.start()))
            } else if span.started_at > *window.end() {
                Err(format!("span {}: began in the future", span.span_id))
            } else {
                Ok(span)
            };
            self.add(verdict);
        }
    }
}

/// What became of a batch.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Accepted {
    /// Rows that are stored, now or before.
    accepted: u64,
    /// Rows that cannot be stored.
    rejected: u64,
    /// Why, for the first of them.
    errors: Vec<String>,
}

/// OTLP over HTTP, in protobuf or JSON.
pub(crate) async fn traces(
    State(platform): State<Arc<Platform>>,
    sender: Sender,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let format = otlp::Format::of(&headers)?;
    let deployment = deployment(&headers);
    let batch = read(&sender, &headers, body, move |body| otlp::read(format, body, deployment)).await?;
    Ok(otlp::answer(format, &store(&platform, &sender, batch).await?))
}

/// Mastra's exporter.
pub(crate) async fn mastra_spans(
    State(platform): State<Arc<Platform>>,
    sender: Sender,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Accepted>, ApiError> {
    let deployment = deployment(&headers);
    let batch = read(&sender, &headers, body, move |body| mastra::read(body, deployment)).await?;
    Ok(Json(store(&platform, &sender, batch).await?))
}

/// Unpacks and reads a body, aside from those who serve requests.
async fn read(
    sender: &Sender,
    headers: &HeaderMap,
    body: Bytes,
    read: impl FnOnce(&[u8]) -> Result<Batch, ApiError> + Send + 'static,
) -> Result<Batch, ApiError> {
    let packing = unpack::Packing::of(headers)?;
    let room = sender.room.clone();
    let reading = tokio::task::spawn_blocking(move || read(&packing.unpack(body, &room)?));
    reading.await.map_err(|error| ApiError::internal(&error))?
}

/// Stores what can be stored.
async fn store(platform: &Platform, sender: &Sender, mut batch: Batch) -> Result<Accepted, ApiError> {
    batch.keep_window(&*platform.telemetry, (platform.now)());
    if sender.deployment.is_some() {
        // Its token proves what others only say.
        batch.spans.iter_mut().for_each(|span| span.deployment_id = sender.deployment);
    }
    let accepted = batch.spans.len() as u64;
    if accepted > 0 && !sender.dry_run {
        let written = platform.telemetry.write(sender.tenant, batch.spans).await?;
        metrics::counter!("mastra_admin_spans_stored").increment(written.stored);
        metrics::counter!("mastra_admin_spans_repeated").increment(written.repeated);
    }
    metrics::counter!("mastra_admin_spans_rejected").increment(batch.rejected);
    Ok(Accepted { accepted, rejected: batch.rejected, errors: batch.reasons })
}

/// Which deployment speaks, when its sender was told to say so.
fn deployment(headers: &HeaderMap) -> Option<DeploymentId> {
    headers.get("x-mastraadmin-deployment")?.to_str().ok()?.parse().ok()
}

/// The media type, in small letters and without parameters.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn unsupported(detail: &str) -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
}

fn malformed(detail: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "malformed", detail)
}

impl From<TelemetryError> for ApiError {
    fn from(error: TelemetryError) -> Self {
        tracing::warn!(%error, cause = ?std::error::Error::source(&error), "telemetry: {error}");
        Self::unavailable()
    }
}
