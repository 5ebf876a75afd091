//! Mastra's own exporter: `{"scores":[…]}` and `{"feedback":[…]}`.

use domain::ids::DeploymentId;
use domain::ports::telemetry::{Score, ScoreKind};
use serde_json::Value;

use super::said::{Said, Seen};
use crate::error::ApiError;
use crate::telemetry::batch::Batch;
use crate::telemetry::mastra::{each, optional_id, rest, time};
use crate::telemetry::walk::parsed;

/// What has a column of its own; of scores and of feedback.
const SCORE: &[&str] =
    &["timestamp", "scorerId", "score", "reason", "source", "scoreSource", "traceId", "spanId"];
const FEEDBACK: &[&str] = &[
    "timestamp",
    "feedbackType",
    "value",
    "comment",
    "source",
    "feedbackSource",
    "userId",
    "feedbackUserId",
    "traceId",
    "spanId",
];

/// Reads a body.
pub(super) fn read(
    body: &[u8],
    kind: ScoreKind,
    from: Option<DeploymentId>,
) -> Result<Batch<Score>, ApiError> {
    let name = match kind {
        ScoreKind::Score => "scores",
        ScoreKind::Feedback => "feedback",
    };
    let (mut batch, mut seen) = (Batch::default(), Seen::default());
    each(body, name, |row| {
        batch.add_with(|| said(parsed(row)?, kind, from).and_then(|said| said.row(&mut seen)));
    })?;
    Ok(batch)
}

fn said(row: Value, kind: ScoreKind, from: Option<DeploymentId>) -> Result<Said, String> {
    let text = |keys: &[&str]| {
        let said = keys.iter().find_map(|key| row[*key].as_str());
        said.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let places = [&row["metadata"], &row["correlationContext"]];
    let deployment = places.into_iter().find_map(|place| place["deploymentId"].as_str()?.parse().ok());
    let (name, value, columns) = match kind {
        ScoreKind::Score => ("scorerId", "score", SCORE),
        ScoreKind::Feedback => ("feedbackType", "value", FEEDBACK),
    };
    Ok(Said {
        id: text(&["scoreId", "feedbackId"]),
        kind,
        nanos: time(&row["timestamp"]).ok_or("a score has no timestamp")?,
        name: text(&[name]).unwrap_or_default(),
        value: row[value].clone(),
        comment: text(&["reason", "comment"]),
        source: text(&["scoreSource", "feedbackSource", "source"]),
        user_id: text(&["feedbackUserId", "userId"]),
        trace_id: optional_id(&row["traceId"]).map_err(|error| format!("a score: traceId {error}"))?,
        span_id: optional_id(&row["spanId"]).map_err(|error| format!("a score: spanId {error}"))?,
        deployment_id: deployment.or(from),
        details: rest(row, columns),
    })
}
