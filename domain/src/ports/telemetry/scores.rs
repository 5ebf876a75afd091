//! What is thought of traces: scores by programs, feedback by people.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Keeping, Period, RecordId, SpanId, TelemetryError, Tenant, TraceId, Written};
use crate::ids::DeploymentId;

/// Stores and reads scores.
///
/// A score is what one project says under one id on one day (UTC). It is written once and never changes: what comes later
/// under the same id is a repeat and is not stored.
#[async_trait]
pub trait Scores: Keeping {
    /// Stores scores. When it answers with `Ok`, they are durable, all of them. Those outside of the window are an error
    /// of the caller.
    ///
    /// # Errors
    /// When the store is away or has enough to do; another try is worth it, and stores nothing twice.
    async fn write_scores(&self, tenant: Tenant, scores: Vec<Score>) -> Result<Written, TelemetryError>;

    /// Scores, newest first: at most as many as the filter says, and no more than a page has bytes
    /// ([`PAGE_BYTES`](super::PAGE_BYTES)).
    async fn scores(&self, tenant: Tenant, filter: &ScoreFilter) -> Result<Vec<Score>, TelemetryError>;
}

/// Who thinks so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScoreKind {
    /// A program.
    #[default]
    Score,
    /// A person.
    Feedback,
}

impl ScoreKind {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::Feedback => "feedback",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Score, Self::Feedback].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// One score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// What it is known by.
    pub id: RecordId,
    /// Who thinks so.
    pub kind: ScoreKind,
    /// When it was given, in whole microseconds.
    pub at: DateTime<Utc>,
    /// What was looked at: `relevance`, `thumbs`.
    pub name: String,
    /// How well it did, where that is a number.
    pub value: Option<f64>,
    /// How well it did, in words.
    pub text: Option<String>,
    /// Why.
    pub comment: Option<String>,
    /// Where it comes from: `manual`, `experiment`.
    pub source: Option<String>,
    /// Who gave it, in the sender's words.
    pub user_id: Option<String>,
    /// The trace it is about.
    pub trace_id: Option<TraceId>,
    /// The span of it.
    pub span_id: Option<SpanId>,
    /// The deployment that it came from.
    pub deployment_id: Option<DeploymentId>,
    /// Everything else that was said about it.
    pub details: Map<String, Value>,
}

/// Which scores. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct ScoreFilter {
    /// When it was given.
    pub period: Period,
    /// Who thinks so.
    pub kind: Option<ScoreKind>,
    /// What was looked at.
    pub name: Option<String>,
    /// The trace it is about.
    pub trace_id: Option<TraceId>,
    /// Only what comes after this one: when it was given, and which it is.
    pub after: Option<(DateTime<Utc>, RecordId)>,
    /// At most so many.
    pub limit: i64,
}
