//! Scores in: `POST /projects/{project}/ai/{scores,feedback}/publish` (Mastra's own exporter), and one at a time:
//! `POST /api/v1/projects/{project}/scores`.

mod mastra;
mod one;
mod said;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use domain::ports::telemetry::{Score, ScoreKind};
use http::HeaderMap;

use super::batch::Batch;
use super::weight::Form;
use super::{Accepted, deployment, read};
use crate::error::ApiError;
use crate::gate::Sender;
use crate::platform::Platform;

pub(crate) use one::handler as one_score;

/// Scores of Mastra's exporter.
pub(crate) async fn mastra_scores(
    platform: State<Arc<Platform>>,
    sender: Sender,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Accepted>, ApiError> {
    publish(&platform, &sender, &headers, body, ScoreKind::Score).await
}

/// Feedback of Mastra's exporter.
pub(crate) async fn mastra_feedback(
    platform: State<Arc<Platform>>,
    sender: Sender,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Accepted>, ApiError> {
    publish(&platform, &sender, &headers, body, ScoreKind::Feedback).await
}

async fn publish(
    platform: &Platform,
    sender: &Sender,
    headers: &HeaderMap,
    body: Bytes,
    kind: ScoreKind,
) -> Result<Json<Accepted>, ApiError> {
    let from = deployment(headers);
    let batch = read(sender, headers, body, Form::Json, move |body| mastra::read(body, kind, from)).await?;
    Ok(Json(store(platform, sender, batch).await?))
}

/// Stores what can be stored.
async fn store(platform: &Platform, sender: &Sender, mut batch: Batch<Score>) -> Result<Accepted, ApiError> {
    let window = sender.allowance.window(&platform.signals.window((platform.now)()));
    batch.keep_window(&window, |score| (score.at, format!("score {}", score.name)));
    batch
        .store(platform, sender, "scores", |scores| platform.signals.write_scores(sender.tenant, scores))
        .await
}
