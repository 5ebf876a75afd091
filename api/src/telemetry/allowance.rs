//! What a project may bring: rows that are young enough, and so many of them a day.

use std::ops::RangeInclusive;

use chrono::{DateTime, Days, NaiveTime, Utc};
use commands::telemetry_usage;
use domain::ids::ProjectId;
use domain::project::ProjectSettings;
use http::StatusCode;
use sqlx::PgPool;

use crate::error::ApiError;

/// Who has brought enough asks again no later: more may have been allowed meanwhile.
const PATIENCE: u64 = 300;

/// What a project may bring now.
#[derive(Clone, Debug)]
pub(crate) struct Allowance {
    now: DateTime<Utc>,
    /// Rows from before are not kept.
    oldest: Option<DateTime<Utc>>,
    rows: Option<u32>,
    /// Whether Mastra's exporter asks, which knows a status for it.
    is_mastra: bool,
}

impl Allowance {
    pub(crate) fn of(settings: &ProjectSettings, now: DateTime<Utc>, is_mastra: bool) -> Self {
        let oldest = settings.telemetry_days.map(|days| {
            let day = now.date_naive().checked_sub_days(Days::new(days.into())).unwrap_or_default();
            day.and_time(NaiveTime::MIN).and_utc()
        });
        Self { now, oldest, rows: settings.telemetry_rows, is_mastra }
    }

    /// The window of the store, as far as the project's own goes.
    pub(super) fn window(&self, of_store: &RangeInclusive<DateTime<Utc>>) -> RangeInclusive<DateTime<Utc>> {
        let start = self.oldest.map_or(*of_store.start(), |oldest| oldest.max(*of_store.start()));
        start..=*of_store.end()
    }

    /// Counts rows that are to be stored; refuses them when there were enough.
    pub(super) async fn take(&self, db: &PgPool, project: ProjectId, rows: u64) -> Result<(), ApiError> {
        let Some(most) = self.rows else { return Ok(()) };
        if telemetry_usage::take(db, (project, self.now.date_naive()), rows, most).await? {
            return Ok(());
        }
        metrics::counter!("mastra_admin_telemetry_over_quota_rows").increment(rows);
        let left = (day_after(self.now) - self.now).num_seconds();
        let seconds = u64::try_from(left).unwrap_or_default().clamp(1, PATIENCE);
        let status =
            if self.is_mastra { StatusCode::PAYMENT_REQUIRED } else { StatusCode::TOO_MANY_REQUESTS };
        let detail = format!("The project has brought the {most} rows of telemetry that it may bring today.");
        Err(ApiError::new(status, "telemetry_quota", detail).with_retry_after(seconds))
    }

    /// Rows that were counted and are not stored, or were before.
    pub(super) async fn give_back(&self, db: &PgPool, project: ProjectId, rows: u64) {
        if self.rows.is_none() || rows == 0 {
            return;
        }
        let day = self.now.date_naive();
        if let Err(error) = telemetry_usage::give_back(db, (project, day), rows).await {
            tracing::warn!(%error, "{rows} rows of telemetry of project {project} are counted too many: {error}");
        }
    }
}

/// When the next day (UTC) begins.
pub(crate) fn day_after(now: DateTime<Utc>) -> DateTime<Utc> {
    let day = now.date_naive();
    day.succ_opt().unwrap_or(day).and_time(NaiveTime::MIN).and_utc()
}
