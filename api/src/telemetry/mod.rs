//! Telemetry in: `POST /v1/{traces,logs,metrics}` (OTLP/HTTP), `POST /projects/{project}/ai/{spans,logs,metrics,scores,feedback}/publish`
//! (Mastra's own exporter), `POST /api/v1/projects/{project}/scores`.
//!
//! Whatever the sender speaks becomes the same row (`domain::ports::telemetry`). A row that cannot be one is refused by
//! itself and never its neighbours; an answer of 200 means that the others are on disk.

mod allowance;
mod batch;
mod caps;
mod conventions;
mod identity;
mod logs;
mod mastra;
mod measurements;
mod otlp;
mod raw;
mod resource;
mod room;
mod scores;
mod unpack;
mod walk;
mod weight;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use domain::ids::DeploymentId;
use domain::ports::telemetry::{Span, TelemetryError};
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;

use crate::error::ApiError;
use crate::gate::Sender;
use crate::platform::Platform;

pub(crate) use allowance::{Allowance, day_after};
use batch::Batch;
pub(crate) use logs::{mastra_logs, otlp_logs};
pub(crate) use measurements::{mastra_metrics, otlp_metrics};
pub use room::Intake;
pub(crate) use room::Room;
pub(crate) use scores::{mastra_feedback, mastra_scores, one_score};
use weight::Form;

/// The largest body as it is sent.
pub(crate) const MAX_SENT: usize = 8 << 20;
/// The largest body once it is unpacked.
const MAX_UNPACKED: usize = 16 << 20;
/// Seconds after which what took too much may be asked again, when others ask for less.
const WIDE_AGAIN: u64 = 60;

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
    let batch = read(&sender, &headers, body, format.form(&weight::SPANS), move |body| {
        otlp::read(format, body, deployment)
    })
    .await?;
    Ok(otlp::answer(format, "rejectedSpans", &store(&platform, &sender, batch).await?))
}

/// Mastra's exporter.
pub(crate) async fn mastra_spans(
    State(platform): State<Arc<Platform>>,
    sender: Sender,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Accepted>, ApiError> {
    let deployment = deployment(&headers);
    let batch = read(&sender, &headers, body, Form::Json, move |body| mastra::read(body, deployment)).await?;
    Ok(Json(store(&platform, &sender, batch).await?))
}

/// Unpacks and reads a body, aside from those who serve requests.
async fn read<T: Send + 'static>(
    sender: &Sender,
    headers: &HeaderMap,
    body: Bytes,
    form: Form,
    read: impl FnOnce(&[u8]) -> Result<Batch<T>, ApiError> + Send + 'static,
) -> Result<Batch<T>, ApiError> {
    let packing = unpack::Packing::of(headers)?;
    let room = sender.room.clone();
    let turn = room.turn().await?;
    let reading = tokio::task::spawn_blocking(move || {
        let body = packing.unpack(body, &room)?;
        form.admit(&room, &body)?;
        let batch = read(&body)?;
        room.read();
        room.take_rows(batch.size())?;
        drop(turn);
        Ok(batch)
    });
    reading.await.map_err(|error| ApiError::internal(&error))?
}

/// Stores what can be stored.
async fn store(platform: &Platform, sender: &Sender, mut batch: Batch<Span>) -> Result<Accepted, ApiError> {
    let window = sender.allowance.window(&platform.telemetry.window((platform.now)()));
    batch.keep_window(&window, |span| (span.started_at, format!("span {}", span.span_id)));
    batch.store(platform, sender, "spans", |spans| platform.telemetry.write(sender.tenant, spans)).await
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
        match error {
            TelemetryError::Busy | TelemetryError::Store(_) => Self::unavailable(),
            TelemetryError::TooWide(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "telemetry_too_wide",
                "The question takes more time or memory than one may: ask about less, a shorter period for example.",
            )
            .with_retry_after(WIDE_AGAIN),
            TelemetryError::Refused(_) => malformed("There are rows that cannot be stored."),
        }
    }
}
