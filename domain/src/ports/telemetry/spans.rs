//! Single spans, whatever their traces.

use chrono::{DateTime, Utc};

use super::{Period, Span, SpanId, Status, TraceId};
use crate::ids::DeploymentId;

/// Which spans. All that is given must hold of the span itself.
#[derive(Clone, Debug, Default)]
pub struct SpanFilter {
    /// When it began.
    pub period: Period,
    /// How it ended.
    pub status: Option<Status>,
    /// What its name contains, in any case of letters.
    pub name: Option<String>,
    /// How long it took at least, in microseconds.
    pub min_duration_us: Option<i64>,
    /// For whom it was.
    pub user_id: Option<String>,
    /// In which conversation it was.
    pub session_id: Option<String>,
    /// A label of it.
    pub tag: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Where it came from.
    pub deployment_id: Option<DeploymentId>,
    /// Its trace.
    pub trace_id: Option<TraceId>,
    /// Only what comes after this one.
    pub after: Option<SpanPlace>,
    /// At most so many.
    pub limit: i64,
}

/// Where a span stands in the list; what began later is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanPlace {
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// Its trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
}

impl Span {
    /// Where it stands in the list.
    pub fn place(&self) -> SpanPlace {
        SpanPlace { started_at: self.started_at, trace_id: self.trace_id, span_id: self.span_id }
    }
}
