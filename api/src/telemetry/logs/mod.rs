//! Lines in: `POST /v1/logs` (OTLP/HTTP), `POST /projects/{project}/ai/logs/publish` (Mastra's own exporter).

mod mastra;
mod otlp;
mod said;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use domain::ports::telemetry::LogRecord;
use http::HeaderMap;

use super::batch::Batch;
use super::otlp::{Format, answer};
use super::weight::{self, Form};
use super::{Accepted, deployment, read};
use crate::error::ApiError;
use crate::gate::Sender;
use crate::platform::Platform;

/// OTLP over HTTP, in protobuf or JSON.
pub(crate) async fn otlp_logs(
    State(platform): State<Arc<Platform>>,
    sender: Sender,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let format = Format::of(&headers)?;
    let from = deployment(&headers);
    let batch = read(&sender, &headers, body, format.form(&weight::LINES), move |body| {
        otlp::read(format, body, from)
    })
    .await?;
    Ok(answer(format, "rejectedLogRecords", &store(&platform, &sender, batch).await?))
}

/// Mastra's exporter.
pub(crate) async fn mastra_logs(
    State(platform): State<Arc<Platform>>,
    sender: Sender,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Accepted>, ApiError> {
    let from = deployment(&headers);
    let batch = read(&sender, &headers, body, Form::Json, move |body| mastra::read(body, from)).await?;
    Ok(Json(store(&platform, &sender, batch).await?))
}

/// Stores what can be stored.
async fn store(
    platform: &Platform,
    sender: &Sender,
    mut batch: Batch<LogRecord>,
) -> Result<Accepted, ApiError> {
    let window = sender.allowance.window(&platform.signals.window((platform.now)()));
    batch.keep_window(&window, |line| (line.at, format!("line {}", line.id)));
    batch
        .store(platform, sender, "log_records", |lines| platform.signals.write_logs(sender.tenant, lines))
        .await
}
