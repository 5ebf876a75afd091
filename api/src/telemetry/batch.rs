//! What was read of a body: rows that can be stored, and why others cannot.

use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use domain::ids::DeploymentId;
use domain::ports::telemetry::{LogRecord, Point, Score, Span, TelemetryError, Written};

use super::Accepted;
use crate::error::ApiError;
use crate::gate::Sender;

/// So many refused rows are explained.
const EXPLAINED: usize = 5;

/// Rows that can be stored, and why others cannot.
#[derive(Debug)]
pub(super) struct Batch<T> {
    pub(super) rows: Vec<T>,
    rejected: u64,
    reasons: Vec<String>,
}

/// A row that says which deployment it is of.
pub(super) trait OfDeployment {
    fn deployment(&mut self) -> &mut Option<DeploymentId>;
}

macro_rules! of_deployment {
    ($($row:ty),*) => {$(
        impl OfDeployment for $row {
            fn deployment(&mut self) -> &mut Option<DeploymentId> {
                &mut self.deployment_id
            }
        }
    )*};
}
of_deployment!(Span, LogRecord, Point, Score);

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { rows: vec![], rejected: 0, reasons: vec![] }
    }
}

impl<T> Batch<T> {
    pub(super) fn add(&mut self, row: Result<T, String>) {
        match row {
            Ok(row) => self.rows.push(row),
            Err(reason) => {
                self.rejected += 1;
                if self.reasons.len() < EXPLAINED {
                    self.reasons.push(reason);
                }
            }
        }
    }

    /// Takes out what is too old to be kept, or has not happened yet; `told` says when a row was, and what to call it.
    pub(super) fn keep_window(
        &mut self,
        window: &RangeInclusive<DateTime<Utc>>,
        told: impl Fn(&T) -> (DateTime<Utc>, String),
    ) {
        for row in std::mem::take(&mut self.rows) {
            let (at, name) = told(&row);
            self.add(match at {
                at if at < *window.start() => {
                    Err(format!("{name}: began before {}, which is not kept", window.start()))
                }
                at if at > *window.end() => Err(format!("{name}: began in the future")),
                _ => Ok(row),
            });
        }
    }

    /// Stores the rows, and says what became of all. Nothing is nothing to do.
    pub(super) async fn store<F>(
        mut self,
        sender: &Sender,
        signal: &'static str,
        write: impl FnOnce(Vec<T>) -> F,
    ) -> Result<Accepted, ApiError>
    where
        T: OfDeployment,
        F: Future<Output = Result<Written, TelemetryError>>,
    {
        if sender.deployment.is_some() {
            // Its token proves what others only say.
            self.rows.iter_mut().for_each(|row| *row.deployment() = sender.deployment);
        }
        let accepted = self.rows.len() as u64;
        if accepted > 0 && !sender.dry_run {
            let written = write(self.rows).await?;
            metrics::counter!(format!("mastra_admin_{signal}_stored")).increment(written.stored);
            metrics::counter!(format!("mastra_admin_{signal}_repeated")).increment(written.repeated);
        }
        metrics::counter!(format!("mastra_admin_{signal}_rejected")).increment(self.rejected);
        Ok(Accepted { accepted, rejected: self.rejected, errors: self.reasons })
    }
}
