//! Measurements in: `POST /v1/metrics` (OTLP/HTTP), `POST /projects/{project}/ai/metrics/publish` (Mastra's own exporter).

mod mastra;
mod otlp;
mod said;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use domain::ports::telemetry::Point;
use http::HeaderMap;

use super::batch::Batch;
use super::otlp::{Format, answer};
use super::weight::{self, Form};
use super::{Accepted, deployment, read};
use crate::error::ApiError;
use crate::gate::Sender;
use crate::platform::Platform;

/// OTLP over HTTP, in protobuf or JSON.
pub(crate) async fn otlp_metrics(
    State(platform): State<Arc<Platform>>,
    sender: Sender,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let format = Format::of(&headers)?;
    let from = deployment(&headers);
    let batch = read(&sender, &headers, body, format.form(&weight::METRICS), move |body| {
        otlp::read(format, body, from)
    })
    .await?;
    Ok(answer(format, "rejectedDataPoints", &store(&platform, &sender, batch).await?))
}

/// Mastra's exporter.
pub(crate) async fn mastra_metrics(
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
async fn store(platform: &Platform, sender: &Sender, mut batch: Batch<Point>) -> Result<Accepted, ApiError> {
    let window = sender.allowance.window(&platform.signals.window((platform.now)()));
    batch.keep_window(&window, |point| (point.at, format!("measurement of {}", point.name)));
    batch
        .store(platform, sender, "metric_points", |points| {
            platform.signals.write_points(sender.tenant, points)
        })
        .await
}
