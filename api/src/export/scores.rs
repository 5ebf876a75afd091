//! `GET /api/v1/projects/{project}/scores/export`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use domain::access::TelemetrySignal;
use domain::ports::telemetry::{ScoreFilter, TelemetryError, Tenant, may_go_on};
use projections::projects::ProjectRow;

use super::{Lines, Narrowed, PAGE, Source, export, given, until, whole};
use crate::body::Query;
use crate::error::ApiError;
use crate::gate::Scoped;
use crate::platform::Platform;
use crate::scores::{ScoresWanted, score_filter, score_view};
use crate::traces::tenant;

/// The scores that the list has.
pub(crate) async fn handler(
    State(platform): State<Arc<Platform>>,
    project: Scoped<ProjectRow>,
    Query(wanted): Query<ScoresWanted>,
) -> Result<Response, ApiError> {
    whole(&[("limit", wanted.limit.is_some()), ("cursor", wanted.cursor.is_some())])?;
    let filter = ScoreFilter { limit: PAGE, ..score_filter(wanted)? };
    let filter = ScoreFilter { period: until(&platform, filter.period, project.caller().at()), ..filter };
    let by = given(&[
        ("kind", filter.kind.is_some()),
        ("name", filter.name.is_some()),
        ("traceId", filter.trace_id.is_some()),
    ]);
    let narrowed = Narrowed { period: filter.period, by };
    export(platform, &project, narrowed, Of { tenant: tenant(&project), filter }).await
}

struct Of {
    tenant: Tenant,
    filter: ScoreFilter,
}

impl Source for Of {
    const SIGNAL: TelemetrySignal = TelemetrySignal::Scores;

    async fn page(&mut self, platform: &Platform) -> Result<Lines, TelemetryError> {
        let rows = platform.signals.scores(self.tenant, &self.filter).await?;
        self.filter.after = rows.last().map(|score| (score.at, score.id));
        Ok(Lines::of(rows.iter().map(score_view), !may_go_on(&rows, PAGE)))
    }
}
