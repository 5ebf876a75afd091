//! Telemetry out: `GET /projects/{project}/traces`, `GET …/traces/{trace}`, `GET …/usage-by-model`,
//! `GET …/cost-breakdown`, `GET …/stats`.

mod costs;
mod find;
mod list;
mod show;
mod summary;

use domain::ids::ProjectId;
use domain::ports::telemetry::{Period, Tenant};
use domain::pricing::dollars;
use projections::projects::ProjectRow;
use serde::Deserialize;

use crate::error::ApiError;
use crate::gate::Scoped;

pub(crate) use costs::{Breakdown, handler as costs};
pub(crate) use find::handler as find;
pub(crate) use list::{View as TraceView, Wanted as TracesWanted, filter as trace_filter, handler as list};
pub(crate) use show::{Node as SpanNode, Tree, handler as show, node as span_node};
pub(crate) use summary::{ModelView, StatsView, stats, usage};

/// From when until when; all that is kept when absent.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub(crate) struct When {
    /// Not before.
    from: Option<chrono::DateTime<chrono::Utc>>,
    /// Before this.
    to: Option<chrono::DateTime<chrono::Utc>>,
}

impl When {
    /// What ends before it begins is a mistake.
    pub(crate) fn period(&self) -> Result<Period, ApiError> {
        period(self.from, self.to)
    }
}

/// Whose telemetry a caller may see.
pub(crate) fn tenant(project: &Scoped<ProjectRow>) -> Tenant {
    let id: ProjectId = project.it.id;
    Tenant { team: project.team_id, project: id }
}

/// From when until when; what ends before it begins is a mistake.
pub(crate) fn period(
    from: Option<chrono::DateTime<chrono::Utc>>,
    to: Option<chrono::DateTime<chrono::Utc>>,
) -> Result<Period, ApiError> {
    for (field, at) in [("from", from), ("to", to)] {
        // What a database can compare.
        if at.is_some_and(|at| !(0..=9999).contains(&chrono::Datelike::year(&at))) {
            return Err(ApiError::field(field, "out_of_range", "must be in the years 0 to 9999"));
        }
    }
    match (from, to) {
        (Some(from), Some(to)) if to <= from => {
            Err(ApiError::field("to", "out_of_range", "must come after from"))
        }
        _ => Ok(Period { from, to }),
    }
}

/// Milliseconds.
#[expect(clippy::cast_precision_loss, reason = "microseconds of three hundred years are exact")]
fn millis(micros: i64) -> f64 {
    micros as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_to_the_last_digit() {
        assert_eq!(millis(100_000), 100.0);
    }
}
