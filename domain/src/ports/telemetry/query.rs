//! Questions, and what they are answered with.

use chrono::{DateTime, Utc};

use super::{Status, TraceId, Usage};
use crate::ids::DeploymentId;

/// From when until when; both may be open.
#[derive(Clone, Copy, Debug, Default)]
pub struct Period {
    /// Not before.
    pub from: Option<DateTime<Utc>>,
    /// Before this.
    pub to: Option<DateTime<Utc>>,
}

/// Which traces. All that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// When the trace began.
    pub period: Period,
    /// How its root ended.
    pub status: Option<Status>,
    /// What the name of its root contains, in any case of letters.
    pub name: Option<String>,
    /// How long its root took at least, in microseconds.
    pub min_duration_us: Option<i64>,
    /// For whom any of its spans was.
    pub user_id: Option<String>,
    /// In which conversation any of its spans was.
    pub session_id: Option<String>,
    /// A label of any of its spans.
    pub tag: Option<String>,
    /// A model of any of its spans.
    pub model: Option<String>,
    /// Where its root came from.
    pub deployment_id: Option<DeploymentId>,
    /// Only what comes after this one.
    pub after: Option<Place>,
    /// At most so many.
    pub limit: i64,
}

/// Where a trace stands in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// The trace.
    pub trace_id: TraceId,
}

/// A trace as a list shows it: its first root, and sums over all of its spans.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSummary {
    /// The trace.
    pub trace_id: TraceId,
    /// Its root's name.
    pub name: String,
    /// Its root's kind.
    pub kind: String,
    /// How its root ended.
    pub status: Status,
    /// What was said about that.
    pub status_message: Option<String>,
    /// When its root began.
    pub started_at: DateTime<Utc>,
    /// How long its root took, in microseconds.
    pub duration_us: i64,
    /// Where its root came from.
    pub deployment_id: Option<DeploymentId>,
    /// For whom its root was.
    pub user_id: Option<String>,
    /// In which conversation its root was.
    pub session_id: Option<String>,
    /// Labels of its root.
    pub tags: Vec<String>,
    /// How many spans there are.
    pub spans: i64,
    /// How many of them did not end well.
    pub errors: i64,
    /// Tokens in.
    pub input_tokens: i64,
    /// Tokens out.
    pub output_tokens: i64,
    /// What it cost, in millionths of a millionth of a US dollar.
    pub cost_picos: i128,
}

/// What was used of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelUsage {
    /// The model; none where the sender does not say.
    pub model: Option<String>,
    /// Who runs it.
    pub provider: Option<String>,
    /// How many calls.
    pub calls: i64,
    /// Of these, how many have no cost: their model has no price here.
    pub calls_without_cost: i64,
    /// Tokens.
    pub usage: Usage,
    /// What they cost, in millionths of a millionth of a US dollar.
    pub cost_picos: i128,
}

/// Traces in numbers: each counts once, with its first root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// How many there are.
    pub traces: i64,
    /// How many of them did not end well.
    pub errors: i64,
    /// What they took on average, in microseconds, as all of what follows.
    pub average_us: i64,
    /// What the shortest took.
    pub min_us: i64,
    /// What half of them took at most.
    pub p50_us: i64,
    /// What 95 in 100 of them took at most.
    pub p95_us: i64,
    /// What 99 in 100 of them took at most.
    pub p99_us: i64,
    /// What the longest took.
    pub max_us: i64,
}
