//! `GET /api/v1/projects/{project}/spans/export`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::access::TelemetrySignal;
use domain::ports::telemetry::{Span, SpanFilter, TelemetryError, Tenant, may_go_on};
use projections::projects::ProjectRow;
use serde::Serialize;

use super::{Lines, Narrowed, PAGE, Source, export, given, until, whole};
use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::traces::{SpanNode, TracesWanted, span_node, tenant, trace_filter};

/// The parameters of the list of traces, each about the span itself.
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(wanted): Query<TracesWanted>,
) -> Result<Response, ApiError> {
    whole(&[("limit", wanted.limit.is_some()), ("cursor", wanted.cursor.is_some())])?;
    let filter = trace_filter(wanted)?;
    let filter = SpanFilter {
        period: until(&platform, filter.period, project.caller().at()),
        status: filter.status,
        name: filter.name,
        min_duration_us: filter.min_duration_us,
        user_id: filter.user_id,
        session_id: filter.session_id,
        tag: filter.tag,
        model: filter.model,
        deployment_id: filter.deployment_id,
        trace_id: None,
        after: None,
        limit: PAGE,
    };
    let by = given(&[
        ("status", filter.status.is_some()),
        ("name", filter.name.is_some()),
        ("minDurationMs", filter.min_duration_us.is_some()),
        ("userId", filter.user_id.is_some()),
        ("sessionId", filter.session_id.is_some()),
        ("tag", filter.tag.is_some()),
        ("model", filter.model.is_some()),
        ("deploymentId", filter.deployment_id.is_some()),
    ]);
    let narrowed = Narrowed { period: filter.period, by };
    export(platform, &project, narrowed, Of { tenant: tenant(&project), filter }).await
}

/// A span beside others: with its trace, without what is below it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    trace_id: String,
    #[serde(flatten)]
    span: SpanNode,
}

struct Of {
    tenant: Tenant,
    filter: SpanFilter,
}

impl Source for Of {
    const SIGNAL: TelemetrySignal = TelemetrySignal::Spans;

    async fn page(&mut self, platform: &Platform) -> Result<Lines, TelemetryError> {
        let rows = platform.telemetry.spans(self.tenant, &self.filter).await?;
        self.filter.after = rows.last().map(Span::place);
        let is_last = !may_go_on(&rows, PAGE);
        let views =
            rows.into_iter().map(|span| View { trace_id: span.trace_id.to_string(), span: span_node(span) });
        Ok(Lines::of(views, is_last))
    }
}
