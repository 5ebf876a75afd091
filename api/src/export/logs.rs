//! `GET /api/v1/projects/{project}/logs/export`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::access::TelemetrySignal;
use domain::ports::telemetry::{LogFilter, LogRecord, TelemetryError, Tenant, may_go_on};
use projections::projects::ProjectRow;

use super::{Lines, Narrowed, PAGE, Source, export, given, until, whole};
use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::log_records::{LinesWanted, line_filter, line_view};
use crate::platform::Platform;
use crate::traces::tenant;

/// The lines that the list has.
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(wanted): Query<LinesWanted>,
) -> Result<Response, ApiError> {
    let (limit, cursor) = (wanted.limit.is_some(), wanted.cursor.is_some());
    whole(&[("limit", limit), ("cursor", cursor), ("around", wanted.around.is_some())])?;
    let filter = LogFilter { limit: PAGE, ..line_filter(wanted)? };
    let filter = LogFilter { period: until(&platform, filter.period, project.caller().at()), ..filter };
    let by = given(&[
        ("level", filter.least.is_some()),
        ("text", filter.text.is_some()),
        ("traceId", filter.trace_id.is_some()),
        ("deploymentId", filter.deployment_id.is_some()),
    ]);
    let narrowed = Narrowed { period: filter.period, by };
    export(platform, &project, narrowed, Of { tenant: tenant(&project), filter }).await
}

struct Of {
    tenant: Tenant,
    filter: LogFilter,
}

impl Source for Of {
    const SIGNAL: TelemetrySignal = TelemetrySignal::Logs;

    async fn page(&mut self, platform: &Platform) -> Result<Lines, TelemetryError> {
        let rows = platform.signals.logs(self.tenant, &self.filter).await?;
        self.filter.after = rows.last().map(LogRecord::place);
        Ok(Lines::of(rows.iter().map(line_view), !may_go_on(&rows, PAGE)))
    }
}
